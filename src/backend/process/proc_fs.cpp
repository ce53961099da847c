#include "backend/process/proc_fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <memory>

namespace stoker::backend {
namespace {

std::optional<pid_t> parse_pid(std::string_view text) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc{} || end != text.data() + text.size() || pid <= 0) return std::nullopt;
  return pid;
}

}  // namespace

std::optional<std::string> read_small_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  std::string text;
  std::array<char, 4096> buffer{};
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

std::optional<ProcessStat> stat_of(pid_t pid) {
  const std::optional<std::string> text = read_small_file(fmt::format("/proc/{}/stat", pid));
  if (!text) return std::nullopt;
  // "PID (COMMAND) STATE PPID PGRP ..."; the command may hold spaces and brackets itself.
  const std::size_t bracket = text->rfind(')');
  if (bracket == std::string::npos) return std::nullopt;
  char state = 0;
  ProcessStat stat;
  if (std::sscanf(text->c_str() + bracket + 1, " %c %d %d", &state, &stat.parent, &stat.group) !=
      3) {
    return std::nullopt;
  }
  stat.zombie = state == 'Z' || state == 'X';
  return stat;
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  const std::optional<std::string> text =
      read_small_file(fmt::format("/proc/{}/task/{}/children", pid, pid));
  std::string_view rest = text ? std::string_view(*text) : std::string_view();
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(' '), rest.size());
    if (const std::optional<pid_t> child = parse_pid(rest.substr(0, end)))
      children.push_back(*child);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return children;
}

bool has_environment(pid_t pid, std::string_view assignment) {
  const std::optional<std::string> text = read_small_file(fmt::format("/proc/{}/environ", pid));
  std::string_view rest = text ? std::string_view(*text) : std::string_view();
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\0'), rest.size());
    if (rest.substr(0, end) == assignment) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

std::vector<pid_t> processes_where(const std::function<bool(pid_t)>& passes) {
  std::vector<pid_t> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), &::closedir);
  if (!proc) return found;
  while (const dirent* entry = ::readdir(proc.get())) {
    const std::optional<pid_t> pid = parse_pid(entry->d_name);
    if (pid && passes(*pid)) found.push_back(*pid);
  }
  return found;
}

UniqueFd open_pidfd(pid_t pid) {
  // glibc 2.36 declares a wrapper, but not for C++. Close-on-exec is set by itself.
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

bool signal_pidfd(int pidfd, int signal) {
  return ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0;
}

bool wait_for_end(int pidfd, int timeout_ms) {
  pollfd wanted{.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&wanted, 1, timeout_ms) == 1;
}

bool signal_if(pid_t pid, int signal, const std::function<bool(pid_t)>& is_ours) {
  const UniqueFd pinned = open_pidfd(pid);
  // If it is ours and still there afterwards, then what was asked and what is pinned are one.
  return pinned && is_ours(pid) && signal_pidfd(pinned.get(), signal);
}

}  // namespace stoker::backend
