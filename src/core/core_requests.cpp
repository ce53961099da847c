// Admission, queues and dispatch.
#include <algorithm>

#include "base/invariant.h"
#include "core/core.h"

namespace stoker::core {
namespace {

constexpr std::int32_t most_attempts = 2;  // only for "never reached a worker"
constexpr Duration shortest_retry = seconds(1);
constexpr Duration longest_retry = minutes(5);

}  // namespace

void Core::on(const RequestArrived& e) {
  STOKER_INVARIANT(requests_.find(e.request) == nullptr, "request {}", e.request.value);
  Deployment* const d = find_deployment(e.deployment);
  if (d == nullptr || d->removed) {
    actions_->push_back(Refuse{e.request, e.deployment, RefuseReason::removed, {}});
    return;
  }
  const bool rested = d->minimum_suspended;
  d->minimum_suspended = false;
  admit(e, *d);
  note_level(*d);
  note_if_idle(*d);  // it was refused
  if (rested) scale(*d);
}

void Core::admit(const RequestArrived& e, Deployment& d) {
  if (const std::optional<RefuseReason> reason = refusal_at(now_, d)) {
    actions_->push_back(Refuse{e.request, e.deployment, *reason, until_retry(d)});
    return;
  }
  note_arrival(d);
  Request request;
  request.deployment = &d;
  request.tenant = e.tenant;
  request.order = next_order_++;
  request.affinity = e.affinity;
  request.cost = std::max<std::int64_t>(e.cost, 1);
  request.priority = e.priority;
  request.deadline = e.deadline;
  if (d.queue.empty()) {
    if (Instance* to = choose_for(d, e.affinity)) {
      dispatch(e.request, requests_.insert(e.request, request), *to);
      if (d.spec.scale.spare_instances > 0) scale(d);
      return;
    }
  }
  const RequestLimits& limits = d.spec.limits;
  if (d.queue.size() >= limits.max_queued) {
    actions_->push_back(
        Refuse{e.request, e.deployment, RefuseReason::queue_full, until_shorter(d)});
    return;
  }
  if (limits.max_queued_per_tenant > 0 &&
      d.queue.size_of(e.tenant) >= limits.max_queued_per_tenant) {
    actions_->push_back(
        Refuse{e.request, e.deployment, RefuseReason::tenant_queue_full, until_shorter(d)});
    return;
  }
  requests_.insert(e.request, request);
  enqueue(e.request, request, e.deadline == Instant{} ? now_ + limits.queue_timeout : e.deadline);
  scale(d);
  // The suspended one that was to serve it may have gone, as its devices are lost.
  if (d.queue.empty()) return;
  if (const std::optional<RefuseReason> reason = refusal_at(now_, d)) refuse_all_queued(d, *reason);
}

void Core::on(const RequestEnded& e) {
  const Request* found = requests_.find(e.request);
  if (found == nullptr || found->state == RequestState::queued) return;  // late or repeated
  const Request request = *found;
  Deployment& d = *request.deployment;
  Instance& instance = *request.instance;
  leave_instance(e.request, request);
  requests_.erase(e.request);
  if (request.state == RequestState::running) {
    const Duration took = now_ - request.dispatched_at;
    d.service_time = Duration{d.service_time.ns + (took.ns - d.service_time.ns) / 8};
  }
  if (e.cost > 0) d.queue.charge(request.tenant, e.cost - request.cost);
  if (instance.state == InstanceState::draining && instance.in_flight.empty()) {
    drained(instance);
  } else if (instance.state == InstanceState::suspending && instance.in_flight.empty()) {
    go_on_suspending(instance);
    if (!d.queue.empty()) scale(d);
  } else if (instance.state == InstanceState::ready) {
    if (!d.queue.empty()) dispatch_waiting(d);
    note_if_idle(d);
    if (instance.in_flight.empty()) became_idle(instance);
  }
  note_if_idle(d);
  if (shutting_down_ || d.removed) wind_down(d);
}

/// The next look at the load acts on it: within a second, as long as it runs.
void Core::on(const FirstTokenSent& e) {
  const Request* found = requests_.find(e.request);
  if (found == nullptr || found->state != RequestState::running) return;
  Deployment& d = *found->deployment;
  if (!d.load || e.took.ns <= 0) return;
  d.load->first_token(e.took);
  watch_load(d);
}

void Core::on(const RequestCancelled& e) {
  Request* request = requests_.find(e.request);
  if (request == nullptr) return;
  Deployment& d = *request->deployment;
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
  const Instance& instance = *request->instance;
  actions_->push_back(CancelRequest{e.request, instance.id, instance.generation});
}

void Core::on(const RequestUndelivered& e) {
  const Request* found = requests_.find(e.request);
  if (found == nullptr || found->state == RequestState::queued) return;
  Request request = *found;
  Deployment& d = *request.deployment;
  Instance& instance = *request.instance;
  leave_instance(e.request, request);
  requests_.erase(e.request);
  d.queue.charge(request.tenant, -request.cost);
  if (request.state == RequestState::cancelling) {
    actions_->push_back(FailRequest{e.request, instance.id});  // nobody wants it to run again
  } else if (request.attempts >= most_attempts || shutting_down_ || d.removed) {
    actions_->push_back(Refuse{e.request, d.spec.id, RefuseReason::undeliverable, shortest_retry});
  } else if (request.deadline != Instant{} && request.deadline <= now_) {
    actions_->push_back(Refuse{e.request, d.spec.id, RefuseReason::queue_timeout, shortest_retry});
  } else {
    request.state = RequestState::queued;
    request.instance = nullptr;
    requests_.insert(e.request, request);
    enqueue(e.request, request,
            request.deadline == Instant{} ? now_ + d.spec.limits.queue_timeout : request.deadline);
  }
  // Its socket does not answer: whatever the process still does, nobody can reach it.
  break_down(instance, StopReason::hung);
  note_level(d);
  dispatch_waiting(d);
  scale(d);
}

/// Needs: the request is in requests_, in no queue; the instance is ready with a free slot.
void Core::dispatch(RequestId id, Request& request, Instance& to) {
  STOKER_INVARIANT(to.state == InstanceState::ready, "V8 instance {} is {}", to.id.value,
                   to_text(to.state));
  if (to.in_flight.empty()) no_longer_idle(to);
  note_load(*to.owner);
  request.state = RequestState::running;
  request.instance = &to;
  request.dispatched_at = now_;
  ++request.attempts;
  to.in_flight.push_back(id);
  ++to.owner->ready_in_flight;
  ++to.owner->in_flight;
  ++running_;
  actions_->push_back(Dispatch{id, to.id, to.generation});
}

void Core::dispatch_waiting(Deployment& d) {
  while (!d.queue.empty()) {
    const RequestId id = d.queue.front().request;
    Request& request = *requests_.find(id);
    Instance* to = choose_for(d, request.affinity);
    if (to == nullptr) return;
    d.queue.pop();
    --queued_;
    timers_.clear(TimerKind::queue_deadline, id.value);
    dispatch(id, request, *to);
  }
  drop_unneeded_plans(d);
}

/// Needs: the request is in requests_ and queued.
void Core::enqueue(RequestId id, const Request& request, Instant deadline) {
  request.deployment->queue.push(
      {id, request.tenant, request.priority, request.order, request.cost});
  ++queued_;
  timers_.set(TimerKind::queue_deadline, id.value, deadline);
  watch_load(*request.deployment);
}

/// Needs: it is queued. Takes it out with a refusal. Other requests are left alone.
void Core::refuse(RequestId id, RefuseReason reason, Duration retry_after) {
  const Request* request = requests_.find(id);
  STOKER_INVARIANT(request != nullptr && request->state == RequestState::queued, "V1 request {}",
                   id.value);
  Deployment& d = *request->deployment;
  actions_->push_back(Refuse{id, d.spec.id, reason, retry_after});
  leave_queue(id, *request);
  requests_.erase(id);
  abandon_unneeded(d);
}

void Core::refuse_all_queued(Deployment& d, RefuseReason reason) {
  while (!d.queue.empty()) refuse(d.queue.front().request, reason, until_retry(d));
}

void Core::leave_queue(RequestId id, const Request& request) {
  const bool was_there =
      request.deployment->queue.erase(request.tenant, request.priority, request.order);
  STOKER_INVARIANT(was_there, "V1 request {}", id.value);
  --queued_;
  timers_.clear(TimerKind::queue_deadline, id.value);
  note_level(*request.deployment);
  note_if_idle(*request.deployment);
}

void Core::leave_instance(RequestId id, const Request& request) {
  Instance& instance = *request.instance;
  note_load(*instance.owner);
  std::vector<RequestId>& in_flight = instance.in_flight;
  const auto it = std::find(in_flight.begin(), in_flight.end(), id);
  STOKER_INVARIANT(it != in_flight.end(), "V9 request {}", id.value);
  *it = in_flight.back();
  in_flight.pop_back();
  if (instance.state == InstanceState::ready) --instance.owner->ready_in_flight;
  --instance.owner->in_flight;
  note_level(*instance.owner);
  --running_;
  if (request.state == RequestState::cancelling) timers_.clear(TimerKind::cancel_grace, id.value);
}

/// Why a request for `d` would be refused before it waits at all.
std::optional<RefuseReason> Core::refusal_at(Instant now, const Deployment& d) const {
  if (shutting_down_) return RefuseReason::shutting_down;
  if (!d.failures.any() || now >= d.failures.retry_at() || d.counts.may_serve()) {
    return std::nullopt;
  }
  if (d.failures.crash_loop()) return RefuseReason::crash_loop;
  if (d.failures.last_kind() == FailureKind::load_refused) return RefuseReason::load_failed;
  return std::nullopt;
}

bool Core::would_admit(Instant now, DeploymentId id) const {
  const Deployment* d = find_deployment(id);
  if (d == nullptr || d->removed || refusal_at(now, *d)) return false;
  if (d->counts.may_serve() || d->spec.pool) return true;
  std::vector<DeviceView> views;
  for (const Device& each : devices_) {
    views.push_back(view_of(each, nullptr, *d));
    views.back().distrusted = false;  // better than none
  }
  return place(d->spec.needs, views).possible;
}

/// Least in flight among the oldest instances, as many as are needed. The others get a request only
/// if those are full: otherwise every surplus instance would have one now and then, and none would
/// ever be idle for long enough to stop.
Core::Instance* Core::choose_for(const Deployment& d, std::uint64_t affinity) {
  if (d.counts.ready == 0) return nullptr;
  ready_.clear();
  ready_instances_.clear();
  const std::int32_t concurrency = d.spec.scale.concurrency;
  auto preferred = static_cast<std::size_t>(preferred_instances(d));
  for (auto it = d.instances.begin(); it != d.instances.end(); ++it) {
    Instance* const instance = *it;
    if (instance->state != InstanceState::ready) continue;
    ready_.push_back({instance->number, static_cast<std::int32_t>(instance->in_flight.size())});
    ready_instances_.push_back(instance);
    if (ready_.size() < preferred && ready_.size() < static_cast<std::size_t>(d.counts.ready)) {
      continue;
    }
    const std::optional<std::size_t> chosen = choose_instance(ready_, concurrency, affinity);
    if (chosen) return ready_instances_[*chosen];
    ready_.clear();
    ready_instances_.clear();
    preferred = 1;
  }
  return nullptr;
}

Duration Core::until_retry(const Deployment& d) const {
  const Duration wait = d.failures.retry_at() - now_;
  return wait.ns > 0 ? wait : shortest_retry;
}

/// When the queue that is full now should have room: what waits, at the pace that was seen, and the
/// start before it if nothing is ready.
Duration Core::until_shorter(const Deployment& d) const {
  const std::int64_t slots = std::int64_t{std::max(d.counts.live, 1)} * d.spec.scale.concurrency;
  // A quarter of the queue, so that not all who were refused come back to a queue still full.
  const std::int64_t turns = (d.queue.size() / 4 + slots) / slots;
  Duration wait{std::min(d.service_time.ns, longest_retry.ns) *
                std::min<std::int64_t>(turns, 1000)};
  if (d.counts.ready == 0) wait = wait + bring_time(d);
  return std::clamp(wait, shortest_retry, longest_retry);
}

}  // namespace stoker::core
