#include "app/engine_paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "support/temp_dir.h"

namespace stoker::app {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

class EnginePaths : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return folder_ / name; }
  std::string file(const std::string& name, const std::string& text = "") const {
    fs::create_directories(fs::path(at(name)).parent_path());
    std::ofstream(at(name)) << text;
    return at(name);
  }
  void link(const std::string& name, const std::string& target) const {
    fs::create_directories(fs::path(at(name)).parent_path());
    fs::create_symlink(target, at(name));
  }

  const TempDir dir_;
  const fs::path folder_ = fs::canonical(dir_.path());
};

TEST_F(EnginePaths, FollowTheLinksOfAnEnvironmentToItsInterpreter) {
  file("python-3.11/bin/python3.11");
  link("current", "python-3.11");
  link("venv/bin/python3", at("current/bin/python3.11"));
  link("venv/bin/python", "python3");
  EXPECT_THAT(engine_paths({at("venv/bin/python")}),
              ElementsAre(at("current"), at("python-3.11"), at("venv")));
}

TEST_F(EnginePaths, FollowTheFirstLineOfAScript) {
  file("python/bin/python3");
  link("venv/bin/python", at("python/bin/python3"));
  file("venv/bin/vllm", "#! " + at("venv/bin/python") + " -s\n");
  EXPECT_THAT(engine_paths({at("venv/bin/vllm")}), ElementsAre(at("python"), at("venv")));
}

TEST_F(EnginePaths, ShowWhatLiesBesideAScript) {
  const std::string script = file("app/web.py");
  EXPECT_THAT(engine_paths({"python3", script, "{port}", "serve"}), ElementsAre(at("app"), script));
}

TEST_F(EnginePaths, NeverShowAHomeOrAnotherWideFolder) {
  ::setenv("HOME", folder_.c_str(), 1);
  const std::string script = file("web.py");
  const std::string program = file("bin/engine");
  EXPECT_THAT(engine_paths({program, script}), ElementsAre(at("bin"), script));
  EXPECT_THAT(engine_paths({"/home/me/engine"}), ElementsAre("/home/me/engine"));
  EXPECT_THAT(engine_paths({"/usr/bin/python3", "/", "/usr/lib"}), ElementsAre());
}

TEST_F(EnginePaths, EndWhereLinksGoRoundInACircle) {
  link("a/one", at("a/two"));
  link("a/two", at("a/one"));
  EXPECT_THAT(engine_paths({at("a/one")}), ElementsAre(at("a")));
}

}  // namespace
}  // namespace stoker::app
