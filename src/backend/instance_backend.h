// The contract of everything that can run instances: processes of this machine today; container,
// Slurm and Kubernetes later; a scripted fake for tests. Owned by the orchestrator, who calls it.
// One suite (tests/contract/backend_contract_test.cpp) holds all of them to it.
//
// A backend decides nothing. It starts what it is told to, reports what happened, and never starts
// again by itself. Its one promise that others build on: on_exited means *gone*. The process, its
// children and grandchildren have left the machine, so that their memory may be given away.
//
// Life of an instance here: start() -> [on_hello -> on_message...] -> on_exited, exactly once for
// each start() that gave success, whatever happens. Nothing is called for a key after on_exited.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/worker_message.h"
#include "base/result.h"
#include "base/units.h"

namespace stoker::backend {

/// One life of one instance. Never used again by the caller, not after on_exited either.
struct InstanceKey {
  InstanceId instance;
  Generation generation;
  auto operator<=>(const InstanceKey&) const = default;
};

/// What a worker may touch beyond the operating system's own programs and libraries.
struct SandboxSpec {
  bool enabled = true;                      // false: only cgroup and process group
  bool network = false;                     // false: no network but its own loopback
  std::vector<std::string> readable_paths;  // files or folders, absolute, visible read-only
  std::vector<std::string> writable_paths;  // the same, visible read-write
  std::vector<std::string> hidden_files;    // absolute; empty even where a visible folder has them
};

struct DeviceBinding {
  enum class Kind : std::uint8_t { cpu, cuda };
  Kind kind = Kind::cpu;
  std::string cuda_visible_devices;  // "0" or "GPU-<uuid>"; only for cuda
};

struct StartRequest {
  InstanceKey key;
  std::string name;    // "chat/3": for logs, log_tail() and the worker's STOKER_INSTANCE
  std::string worker;  // "llama", "onnx", "echo", "exec": runs stoker-worker-<worker>
  std::string nonce;   // secret of this start; the worker repeats it in hello
  std::vector<std::pair<std::string, std::string>> env;  // of the deployment
  std::string load_order;  // JSON of the `load` message, sent by the backend right after hello
  DeviceBinding device;
  Bytes memory_limit;             // of the whole instance; 0: none. Beyond: killed, reported as oom
  std::int32_t pids_limit = 512;  // processes and threads of the whole instance; 0: none
  SandboxSpec sandbox;
};

/// What every backend refuses at once, because it can never work.
/// Errors: invalid: the worker is no plain name, the load order is above 64 KiB, or the environment
/// has a name that the platform owns (STOKER_*) or that is none.
[[nodiscard]] Result<void> check_start_request(const StartRequest& request);

enum class ExitKind : std::uint8_t {
  code,          // value = exit code
  signal,        // value = signal number
  oom,           // killed because it passed its memory limit
  start_failed,  // never ran; text says why
};
struct ExitInfo {
  ExitKind kind = ExitKind::code;
  int value = 0;
  std::string text;      // "exit 0", "signal 11 (SIGSEGV)", "oom (limit 2.0 GiB)"; as in the ledger
  std::string log_tail;  // its last lines, at most 4 KiB; not for anybody but the operator
  /// Of start_failed: waiting would not help, a person must act (no such program, for example).
  bool will_stay = false;
};

/// What the backend tells. All calls come on the thread of the EventLoop that the backend was made
/// with, never from inside a call of the backend's own methods.
class BackendListener {
 public:
  virtual ~BackendListener() = default;
  /// The worker is up and has proved its identity; the load order is on its way.
  virtual void on_hello(InstanceKey key, const WorkerHello& hello) = 0;
  /// Any later message. `WorkerReady::endpoint` is always set and allowed for this instance.
  virtual void on_message(InstanceKey key, const WorkerMessage& message) = 0;
  /// The worker broke the contract; `what` says how. Told once per life; no message follows, only
  /// on_exited. The caller answers with stop(kill).
  virtual void on_contract_breach(InstanceKey key, const std::string& what) = 0;
  /// Killed 10 s ago and still not gone (stuck in the kernel). Its memory is lost until on_exited,
  /// which may never come.
  virtual void on_unkillable(InstanceKey key) = 0;
  /// Gone with all its descendants.
  virtual void on_exited(InstanceKey key, const ExitInfo& exit) = 0;
};

enum class StopMode : std::uint8_t {
  graceful,  // `shutdown`, then SIGTERM at the end of the grace, then as kill one second later
  kill,      // SIGKILL to everything of the instance, now
};

enum class InstancePhase : std::uint8_t { starting, running, stopping };
struct InstanceInfo {
  InstanceKey key;
  std::string name;
  InstancePhase phase = InstancePhase::starting;
  pid_t pid = 0;  // outermost process of the instance, 0 if it has none (yet)
};

/// What `stoker logs -f` hears of. Called on the backend's loop with bytes as they were written.
class LogFollower {
 public:
  virtual ~LogFollower() = default;
  virtual void on_log(const std::string& name, std::string_view bytes) = 0;
};

/// Threads: the EventLoop's thread, except where stated.
class InstanceBackend {
 public:
  virtual ~InstanceBackend() = default;

  /// Exactly one listener, set once before the first start(). It outlives the backend.
  virtual void set_listener(BackendListener& listener) = 0;

  /// Orders a start; returns at once. Success means accepted: on_exited will follow some day.
  /// Starting a key that is live, or was, does nothing and succeeds.
  /// Errors: invalid, as check_start_request() says.
  [[nodiscard]] virtual Result<void> start(const StartRequest& request) = 0;

  /// Sends one message, in order. Ignored for a key that is not live, or whose worker broke the
  /// contract. A worker that lets 1 MiB of messages pile up has broken it.
  /// Needs: at most 64 KiB.
  virtual void send(InstanceKey key, std::string_view json_packet) = 0;

  /// Idempotent. A later kill overrules an earlier graceful stop, never the reverse. Ignored for a
  /// key that is not live. `grace` counts only for graceful.
  virtual void stop(InstanceKey key, StopMode mode, Duration grace) = 0;

  /// Live instances, ordered by key: from start() until on_exited.
  [[nodiscard]] virtual std::vector<InstanceInfo> list() const = 0;

  /// Process ids of this machine that belong to the instance now; for per-process device memory.
  [[nodiscard]] virtual std::vector<pid_t> processes_of(InstanceKey key) const = 0;

  /// Last `lines` lines of what an instance wrote, newest last; also of the last 64 that exited.
  /// Empty if the name is unknown.   Threads: any.
  [[nodiscard]] virtual std::string log_tail(std::string_view name, std::size_t lines) const = 0;
  /// Names that log_tail() knows and that are `deployment` + "/..." ; all if empty.   Threads: any.
  [[nodiscard]] virtual std::vector<std::string> log_names(std::string_view deployment) const = 0;
  /// Adds or removes one that hears all output of all instances from now on. It removes itself
  /// before it dies, not from inside on_log.
  virtual void follow_logs(LogFollower& follower) = 0;
  virtual void unfollow_logs(LogFollower& follower) = 0;
};

}  // namespace stoker::backend
