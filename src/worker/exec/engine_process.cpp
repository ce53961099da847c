#include "worker/exec/engine_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <string_view>

#include "base/invariant.h"
#include "net/clock.h"

namespace stoker::worker {
namespace {

sigset_t child_signal() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGCHLD);
  return set;
}

/// Attributes of the spawn: own group, no signal blocked or ignored.
class SpawnAttributes {
 public:
  SpawnAttributes() {
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    sigset_t none;
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    sigset_t all;
    ::sigfillset(&all);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  }
  ~SpawnAttributes() {
    ::posix_spawnattr_destroy(&attributes_);
    ::posix_spawn_file_actions_destroy(&actions_);
  }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  [[nodiscard]] const posix_spawnattr_t* attributes() const { return &attributes_; }
  [[nodiscard]] const posix_spawn_file_actions_t* actions() const { return &actions_; }

 private:
  posix_spawnattr_t attributes_{};
  posix_spawn_file_actions_t actions_{};
};

std::vector<std::string> environment_with(
    const std::vector<std::pair<std::string, std::string>>& added) {
  std::vector<std::string> all;
  const auto is_added = [&added](std::string_view entry) {
    return std::any_of(added.begin(), added.end(), [entry](const auto& pair) {
      return entry.substr(0, entry.find('=')) == pair.first;
    });
  };
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!is_added(*entry)) all.emplace_back(*entry);
  }
  for (const auto& [name, value] : added) all.push_back(fmt::format("{}={}", name, value));
  return all;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// Parent of a process, from "PID (name) S PPID ..."; the name may hold anything.
pid_t parent_of(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(file, text);
  const std::size_t after_name = text.rfind(')');
  int parent = 0;
  if (after_name == std::string::npos ||
      std::sscanf(text.c_str() + after_name + 1, " %*c %d", &parent) != 1) {
    return 0;
  }
  return parent;
}

}  // namespace

std::string exit_text(int status) {
  if (WIFSIGNALED(status)) {
    return fmt::format("signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  }
  return fmt::format("exit {}", WEXITSTATUS(status));
}

std::vector<pid_t> list_descendants() {
  std::multimap<pid_t, pid_t> children;  // parent -> child
  DIR* const proc = ::opendir("/proc");
  if (proc == nullptr) return {};
  while (const dirent* entry = ::readdir(proc)) {
    const std::string_view name = entry->d_name;
    pid_t pid = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (parsed.ec != std::errc{} || parsed.ptr != name.data() + name.size()) continue;
    children.emplace(parent_of(pid), pid);
  }
  ::closedir(proc);
  std::vector<pid_t> found = {::getpid()};
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto [first, last] = children.equal_range(found[i]);
    for (auto child = first; child != last; ++child) found.push_back(child->second);
  }
  found.erase(found.begin());
  return found;
}

void EngineProcess::prepare() {
  const int result = ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  STOKER_INVARIANT(result == 0, "no child subreaper: errno {}", errno);
  const sigset_t set = child_signal();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Result<void> EngineProcess::start(const EngineCommand& command) {
  std::vector<std::string> words = command.words;
  std::vector<std::string> environment = environment_with(command.env);
  const std::vector<char*> word_pointers = pointers_to(words);
  const std::vector<char*> environment_pointers = pointers_to(environment);
  const SpawnAttributes spawn;
  const std::lock_guard lock(mutex_);
  if (closed_) return failure(ErrorCode::unavailable, "the worker is ending");
  STOKER_INVARIANT(pid_ == 0, "engine {} is still there", pid_);
  status_.reset();
  const int error = ::posix_spawnp(&pid_, word_pointers[0], spawn.actions(), spawn.attributes(),
                                   word_pointers.data(), environment_pointers.data());
  if (error == 0) return {};
  pid_ = 0;
  return failure(ErrorCode::not_found, fmt::format("{}: {}", words[0], std::strerror(error)));
}

void EngineProcess::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

bool EngineProcess::reap() {
  const std::lock_guard lock(mutex_);
  bool engine_ended = false;
  for (;;) {
    int status = 0;
    const pid_t ended = ::waitpid(-1, &status, WNOHANG);
    if (ended <= 0) return engine_ended;
    if (ended == pid_) {
      status_ = status;
      engine_ended = true;
    }
  }
}

std::optional<int> EngineProcess::exit_status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

bool EngineProcess::end(Duration grace, Duration limit) {
  if (!signal_all(SIGTERM)) return true;
  bool gone = wait_for_all(grace);
  const Instant deadline = net::monotonic_now() + limit;
  while (!gone && net::monotonic_now() < deadline) {
    // Again and again: a process may fork between the look and the kill.
    signal_all(SIGKILL);
    gone = wait_for_all(ms(20));
  }
  const std::lock_guard lock(mutex_);
  pid_ = 0;
  return gone;
}

/// Gives: false if no engine was started.
bool EngineProcess::signal_all(int signal) {
  {
    const std::lock_guard lock(mutex_);
    if (pid_ == 0) return false;
    // Once its leader is reaped the group's number may belong to somebody else.
    if (!status_) ::kill(-pid_, signal);
  }
  for (const pid_t pid : list_descendants()) ::kill(pid, signal);
  return true;
}

/// Gives: whether no child is left; orphans below became children when their parents ended.
bool EngineProcess::wait_for_all(Duration at_most) {
  const Instant deadline = net::monotonic_now() + at_most;
  const sigset_t set = child_signal();
  for (;;) {
    reap();
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD) return true;
    const Duration left = deadline - net::monotonic_now();
    if (left.ns <= 0) return false;
    // The loop's signalfd may take the signal first, therefore the short slice.
    const timespec slice{0, static_cast<long>(std::min(left, ms(20)).ns)};
    ::sigtimedwait(&set, nullptr, &slice);
  }
}

}  // namespace stoker::worker
