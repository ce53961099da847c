// Each scripts/NAME.events is run and compared with scripts/NAME.actions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "core_script.h"

namespace stoker::golden {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<fs::path> scripts() {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(GOLDEN_DIR)) {
    if (entry.path().extension() == ".events") found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

class Golden : public testing::TestWithParam<fs::path> {};

TEST_P(Golden, Script) {
  const fs::path expected = fs::path(GetParam()).replace_extension(".actions");
  const std::string got = run_script(read(GetParam()));
  EXPECT_EQ(got.find("error:"), std::string::npos) << got;
  if (std::getenv("UPDATE_GOLDEN") != nullptr) {
    std::ofstream(expected) << got;
    return;
  }
  EXPECT_EQ(got, read(expected)) << "UPDATE_GOLDEN=1 rewrites it; review the diff";
  EXPECT_EQ(run_script(read(GetParam())), got) << "the same script gave other actions";
}

INSTANTIATE_TEST_SUITE_P(Core, Golden, testing::ValuesIn(scripts()), [](const auto& script) {
  std::string name = script.param.stem().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace stoker::golden
