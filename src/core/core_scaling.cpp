// How many instances: when one more starts, and how long an idle one is kept.
#include <algorithm>

#include "base/invariant.h"
#include "core/autoscaler.h"
#include "core/break_even.h"
#include "core/core.h"

namespace stoker::core {
namespace {

/// A pause shorter than this is not looked into: a plan costs two microseconds.
constexpr Duration plans_begin_after = seconds(2);
constexpr Duration silence_told_every = ms(1);

/// After the short window asked for twice what is ready. Source: Knative, one stable window.
constexpr Duration panic_lasts = seconds(60);
/// The rate of requests that a start is sized by is that of the last half of its time.
constexpr Duration shortest_rate_window = seconds(1);
constexpr Duration longest_rate_window = seconds(15);
/// More service times than two are not counted as time to wait in.
constexpr std::int64_t most_folds_percent = 200;

}  // namespace

std::int32_t Core::minimum_of(const Deployment& d) const {
  return d.minimum_suspended || d.removed || shutting_down_ ? 0 : d.spec.scale.min_instances;
}

/// Plans what is missing. Starts wait for the end of a backoff; a retry timer brings them back.
void Core::scale(Deployment& d) {
  if (d.removed) return;
  const ScalePolicy& policy = d.spec.scale;
  const Counts& counts = d.counts;
  const ScaleDecision decision = decide_scale(policy, demand_of(d));
  d.desired = decision.desired_instances;
  std::int32_t missing = decision.desired_instances - counts.live;
  if (missing <= 0) return;
  if (counts.asleep > 0) missing -= ask_back(d, missing, decision.reason);
  const std::int32_t room = policy.max_instances - counts.all();
  missing = std::min(missing, room);
  if (missing <= 0) return;
  if (d.failures.any() && now_ < d.failures.retry_at()) {
    timers_.set(TimerKind::retry, d.spec.id.value, d.failures.retry_at());
    return;
  }
  const StartReason reason =
      d.failures.any() && !is_for_load(decision.reason) ? StartReason::replace : decision.reason;
  if (is_for_load(reason) && d.queue.empty()) {
    // What was planned for another reason is among those that the load wants, from now on.
    for (Instance* each : d.instances) {
      const bool waits = each->state == InstanceState::planned || each->wanted_back;
      if (!waits || !is_for_waiters(*each)) continue;
      each->reason = reason;
      each->wanted_at = now_;
    }
  }
  for (std::int32_t i = 0; i < missing; ++i) plan(d, reason);
}

Demand Core::demand_of(Deployment& d) {
  const ScalePolicy& policy = d.spec.scale;
  Demand demand;
  demand.queued = d.queue.size();
  demand.live_instances = d.counts.live;
  // Below zero after a new, lower concurrency: that is no backlog of anybody.
  demand.free_slots = std::max(0, d.counts.live * policy.concurrency - d.ready_in_flight);
  demand.minimum_suspended = d.minimum_suspended || shutting_down_;
  demand.ready_instances = d.counts.ready;
  demand.in_flight = d.ready_in_flight;
  const Duration cool_down = policy.scale_down_delay.value_or(policy.keep_warm.min);
  demand.cooling_down = demand.minimum_suspended ||
                        (d.scaled_down_at != Instant{} && now_ < d.scaled_down_at + cool_down);
  if (!d.load) return demand;
  demand.load = load_now(d);
  demand.wait_shortfall = wait_shortfall(d);
  return demand;
}

/// Needs: averages are kept of it.
LoadAverages Core::load_now(Deployment& d) {
  const ScalePolicy& policy = d.spec.scale;
  d.load->advance(now_, d.in_flight);
  if (!policy.on.by_average()) return {};
  const LoadAverages averages = d.load->averages();
  const LoadDemand load = demand_of_load(policy, averages, d.counts.ready);
  d.wanted_by_load = std::min(std::max(load.stable, load.panic), policy.max_instances);
  if (load.starts_panic) {
    // Whoever wrote a delay wants idle ones gone by then.
    d.calm_at = now_ + std::min(panic_lasts, policy.scale_down_delay.value_or(panic_lasts));
  }
  return averages;
}

std::int32_t Core::wait_shortfall(const Deployment& d) {
  const ScalePolicy& policy = d.spec.scale;
  if (!policy.on.queue_wait || d.queue.empty()) return 0;
  const Duration start_time = d.start_time.get();
  starting_.clear();
  for (const Instance* each : d.instances) {
    if (each->state == InstanceState::planned) {
      starting_.push_back(start_time);
    } else if (each->wanted_back) {
      starting_.push_back(d.resume_time.get());
    } else if (each->state == InstanceState::resuming) {
      starting_.push_back(std::max(Duration{}, each->started_at + d.resume_time.get() - now_));
    } else if (each->state == InstanceState::starting || each->state == InstanceState::loading) {
      const Instant begun = each->started_at == Instant{} ? now_ : each->started_at;
      starting_.push_back(std::max(Duration{}, begun + start_time - now_));
    }
  }
  const Duration window =
      std::clamp(Duration{start_time.ns / 2}, shortest_rate_window, longest_rate_window);
  return shortfall_for_wait({*policy.on.queue_wait, start_time, d.service_time, d.queue.size(),
                             policy.concurrency, d.counts.ready, starting_,
                             d.load->rate_milli(window)});
}

/// So many instances the requests fill that run or wait. With an objective for the wait, a part of
/// it is theirs to wait in: that many fewer are needed.
std::int32_t Core::filled_instances(const Deployment& d) const {
  const ScalePolicy& policy = d.spec.scale;
  const std::int64_t requests = std::int64_t{d.in_flight} + d.queue.size();
  std::int64_t per_instance = policy.concurrency;
  if (policy.on.queue_wait) {
    const std::int64_t service_ns = std::max<std::int64_t>(d.service_time.ns, 1'000'000);
    const std::int64_t folds_percent =
        std::min<std::int64_t>(policy.on.queue_wait->ns / (service_ns / 100), most_folds_percent);
    per_instance = policy.concurrency * (100 + folds_percent / 2) / 100;
  }
  return static_cast<std::int32_t>(std::min<std::int64_t>(
      (requests + per_instance - 1) / per_instance, std::max(policy.max_instances, 1)));
}

/// After every change of what runs or waits.
void Core::note_level(Deployment& d) {
  if (!d.levels && d.in_flight + d.queue.size() <= d.spec.scale.concurrency) return;
  const std::int32_t level = filled_instances(d);
  if (!d.levels) {
    if (level < 2) return;
    d.levels = std::make_unique<LevelKeep>();
  }
  d.levels->demand(now_, level);
}

/// Before every change of what runs.
void Core::note_load(Deployment& d) {
  if (d.load) d.load->advance(now_, d.in_flight);
  watch_load(d);
}

/// While anything runs or waits, the load is looked at once a second, where a signal asks for it.
void Core::watch_load(Deployment& d) {
  const ScalePolicy& policy = d.spec.scale;
  const bool by_wait = policy.on.queue_wait && !d.queue.empty();
  if (!by_wait && !policy.on.by_average() && policy.spare_instances == 0) return;
  timers_.set_earlier(TimerKind::load_check, d.spec.id.value, now_ + LoadWindows::bucket_length);
}

/// Averages change although nothing happens.
void Core::check_load(Deployment& d) {
  scale(d);
  if (d.in_flight > 0 || !d.queue.empty()) {
    watch_load(d);
  } else {
    drop_load_plans(d);
  }
}

/// What the load asked for and has no room yet is not needed any more.
void Core::drop_load_plans(Deployment& d) {
  if (d.counts.planned == 0) return;
  for (Instance* each : std::vector<Instance*>(d.instances)) {
    if (d.counts.live <= minimum_of(d)) return;
    if (!is_for_load(each->reason)) continue;
    if (each->state == InstanceState::planned)
      drop_planned(*each);
    else if (each->wanted_back)
      want_no_more(*each);
  }
}

/// So many the load keeps from stopping, however long they idle.   Needs: nothing waits, and
/// neither the server nor the deployment ends.
std::int32_t Core::kept_by_load(const Deployment& d) const {
  if (d.minimum_suspended) return 0;
  if (d.counts.placed() == 1) return 0;  // the last one has its own delay
  if (now_ < d.calm_at) return d.counts.placed();
  std::int32_t kept = d.wanted_by_load;
  const ScalePolicy& policy = d.spec.scale;
  if (policy.spare_instances > 0 && d.in_flight > 0) {
    kept = std::max(kept, filled_instances(d) + policy.spare_instances);
  }
  return std::min(kept, policy.max_instances);
}

/// Requests are spread over so many of the oldest instances while those have free slots.
std::int32_t Core::preferred_instances(const Deployment& d) const {
  return std::max({filled_instances(d), d.spec.scale.min_instances, d.wanted_by_load, 1});
}

/// V19: not before that may one stop for want of requests, because one was started a moment ago.
Instant Core::settled_at(const Deployment& d) {
  return d.scaled_up_at +
         idle_delay(d, d.counts.placed() == 1).value_or(d.spec.scale.keep_warm.min);
}

/// `wanted_at`: when the need arose; now, if it is not given.
void Core::plan(Deployment& d, StartReason reason, std::optional<Instant> wanted_at) {
  const InstanceId id{next_instance_++};
  std::unique_ptr<Instance>& owned = instances_[id];
  owned = std::make_unique<Instance>();
  Instance& instance = *owned;
  instance.id = id;
  instance.owner = &d;
  instance.number = ++d.instances_planned;
  instance.generation = Generation{config_.epoch.value << 32U | id.value};
  instance.reason = reason;
  instance.priority = d.spec.priority;
  instance.wish = next_wish_++;
  instance.wanted_at = wanted_at.value_or(now_);
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
  waiting_.erase(wait_key(instance));
  await_no_more(instance);
  take_room(instance, devices);
  Duration expected = d.start_time.get();
  if (!devices.empty()) {
    const Device& first = device(devices.front());
    instance.from = tier_for(d, first.node);
    instance.model = d.spec.model.id;
    instance.store_node = first.node;
    expected = start_on(d, first.kind, instance.from);
  }
  advance(instance, InstanceInput::placed);
  if (instance.reason != StartReason::replace) d.scaled_up_at = now_;
  if (!instance.pool) {
    instance.started_at = now_;
    timers_.set(TimerKind::start_deadline, instance.id.value, now_ + d.spec.limits.start_timeout);
  } else if (const Duration limit = pools_.at(instance.pool).spec.pending_limit; limit.ns > 0) {
    timers_.set(TimerKind::start_deadline, instance.id.value, now_ + limit);
  }
  actions_->push_back(StartInstance{instance.id, instance.generation, d.spec.id, instance.devices,
                                    instance.pool, instance.reason, need, instance.wanted_at,
                                    expected, instance.from});
}

/// Needs: planned. It is gone afterwards.
void Core::drop_planned(Instance& instance) {
  STOKER_INVARIANT(instance.state == InstanceState::planned, "instance {}", instance.id.value);
  const InstanceId id = instance.id;
  waiting_.erase(wait_key(instance));
  await_no_more(instance);
  advance(instance, InstanceInput::dropped);
  std::erase(instance.owner->instances, &instance);
  forget_if_empty(*instance.owner);
  instance_by_id_.erase(id);
  instances_.erase(id);
}

/// The idling that is worth coming back, by the price of the devices. A device has its price
/// whatever else is on it: who needs the room takes it (evictable_at).
Duration Core::break_even_of(const Instance& instance) const {
  const Deployment& d = *instance.owner;
  return break_even(reload_time(d), d.spec.scale.keep_warm.wait_weight, instance.price_per_hour);
}

void Core::note_arrival(Deployment& d) {
  if (d.came_up) next_use_.arrived(d.next_use, now_);
  touch(d);
  if (d.load) {
    d.load->advance(now_, d.in_flight);
    d.load->request_arrived();
  }
  timers_.clear(TimerKind::prewarm, d.spec.id.value);
  // Those that never come again teach only if somebody says so, now and then, of one after another.
  if (!d.came_up || now_ - silent_told_at_ < silence_told_every) return;
  silent_told_at_ = now_;
  auto next = teachers_.upper_bound(last_silent_);
  if (next == teachers_.end()) next = teachers_.begin();
  last_silent_ = *next;
  next_use_.silent(deployment(*next).next_use, now_);
}

/// Nothing of it waits or runs any more: the gap until its next request begins.
void Core::note_if_idle(Deployment& d) {
  if (d.came_up && d.in_flight == 0 && d.queue.empty()) next_use_.idle(d.next_use, now_);
}

/// For the last one, with nothing to do.
KeepPlan Core::keep_plan(const Instance& instance) {
  Deployment& d = *instance.owner;
  next_use_.silent(d.next_use, now_);
  return next_use_.plan(d.next_use, now_, break_even_of(instance));
}

/// How long an idle instance stays; nullopt: keep_warm decides. A wish may shorten what is
/// configured, never lengthen it.
std::optional<Duration> Core::idle_delay(const Deployment& d, bool last) {
  const ScalePolicy& policy = d.spec.scale;
  const std::optional<Duration> delay = last ? policy.scale_to_zero_delay : policy.scale_down_delay;
  if (!d.keep_wish) return delay;
  return std::min(*d.keep_wish, delay.value_or(policy.keep_warm.max));
}

/// Needs: it is idle. When it may stop if no request comes.
Instant Core::keep_until(const Instance& instance) {
  Deployment& d = *instance.owner;
  const ScalePolicy& policy = d.spec.scale;
  const bool last = d.counts.placed() == 1;
  if (const std::optional<Duration> delay = idle_delay(d, last)) {
    return instance.idle_since + *delay;
  }
  const KeepWarm& keep = policy.keep_warm;
  if (keep.policy == KeepWarmPolicy::fixed) return instance.idle_since + keep.max;
  Instant until;
  if (last && d.in_flight == 0 && d.queue.empty()) {
    until = keep_plan(instance).stop_at;
  } else if (last) {
    until = instance.idle_since + break_even_of(instance);
  } else if (d.levels) {
    // Nullopt: requests need as many as there are, and yet this one idles; they are about to fall.
    const Duration start_cost = break_even_of(instance);
    until = d.levels->keep_until(d.counts.placed(), start_cost)
                .value_or(now_ + Duration{start_cost.ns / 4} + ms(1));
  }
  return std::clamp(until, instance.idle_since + keep.min,
                    std::max(instance.idle_since + keep.max, now_));
}

/// When to look first: no later than keep_until can say, however many instances there will be, and
/// not so soon that every pause between two requests costs a plan.
Duration Core::first_check_of(const Instance& instance) {
  const Deployment& d = *instance.owner;
  const ScalePolicy& policy = d.spec.scale;
  const KeepWarm& keep = policy.keep_warm;
  const std::optional<Duration> down = idle_delay(d, false);
  if (d.counts.placed() > 1 && !down) {
    return std::max(keep_until(instance) - now_, Duration{});
  }
  const Duration kept = keep.policy == KeepWarmPolicy::fixed
                            ? keep.max
                            : std::clamp(plans_begin_after, keep.min, std::max(keep.min, keep.max));
  return std::min(down.value_or(kept), idle_delay(d, true).value_or(kept));
}

void Core::check_keep(Instance& instance) {
  instance.keep_check_set = false;
  if (!instance.is_idle) return;
  Deployment& d = *instance.owner;
  const Instant due = std::max(keep_until(instance), settled_at(d));
  if (due > now_) {
    instance.keep_check_set = true;
    timers_.set(TimerKind::keep_check, instance.id.value, due);
  } else if (d.counts.placed() > minimum_of(d) && d.queue.empty()) {
    if (d.load) load_now(d);
    if (d.counts.placed() <= kept_by_load(d)) {
      instance.keep_check_set = true;
      timers_.set(TimerKind::keep_check, instance.id.value, now_ + LoadWindows::bucket_length);
      return;
    }
    const bool last = d.counts.placed() == 1;
    d.scaled_down_at = now_;
    drop_load_plans(d);  // before one that is there already goes
    put_away(instance, StopReason::idle);
    if (last) plan_prewarm(instance);
    scale(d);
  }
  // Else its minimum needs it. Whatever changes that looks again: see look_again_at_idle().
}

/// There may be one more than the minimum now, or the minimum is lower: an idle one may stop, or go
/// for others.
void Core::look_again_at_idle(Deployment& d) {
  for (Instance* each : d.instances) {
    if (!each->is_idle) continue;
    room_changed(*each);
    if (each->keep_check_set) continue;
    each->keep_check_set = true;
    timers_.set(TimerKind::keep_check, each->id.value, std::max(now_, keep_until(*each)));
  }
}

/// What putting the idle instance away is expected to cost: seconds of coming back, per second.
double Core::idle_loss(const Instance& instance) {
  Deployment& d = *instance.owner;
  return next_use_.index(d.next_use, now_) * (static_cast<double>(reload_time(instance).ns) / 1e9);
}

/// It stops for want of requests; with `adaptive` it comes back ahead of the next one, if that can
/// be told.
void Core::plan_prewarm(const Instance& last) {
  Deployment& d = *last.owner;
  const ScalePolicy& policy = d.spec.scale;
  if (idle_delay(d, true) || policy.keep_warm.policy != KeepWarmPolicy::adaptive) return;
  const KeepPlan plan = keep_plan(last);
  if (!plan.start_at) return;
  timers_.set(TimerKind::prewarm, d.spec.id.value,
              std::max(now_ + ms(1), *plan.start_at - bring_time(d)));
}

/// A request is expected soon: its model is brought up before it comes.
void Core::prewarm(Deployment& d) {
  if (d.removed || shutting_down_ || d.counts.live > 0 || d.counts.draining > 0) return;
  if (d.failures.any()) return;
  bring(d, StartReason::expected);
}

}  // namespace stoker::core
