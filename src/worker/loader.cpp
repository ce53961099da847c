#include "worker/loader.h"

#include <unistd.h>

#include <chrono>
#include <exception>
#include <new>
#include <vector>

#include "net/clock.h"

namespace stoker::worker {
namespace {

constexpr Duration loading_interval = ms(250);
constexpr Duration forever = seconds(std::int64_t{365} * 24 * 3600);

/// Engines are not ours: what they throw becomes a failure with a code.
template <class Step>
LoadResult guarded(Step&& step) {
  try {
    return step();
  } catch (const std::bad_alloc&) {
    return load_failure(LoadFailure::out_of_memory, "the engine ran out of memory");
  } catch (const std::exception& exception) {
    return load_failure(LoadFailure::internal, exception.what());
  }
}

}  // namespace

class Loader::Progress final : public LoadProgress {
 public:
  explicit Progress(Loader& loader) : loader_(loader) {}

  void advance(double fraction) override {
    {
      const std::lock_guard lock(mutex_);
      if (fraction <= fraction_ && said_at_.ns != 0) return;  // no progress
      fraction_ = fraction;
    }
    say(fraction);
  }
  void advance(const std::string& waits_for) override { say(std::nullopt, waits_for); }
  [[nodiscard]] bool stopped() const override { return loader_.stop_load_.load(); }
  bool pause(Duration time) override {
    std::unique_lock lock(loader_.mutex_);
    return !loader_.wake_.wait_for(lock, std::chrono::nanoseconds(time.ns),
                                   [this] { return stopped(); });
  }

 private:
  void say(std::optional<double> fraction, std::string_view detail = {}) {
    const Instant now = net::monotonic_now();
    {
      const std::lock_guard lock(mutex_);
      if (said_at_.ns != 0 && now < said_at_ + loading_interval) return;
      said_at_ = now;
    }
    loader_.reports_.send(loading_packet(fraction, detail));
  }

  Loader& loader_;
  std::mutex mutex_;
  Instant said_at_;
  double fraction_ = 0;
};

Loader::Loader(Runtime& runtime, RequestRegistry& registry, Reports reports)
    : runtime_(runtime), registry_(registry), reports_(std::move(reports)) {
  thread_ = std::thread([this] { run(); });
  thread_.detach();
}

bool Loader::order_load(LoadOrder order) {
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::empty) return false;
    phase_ = Phase::loading;
    order_ = std::move(order);
  }
  wake_.notify_all();
  return true;
}

void Loader::order_unload() {
  {
    const std::lock_guard lock(mutex_);
    unload_ordered_ = true;
    stop_load_ = true;
  }
  wake_.notify_all();
}

bool Loader::change_phase(Phase from, Phase to) {
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != from || unload_ordered_) return false;
    phase_ = to;
  }
  wake_.notify_all();
  return true;
}

bool Loader::order_suspend() {
  return change_phase(Phase::ready, Phase::suspending);
}

bool Loader::order_resume() {
  return change_phase(Phase::suspended, Phase::resuming);
}

void Loader::suspend() {
  registry_.close();
  registry_.wait_until_idle(forever);
  const LoadResult result = guarded([&] { return runtime_.suspend(); });
  if (!result) {
    change_phase(Phase::suspending, Phase::empty);
    reports_.send(error_packet("suspend_failed", result.error().message));
    return;
  }
  // Before it is told: the order to resume may follow at once.
  if (change_phase(Phase::suspending, Phase::suspended)) reports_.send(suspended_packet(measure()));
}

void Loader::resume() {
  Progress progress(*this);
  const LoadResult result = guarded([&] { return runtime_.resume(progress); });
  if (stop_load_) return;
  if (!result) {
    change_phase(Phase::resuming, Phase::empty);
    reports_.send(error_packet("resume_failed", result.error().message));
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    if (unload_ordered_) return;
    phase_ = Phase::ready;
    registry_.open();
  }
  reports_.send(resumed_packet(measure()));
}

void Loader::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_load_ = true;
  }
  wake_.notify_all();
}

void Loader::run() {
  for (;;) {
    std::optional<LoadOrder> order;
    Phase phase = Phase::empty;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] {
        return order_ || unload_ordered_ || phase_ == Phase::suspending ||
               phase_ == Phase::resuming;
      });
      order = std::exchange(order_, std::nullopt);
      phase = unload_ordered_ ? Phase::empty : phase_;
    }
    if (order) {
      load(*order);
    } else if (phase == Phase::suspending) {
      suspend();
    } else if (phase == Phase::resuming) {
      resume();
    } else {
      unload();
    }
  }
}

void Loader::load(const LoadOrder& order) {
  Progress progress(*this);
  LoadResult result = guarded([&] { return runtime_.load(order, progress); });
  if (result && !stop_load_) {
    reports_.send(loaded_packet(measure()));
    if (order.warmup) result = guarded([&] { return runtime_.warm_up(); });
  }
  if (stop_load_) return;  // unload() follows and answers, or the process ends
  if (!result) {
    runtime_.unload();
    reports_.failed(result.error());
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    if (unload_ordered_) return;
    phase_ = Phase::ready;
    registry_.open();
  }
  reports_.send(ready_packet(measure(), runtime_.endpoint()));
}

void Loader::unload() {
  registry_.close();
  registry_.wait_until_idle(forever);
  runtime_.unload();
  {
    const std::lock_guard lock(mutex_);
    phase_ = Phase::empty;
    unload_ordered_ = false;
    stop_load_ = false;
  }
  reports_.send(unloaded_packet());
}

MemoryUse Loader::measure() const {
  std::vector<pid_t> processes = runtime_.processes_below();
  processes.push_back(::getpid());
  const std::vector<std::string> weights = runtime_.weights_files();
  return measure_memory(processes, weights);
}

}  // namespace stoker::worker
