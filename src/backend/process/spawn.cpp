#include "backend/process/spawn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "backend/process/proc_fs.h"
#include "base/invariant.h"
#include "net/clock.h"

namespace stoker::backend {
namespace {

// The child's descriptors are 0..first_free; ours are moved above, so that placing one never
// overwrites another that is still to be placed.
constexpr int first_descriptor = 3;
constexpr int first_free = 32;

class FileActions {
 public:
  FileActions() { check(::posix_spawn_file_actions_init(&actions_)); }
  ~FileActions() { ::posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  void open_null(int fd) {
    check(::posix_spawn_file_actions_addopen(&actions_, fd, "/dev/null", O_RDONLY, 0));
  }
  void place(int from, int to) { check(::posix_spawn_file_actions_adddup2(&actions_, from, to)); }
  void close_from(int fd) { check(::posix_spawn_file_actions_addclosefrom_np(&actions_, fd)); }
  [[nodiscard]] const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  static void check(int error) { STOKER_INVARIANT(error == 0, "posix_spawn action: {}", error); }
  posix_spawn_file_actions_t actions_{};
};

class Attributes {
 public:
  Attributes() {
    ::posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setflags(&attributes_,
                               POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~Attributes() { ::posix_spawnattr_destroy(&attributes_); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  [[nodiscard]] const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

ErrorCode code_of(int spawn_error) {
  if (spawn_error == ENOENT || spawn_error == ENOTDIR) return ErrorCode::not_found;
  if (spawn_error == EACCES || spawn_error == ENOEXEC) return ErrorCode::invalid;
  return ErrorCode::unavailable;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> list;
  list.reserve(texts.size() + 1);
  for (const std::string& text : texts) list.push_back(const_cast<char*>(text.c_str()));
  list.push_back(nullptr);
  return list;
}

}  // namespace

Result<Spawned> spawn(const SpawnOrder& order) {
  STOKER_INVARIANT(order.descriptors.size() < first_free - first_descriptor, "{} descriptors",
                   order.descriptors.size());
  FileActions actions;
  std::vector<UniqueFd> lifted;
  const auto place = [&](int from, int to) {
    lifted.emplace_back(::fcntl(from, F_DUPFD_CLOEXEC, first_free));
    if (!lifted.back()) return false;
    actions.place(lifted.back().get(), to);
    return true;
  };
  actions.open_null(STDIN_FILENO);
  bool placed = place(order.output, STDOUT_FILENO) && place(order.output, STDERR_FILENO);
  int target = first_descriptor;
  for (const int fd : order.descriptors) placed = placed && place(fd, target++);
  if (!placed) return tl::unexpected(errno_error("duplicate a descriptor"));
  actions.close_from(target);

  const Attributes attributes;
  Spawned spawned;
  const int error =
      ::posix_spawn(&spawned.pid, order.program.c_str(), actions.get(), attributes.get(),
                    pointers(order.arguments).data(), pointers(order.environment).data());
  if (error != 0) {
    return failure(code_of(error),
                   fmt::format("start '{}': {}", order.program, std::strerror(error)));
  }
  // Ours until we reap it, so the number cannot have been given away.
  spawned.pidfd = open_pidfd(spawned.pid);
  if (!spawned.pidfd) {
    const Error no_pidfd = errno_error("pidfd_open");
    ::kill(spawned.pid, SIGKILL);
    ::waitpid(spawned.pid, nullptr, 0);
    return tl::unexpected(no_pidfd);
  }
  return spawned;
}

namespace {

/// Reads until the end, the deadline or 64 KiB.  Gives: false at the deadline.
bool read_output(int fd, Instant deadline, std::string& text) {
  constexpr std::size_t text_bytes = 64 << 10;
  std::array<char, 4096> buffer{};
  for (;;) {
    const std::int64_t left_ms = whole_ms(deadline - net::monotonic_now());
    pollfd wanted{.fd = fd, .events = POLLIN, .revents = 0};
    if (left_ms <= 0 || ::poll(&wanted, 1, static_cast<int>(left_ms)) == 0) return false;
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return true;
    const std::size_t room = text_bytes - text.size();
    text.append(buffer.data(), std::min(room, static_cast<std::size_t>(got)));
  }
}

}  // namespace

Result<CommandOutput> run_command(const std::vector<std::string>& arguments, int timeout_ms) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return tl::unexpected(errno_error("pipe"));
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  Result<Spawned> child = spawn({.program = arguments.front(),
                                 .arguments = arguments,
                                 .environment = {"PATH=/usr/bin:/bin", "LC_ALL=C"},
                                 .descriptors = {},
                                 .output = write_end.get()});
  if (!child) return tl::unexpected(std::move(child.error()));
  write_end.reset();
  CommandOutput output;
  const Instant deadline = net::monotonic_now() + ms(timeout_ms);
  const bool ended = read_output(read_end.get(), deadline, output.text);
  const std::int64_t left_ms = std::max<std::int64_t>(0, whole_ms(deadline - net::monotonic_now()));
  const bool in_time = ended && wait_for_end(child->pidfd.get(), static_cast<int>(left_ms));
  if (!in_time) ::kill(-child->pid, SIGKILL);
  int status = 0;
  ::waitpid(child->pid, &status, 0);
  if (!in_time) {
    return failure(ErrorCode::unavailable, fmt::format("'{}' did not end", arguments.front()));
  }
  output.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return output;
}

}  // namespace stoker::backend
