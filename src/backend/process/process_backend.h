// Runs instances as processes of this machine: one session and process group each, in a bubblewrap
// sandbox and cgroups where the machine permits, with a control channel, a listening socket and a
// captured log. See docs/worker-contract.md for what the process sees.
//
// Identity is never a number: death is known by pidfd, signals go through pidfds or to groups whose
// leader is not reaped, so that a recycled pid is never hit (W9). No PDEATHSIG: a worker ends
// because its control channel closes; what does not, is found by its environment at the next start.
#pragma once

#include <memory>
#include <string>

#include "backend/instance_backend.h"
#include "net/event_loop.h"

namespace stoker::backend {

struct ProcessBackendConfig {
  std::string state_dir;             // absolute, exists, 0700; run/ and logs/ are made in it
  std::string life;                  // which life of the server this is; in the names of log files
  std::string worker_dir;            // where stoker-worker-* lie; empty: beside this program
  bool sandbox = true;               // false: bubblewrap is not used whatever a request says
  Bytes log_file_bytes = mib(8);     // one older file is kept as NAME.log.1
  Bytes log_memory_bytes = kib(64);  // per instance, for log_tail()
  Duration unkillable_after = seconds(10);
};

class ProcessBackend {
 public:
  /// Kills what an earlier life of the same state_dir left behind, waits for it (at most 5 s), then
  /// is ready. `loop` must outlive the backend.
  /// Errors: unavailable (state_dir not usable).
  static Result<std::unique_ptr<InstanceBackend>> create(net::EventLoop& loop,
                                                         ProcessBackendConfig config);
};

}  // namespace stoker::backend
