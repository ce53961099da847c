#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "backend/doctor.h"
#include "backend/process/cgroup.h"
#include "backend/process/log_store.h"
#include "backend/process/proc_fs.h"
#include "backend/process/remains.h"
#include "backend/process/run_directory.h"
#include "backend/process/sandbox.h"
#include "backend/process/spawn.h"
#include "support/temp_dir.h"

namespace stoker::backend {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

class InFolder : public testing::Test {
 protected:
  static std::string read(const std::string& path) { return read_small_file(path).value_or(""); }
  const TempDir dir;
  const std::string folder = dir.path().string();
};

// --- cgroups -------------------------------------------------------------------------------------

TEST(CgroupPlaces, Version2) {
  const CgroupPlaces places = parse_cgroup_places(
      "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
      "0::/system.slice/stoker.service\n");
  EXPECT_EQ(places.unified, "/sys/fs/cgroup/system.slice/stoker.service");
  EXPECT_EQ(places.memory, "");
}

TEST(CgroupPlaces, OurOwnGroupBesideTheInstancesIsNotThePlace) {
  const CgroupPlaces places = parse_cgroup_places(
      "25 30 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/a.service/stoker-supervisor\n");
  EXPECT_EQ(places.unified, "/sys/fs/cgroup/a.service");
}

TEST(CgroupPlaces, Version1AndHybrid) {
  const CgroupPlaces places = parse_cgroup_places(
      "30 24 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
      "31 24 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
      "32 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
      "8:pids:/\n4:memory:/a/b\n0::/\n");
  EXPECT_EQ(places.memory, "/sys/fs/cgroup/memory/a/b");
  EXPECT_EQ(places.pids, "/sys/fs/cgroup/pids");
  EXPECT_EQ(places.unified, "") << "limits are version 1's here";
}

TEST(CgroupPlaces, AContainerSeesItsPartOfTheTree) {
  const CgroupPlaces places = parse_cgroup_places(
      "30 24 0:25 /docker/1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
      "4:memory:/docker/1\n");
  EXPECT_EQ(places.memory, "/sys/fs/cgroup/memory");
}

TEST(CgroupPlaces, NonsenseIsNoPlace) {
  const CgroupPlaces places = parse_cgroup_places("- - -\n\ncgroup\n", "::\n:\n4:memory\n");
  EXPECT_EQ(places.memory + places.pids + places.unified, "");
}

class FakeCgroup : public InFolder {
 protected:
  /// The kernel makes these files itself in every new folder.
  void make_group(const std::string& path, std::initializer_list<const char*> files) {
    std::filesystem::create_directories(path);
    for (const char* file : files) std::ofstream(path + "/" + file) << "";
  }
};

TEST_F(FakeCgroup, Version1LimitsAreWritten) {
  make_group(folder + "/m/o/1-1", {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"});
  make_group(folder + "/p/o/1-1", {"pids.max", "cgroup.procs"});
  const CgroupFactory factory =
      CgroupFactory::open({.unified = "", .memory = folder + "/m", .pids = folder + "/p"}, "o");
  EXPECT_TRUE(factory.limits_memory());
  const auto group = factory.create("1-1", {.memory = mib(1), .pids = 7});
  ASSERT_TRUE(group.has_value());
  EXPECT_EQ(read(folder + "/m/o/1-1/memory.limit_in_bytes"), "1048576");
  EXPECT_EQ(read(folder + "/p/o/1-1/pids.max"), "7");
  EXPECT_EQ(factory.leftovers().size(), 1U);
}

TEST_F(FakeCgroup, Version2LimitsAreWritten) {
  make_group(folder, {"cgroup.procs", "cgroup.subtree_control"});
  make_group(folder + "/stoker-supervisor", {"cgroup.procs"});
  make_group(folder + "/o", {"cgroup.subtree_control"});
  make_group(folder + "/o/1-1",
             {"memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cgroup.procs"});
  const CgroupFactory factory =
      CgroupFactory::open({.unified = folder, .memory = "", .pids = ""}, "o");
  EXPECT_EQ(factory.problem(), "");
  const auto group = factory.create("1-1", {.memory = mib(1), .pids = 7});
  ASSERT_TRUE(group.has_value() && group->has_value());
  EXPECT_EQ(read(folder + "/cgroup.subtree_control"), "+memory +pids");
  EXPECT_EQ(read(folder + "/o/1-1/memory.max"), "1048576");
  EXPECT_EQ(read(folder + "/o/1-1/pids.max"), "7");
  std::ofstream(folder + "/o/1-1/memory.events") << "low 0\noom 3\noom_kill 2\noom_group_kill 0\n";
  EXPECT_EQ((*group)->oom_kills(), 2);
  std::ofstream(folder + "/o/1-1/cgroup.procs") << "12\n7\n7\n";
  EXPECT_EQ((*group)->members(), (std::vector<pid_t>{7, 12}));
}

TEST_F(FakeCgroup, WithoutPermissionThereAreNone) {
  const CgroupFactory factory =
      CgroupFactory::open({.unified = folder + "/absent", .memory = "", .pids = ""}, "o");
  EXPECT_FALSE(factory.limits_memory());
  EXPECT_NE(factory.problem(), "");
  EXPECT_EQ(factory.create("1-1", {}).value(), std::nullopt);
}

// --- sandbox -------------------------------------------------------------------------------------

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += word + " ";
  return text;
}

TEST(Sandbox, ShowsOnlyWhatIsAllowed) {
  const std::string line = joined(sandbox_arguments(
      "/usr/bin/bwrap", {.readable_paths = {"/data/m.gguf"}, .writable_paths = {"/data/cache"}}, {},
      {.state_dir = "/var/lib/stoker", .program_dir = "/usr/libexec/stoker"},
      {.info = 5, .block = 6}));
  EXPECT_TRUE(line.starts_with("/usr/bin/bwrap --info-fd 5 --block-fd 6 "));
  EXPECT_THAT(line, HasSubstr("--ro-bind-try /data/m.gguf /data/m.gguf"));
  EXPECT_THAT(line, HasSubstr("--bind /data/cache /data/cache"));
  EXPECT_THAT(line, HasSubstr("--unshare-net"));
  EXPECT_THAT(line, HasSubstr("--proc /proc --remount-ro /proc"));
  EXPECT_THAT(line, Not(HasSubstr("--die-with-parent")));
  EXPECT_THAT(line, Not(HasSubstr("/var/lib/stoker")));
  EXPECT_THAT(line, Not(HasSubstr("/etc/shadow")));
  EXPECT_THAT(line, Not(HasSubstr(" /home ")));
  EXPECT_TRUE(line.ends_with("-- "));
}

TEST(Sandbox, TheStateFolderStaysHiddenBelowAReadablePath) {
  const std::string line =
      joined(sandbox_arguments("bwrap", {.readable_paths = {"/srv/state/models/m.gguf", "/srv"}},
                               {}, {.state_dir = "/srv/state", .program_dir = {}}, {}));
  EXPECT_THAT(line, HasSubstr("--ro-bind-try /srv /srv --tmpfs /srv/state --ro-bind-try "
                              "/srv/state/models/m.gguf /srv/state/models/m.gguf"));
}

TEST(Sandbox, AHiddenFileStaysHiddenBelowAReadablePath) {
  const std::string line = joined(sandbox_arguments(
      "bwrap", {.readable_paths = {"/etc"}, .hidden_files = {"/etc/passwd", "/etc/no/such"}}, {},
      {.state_dir = "/srv/state", .program_dir = {}}, {}));
  EXPECT_THAT(line, HasSubstr("--ro-bind-try /etc /etc --ro-bind /dev/null /etc/passwd -- "));
}

TEST(Sandbox, NetworkIsGivenOnlyOnRequest) {
  const std::vector<std::string> words = sandbox_arguments("bwrap", {.network = true}, {}, {}, {});
  EXPECT_THAT(words, Not(Contains("--unshare-net")));
  EXPECT_THAT(words, Contains("/etc/resolv.conf"));
}

TEST(Sandbox, PathsAreChecked) {
  EXPECT_FALSE(check_sandbox_paths({.readable_paths = {"relative"}}).has_value());
  EXPECT_FALSE(check_sandbox_paths({.readable_paths = {"/"}}).has_value());
  EXPECT_FALSE(check_sandbox_paths({.writable_paths = {"/nonexistent/x"}}).has_value());
  EXPECT_TRUE(check_sandbox_paths({.readable_paths = {"/usr"}}).has_value());
  EXPECT_TRUE(check_sandbox_paths({.readable_paths = {"/nonexistent/x"}}).has_value())
      << "the worker says what it misses, in its own words";
}

TEST(Sandbox, InfoIsParsed) {
  EXPECT_EQ(parse_sandbox_info("{\n    \"child-pid\": 4711,\n    \"ipc-namespace\": 1\n}\n"), 4711);
  EXPECT_EQ(parse_sandbox_info(""), 0);
  EXPECT_EQ(parse_sandbox_info("{\"child-pid\": \"x\"}"), 0);
}

// --- spawn and /proc -----------------------------------------------------------------------------

TEST(Spawn, TheChildHasNoDescriptorOfOurs) {
  const UniqueFd leaky(::open("/dev/null", O_RDONLY));  // not close-on-exec, on purpose
  const Result<CommandOutput> run =
      run_command({"/bin/sh", "-c", "ls /proc/self/fd | wc -l"}, 5000);
  ASSERT_TRUE(run.has_value());
  EXPECT_EQ(run->text, "4\n") << "0, 1, 2 and the one that ls itself reads";
}

TEST(Spawn, CommandsTellTheirEnd) {
  EXPECT_EQ(run_command({"/bin/sh", "-c", "echo out; echo err >&2; exit 3"}, 5000)->exit_code, 3);
  EXPECT_EQ(run_command({"/bin/sh", "-c", "kill -9 $$"}, 5000)->exit_code, 128 + 9);
  EXPECT_EQ(run_command({"/nonexistent"}, 5000).error().code, ErrorCode::not_found);
  EXPECT_EQ(run_command({"/bin/sh", "-c", "sleep 100"}, 50).error().code, ErrorCode::unavailable);
}

TEST(ProcFs, KnowsAProcess) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd read_end(ends[0]);
  const UniqueFd write_end(ends[1]);
  Result<Spawned> child = spawn({.program = "/bin/sh",
                                 .arguments = {"sh (odd) name", "-c", "echo up; kill -STOP $$"},
                                 .environment = {"MARK=yes", "OTHER=MARK=no"},
                                 .descriptors = {},
                                 .output = write_end.get()});
  ASSERT_TRUE(child.has_value());
  char up[3];
  ASSERT_EQ(::read(read_end.get(), up, sizeof(up)), 3);
  const std::optional<ProcessStat> stat = stat_of(child->pid);
  ASSERT_TRUE(stat.has_value());
  EXPECT_EQ(stat->parent, ::getpid());
  EXPECT_EQ(stat->group, child->pid) << "it leads its own group";
  EXPECT_TRUE(has_environment(child->pid, "MARK=yes"));
  EXPECT_FALSE(has_environment(child->pid, "MARK=no"));
  EXPECT_THAT(children_of(::getpid()), Contains(child->pid));
  EXPECT_FALSE(signal_if(child->pid, SIGKILL, [](pid_t) { return false; }));
  EXPECT_FALSE(wait_for_end(child->pidfd.get(), 0));
  EXPECT_TRUE(signal_if(child->pid, SIGKILL, [](pid_t) { return true; }));
  EXPECT_TRUE(wait_for_end(child->pidfd.get(), 5000));
  EXPECT_TRUE(stat_of(child->pid)->zombie);
  ::waitpid(child->pid, nullptr, 0);
  EXPECT_FALSE(stat_of(child->pid).has_value());
}

// --- folders and logs ----------------------------------------------------------------------------

TEST_F(InFolder, OldSocketsAreRemoved) {
  ASSERT_TRUE(make_run_directory(folder).has_value());
  ASSERT_TRUE(listen_at(folder + "/run/1-1.sock").has_value());
  ASSERT_TRUE(make_run_directory(folder).has_value());
  EXPECT_TRUE(std::filesystem::is_empty(folder + "/run"));
}

TEST_F(InFolder, ARunFolderThatOthersMayEnterIsRefused) {
  std::filesystem::create_directory(folder + "/run");
  ::chmod((folder + "/run").c_str(), 0755);
  EXPECT_FALSE(make_run_directory(folder).has_value());
}

TEST_F(InFolder, LogsAreBoundedInMemoryAndOnDisk) {
  {
    LogStore logs(
        {.folder = folder, .file_bytes = Bytes{100}, .memory_bytes = Bytes{20}, .kept_closed = 1});
    logs.open("a/1");
    for (int i = 0; i < 10; ++i) logs.append("a/1", "0123456789abcdefghi\n");
    EXPECT_EQ(logs.tail("a/1", 100), "0123456789abcdefghi\n");
    logs.append("a/1", "x\ny");
    EXPECT_EQ(logs.tail("a/1", 1), "y");
    EXPECT_EQ(logs.tail("a/1", 2), "x\ny");
    EXPECT_EQ(logs.tail("a/1", 0), "");
    logs.open("ab/1");
    EXPECT_EQ(logs.names("a"), std::vector<std::string>{"a/1"});
    logs.close("a/1");
    EXPECT_EQ(logs.tail("a/1", 1), "y");
    logs.close("ab/1");
    EXPECT_EQ(logs.tail("a/1", 1), "") << "only the last one that closed is kept";
  }
  EXPECT_LE(std::filesystem::file_size(folder + "/a-1.log"), 100U);
  EXPECT_LE(std::filesystem::file_size(folder + "/a-1.log.1"), 100U);
}

TEST_F(InFolder, EachLifeHasItsOwnLogFiles) {
  for (const char* life : {"1", "2"}) {
    LogStore logs({.folder = folder, .life = life});
    logs.open("a/1");
    logs.append("a/1", life);
  }
  for (const char* life : {"1", "2"}) {
    std::string text;
    std::ifstream(folder + "/life-" + life + "-a-1.log") >> text;
    EXPECT_EQ(text, life);
  }
}

TEST_F(InFolder, FollowersHearWhatIsWritten) {
  struct Ear final : LogFollower {
    void on_log(const std::string& name, std::string_view bytes) override {
      heard += name + ":" + std::string(bytes);
    }
    std::string heard;
  } ear;
  LogStore logs({.folder = folder});
  logs.open("a/1");
  logs.append("a/1", "before");
  logs.follow(ear);
  logs.append("a/1", "x");
  logs.unfollow(ear);
  logs.append("a/1", "after");
  EXPECT_EQ(ear.heard, "a/1:x");
}

TEST_F(InFolder, OldLogFilesArePruned) {
  for (int i = 0; i < 5; ++i) {
    const std::string path = folder + "/" + std::to_string(i) + ".log";
    std::ofstream(path) << "x";
    std::filesystem::last_write_time(
        path, std::filesystem::file_time_type(std::chrono::seconds(1000 + i)));
  }
  std::ofstream(folder + "/keep.txt") << "x";
  prune_log_files(folder, 3, mib(1));
  EXPECT_FALSE(std::filesystem::exists(folder + "/1.log"));
  EXPECT_TRUE(std::filesystem::exists(folder + "/2.log"));
  prune_log_files(folder, 3, Bytes{2});
  EXPECT_FALSE(std::filesystem::exists(folder + "/2.log"));
  EXPECT_TRUE(std::filesystem::exists(folder + "/3.log"));
  EXPECT_TRUE(std::filesystem::exists(folder + "/keep.txt"));
}

// --- doctor --------------------------------------------------------------------------------------

TEST_F(InFolder, TheDoctorAlwaysAsksTheSame) {
  const std::vector<Fact> facts = examine_machine(
      {.state_dir = folder + "/not/yet", .worker_dir = folder, .nvml_library = "/nonexistent"});
  std::vector<std::string> checks;
  for (const Fact& fact : facts) {
    checks.push_back(fact.check);
    EXPECT_FALSE(fact.detail.empty()) << fact.check;
    EXPECT_EQ(fact.hint.empty(), fact.state == FactState::ok) << fact.check;
  }
  EXPECT_EQ(checks, (std::vector<std::string>{
                        "sandbox", "user_namespaces", "cgroup.memory", "cgroup.pids", "devices",
                        "nvml", "instructions", "huge_pages", "locked_memory", "open_files", "disk",
                        "worker.llama", "worker.onnx", "worker.exec", "worker.echo"}));
  EXPECT_EQ(facts.back().state, FactState::warn) << "no workers in that folder";
}

/// How many each pass finds, and whether nothing is left.
TEST(Remains, NothingIsLeftOnlyOnceTwoPassesInARowFindNothing) {
  const std::vector<std::pair<std::vector<std::size_t>, bool>> rows = {
      {{0, 0}, true},
      {{1}, false},
      {{0, 1}, false},  // a daemon that began while the first pass looked at its parent
  };
  for (const auto& [found, clear] : rows) {
    std::size_t passes = 0;
    EXPECT_EQ(none_left([&] { return found.at(passes++); }), clear);
    EXPECT_EQ(passes, found.size());
  }
}

}  // namespace
}  // namespace stoker::backend
