#include "worker/exec/health_watch.h"

#include <chrono>

#include "worker/exec/http_probe.h"

namespace stoker::worker {

HealthWatch::HealthWatch(HealthQuestion question, const WorkerCounters& counters,
                         std::function<void()> hung)
    : question_(std::move(question)),
      counters_(counters),
      hung_(std::move(hung)),
      thread_([this] { run(); }) {}

HealthWatch::~HealthWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void HealthWatch::run() {
  std::int64_t failed = 0;
  std::uint64_t steps_before = counters_.steps.load(std::memory_order_relaxed);
  while (failed < question_.failures) {
    {
      std::unique_lock lock(mutex_);
      const auto interval = std::chrono::nanoseconds(question_.interval.ns);
      if (wake_.wait_for(lock, interval, [this] { return stopping_; })) return;
    }
    const bool answers = probe_http(question_.port, question_.path, question_.interval).answered();
    const std::uint64_t steps = counters_.steps.load(std::memory_order_relaxed);
    failed = answers || steps != steps_before ? 0 : failed + 1;
    steps_before = steps;
  }
  const std::lock_guard lock(mutex_);
  if (!stopping_) hung_();
}

}  // namespace stoker::worker
