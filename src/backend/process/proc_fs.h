// Questions to /proc about processes, answered as of now. A number from here is a hint, never an
// identity: before anything is done to a process it is pinned with a pidfd and asked again.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace stoker::backend {

/// A whole small file; nullopt if it cannot be read. For /proc, cgroup and sysfs files.
[[nodiscard]] std::optional<std::string> read_small_file(const std::string& path);

/// Fields of /proc/PID/stat that we need; nullopt if there is no such process.
struct ProcessStat {
  pid_t parent = 0;
  pid_t group = 0;
  bool zombie = false;
};
[[nodiscard]] std::optional<ProcessStat> stat_of(pid_t pid);
/// Direct children, zombies included.
[[nodiscard]] std::vector<pid_t> children_of(pid_t pid);
/// Whether `assignment` ("NAME=value") is in the environment that `pid` was started with.
[[nodiscard]] bool has_environment(pid_t pid, std::string_view assignment);
/// Every process that passes.   Cost: one pass over /proc, about 20 us for each process.
[[nodiscard]] std::vector<pid_t> processes_where(const std::function<bool(pid_t)>& passes);

/// A process that cannot be confused with another any more; empty if it is gone.
[[nodiscard]] UniqueFd open_pidfd(pid_t pid);
/// Gives: false if the process is gone.
bool signal_pidfd(int pidfd, int signal);
/// Waits at most so long. Gives: whether the process has ended (it may still be a zombie).
[[nodiscard]] bool wait_for_end(int pidfd, int timeout_ms);

/// Sends `signal` to `pid` if, once it is pinned, `is_ours(pid)` holds.
/// Gives: whether it was sent.
bool signal_if(pid_t pid, int signal, const std::function<bool(pid_t)>& is_ours);

}  // namespace stoker::backend
