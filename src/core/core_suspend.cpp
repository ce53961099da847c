// Instances that are suspended instead of stopped: their state is kept in host memory, their
// devices are free for others. When each is worth it, and how one comes back.
//
// Host memory is reserved before the order goes out, and device memory before a resume; neither is
// given back before the world said that it was let go of, or that the process is gone.
#include <algorithm>

#include "base/invariant.h"
#include "core/core.h"

namespace stoker::core {
namespace {

/// A deployment whose suspends or resumes failed so often in a row is stopped instead, for as long
/// as failures of starts are remembered.
constexpr std::int32_t suspend_failures_most = 2;

/// So many devices are looked at for others to evict when its own have nobody.
constexpr std::size_t search_elsewhere = 32;

/// One whose requests wait for room elsewhere is not given up.
constexpr Duration look_again_after = seconds(1);

double seconds_of(Duration d) {
  return static_cast<double>(d.ns) / 1e9;
}

}  // namespace

Core::Node* Core::find_node(NodeId id) {
  const auto it = nodes_.find(id);
  return it == nodes_.end() ? nullptr : &it->second;
}

bool Core::may_suspend(const Deployment& d) const {
  if (!d.spec.can_suspend || !d.spec.scale.keep_warm.suspend || d.spec.pool || nodes_.empty()) {
    return false;
  }
  if (d.removed || shutting_down_ || d.minimum_suspended) return false;
  if (d.suspend_failures >= suspend_failures_most && now_ - d.suspend_failed_at < healthy_reset) {
    return false;
  }
  return d.resume_time.get() < d.start_time.get();
}

/// What one that is put away now takes to come back, as far as that can be told.
Duration Core::reload_time(const Deployment& d) const {
  return may_suspend(d) ? d.resume_time.get() : d.start_time.get();
}

/// The same of one instance: a new one would come where it is, from where its weights lie there.
Duration Core::reload_time(const Instance& instance) const {
  const Deployment& d = *instance.owner;
  if (may_suspend(d)) return d.resume_time.get();
  return instance.devices.empty() ? d.start_time.get()
                                  : start_at_device(d, device(instance.devices.front()));
}

/// Until the next instance is ready, wherever it comes from.
Duration Core::bring_time(const Deployment& d) const {
  return d.counts.asleep + d.counts.coming_back > 0 ? d.resume_time.get() : soonest_start(d);
}

Bytes Core::host_need_of(const Instance& instance) const {
  const Deployment& d = *instance.owner;
  if (d.suspended_bytes) return *d.suspended_bytes;
  if (d.spec.suspended_bytes > Bytes{}) return d.spec.suspended_bytes;
  Bytes sum;
  for (const DeviceId id : instance.devices) {
    const MemoryNeed held = device(id).memory.held_by(instance.id);
    sum += held.private_bytes + held.shared_bytes;
  }
  return sum;
}

/// Seconds that it is expected to save per second of being suspended, those of who waits included.
/// A request wakes one, so each further one is worth less.
double Core::worth_of(const Instance& instance, std::int32_t others_asleep) {
  Deployment& d = *instance.owner;
  const double saved_s = seconds_of(d.start_time.get() - d.resume_time.get()) *
                         (1 + d.spec.scale.keep_warm.wait_weight);
  return next_use_.index(d.next_use, now_) * std::max(saved_s, 0.0) / (1 + others_asleep);
}

/// So long in host memory costs as much as the part of a start that a resume saves.
Duration Core::host_break_even(const Deployment& d, Bytes bytes, Bytes capacity) const {
  const KeepWarm& keep = d.spec.scale.keep_warm;
  const double saved_s =
      seconds_of(d.start_time.get() - d.resume_time.get()) * (1 + keep.wait_weight);
  const double cost = host_cost(bytes, capacity, keep.host_cost_permille);
  const double most_s = seconds_of(keep.suspended_max);
  const double even_s = cost * most_s > saved_s ? saved_s / cost : most_s;
  return {static_cast<std::int64_t>(std::max(even_s, 0.0) * 1e9)};
}

/// Needs: it is suspended. When it may stop if nobody asks for it.
Instant Core::asleep_until(const Instance& instance, Bytes capacity) {
  Deployment& d = *instance.owner;
  const Bytes bytes = nodes_.at(instance.node).host.held_by(instance.id).private_bytes;
  const Duration even = host_break_even(d, bytes, capacity);
  Instant until = now_ + even;
  if (d.in_flight == 0 && d.queue.empty()) {
    next_use_.silent(d.next_use, now_);
    until = next_use_.plan(d.next_use, now_, even).stop_at;
  }
  return std::min(until, instance.since + d.spec.scale.keep_warm.suspended_max);
}

/// Nobody needs it now. Needs: ready, nothing runs on it.
void Core::put_away(Instance& instance, StopReason reason) {
  if (!try_suspend(instance, reason)) stop(instance, StopMode::graceful, reason);
}

/// Gives false, and changes nothing, if it is not worth it. What runs on it may end first.
/// Needs: ready.
bool Core::try_suspend(Instance& instance, StopReason reason) {
  Deployment& d = *instance.owner;
  if (!may_suspend(d) || instance.pool) return false;
  Node* const node = find_node(device(instance.devices.front()).node);
  if (node == nullptr) return false;
  const Bytes needed = host_need_of(instance);
  if (needed > node->host.capacity()) return false;
  const double worth = worth_of(instance, d.counts.asleep);
  if (worth <=
      host_cost(needed, node->host.capacity(), d.spec.scale.keep_warm.host_cost_permille)) {
    return false;
  }
  // What is leaving counts as free, what others wait for does not.
  Bytes free = node->host.free();
  std::vector<Sleeper> sleepers;
  for (const Instance* each : node->sleepers) {
    const Bytes held = node->host.held_by(each->id).private_bytes;
    if (!each->holds_host) {
      if (each->state == InstanceState::suspending) free -= host_need_of(*each);
    } else if (each->state == InstanceState::stopping || each->state == InstanceState::failed) {
      free += held;
    } else if (each->state == InstanceState::suspended && !each->wanted_back) {
      const std::int32_t others = each->owner->counts.asleep - 1;
      sleepers.push_back({each->id, worth_of(*each, others), held, each->since});
    }
  }
  const auto leave = choose_sleepers(worth, needed, free, std::move(sleepers));
  if (!leave) return false;
  no_longer_idle(instance);
  timers_.clear(TimerKind::keep_check, instance.id.value);
  instance.keep_check_set = false;
  instance.drain_reason = reason;
  instance.suspend_ordered = false;
  instance.home = instance.devices;
  instance.node = node->spec.id;
  node->sleepers.push_back(&instance);
  advance(instance, InstanceInput::suspend);
  for (const InstanceId id : *leave) {
    stop(*find_instance(id), StopMode::kill, StopReason::host_room);
  }
  go_on_suspending(instance);
  return true;
}

/// Gives the order once nothing runs on it and host memory is reserved.   Needs: suspending.
void Core::go_on_suspending(Instance& instance) {
  if (instance.suspend_ordered) return;
  Node& node = nodes_.at(instance.node);
  Deployment& d = *instance.owner;
  const Bytes needed = host_need_of(instance);
  if (!instance.holds_host && needed <= node.host.free()) {
    node.host.reserve(instance.id, {needed, {}}, {});
    instance.holds_host = true;
  }
  if (!instance.in_flight.empty()) return;
  if (instance.drain_reason == StopReason::stop_request) {
    stop(instance, StopMode::graceful, instance.drain_reason);
    return;
  }
  const Instant limit = now_ + d.spec.limits.suspend_timeout;
  if (!instance.holds_host) {  // those who leave for it are not gone yet
    timers_.set_earlier(TimerKind::start_deadline, instance.id.value, limit);
    return;
  }
  timers_.set(TimerKind::start_deadline, instance.id.value, limit);
  instance.suspend_ordered = true;
  if (instance.drain_reason == StopReason::idle) {  // it may have waited since that was decided
    d.scaled_down_at = now_;
    drop_load_plans(d);
  }
  actions_->push_back(SuspendInstance{instance.id, instance.generation, instance.drain_reason,
                                      node.host.held_by(instance.id).private_bytes,
                                      d.resume_time.get(), d.start_time.get()});
}

/// The room in host memory did not come, or its worker never answered.
void Core::suspend_overdue(Instance& instance) {
  if (instance.suspend_ordered) {
    break_down(instance, StopReason::suspend_failed);
    return;
  }
  Deployment& d = *instance.owner;
  stop(instance, StopMode::graceful, StopReason::suspend_failed);
  scale(d);
}

void Core::on(const InstanceSuspended& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr || instance->state != InstanceState::suspending ||
      !instance->suspend_ordered) {
    return;
  }
  Deployment& d = *instance->owner;
  if (e.device_bytes > Bytes{}) {  // it did not do what it says
    break_down(*instance, StopReason::suspend_failed);
    return;
  }
  timers_.clear(TimerKind::start_deadline, e.instance.value);
  Node& node = nodes_.at(instance->node);
  d.suspended_bytes = e.host_bytes;
  const bool fits = node.host.correct(e.instance, {e.host_bytes, {}});
  room_changed(*instance);
  release_room(*instance);
  advance(*instance, InstanceInput::was_suspended);
  if (!fits) {
    stop(*instance, StopMode::kill, StopReason::host_overrun);
    scale(d);
    return;
  }
  if (shutting_down_ || d.removed) {
    wind_down(d);
    if (instance->state != InstanceState::suspended) return;  // else requests may still need it
  }
  if (instance->wanted_back) {
    try_resume(*instance);
    return;
  }
  timers_.set(TimerKind::suspend_check, e.instance.value,
              asleep_until(*instance, node.host.capacity()));
  scale(d);
}

void Core::on(const SuspendFailed& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr || instance->state != InstanceState::suspending ||
      !instance->suspend_ordered) {
    return;
  }
  // Whatever it still holds or not, nobody knows how it would serve.
  break_down(*instance, StopReason::suspend_failed);
}

void Core::on(const InstanceResumed& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr || instance->state != InstanceState::resuming) return;
  release_host(*instance);
  if (!take_measured(*instance, e.measured)) return;
  Deployment& d = *instance->owner;
  d.resume_time.observed(now_ - instance->started_at);
  d.suspend_failures = 0;
  serve(*instance);
}

void Core::on(const ResumeFailed& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr || instance->state != InstanceState::resuming) return;
  break_down(*instance, StopReason::resume_failed);
}

void Core::note_suspend_failure(Deployment& d) {
  ++d.suspend_failures;
  d.suspend_failed_at = now_;
}

/// Needs: it holds nothing of its host any more, or its process is gone.
void Core::release_host(Instance& instance) {
  if (!instance.node) return;
  Node& node = nodes_.at(instance.node);
  std::erase(node.sleepers, &instance);
  node.host.release(instance.id);
  instance.holds_host = false;
  instance.node = {};
  instance.home.clear();
  for (Instance* each : std::vector<Instance*>(node.sleepers)) {
    if (each->state == InstanceState::suspending && !each->holds_host) go_on_suspending(*each);
  }
}

/// One more: one that is suspended, else a new one.
void Core::bring(Deployment& d, StartReason reason) {
  if (d.counts.asleep > 0 && ask_back(d, 1, reason) == 1) return;
  if (d.counts.all() < std::max(d.spec.scale.max_instances, 1)) plan(d, reason);
}

/// Asks for suspended ones again, those first that are already suspended. One whose devices are
/// lost goes, so that a new one may come.
/// Gives: how many were asked for.
std::int32_t Core::ask_back(Deployment& d, std::int32_t count, StartReason reason) {
  std::int32_t asked = 0;
  for (const InstanceState state : {InstanceState::suspended, InstanceState::suspending}) {
    for (Instance* each : std::vector<Instance*>(d.instances)) {
      if (asked == count) return asked;
      if (each->state != state || each->wanted_back) continue;
      if (each->drain_reason == StopReason::stop_request) continue;
      if (home_is_lost(*each)) {
        stop_asleep(*each, StopReason::elsewhere);
        continue;
      }
      ask_back(*each, reason, now_);
      ++asked;
    }
  }
  return asked;
}

void Core::ask_back(Instance& instance, StartReason reason, Instant wanted_at) {
  timers_.clear(TimerKind::suspend_check, instance.id.value);
  count(instance, -1);
  instance.wanted_back = true;
  count(instance, 1);
  instance.reason = reason;
  instance.priority = instance.owner->spec.priority;
  instance.wish = next_wish_++;
  instance.wanted_at = wanted_at;
  instance.wait_told = false;
  waiting_.emplace(wait_key(instance), &instance);
  if (instance.state == InstanceState::suspended) try_resume(instance);
}

/// Needs: asked back. It stays suspended.
void Core::want_no_more(Instance& instance) {
  STOKER_INVARIANT(instance.wanted_back, "instance {}", instance.id.value);
  waiting_.erase(wait_key(instance));
  await_no_more(instance);
  count(instance, -1);
  instance.wanted_back = false;
  count(instance, 1);
  if (instance.state != InstanceState::suspended) return;
  timers_.set(TimerKind::suspend_check, instance.id.value,
              std::max(now_, asleep_until(instance, nodes_.at(instance.node).host.capacity())));
}

bool Core::home_is_lost(const Instance& instance) const {
  if (static_cast<std::int32_t>(instance.home.size()) != instance.owner->spec.needs.devices) {
    return true;
  }
  return std::any_of(instance.home.begin(), instance.home.end(),
                     [&](DeviceId id) { return device(id).unusable(); });
}

/// Its own devices as they are now.
Placement Core::place_at_home(const Instance& instance) {
  if (home_is_lost(instance)) return {};
  const Deployment& d = *instance.owner;
  std::vector<DeviceView> views;
  for (const DeviceId id : instance.home) {
    views.push_back(view_of(device(id), &instance, d));
    views.back().distrusted = false;  // it is no start
  }
  return place(d.spec.needs, views);
}

/// Another that is suspended, and could be back at once.
Core::Instance* Core::sibling_with_room(const Instance& instance) {
  const Deployment& d = *instance.owner;
  if (d.counts.asleep == 0) return nullptr;
  for (Instance* each : d.instances) {
    if (each->state != InstanceState::suspended || each->wanted_back) continue;
    if (!place_at_home(*each).devices.empty()) return each;
  }
  return nullptr;
}

/// One that waits for room, planned or asked back, leaves it to another that is suspended and has
/// its room now. Gives false if there is none; else a planned one is gone.
bool Core::leave_to_sibling(Instance& instance) {
  Instance* const sibling = sibling_with_room(instance);
  if (sibling == nullptr) return false;
  const StartReason reason = instance.reason;
  const Instant wanted_at = instance.wanted_at;
  if (instance.wanted_back) {
    want_no_more(instance);
  } else {
    drop_planned(instance);
  }
  ask_back(*sibling, reason, wanted_at);
  return true;
}

/// Back to its own devices if they have room; else another that is suspended, or a new one, where
/// there is room now; else it waits for room on its own.   Needs: asked back.
void Core::try_resume(Instance& instance) {
  if (instance.state != InstanceState::suspended) return;  // it is still on its way out
  Deployment& d = *instance.owner;
  const Placement at_home = place_at_home(instance);
  if (!at_home.devices.empty()) {
    resume(instance);
    return;
  }
  if (leave_to_sibling(instance)) return;
  const bool may_start = (!d.failures.any() || now_ >= d.failures.retry_at()) &&
                         d.counts.all() <= d.spec.scale.max_instances;
  Placement elsewhere;
  if (may_start) elsewhere = find_place(instance, Trust::as_known);
  bool better = at_home.possible ? !elsewhere.devices.empty() : elsewhere.possible;
  if (!better && at_home.possible) {
    where_.clear();
    for (const DeviceId id : instance.home) where_.push_back(&device(id));
    make_room(instance, at_home, where_);
    // Nobody to make room there; elsewhere there may be.
    better = instance.awaits.empty() && elsewhere.possible && has_victims_for(instance);
  }
  if (!better) return;
  const StartReason reason = instance.reason;
  const Instant wanted_at = instance.wanted_at;
  want_no_more(instance);
  if (!at_home.possible || d.counts.all() >= d.spec.scale.max_instances) {
    stop(instance, StopMode::graceful, StopReason::elsewhere);
  }
  plan(d, reason, wanted_at);
}

/// Others would make room for a new one, on one of the first devices.
bool Core::has_victims_for(const Instance& instance) {
  std::vector<EvictionView> views;
  Spare spare;
  std::optional<Instant> later;
  for (const Device& each : devices_) {
    if (views.size() == search_elsewhere) break;
    if (instance.owner->spec.needs.devices == 1) spare.clear();
    views.push_back(eviction_view_of(each, instance, spare, later));
  }
  return !choose_eviction(instance.owner->spec.needs, views).devices.empty();
}

void Core::resume(Instance& instance) {
  Deployment& d = *instance.owner;
  waiting_.erase(wait_key(instance));
  await_no_more(instance);
  take_room(instance, instance.home);
  advance(instance, InstanceInput::resume);
  if (instance.reason != StartReason::replace) d.scaled_up_at = now_;
  instance.started_at = now_;
  timers_.set(TimerKind::start_deadline, instance.id.value, now_ + d.spec.limits.suspend_timeout);
  const MemoryNeed need = need_of(d, device(instance.home.front()).kind);
  actions_->push_back(ResumeInstance{instance.id, instance.generation, d.spec.id, instance.devices,
                                     instance.reason, need, instance.wanted_at,
                                     d.resume_time.get()});
}

void Core::check_suspended(Instance& instance) {
  if (instance.state != InstanceState::suspended || instance.wanted_back) return;
  const Instant until = asleep_until(instance, nodes_.at(instance.node).host.capacity());
  const bool waited_for = !instance.owner->queue.empty();
  if (until > now_ || waited_for) {
    const Instant next = waited_for ? now_ + look_again_after : until;
    timers_.set(TimerKind::suspend_check, instance.id.value, std::max(until, next));
  } else {
    stop(instance, StopMode::graceful, StopReason::unlikely);
  }
}

/// Needs: suspending or suspended. What still runs on it may end first.
void Core::stop_asleep(Instance& instance, StopReason reason) {
  if (instance.in_flight.empty()) {
    stop(instance, StopMode::graceful, reason);
    return;
  }
  if (instance.wanted_back) want_no_more(instance);
  instance.drain_reason = StopReason::stop_request;
}

}  // namespace stoker::core
