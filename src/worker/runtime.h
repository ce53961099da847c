// What an inference engine must be to become a worker: the interface `Runtime`, implemented once
// per engine, and worker_main(), which turns it into a process that speaks docs/worker-contract.md.
// The framework owns the control channel, HTTP, cancelling, usage, memory measurement and exits;
// a runtime loads, computes, and says how far it got.
//
//   int main(int argc, char** argv) {
//     LlamaRuntime runtime;
//     return stoker::worker::worker_main(argc, argv, runtime);
//   }
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "net/event_loop.h"
#include "worker/counters.h"
#include "worker/exchange.h"

namespace stoker::worker {

/// The `load` message.
struct LoadOrder {
  std::string deployment;
  std::string model;           // path; empty for echo
  std::string options = "{}";  // JSON object, the deployment's `options` (read: worker/options.h)
  int concurrency = 1;         // requests in flight at most, > 0
  std::string device_kind = "cpu";
  std::string device_id;
  bool warmup = true;
};

/// Each code has one meaning for the orchestrator; docs/worker-contract.md lists them.
enum class LoadFailure : std::uint8_t {
  model_missing,  // no such file, or not readable
  model_broken,   // not a model, truncated, or of a kind that the engine does not know
  bad_option,     // an option is unknown or out of range
  out_of_memory,
  start_failed,  // the engine's process did not come up
  internal,
};
struct LoadError {
  LoadFailure code = LoadFailure::internal;
  std::string message;  // for people, with the values
};
using LoadResult = tl::expected<void, LoadError>;

inline tl::unexpected<LoadError> load_failure(LoadFailure code, std::string message) {
  return tl::unexpected(LoadError{code, std::move(message)});
}

/// How a load tells that it lives. Threads: any.
class LoadProgress {
 public:
  virtual ~LoadProgress() = default;
  /// `fraction` 0..1, not falling. Cheap: messages go out at most every 250 ms.
  virtual void advance(double fraction) = 0;
  /// Progress of unknown size: a `loading` message without a fraction. `waits_for` is for people,
  /// "" if there is nothing to say.
  virtual void advance(const std::string& waits_for) = 0;
  /// True once the load is no longer wanted (unload, shutdown): return soon, with any error.
  [[nodiscard]] virtual bool stopped() const = 0;
  /// Sleeps; wakes early when the load is stopped. Gives false if it is stopped.
  virtual bool pause(Duration time) = 0;
};

/// What the framework lends to a runtime for its whole life.
struct WorkerContext {
  net::EventLoop& loop;  // the HTTP loop
  WorkerCounters& counters;
  std::atomic<bool>& mute_control;  // echo's fault: true makes the control thread deaf and dumb
  int listen_fd = -1;               // only for runtimes that accept by themselves
};

/// Calls come in the order attach, (load, warm_up, serve..., unload)*; load, warm_up and unload on
/// the load thread, one at a time, and may block.
class Runtime {
 public:
  virtual ~Runtime() = default;

  /// Name in `hello`: "llama", "onnx", "echo", "exec".
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// First call, on the loop thread. `context` outlives the runtime's use.
  virtual void attach(WorkerContext& context) = 0;

  /// Loads the model. Exceptions must not leave it.
  virtual LoadResult load(const LoadOrder& order, LoadProgress& progress) = 0;
  /// Makes the first real request fast; called after load() when the order asks for it. It may
  /// count steps.
  virtual LoadResult warm_up() = 0;
  /// Frees everything that load() took. All requests have been stopped and released before. Also
  /// called after a load() that failed or was stopped.
  virtual void unload() = 0;

  /// True: suspend() and resume() work.
  [[nodiscard]] virtual bool can_suspend() const { return false; }
  /// Lets go of the device's memory and keeps in the host's what resume() needs. Nothing runs, and
  /// nothing comes until resume().   Threads: the load thread.
  virtual LoadResult suspend() { return load_failure(LoadFailure::internal, "it cannot suspend"); }
  /// Takes the device's memory again. After a failure the process is ended.
  virtual LoadResult resume(LoadProgress& /*progress*/) {
    return load_failure(LoadFailure::internal, "it cannot suspend");
  }

  /// One request, while ready. Threads: the loop's; must not block (see handler_pool.h). Unknown
  /// routes are the runtime's to answer with 404. `/health` and `/stats` never come here.
  virtual void serve(WorkerExchangePtr exchange) = 0;

  /// Files whose mapped, resident pages count as shared weights; asked after load().
  [[nodiscard]] virtual std::vector<std::string> weights_files() const { return {}; }

  // --- Only stoker-worker-exec needs these ---

  /// True: the runtime accepts on WorkerContext::listen_fd itself, serve() is never called, and it
  /// keeps counters.active.
  [[nodiscard]] virtual bool accepts_itself() const { return false; }
  /// Stops accepting; `done` runs on the loop thread once no request runs. Loop thread.
  virtual void drain(std::function<void()> done) { done(); }
  /// Processes below this one whose memory counts as the instance's.
  [[nodiscard]] virtual std::vector<pid_t> processes_below() const { return {}; }
  /// Where requests go instead of the listening socket; empty: the listening socket.
  [[nodiscard]] virtual std::string endpoint() const { return {}; }
  /// The process is about to exit: end what would outlive it (children), in at most 1.5 s.
  /// Called once, on any thread, whatever the other threads do.
  virtual void abandon() {}
};

/// Threads: any. Ends the process at once with `code` after a last word on stderr: for a runtime
/// whose engine is beyond repair. What the runtime started below it must be gone already.
[[noreturn]] void worker_die(int code, std::string_view why);

/// The whole life of a worker process. Gives: its exit code.
int worker_main(int argc, char** argv, Runtime& runtime);

}  // namespace stoker::worker
