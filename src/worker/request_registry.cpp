#include "worker/request_registry.h"

#include <chrono>

#include "base/invariant.h"

namespace stoker::worker {

RequestRegistry::RequestRegistry(WorkerCounters& counters, RegistryLimits limits,
                                 SayEnded say_ended)
    : counters_(counters), limits_(limits), say_ended_(std::move(say_ended)) {}

RequestRegistry::Admission RequestRegistry::begin(const std::string& id,
                                                  std::shared_ptr<Stoppable> request, Instant now) {
  const std::lock_guard lock(mutex_);
  if (!open_) return Admission::closed;
  if (!cancelled_early_.empty()) {
    forget_old(now);
    if (cancelled_early_.erase(id) > 0) {
      remember_ended(id, {}, EndReason::cancelled, now);
      return Admission::cancelled_before;
    }
  }
  const auto [position, fresh] = running_.try_emplace(id);
  if (!fresh) return Admission::duplicate;
  position->second.request = std::move(request);
  counters_.active.fetch_add(1, std::memory_order_relaxed);
  counters_.requests.fetch_add(1, std::memory_order_relaxed);
  return Admission::admitted;
}

void RequestRegistry::end(const std::string& id, const RequestUsage& usage, EndReason reason,
                          Instant now, bool remembered) {
  bool answer = false;
  std::shared_ptr<Stoppable> last_reference;  // dies after the lock is given back
  {
    const std::lock_guard lock(mutex_);
    const auto found = running_.find(id);
    STOKER_INVARIANT(found != running_.end(), "{} ends but does not run", id);
    answer = found->second.cancel_waits;
    last_reference = std::move(found->second.request);
    running_.erase(found);
    counters_.active.fetch_sub(1, std::memory_order_relaxed);
    forget_old(now);
    if (remembered) remember_ended(id, usage, reason, now);
    if (running_.empty()) idle_.notify_all();
  }
  if (answer) say_ended_(id, usage, reason);
}

void RequestRegistry::cancel(const std::string& id, Instant now) {
  std::shared_ptr<Stoppable> request;
  Ended known{{}, EndReason::unknown, {}};
  {
    const std::lock_guard lock(mutex_);
    forget_old(now);
    if (const auto running = running_.find(id); running != running_.end()) {
      running->second.cancel_waits = true;
      request = running->second.request;
    } else if (const auto ended = ended_.find(id); ended != ended_.end()) {
      known = ended->second;
    } else {
      const Instant forget_at = now + limits_.remember_cancel;
      cancelled_early_[id] = forget_at;
      cancel_order_.push_back({id, forget_at});
    }
  }
  if (request) {
    request->stop();  // end() answers
  } else {
    say_ended_(id, known.usage, known.reason);
  }
}

void RequestRegistry::open() {
  const std::lock_guard lock(mutex_);
  open_ = true;
}

void RequestRegistry::close() {
  {
    const std::lock_guard lock(mutex_);
    open_ = false;
  }
  stop_all();
}

void RequestRegistry::stop_all() {
  std::vector<std::shared_ptr<Stoppable>> all;
  {
    const std::lock_guard lock(mutex_);
    all.reserve(running_.size());
    for (const auto& [id, running] : running_) all.push_back(running.request);
  }
  for (const auto& request : all) request->stop();
}

bool RequestRegistry::wait_until_idle(Duration at_most) {
  std::unique_lock lock(mutex_);
  return idle_.wait_for(lock, std::chrono::nanoseconds(at_most.ns),
                        [this] { return running_.empty(); });
}

bool RequestRegistry::is_open() const {
  const std::lock_guard lock(mutex_);
  return open_;
}

void RequestRegistry::remember_ended(const std::string& id, const RequestUsage& usage,
                                     EndReason reason, Instant now) {
  const Instant forget_at = now + limits_.remember_ended;
  ended_[id] = {usage, reason, forget_at};
  ended_order_.push_back({id, forget_at});
}

void RequestRegistry::forget_old(Instant now) {
  // An id may have been remembered again later; then its newer entry stays.
  while (!ended_order_.empty() &&
         (ended_order_.front().forget_at <= now || ended_order_.size() > limits_.max_ended)) {
    const Expiry& oldest = ended_order_.front();
    const auto found = ended_.find(oldest.id);
    if (found != ended_.end() && found->second.forget_at <= oldest.forget_at) ended_.erase(found);
    ended_order_.pop_front();
  }
  while (!cancel_order_.empty() &&
         (cancel_order_.front().forget_at <= now || cancel_order_.size() > limits_.max_cancels)) {
    const Expiry& oldest = cancel_order_.front();
    const auto found = cancelled_early_.find(oldest.id);
    if (found != cancelled_early_.end() && found->second <= oldest.forget_at) {
      cancelled_early_.erase(found);
    }
    cancel_order_.pop_front();
  }
}

}  // namespace stoker::worker
