// Carries out one start from beginning to end: socket, control channel, cgroup, sandbox, process.
// Either everything is there or nothing is left. Blocking, so on the spawner's thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "backend/instance_backend.h"
#include "backend/process/cgroup.h"
#include "backend/process/sandbox.h"
#include "backend/process/spawn.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace stoker::backend {

struct LauncherConfig {
  std::string state_dir;   // canonical
  std::string run_folder;  // of make_run_directory()
  std::string worker_dir;
  SandboxState sandbox;  // not working: instances run without
  CgroupFactory cgroups;
};

/// A process and the fences round it.
struct Launched {
  Spawned leader;
  UniqueFd fence;  // pidfd of process 1 of its pid namespace; empty without sandbox
  pid_t fence_pid = 0;
  UniqueFd control;  // our end, non-blocking
  UniqueFd output;   // its stdout and stderr, non-blocking
  std::optional<Cgroup> cgroup;
};

/// Two connected descriptors; `theirs` goes to the child.
struct FdPair {
  UniqueFd ours;
  UniqueFd theirs;
};

class Launcher {
 public:
  explicit Launcher(LauncherConfig config) : config_(std::move(config)) {}

  /// Errors: will not pass by waiting: invalid (a sandbox path, a worker that may not be run),
  /// not_found (no such worker); may pass: unavailable, no_capacity.
  /// Cost: blocks, 2 ms without and 15 ms with a sandbox; at most 10 s.
  [[nodiscard]] Result<Launched> launch(const StartRequest& request) const;

  /// When no instance will be launched any more.
  void close() const { config_.cgroups.dissolve(); }

  [[nodiscard]] bool sandboxes(const StartRequest& request) const {
    return config_.sandbox.works && request.sandbox.enabled;
  }
  [[nodiscard]] std::string socket_path(InstanceKey key) const;
  [[nodiscard]] std::string program(const StartRequest& request) const;
  /// "STOKER_STATE=<tag>": what every process of this state directory has in its environment.
  [[nodiscard]] std::string state_mark() const;
  /// "STOKER_LIFE=<tag>-<instance>-<generation>": the same of one instance. Not the nonce: workers
  /// keep that from what they start.
  [[nodiscard]] std::string life_mark(InstanceKey key) const;

 private:
  [[nodiscard]] std::vector<std::string> environment(const StartRequest& request) const;
  struct Plumbing {
    FdPair control;
    FdPair output;
    FdPair info;  // the last two are bubblewrap's
    FdPair block;
  };
  [[nodiscard]] static Result<Plumbing> lay_plumbing();
  [[nodiscard]] SpawnOrder order_for(const StartRequest& request, const Plumbing& plumbing,
                                     int listener) const;
  [[nodiscard]] Result<void> start_process(const StartRequest& request, Plumbing& plumbing,
                                           int listener, Launched& launched) const;
  [[nodiscard]] static Result<void> enter_sandbox(Launched& launched, Plumbing& plumbing);

  LauncherConfig config_;
};

}  // namespace stoker::backend
