// How many instances: when one more starts, and how long an idle one is kept.
#include <algorithm>

#include "base/invariant.h"
#include "core/autoscaler.h"
#include "core/core.h"

namespace stoker::core {
namespace {

/// A pause shorter than this is not looked into: a plan costs two microseconds.
constexpr Duration plans_begin_after = seconds(2);
constexpr Duration silence_told_every = ms(1);

}  // namespace

std::int32_t Core::minimum_of(const Deployment& d) const {
  return d.minimum_suspended || d.removed || shutting_down_ ? 0 : d.spec.scale.min_instances;
}

/// Plans what is missing. Starts wait for the end of a backoff; a retry timer brings them back.
void Core::scale(Deployment& d) {
  if (d.removed) return;
  const ScalePolicy& policy = d.spec.scale;
  const Counts& counts = d.counts;
  // Below zero after a new, lower concurrency: that is no backlog of anybody.
  const std::int32_t free_slots = std::max(0, counts.live * policy.concurrency - d.ready_in_flight);
  const ScaleDecision decision = decide_scale(
      policy,
      Demand{d.queue.size(), counts.live, free_slots, d.minimum_suspended || shutting_down_});
  d.desired = decision.desired_instances;
  const std::int32_t room = policy.max_instances - counts.live - counts.draining;
  const std::int32_t missing = std::min(decision.desired_instances - counts.live, room);
  if (missing <= 0) return;
  if (d.failures.any() && now_ < d.failures.retry_at()) {
    timers_.set(TimerKind::retry, d.spec.id.value, d.failures.retry_at());
    return;
  }
  const StartReason reason = d.failures.any() ? StartReason::replace : decision.reason;
  for (std::int32_t i = 0; i < missing; ++i) plan(d, reason);
}

void Core::plan(Deployment& d, StartReason reason) {
  const InstanceId id{next_instance_++};
  std::unique_ptr<Instance>& owned = instances_[id];
  owned = std::make_unique<Instance>();
  Instance& instance = *owned;
  instance.id = id;
  instance.owner = &d;
  instance.generation = Generation{config_.epoch.value << 32U | id.value};
  instance.reason = reason;
  instance.priority = d.spec.priority;
  instance.wanted_at = now_;
  instance.since = now_;
  instance_by_id_.insert(id, &instance);
  d.instances.push_back(&instance);
  count(instance, 1);
  waiting_.emplace(wait_key(instance), &instance);
  if (d.spec.pool) {
    try_pool(instance);
  } else {
    try_place(instance, nullptr);
  }
}

/// It has its place. Needs: planned, and the need fits.
void Core::start(Instance& instance, const std::vector<DeviceId>& devices, const MemoryNeed& need) {
  Deployment& d = *instance.owner;
  await_at(instance, {});
  waiting_.erase(wait_key(instance));
  instance.devices = devices;
  instance.share_permille = d.spec.needs.share_permille;
  instance.exclusive = d.spec.needs.exclusive;
  for (const DeviceId id : devices) {
    Device& on_device = device_to_change(id);
    on_device.memory.reserve(instance.id, need_of(d, on_device.spec.kind), d.spec.weights);
    on_device.residents.push_back(&instance);
    on_device.share_permille += instance.share_permille;
    on_device.exclusive += instance.exclusive ? 1 : 0;
  }
  advance(instance, InstanceInput::placed);
  if (!instance.pool) {
    instance.started_at = now_;
    timers_.set(TimerKind::start_deadline, instance.id.value, now_ + d.spec.limits.start_timeout);
  } else if (const Duration limit = pools_.at(instance.pool).spec.pending_limit; limit.ns > 0) {
    timers_.set(TimerKind::start_deadline, instance.id.value, now_ + limit);
  }
  actions_->push_back(StartInstance{instance.id, instance.generation, d.spec.id, instance.devices,
                                    instance.pool, instance.reason, need, instance.wanted_at,
                                    d.start_time.get()});
}

/// Needs: planned. It is gone afterwards.
void Core::drop_planned(Instance& instance) {
  STOKER_INVARIANT(instance.state == InstanceState::planned, "instance {}", instance.id.value);
  const InstanceId id = instance.id;
  await_at(instance, {});
  waiting_.erase(wait_key(instance));
  advance(instance, InstanceInput::dropped);
  std::erase(instance.owner->instances, &instance);
  forget_if_empty(*instance.owner);
  instance_by_id_.erase(id);
  instances_.erase(id);
}

/// The idling that is worth a cold start: the device's time that it takes, and that of those who
/// wait for it.
Duration Core::break_even_of(const Deployment& d) {
  return Duration{d.start_time.get().ns * (1 + d.spec.scale.keep_warm.wait_weight)};
}

void Core::note_arrival(Deployment& d) {
  next_use_.arrived(d.next_use, now_);
  timers_.clear(TimerKind::prewarm, d.spec.id.value);
  // Those that never come again teach only if somebody says so, now and then, of one after another.
  if (now_ - silent_told_at_ < silence_told_every) return;
  silent_told_at_ = now_;
  auto next = deployments_.upper_bound(last_silent_);
  if (next == deployments_.end()) next = deployments_.begin();
  last_silent_ = next->first;
  next_use_.silent(next->second->next_use, now_);
}

/// Nothing of it waits or runs any more: the gap until its next request begins.
void Core::note_if_idle(Deployment& d) {
  if (d.in_flight == 0 && d.queue.empty()) next_use_.idle(d.next_use, now_);
}

KeepPlan Core::keep_plan(Deployment& d) {
  next_use_.silent(d.next_use, now_);
  return next_use_.plan(d.next_use, now_, break_even_of(d));
}

/// Needs: it is idle. When it may stop if no request comes.
Instant Core::keep_until(const Instance& instance) {
  Deployment& d = *instance.owner;
  const ScalePolicy& policy = d.spec.scale;
  const bool last = d.counts.placed() == 1;
  const std::optional<Duration> delay = last ? policy.scale_to_zero_delay : policy.scale_down_delay;
  if (delay) return instance.idle_since + *delay;
  const KeepWarm& keep = policy.keep_warm;
  if (keep.policy == KeepWarmPolicy::fixed) return instance.idle_since + keep.max;
  // What is learned tells when the next request comes, not when one more instance is needed.
  const Instant until = last && d.in_flight == 0 && d.queue.empty()
                            ? keep_plan(d).stop_at
                            : instance.idle_since + break_even_of(d);
  return std::clamp(until, instance.idle_since + keep.min, instance.idle_since + keep.max);
}

/// When to look first: no later than keep_until can say, however many instances there will be, and
/// not so soon that every pause between two requests costs a plan.
Duration Core::first_check_of(const Instance& instance) {
  const ScalePolicy& policy = instance.owner->spec.scale;
  const KeepWarm& keep = policy.keep_warm;
  const Duration kept = keep.policy == KeepWarmPolicy::fixed
                            ? keep.max
                            : std::clamp(plans_begin_after, keep.min, std::max(keep.min, keep.max));
  return std::min(policy.scale_down_delay.value_or(kept),
                  policy.scale_to_zero_delay.value_or(kept));
}

void Core::check_keep(Instance& instance) {
  instance.keep_check_set = false;
  if (!instance.is_idle) return;
  Deployment& d = *instance.owner;
  const Instant due = keep_until(instance);
  if (due > now_) {
    instance.keep_check_set = true;
    timers_.set(TimerKind::keep_check, instance.id.value, due);
  } else if (d.counts.placed() > minimum_of(d) && d.queue.empty()) {
    const bool last = d.counts.placed() == 1;
    stop(instance, StopMode::graceful, StopReason::idle);
    if (last) plan_prewarm(d);
    scale(d);
  }
  // Else its minimum needs it. Whatever changes that looks again: see look_again_at_idle().
}

/// There may be one more than the minimum now, or the minimum is lower.
void Core::look_again_at_idle(Deployment& d) {
  for (Instance* each : d.instances) {
    if (!each->is_idle || each->keep_check_set) continue;
    each->keep_check_set = true;
    timers_.set(TimerKind::keep_check, each->id.value, std::max(now_, keep_until(*each)));
  }
}

/// What stopping the idle instance is expected to cost: seconds of starting again, per second.
double Core::idle_loss(const Instance& instance) {
  Deployment& d = *instance.owner;
  return next_use_.index(d.next_use, now_) * (static_cast<double>(d.start_time.get().ns) / 1e9);
}

/// It stops for want of requests; with `adaptive` it comes back ahead of the next one, if that can
/// be told.
void Core::plan_prewarm(Deployment& d) {
  const ScalePolicy& policy = d.spec.scale;
  if (policy.scale_to_zero_delay || policy.keep_warm.policy != KeepWarmPolicy::adaptive) return;
  const KeepPlan plan = keep_plan(d);
  if (!plan.start_at) return;
  timers_.set(TimerKind::prewarm, d.spec.id.value,
              std::max(now_ + ms(1), *plan.start_at - d.start_time.get()));
}

/// A request is expected soon: its model is brought up before it comes.
void Core::prewarm(Deployment& d) {
  if (d.removed || shutting_down_ || d.counts.live > 0 || d.counts.draining > 0) return;
  if (d.failures.any()) return;
  plan(d, StartReason::expected);
}

}  // namespace stoker::core
