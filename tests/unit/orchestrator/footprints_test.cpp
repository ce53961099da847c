// Hints that outlive the server: what is kept, what is not believed, and that no file stops
// anything.
#include "orchestrator/footprints.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <functional>

#include "support/temp_dir.h"

namespace stoker::orchestrator {
namespace {

namespace fs = std::filesystem;

class FootprintsTest : public testing::Test {
 protected:
  FootprintsTest() { std::ofstream(model) << "weights"; }

  DeploymentPlan plan(const std::string& name = "chat") const {
    DeploymentPlan made;
    made.spec.name = name;
    made.launch.worker = "llama";
    made.launch.model = model.string();
    made.launch.options = R"({"context":512})";
    made.footprint_key = footprint_key(made);
    return made;
  }
  static std::vector<backend::Device> devices(Bytes cpu = gib(64), Bytes cuda = gib(80)) {
    backend::Device first;
    first.memory = cpu;
    backend::Device second;
    second.kind = backend::DeviceKind::cuda;
    second.memory = cuda;
    return {first, second};
  }
  std::string content() const {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void overwrite(const std::string& text) const {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << text;
  }

  const TempDir folder;
  const fs::path file = folder / "footprints";
  const fs::path model = folder / "model.gguf";
  const core::MemoryNeed on_cpu{mib(70), mib(900)};
  const core::MemoryNeed on_cuda{mib(1300), {}};
};

TEST_F(FootprintsTest, WhatWasKeptIsThereInTheNextLife) {
  {
    Footprints life(file);
    EXPECT_TRUE(life.recall(plan().footprint_key, devices()).empty());
    ASSERT_TRUE(life.keep(plan(), core::DeviceKind::cpu, {mib(1), mib(1)}).has_value());
    ASSERT_TRUE(life.keep(plan(), core::DeviceKind::cpu, on_cpu).has_value());
    ASSERT_TRUE(life.keep(plan(), core::DeviceKind::cuda, on_cuda).has_value());
    ASSERT_TRUE(life.keep(plan("other"), core::DeviceKind::cpu, {mib(5), {}}).has_value());
  }
  const Footprints next(file);
  EXPECT_EQ(next.damaged_lines(), 0U);
  const Footprints::PerKind found = next.recall(plan().footprint_key, devices());
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found.at(core::DeviceKind::cpu).private_bytes, mib(70));
  EXPECT_EQ(found.at(core::DeviceKind::cpu).shared_bytes, mib(900));
  EXPECT_EQ(found.at(core::DeviceKind::cuda).private_bytes, mib(1300));
  struct stat info{};
  ASSERT_EQ(::stat(file.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
}

TEST_F(FootprintsTest, WhateverChangesMemoryChangesTheKey) {
  const std::string before = plan().footprint_key;
  EXPECT_EQ(before, plan().footprint_key);
  const std::function<void(DeploymentPlan&)> changes[] = {
      [](DeploymentPlan& p) { p.spec.name = "chat2"; },
      [](DeploymentPlan& p) { p.spec.scale.concurrency = 7; },
      [](DeploymentPlan& p) { p.launch.worker = "onnx"; },
      [](DeploymentPlan& p) { p.launch.options = R"({"context":1024})"; },
      [](DeploymentPlan& p) { p.launch.env = {{"OMP_NUM_THREADS", "4"}}; },
      [&](DeploymentPlan& p) { p.launch.model = (folder / "absent").string(); },
      [&](DeploymentPlan&) { std::ofstream(model) << "more weights"; },
      [&](DeploymentPlan&) { fs::last_write_time(model, fs::file_time_type{}); },
  };
  for (std::size_t i = 0; i < std::size(changes); ++i) {
    DeploymentPlan changed = plan();
    changes[i](changed);
    EXPECT_NE(footprint_key(changed), before) << "change " << i;
  }
}

TEST_F(FootprintsTest, OfOneDeploymentOnlyTheLastKeyIsKept) {
  Footprints life(file);
  ASSERT_TRUE(life.keep(plan(), core::DeviceKind::cpu, on_cpu).has_value());
  const std::string old_key = plan().footprint_key;
  std::ofstream(model) << "another version";
  ASSERT_TRUE(life.keep(plan(), core::DeviceKind::cpu, on_cpu).has_value());
  const Footprints next(file);
  EXPECT_TRUE(next.recall(old_key, devices()).empty());
  EXPECT_EQ(next.recall(plan().footprint_key, devices()).size(), 1U);
}

TEST_F(FootprintsTest, WhatNoDeviceOfItsKindCouldHoldIsLeftOut) {
  Footprints life(file);
  ASSERT_TRUE(life.keep(plan(), core::DeviceKind::cpu, on_cpu).has_value());
  const std::string key = plan().footprint_key;
  EXPECT_EQ(life.recall(key, devices(mib(970))).size(), 1U);
  EXPECT_TRUE(life.recall(key, devices(mib(969))).empty()) << "the cuda device is not of its kind";
  EXPECT_TRUE(life.recall(key, {}).empty());
}

/// Each bit of the file flipped, and each length of it: what is recalled is right or absent.
TEST_F(FootprintsTest, ADamagedFileGivesOnlyWhatIsRight) {
  {
    Footprints life(file);
    ASSERT_TRUE(life.keep(plan(), core::DeviceKind::cpu, on_cpu).has_value());
    ASSERT_TRUE(life.keep(plan("other"), core::DeviceKind::cpu, {mib(5), {}}).has_value());
  }
  const std::string whole = content();
  const std::string keys[] = {plan().footprint_key, plan("other").footprint_key};
  const auto check = [&](const std::string& damaged) {
    overwrite(damaged);
    const Footprints next(file);
    std::size_t right = 0;
    for (const std::string& key : keys) {
      const Footprints::PerKind found = next.recall(key, devices());
      if (found.empty()) continue;
      ++right;
      const Bytes want = key == keys[0] ? mib(70) : mib(5);
      EXPECT_EQ(found.at(core::DeviceKind::cpu).private_bytes, want);
    }
    return right;
  };
  EXPECT_EQ(check(whole), 2U);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    SCOPED_TRACE(at);
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
    EXPECT_LT(check(damaged), 2U);
    check(whole.substr(0, at));
  }
}

TEST_F(FootprintsTest, NoFileStopsAnything) {
  for (const std::string& text :
       {std::string(), std::string("\n\n"), std::string(2 << 20, 'x'), std::string(1000, '\0'),
        std::string("00000000 a b cpu -1 99999999999999999999\n")}) {
    overwrite(text);
    Footprints life(file);
    EXPECT_TRUE(life.recall(plan().footprint_key, devices()).empty());
    EXPECT_TRUE(life.keep(plan(), core::DeviceKind::cpu, on_cpu).has_value());
    EXPECT_EQ(Footprints(file).recall(plan().footprint_key, devices()).size(), 1U);
  }
  fs::remove(file);
  fs::create_directories(file / "in the way");
  Footprints blocked(file);
  EXPECT_FALSE(blocked.keep(plan(), core::DeviceKind::cpu, on_cpu).has_value());
  EXPECT_EQ(blocked.recall(plan().footprint_key, devices()).size(), 1U) << "this life knows it";
  fs::remove_all(file);
  EXPECT_TRUE(blocked.keep(plan(), core::DeviceKind::cpu, on_cpu).has_value()) << "tried again";
  EXPECT_EQ(Footprints(file).recall(plan().footprint_key, devices()).size(), 1U);
  EXPECT_FALSE(fs::exists(folder / "footprints.new"));
}

TEST_F(FootprintsTest, TheFileIsBounded) {
  Footprints life(file);
  for (int i = 0; i < 1100; ++i) {
    ASSERT_TRUE(
        life.keep(plan("d" + std::to_string(i)), core::DeviceKind::cpu, on_cpu).has_value());
  }
  const Footprints next(file);
  EXPECT_TRUE(next.recall(plan("d0").footprint_key, devices()).empty());
  EXPECT_EQ(next.recall(plan("d1099").footprint_key, devices()).size(), 1U);
  EXPECT_LT(fs::file_size(file), 1U << 20);
}

}  // namespace
}  // namespace stoker::orchestrator
