// Starts one program with exactly the descriptors and environment that it is given.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace stoker::backend {

struct SpawnOrder {
  std::string program;                   // absolute path
  std::vector<std::string> arguments;    // argv, [0] included
  std::vector<std::string> environment;  // "NAME=value", all there is
  std::vector<int> descriptors;          // become 3, 4, ... in the child; the caller keeps his
  int output = -1;                       // becomes 1 and 2; 0 is /dev/null
};

struct Spawned {
  pid_t pid = 0;  // leads its own session and process group
  UniqueFd pidfd;
};

/// The child has no other descriptors, an empty signal mask and default handlers, and is in a new
/// session: no terminal whose input it could fake, no Ctrl-C meant for us.
/// Errors: unavailable (no memory, too many processes), not_found (no such program), invalid (it
///   may not be run, or is none).
/// Threads: any. Cost: blocks until the child has called exec, 1 to 5 ms.
[[nodiscard]] Result<Spawned> spawn(const SpawnOrder& order);

struct CommandOutput {
  int exit_code = -1;  // 128 + number for a signal
  std::string text;    // stdout and stderr, at most 64 KiB
};
/// Runs a short helper command to its end, killed after `timeout_ms`.
/// Errors: as spawn(); unavailable (timed out).
[[nodiscard]] Result<CommandOutput> run_command(const std::vector<std::string>& arguments,
                                                int timeout_ms);

}  // namespace stoker::backend
