// Shows that a load lives while the engine is silent: mapping or reading tens of gigabytes is one
// call without a progress report, but the process's resident memory grows meanwhile.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "worker/runtime.h"

namespace stoker::worker {

class LoadWatch {
 public:
  /// Reports the share of `expected_bytes` that came into memory since now, several times a second,
  /// until destroyed. `progress` outlives this.
  LoadWatch(LoadProgress& progress, std::int64_t expected_bytes);
  ~LoadWatch();
  LoadWatch(const LoadWatch&) = delete;
  LoadWatch& operator=(const LoadWatch&) = delete;

  /// The engine's own word, 0..1. Threads: any. What goes out never falls.
  void advance(double fraction);

 private:
  void run();

  LoadProgress& progress_;
  const std::int64_t expected_bytes_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool ending_ = false;
  double reported_ = 0;
  std::thread thread_;
};

}  // namespace stoker::worker
