// Asks a foreign engine regularly whether it is alive: what stands in for the `steps` of our own
// engines, which a relay cannot know. An engine that relayed anything meanwhile is alive without
// being asked, so that a single-threaded one may be busy.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "base/units.h"
#include "worker/counters.h"

namespace stoker::worker {

struct HealthQuestion {
  int port = 0;
  std::string path;
  Duration interval = seconds(5);
  std::int64_t failures = 3;  // in a row until `hung` is called
};

class HealthWatch {
 public:
  /// `hung` runs once on the watch's thread.
  HealthWatch(HealthQuestion question, const WorkerCounters& counters, std::function<void()> hung);
  /// Waits for a probe under way: end the engine first.
  ~HealthWatch();
  HealthWatch(const HealthWatch&) = delete;
  HealthWatch& operator=(const HealthWatch&) = delete;

 private:
  void run();

  const HealthQuestion question_;
  const WorkerCounters& counters_;
  const std::function<void()> hung_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace stoker::worker
