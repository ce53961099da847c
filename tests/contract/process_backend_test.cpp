// What only real processes can show: death with all descendants, limits, the sandbox, the owner's
// own death, and that nobody else's process is ever hit.
#include "backend/process/process_backend.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "backend/process/cgroup.h"
#include "backend/process/proc_fs.h"
#include "backend/process/sandbox.h"
#include "backend/process/spawn.h"
#include "backend_rig.h"

namespace stoker::backend {
namespace {

bool sandbox_works() {
  static const bool works = probe_sandbox().works;
  return works;
}

CgroupFactory permitted_cgroups() {
  CgroupFactory factory = CgroupFactory::open(find_cgroup_places(), "stoker-test-probe");
  factory.dissolve();
  return factory;
}

class ProcessBackendTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam() && !sandbox_works()) GTEST_SKIP() << "no bubblewrap here";
  }
  InstanceBackend& backend() {
    if (!backend_) {
      config.state_dir = folder.path();
      config.worker_dir = STOKER_TEST_WORKERS;
      config.sandbox = GetParam();
      backend_ = std::move(*ProcessBackend::create(*loop, config));
      backend_->set_listener(recorder);
    }
    return *backend_;
  }
  void start(const StartRequest& request) { ASSERT_TRUE(backend().start(request).has_value()); }
  void wait(const std::function<bool()>& done) { run_until(*loop, done); }
  void wait_ready(std::uint64_t id) {
    wait([&] { return heard(id).find<WorkerReady>() != nullptr; });
  }
  const ExitInfo& wait_exit(std::uint64_t id) {
    wait([&] { return !heard(id).exits.empty(); });
    return heard(id).exits.at(0);
  }
  Heard& heard(std::uint64_t id) { return recorder.of(key_of(id)); }
  static std::vector<pid_t> processes_with(const std::string& mark) {
    return processes_where([&](pid_t pid) {
      const std::optional<ProcessStat> stat = stat_of(pid);
      return stat && !stat->zombie && has_environment(pid, mark);
    });
  }

  TemporaryFolder folder;
  ProcessBackendConfig config;
  std::unique_ptr<net::EventLoop> loop = std::move(*net::EventLoop::create());
  Recorder recorder{*loop};
  std::unique_ptr<InstanceBackend> backend_;
};

TEST_P(ProcessBackendTest, TheListeningSocketIsReachable) {
  start(tiny_instance(1));
  wait_ready(1);
  const std::string path = heard(1).find<WorkerReady>()->endpoint.substr(5);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  char answer[64] = {};
  ASSERT_GT(::read(fd.get(), answer, sizeof(answer) - 1), 0);
  EXPECT_TRUE(std::string_view(answer).starts_with("HTTP/1.1 200 OK"));
  backend().stop(key_of(1), StopMode::kill, {});
  wait_exit(1);
  EXPECT_FALSE(std::filesystem::exists(path)) << "the socket outlived its instance";
}

TEST_P(ProcessBackendTest, EveryKindOfEndIsTold) {
  const std::pair<const char*, const char*> cases[] = {{"exit:0", "exit 0"},
                                                       {"exit:1", "exit 1"},
                                                       {"exit:42", "exit 42"},
                                                       {"exit_at_once", "exit 42"},
                                                       {"segv", "signal 11 (SIGSEGV)"},
                                                       {"abort", "signal 6 (SIGABRT)"}};
  std::uint64_t id = 0;
  for (const auto& [behaviour, text] : cases) {
    SCOPED_TRACE(behaviour);
    start(tiny_instance(++id, behaviour));
    EXPECT_EQ(wait_exit(id).text, text);
  }
}

TEST_P(ProcessBackendTest, EveryBreachIsSeen) {
  std::uint64_t id = 0;
  for (const char* behaviour : {"garbage", "no_object", "unknown_type", "negative", "second_hello",
                                "long", "empty", "wrong_nonce", "not_hello", "bad_endpoint"}) {
    SCOPED_TRACE(behaviour);
    start(tiny_instance(++id, behaviour));
    wait([&] { return !heard(id).breaches.empty(); });
    backend().stop(key_of(id), StopMode::kill, {});
    wait_exit(id);
    EXPECT_EQ(heard(id).find<WorkerReady>(), nullptr);
  }
}

TEST_P(ProcessBackendTest, AClosedChannelWithoutAnExitIsABreach) {
  start(tiny_instance(1, "closes"));
  wait([&] { return !heard(1).breaches.empty(); });
  backend().stop(key_of(1), StopMode::kill, {});
  wait_exit(1);
}

TEST_P(ProcessBackendTest, AWorkerThatDoesNotReadIsABreach) {
  start(tiny_instance(1, "stubborn"));
  wait([&] { return heard(1).hellos == 1; });
  const std::string packet =
      "{\"type\":\"cancel\",\"request\":\"" + std::string(60'000, 'r') + "\"}";
  for (int i = 0; i < 40; ++i) backend().send(key_of(1), packet);
  wait([&] { return !heard(1).breaches.empty(); });
  backend().stop(key_of(1), StopMode::kill, {});
  wait_exit(1);
}

TEST_P(ProcessBackendTest, AGracefulStopEscalates) {
  start(tiny_instance(1, "stubborn"));
  wait([&] { return heard(1).hellos == 1; });
  backend().stop(key_of(1), StopMode::graceful, ms(10));
  EXPECT_EQ(wait_exit(1).text, "signal 9 (SIGKILL)");
}

TEST_P(ProcessBackendTest, DaemonsDieWithTheirInstance) {
  for (const char* behaviour : {"daemon", "daemon_then_exit"}) {
    SCOPED_TRACE(behaviour);
    const std::uint64_t id = behaviour == std::string("daemon") ? 1 : 2;
    start(tiny_instance(id, behaviour));
    if (id == 1) {
      wait_ready(1);
      backend().stop(key_of(1), StopMode::kill, {});
    }
    wait_exit(id);
    EXPECT_TRUE(processes_with("STOKER_NONCE=" + nonce_of(id)).empty());
  }
}

TEST_P(ProcessBackendTest, TheRestDiesWithTheLeader) {
  start(tiny_instance(1, "daemon"));
  wait_ready(1);
  const UniqueFd leader = open_pidfd(backend().list()[0].pid);
  ASSERT_TRUE(signal_pidfd(leader.get(), SIGKILL));  // of bubblewrap, in the sandbox
  EXPECT_EQ(wait_exit(1).text, "signal 9 (SIGKILL)");
  EXPECT_TRUE(processes_with("STOKER_NONCE=" + nonce_of(1)).empty());
}

TEST_P(ProcessBackendTest, OnlyTheOneBeyondItsMemoryDies) {
  if (!permitted_cgroups().limits_memory()) GTEST_SKIP() << "no memory cgroup here";
  start(tiny_instance(1));
  wait_ready(1);
  StartRequest greedy = tiny_instance(2, "oom");
  greedy.memory_limit = mib(64);
  start(greedy);
  const ExitInfo& exit = wait_exit(2);
  EXPECT_EQ(exit.kind, ExitKind::oom) << exit.text;
  EXPECT_EQ(exit.text, "oom (limit 64.0 MiB)");
  EXPECT_TRUE(heard(1).exits.empty());
}

TEST_P(ProcessBackendTest, TheLogIsKeptInMemoryAndInAFile) {
  config.log_memory_bytes = kib(4);
  start(tiny_instance(1, "chatty"));
  wait_ready(1);
  wait([&] { return backend().log_tail("chat/1", 1) == "line 1999\n" || (loop->stop(), false); });
  EXPECT_EQ(backend().log_tail("chat/1", 2), "line 1998\nline 1999\n");
  EXPECT_LE(backend().log_tail("chat/1", 100'000).size(), 4096U);
  backend().stop(key_of(1), StopMode::kill, {});
  EXPECT_TRUE(wait_exit(1).log_tail.ends_with("line 1999\n"));
  EXPECT_EQ(backend().log_tail("chat/1", 1), "line 1999\n") << "kept after the end";
  backend_.reset();
  std::ifstream file(folder.path() + "/logs/chat-1.log");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_TRUE(text.starts_with("line 0\n"));
  EXPECT_TRUE(text.ends_with("line 1999\n"));
}

TEST_P(ProcessBackendTest, AMissingWorkerIsAFailedStart) {
  StartRequest request = tiny_instance(1);
  request.worker = "absent";
  start(request);
  const ExitInfo& exit = wait_exit(1);
  EXPECT_EQ(exit.kind, ExitKind::start_failed);
  EXPECT_TRUE(exit.will_stay);
  EXPECT_TRUE(exit.text.starts_with("worker program not found: " STOKER_TEST_WORKERS
                                    "/stoker-worker-absent; fix: "))
      << exit.text;
}

TEST_P(ProcessBackendTest, AWorkerThatMayNotBeRunIsAFailedStart) {
  config.worker_dir = folder.path();
  config.state_dir = folder.path();
  config.sandbox = GetParam();
  const std::string program = folder.path() + "/stoker-worker-tiny";
  std::ofstream(program) << "no program";
  ASSERT_EQ(::chmod(program.c_str(), 0644), 0);
  backend_ = std::move(*ProcessBackend::create(*loop, config));
  backend_->set_listener(recorder);
  start(tiny_instance(1));
  const ExitInfo& exit = wait_exit(1);
  EXPECT_EQ(exit.kind, ExitKind::start_failed);
  EXPECT_TRUE(exit.will_stay);
  EXPECT_TRUE(exit.text.starts_with("worker program may not be run: ")) << exit.text;
}

TEST_P(ProcessBackendTest, TheEnvironmentIsMinimal) {
  ::setenv("TINY_LEAK", "secret", 1);
  StartRequest request = tiny_instance(1);
  request.device = {.kind = DeviceBinding::Kind::cpu, .cuda_visible_devices = ""};
  start(request);
  wait_ready(1);
  for (const pid_t pid : backend().processes_of(key_of(1))) {
    EXPECT_FALSE(has_environment(pid, "TINY_LEAK=secret"));
    EXPECT_TRUE(has_environment(pid, "CUDA_VISIBLE_DEVICES="));
    EXPECT_TRUE(has_environment(pid, "GLIBC_TUNABLES=glibc.malloc.hugetlb=1"));
  }
  EXPECT_FALSE(backend().processes_of(key_of(1)).empty());
  ::unsetenv("TINY_LEAK");
}

TEST_P(ProcessBackendTest, KillsHitNobodyElse) {
  const std::string program = std::string(STOKER_TEST_WORKERS) + "/stoker-worker-tiny";
  const UniqueFd nothing(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  Result<Spawned> bystander = spawn({.program = program,
                                     .arguments = {program, "--bystander"},
                                     .environment = {},
                                     .descriptors = {},
                                     .output = nothing.get()});
  ASSERT_TRUE(bystander.has_value());
  constexpr std::uint64_t cycles = 500;  // for each of two parameters: W9 asks for 10^3
  for (std::uint64_t id = 1; id <= cycles; ++id) {
    start(tiny_instance(id));
    wait([&] { return heard(id).hellos == 1; });
    backend().stop(key_of(id), StopMode::kill, {});
    EXPECT_EQ(wait_exit(id).text, "signal 9 (SIGKILL)");
  }
  EXPECT_FALSE(wait_for_end(bystander->pidfd.get(), 0));
  signal_pidfd(bystander->pidfd.get(), SIGKILL);
  ::waitpid(bystander->pid, nullptr, 0);
}

TEST_P(ProcessBackendTest, TheEndOfTheBackendEndsItsInstances) {
  start(tiny_instance(1, "stubborn"));
  wait([&] { return heard(1).hellos == 1; });
  start(tiny_instance(2));  // perhaps still being started
  backend_.reset();
  EXPECT_TRUE(processes_with("STOKER_NONCE=" + nonce_of(1)).empty());
  EXPECT_TRUE(processes_with("STOKER_NONCE=" + nonce_of(2)).empty());
}

TEST_P(ProcessBackendTest, ADeepStateFolderStillHasASocket) {
  const std::string deep = folder.path() + "/" + std::string(100, 'd');
  std::filesystem::create_directories(deep);
  config.state_dir = deep;
  config.worker_dir = STOKER_TEST_WORKERS;
  config.sandbox = GetParam();
  backend_ = std::move(*ProcessBackend::create(*loop, config));
  backend_->set_listener(recorder);
  start(tiny_instance(1));
  wait_ready(1);
  const std::string path = heard(1).find<WorkerReady>()->endpoint.substr(5);
  EXPECT_LT(path.size(), sizeof(sockaddr_un::sun_path));
  backend_.reset();
  std::filesystem::remove(std::filesystem::path(path).parent_path());
}

TEST_P(ProcessBackendTest, NoDescriptorIsLeakedByALife) {
  const auto open_descriptors = [] {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return std::distance(begin(all), end(all));
  };
  start(tiny_instance(1));
  wait_ready(1);
  backend().stop(key_of(1), StopMode::kill, {});
  wait_exit(1);
  const auto before = open_descriptors();
  for (std::uint64_t id = 2; id < 6; ++id) {
    start(tiny_instance(id, id % 2 == 0 ? "normal" : "exit_at_once"));
    if (id % 2 == 0) wait_ready(id);
    backend().stop(key_of(id), StopMode::kill, {});
    wait_exit(id);
  }
  // Each log file stays open on the writer's thread for at most one write more.
  EXPECT_LE(open_descriptors(), before + 1);
}

/// A frozen version 1 group keeps even a killed process from dying, as a stuck driver would.
TEST_P(ProcessBackendTest, AnUnkillableInstanceIsReportedAndWaitedFor) {
  const std::string group = "/sys/fs/cgroup/freezer/stoker-test-" + std::to_string(::getpid());
  if (::access("/sys/fs/cgroup/freezer/cgroup.procs", W_OK) != 0 ||
      ::mkdir(group.c_str(), 0755) != 0) {
    GTEST_SKIP() << "no freezer cgroup here";
  }
  const auto write = [&](const std::string& file, const std::string& text) {
    std::ofstream(group + file) << text << std::flush;
  };
  config.unkillable_after = ms(50);
  start(tiny_instance(1));
  wait_ready(1);
  for (const pid_t pid : backend().processes_of(key_of(1)))
    write("/cgroup.procs", std::to_string(pid));
  write("/freezer.state", "FROZEN");
  backend().stop(key_of(1), StopMode::kill, {});
  wait([&] { return heard(1).unkillable == 1; });
  EXPECT_TRUE(heard(1).exits.empty());
  EXPECT_EQ(backend().list().size(), 1U);
  write("/freezer.state", "THAWED");
  wait_exit(1);
  ::rmdir(group.c_str());
}

// --- The owner's own death (W10, O3) -------------------------------------------------------------

/// Starts backend_owner and reads the pids of its workers. Gives: the owner.
Spawned start_owner(const std::string& state_dir, const std::vector<std::string>& behaviours,
                    std::vector<UniqueFd>& workers) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  std::vector<std::string> arguments{STOKER_TEST_OWNER, state_dir, STOKER_TEST_WORKERS};
  arguments.insert(arguments.end(), behaviours.begin(), behaviours.end());
  Result<Spawned> owner = spawn({.program = STOKER_TEST_OWNER,
                                 .arguments = arguments,
                                 .environment = {"PATH=/usr/bin:/bin"},
                                 .descriptors = {},
                                 .output = write_end.get()});
  EXPECT_TRUE(owner.has_value());
  write_end.reset();
  const std::unique_ptr<FILE, int (*)(FILE*)> lines(::fdopen(::dup(read_end.get()), "r"),
                                                    &::fclose);
  char line[64];
  while (std::fgets(line, sizeof(line), lines.get()) != nullptr && std::string(line) != "up\n") {
    workers.push_back(open_pidfd(static_cast<pid_t>(std::atoi(line))));
  }
  EXPECT_FALSE(workers.empty());
  return std::move(*owner);
}

void kill_owner(const Spawned& owner) {
  signal_pidfd(owner.pidfd.get(), SIGKILL);
  ::waitpid(owner.pid, nullptr, 0);
}

/// Gives: how many instances a backend has that follows on the same state_dir.
std::size_t start_next_life(const std::string& state_dir) {
  const std::unique_ptr<net::EventLoop> loop = std::move(*net::EventLoop::create());
  const Result<std::unique_ptr<InstanceBackend>> next =
      ProcessBackend::create(*loop, {.state_dir = state_dir, .worker_dir = STOKER_TEST_WORKERS});
  EXPECT_TRUE(next.has_value());
  return (*next)->list().size();
}

TEST(ProcessBackendOwner, WorkersEndWithinFiveSecondsOfItsDeath) {
  const TemporaryFolder folder;
  std::vector<UniqueFd> workers;
  const Spawned owner = start_owner(folder.path(), {"normal", "normal"}, workers);
  kill_owner(owner);
  for (const UniqueFd& worker : workers) EXPECT_TRUE(wait_for_end(worker.get(), 5000));
  (void)start_next_life(folder.path());  // removes the groups that are left
}

TEST(ProcessBackendOwner, WhatOutlivesItIsClearedAtTheNextStart) {
  const TemporaryFolder folder;
  std::vector<UniqueFd> workers;
  const Spawned owner = start_owner(folder.path(), {"stubborn", "daemon", "stubborn"}, workers);
  kill_owner(owner);
  EXPECT_EQ(start_next_life(folder.path()), 0U);
  for (const UniqueFd& worker : workers) EXPECT_TRUE(wait_for_end(worker.get(), 0));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path() + "/run"));
}

// --- The compromise drill (C17) ------------------------------------------------------------------

class Drill : public ProcessBackendTest {};

TEST_P(Drill, ACompromisedWorkerGetsNowhere) {
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listener.get(), 8), 0);
  socklen_t length = sizeof(address);
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length);

  const TemporaryFolder models;
  for (const char* name : {"/own.gguf", "/other.gguf"}) std::ofstream(models.path() + name) << "w";
  std::ofstream(folder.path() + "/admin.key") << "secret";

  start(tiny_instance(1));
  wait_ready(1);
  StartRequest request = tiny_instance(2, "drill");
  request.pids_limit = 32;
  request.sandbox.readable_paths = {models.path() + "/own.gguf"};
  request.env.insert(request.env.end(),
                     {{"TINY_FORK_BOMB", permitted_cgroups().limits_pids() ? "1" : "0"},
                      {"TINY_PORT", std::to_string(ntohs(address.sin_port))},
                      {"TINY_SECRET", folder.path() + "/admin.key"},
                      {"TINY_OTHER_MODEL", models.path() + "/other.gguf"},
                      {"TINY_OWN_MODEL", models.path() + "/own.gguf"},
                      {"TINY_SIBLING", std::to_string(backend().processes_of(key_of(1)).back())}});
  start(request);
  const ExitInfo& exit = wait_exit(2);
  EXPECT_EQ(exit.text, "exit 0") << backend().log_tail("chat/2", 100);
  EXPECT_TRUE(heard(1).exits.empty()) << "the sibling lives";
  start(tiny_instance(3));  // and so does the platform
  wait_ready(3);
}

INSTANTIATE_TEST_SUITE_P(Plain, ProcessBackendTest, testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Sandbox, ProcessBackendTest, testing::Values(true));
INSTANTIATE_TEST_SUITE_P(Sandbox, Drill, testing::Values(true));

}  // namespace
}  // namespace stoker::backend
