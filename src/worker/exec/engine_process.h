// One foreign engine as a process group of its own, with everything that it may leave behind. This
// process is a child subreaper, so that what the engine forks and forgets becomes our child and can
// be killed and waited for. Gone means: no descendant is left.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace stoker::worker {

struct EngineCommand {
  std::vector<std::string> words;                        // the program is looked for in PATH
  std::vector<std::pair<std::string, std::string>> env;  // added to this process's
};

/// "exit 1" or "signal 9 (Killed)".   Units: as waitpid gives it.
[[nodiscard]] std::string exit_text(int status);
/// Processes below this one, children before their children. Reads /proc.
[[nodiscard]] std::vector<pid_t> list_descendants();

/// Threads: any.
class EngineProcess {
 public:
  /// Makes this process a child subreaper and blocks SIGCHLD. Call before any thread is made.
  static void prepare();

  /// Errors: the program cannot be run, or close() was called.
  Result<void> start(const EngineCommand& command);
  /// Collects ended children. Call after SIGCHLD.   Gives: whether the engine itself ended.
  bool reap();
  /// Exit status as waitpid gives it; nullopt while it runs or before start().
  [[nodiscard]] std::optional<int> exit_status() const;

  /// SIGTERM to the group and all descendants, SIGKILL after `grace`, then waits until all are
  /// gone.   Gives: false if some still are not after `limit` more (stuck in the kernel).
  bool end(Duration grace, Duration limit);
  /// Nothing is started any more: an engine that a load was just about to start would outlive end()
  /// and this process. Before the last end().
  void close();

 private:
  bool signal_all(int signal);
  bool wait_for_all(Duration at_most);

  mutable std::mutex mutex_;
  pid_t pid_ = 0;  // 0: none; also the group
  std::optional<int> status_;
  bool closed_ = false;
};

}  // namespace stoker::worker
