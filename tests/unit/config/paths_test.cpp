// Relative paths of a file mean the file's folder, from wherever the command is run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "reading.h"
#include "support/temp_dir.h"

namespace stoker::config {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

class Paths : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return folder_ / name; }
  void touch(const std::string& name) const {
    fs::create_directories(fs::path(at(name)).parent_path());
    std::ofstream(at(name)) << "x";
  }
  Loaded load_text(const std::string& yaml, const std::vector<Override>& overrides = {}) const {
    std::ofstream(at("stoker.yaml")) << yaml;
    return load(at("stoker.yaml"), test_environment, overrides);
  }

  const TempDir dir_;
  const fs::path folder_ = dir_.path();
};

TEST_F(Paths, MeanTheFoldersOfTheFile) {
  touch("models/m.gguf");
  const ServerConfig config = load_text(R"(
listen: unix:run/s.sock
deployments:
  chat: {model: models/m.gguf, options: {multimodal: ./p.gguf, threads: 2}, readable: [data/../more]}
  voice: {runtime: onnx, model: file:v.onnx}
)")
                                  .config;
  EXPECT_EQ(config.file, at("stoker.yaml"));
  EXPECT_EQ(config.state_dir, at("state"));
  EXPECT_EQ(config.listen, "unix:" + at("run/s.sock"));
  EXPECT_EQ(config.deployments.at(0).model, at("models/m.gguf"));
  EXPECT_EQ(config.deployments.at(0).options,
            R"({"multimodal":")" + at("p.gguf") + R"(","threads":2})");
  EXPECT_THAT(config.deployments.at(0).readable, ElementsAre(at("more")));
  EXPECT_EQ(config.deployments.at(1).model, at("v.onnx"));
}

TEST_F(Paths, OfACommandAreThoseThatExist) {
  touch("web.py");
  touch("venv/bin/python");
  touch("serve/README");
  const ServerConfig config = load_text(R"(
deployments:
  a: {runtime: command, model: org/name, command: [venv/bin/python, web.py, "{port}", serve, ./serve, x/y]}
  b: {runtime: command, model: ./m, command: [python3]}
)")
                                  .config;
  EXPECT_EQ(config.deployments.at(0).model, "org/name") << "an engine may know such a name";
  EXPECT_THAT(config.deployments.at(0).command, ElementsAre(at("venv/bin/python"), at("web.py"),
                                                            "{port}", "serve", at("serve"), "x/y"));
  EXPECT_EQ(config.deployments.at(1).model, at("m"));
  EXPECT_THAT(config.deployments.at(1).command, ElementsAre("python3"));
}

TEST_F(Paths, OfTheCommandLineMeanTheWorkingDirectory) {
  const ServerConfig config =
      load_text("deployments: {e: {runtime: echo}}", {{"state_dir", "here"}}).config;
  EXPECT_EQ(config.state_dir, (fs::current_path() / "here").string());
}

TEST_F(Paths, OfModelsAreLookedAt) {
  fs::create_directories(at("models"));
  const Loaded loaded = load_text(R"(
deployments:
  a: {model: .}
  b: {runtime: onnx, model: none.onnx}
  c: {runtime: command, command: [./none]}
  d: {runtime: echo, readable: [none]}
)");
  EXPECT_FALSE(loaded.ok());
  EXPECT_THAT(said(loaded), ElementsAre(HasSubstr("a.model: " + folder_.string() + " is a folder"),
                                        HasSubstr(at("none.onnx") + " does not exist"),
                                        HasSubstr(at("none") + " does not exist"),
                                        HasSubstr(at("none") + " does not exist")));
}

TEST(Limits, OfAForeignEngineAreGenerousUnlessTheyAreGiven) {
  const ServerConfig config = read(R"(
deployments:
  a: {runtime: command, command: [x]}
  b: {runtime: command, command: [x], limits: {start_timeout: 2m}}
  c: {runtime: echo}
)")
                                  .config;
  EXPECT_EQ(config.deployments.at(0).limits.start_timeout, minutes(15));
  EXPECT_EQ(config.deployments.at(1).limits.start_timeout, minutes(2));
  EXPECT_EQ(config.deployments.at(2).limits.start_timeout, minutes(5));
  EXPECT_EQ(config.deployments.at(0).health_path, "") << "the usual ones are tried";
}

}  // namespace
}  // namespace stoker::config
