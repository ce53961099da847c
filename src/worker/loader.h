// The load thread: carries out `load`, `unload`, `suspend` and `resume` on the runtime, one after
// the other, and tells how they go. A load that is no longer wanted is asked to stop; it is never
// killed.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "worker/control_message.h"
#include "worker/request_registry.h"
#include "worker/runtime.h"

namespace stoker::worker {

class Loader {
 public:
  struct Reports {
    std::function<void(std::string packet)> send;
    /// Sends `load_failed`; does not return.
    std::function<void(const LoadError&)> failed;
  };
  Loader(Runtime& runtime, RequestRegistry& registry, Reports reports);
  ~Loader() = delete;  // it lives as long as the process; a load may never return

  /// Threads: any; do not block.
  /// Gives: false if something is loaded or loading already.
  bool order_load(LoadOrder order);
  void order_unload();
  /// Gives: false if nothing is ready to be suspended, or nothing is suspended.
  bool order_suspend();
  bool order_resume();
  /// The process ends: a running load should give up.
  void stop();

 private:
  enum class Phase : std::uint8_t { empty, loading, ready, suspending, suspended, resuming };
  class Progress;

  void run();
  void load(const LoadOrder& order);
  void unload();
  void suspend();
  void resume();
  bool change_phase(Phase from, Phase to);
  [[nodiscard]] MemoryUse measure() const;

  Runtime& runtime_;
  RequestRegistry& registry_;
  const Reports reports_;

  std::mutex mutex_;
  std::condition_variable wake_;
  Phase phase_ = Phase::empty;  // as ordered: `loading` from order_load() on
  std::optional<LoadOrder> order_;
  bool unload_ordered_ = false;
  std::atomic<bool> stop_load_{false};
  std::thread thread_;
};

}  // namespace stoker::worker
