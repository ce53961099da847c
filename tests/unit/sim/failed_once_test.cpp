// Worlds in which the core or the checker was wrong once, as short as they could be made.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "sim/seed_run.h"
#include "sim/shrink.h"

namespace stoker::sim {
namespace {

TEST(FailedOnce, AndNotAgain) {
  int scripts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(STOKER_SIM_SCRIPTS)) {
    std::ostringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    const Result<Script> script = parse_script(text.str());
    ASSERT_TRUE(script) << entry.path() << ": " << script.error().message;
    EXPECT_EQ(run_script(*script).violation, std::nullopt) << entry.path();
    ++scripts;
  }
  EXPECT_GE(scripts, 2);
}

}  // namespace
}  // namespace stoker::sim
