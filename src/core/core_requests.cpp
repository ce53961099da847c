// Admission, queues and dispatch.
#include <algorithm>

#include "base/invariant.h"
#include "core/core.h"

namespace stoker::core {
namespace {
constexpr std::int32_t most_attempts = 2;  // only for "never reached a worker"
}

void Core::on(const RequestArrived& e) {
  STOKER_INVARIANT(requests_.find(e.request) == nullptr, "request {}", e.request.value);
  Deployment& d = deployment(e.deployment);
  d.minimum_suspended = false;
  if (const std::optional<RefuseReason> reason = refusal_at(now_, d)) {
    actions_->push_back(Refuse{e.request, e.deployment, *reason, until_retry(d)});
    return;
  }
  Request request{e.deployment, e.tenant, e.priority, next_order_++, RequestState::queued, {}, 0};
  if (d.queue.empty()) {
    if (const std::optional<InstanceId> to = least_loaded(d)) {
      request.state = RequestState::running;
      dispatch(e.request, requests_.insert(e.request, request), *to);
      ++running_;
      return;
    }
  }
  if (static_cast<std::int32_t>(d.queue.size()) >= d.spec.limits.max_queued) {
    actions_->push_back(Refuse{e.request, e.deployment, RefuseReason::queue_full, seconds(1)});
    return;
  }
  requests_.insert(e.request, request);
  d.queue.emplace(QueueKey{-e.priority, request.order}, e.request);
  ++queued_;
  timers_.set(TimerKind::queue_deadline, e.request.value,
              e.deadline == Instant{} ? now_ + d.spec.limits.queue_timeout : e.deadline);
  scale(d);
}

void Core::on(const RequestEnded& e) {
  Request* request = requests_.find(e.request);
  if (request == nullptr || request->state == RequestState::queued) return;  // late or repeated
  const InstanceId id = request->instance;
  Deployment& d = deployment(request->deployment);
  leave_instance(e.request, *request);
  requests_.erase(e.request);
  Instance& instance = instances_.at(id);
  if (instance.state == InstanceState::draining && instance.in_flight.empty()) {
    timers_.clear(TimerKind::drain_limit, id.value);
    stop(id, instance, StopMode::graceful, StopReason::stop_request);
  } else if (instance.state == InstanceState::ready) {
    if (!d.queue.empty()) dispatch_waiting(d);
    if (instance.in_flight.empty()) became_idle(id, instance);
  }
  if (shutting_down_) wind_down(d);
}

void Core::on(const RequestCancelled& e) {
  Request* request = requests_.find(e.request);
  if (request == nullptr) return;
  Deployment& d = deployment(request->deployment);
  if (request->state == RequestState::queued) {
    leave_queue(e.request, *request);
    requests_.erase(e.request);
    abandon_unneeded(d);
    if (shutting_down_) wind_down(d);
    return;
  }
  if (request->state == RequestState::cancelling) return;
  request->state = RequestState::cancelling;
  timers_.set(TimerKind::cancel_grace, e.request.value, now_ + d.spec.limits.cancel_grace);
  const Instance& instance = instances_.at(request->instance);
  actions_->push_back(CancelRequest{e.request, request->instance, instance.generation});
}

void Core::on(const RequestUndelivered& e) {
  Request* request = requests_.find(e.request);
  if (request == nullptr || request->state == RequestState::queued) return;
  const InstanceId id = request->instance;
  Deployment& d = deployment(request->deployment);
  leave_instance(e.request, *request);
  Request moved = *request;
  requests_.erase(e.request);
  if (moved.attempts >= most_attempts || shutting_down_) {
    actions_->push_back(
        Refuse{e.request, moved.deployment, RefuseReason::undeliverable, seconds(1)});
  } else {
    moved.state = RequestState::queued;
    moved.instance = {};
    requests_.insert(e.request, moved);
    d.queue.emplace(QueueKey{-moved.priority, moved.order}, e.request);
    ++queued_;
    timers_.set(TimerKind::queue_deadline, e.request.value, now_ + d.spec.limits.queue_timeout);
  }
  // Its socket does not answer: whatever the process still does, nobody can reach it.
  break_down(id, instances_.at(id), StopReason::hung);
  dispatch_waiting(d);
  scale(d);
}

/// Needs: the request is in requests_, in no queue; the instance is ready with a free slot.
void Core::dispatch(RequestId id, Request& request, InstanceId to) {
  Instance& instance = instances_.at(to);
  STOKER_INVARIANT(instance.state == InstanceState::ready, "instance {} is {}", to.value,
                   to_text(instance.state));
  request.state = RequestState::running;
  request.instance = to;
  ++request.attempts;
  instance.in_flight.push_back(id);
  actions_->push_back(Dispatch{id, to, instance.generation});
}

void Core::dispatch_waiting(Deployment& d) {
  while (!d.queue.empty()) {
    const std::optional<InstanceId> to = least_loaded(d);
    if (!to) return;
    const RequestId id = d.queue.begin()->second;
    Request& request = *requests_.find(id);
    leave_queue(id, request);
    ++running_;
    dispatch(id, request, *to);
  }
}

/// Takes a queued request out with a refusal. Other requests are left alone.
void Core::refuse(RequestId id, RefuseReason reason, Duration retry_after) {
  Request* request = requests_.find(id);
  if (request == nullptr || request->state != RequestState::queued) return;
  Deployment& d = deployment(request->deployment);
  actions_->push_back(Refuse{id, request->deployment, reason, retry_after});
  leave_queue(id, *request);
  requests_.erase(id);
  abandon_unneeded(d);
}

void Core::refuse_all_queued(Deployment& d, RefuseReason reason) {
  while (!d.queue.empty()) refuse(d.queue.begin()->second, reason, until_retry(d));
}

void Core::leave_queue(RequestId id, Request& request) {
  Deployment& d = deployment(request.deployment);
  d.queue.erase(QueueKey{-request.priority, request.order});
  --queued_;
  timers_.clear(TimerKind::queue_deadline, id.value);
}

void Core::leave_instance(RequestId id, Request& request) {
  std::vector<RequestId>& in_flight = instances_.at(request.instance).in_flight;
  const auto it = std::find(in_flight.begin(), in_flight.end(), id);
  STOKER_INVARIANT(it != in_flight.end(), "request {}", id.value);
  *it = in_flight.back();
  in_flight.pop_back();
  --running_;
  if (request.state == RequestState::cancelling) timers_.clear(TimerKind::cancel_grace, id.value);
}

/// Why a request for `d` would be refused before it waits at all.
std::optional<RefuseReason> Core::refusal_at(Instant now, const Deployment& d) const {
  if (shutting_down_) return RefuseReason::shutting_down;
  if (!d.failures.any() || now >= d.failures.retry_at() || count(d).ready > 0) return std::nullopt;
  if (d.failures.crash_loop()) return RefuseReason::crash_loop;
  if (d.failures.last_kind() == FailureKind::load_refused) return RefuseReason::load_failed;
  return std::nullopt;
}

bool Core::would_admit(Instant now, DeploymentId id) const {
  const auto it = deployments_.find(id);
  if (it == deployments_.end() || refusal_at(now, it->second)) return false;
  const Deployment& d = it->second;
  return count(d).ready > 0 || place(d.spec.kinds, views_for({}, d)).possible;
}

std::optional<InstanceId> Core::least_loaded(const Deployment& d) const {
  std::optional<InstanceId> best;
  std::size_t best_load = static_cast<std::size_t>(d.spec.scale.concurrency);
  for (const InstanceId id : d.instances) {
    const Instance& instance = instances_.at(id);
    if (instance.state != InstanceState::ready || instance.in_flight.size() >= best_load) continue;
    best = id;
    best_load = instance.in_flight.size();
  }
  return best;
}

Duration Core::until_retry(const Deployment& d) const {
  const Duration wait = d.failures.retry_at() - now_;
  return wait.ns > 0 ? wait : seconds(1);
}

}  // namespace stoker::core
