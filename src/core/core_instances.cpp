// The lives of instances: start, load, ready, idle, drain, stop, failure.
#include <algorithm>
#include <numeric>

#include "base/invariant.h"
#include "core/core.h"

namespace stoker::core {
namespace {

/// After its grace a stopping worker is killed; so long it may take to be seen gone.
constexpr Duration stop_slack = seconds(2);

/// A device on which starts of several deployments failed one after another rests so long.
constexpr std::int32_t distrust_after_failures = 3;
constexpr std::size_t distrust_after_deployments = 2;
constexpr Duration distrust_for = seconds(30);

/// Until one was seen, a resume is taken to be so many times as fast as a start.   Source: sleep
/// modes of inference engines, SCHEDULING.md 1.
constexpr std::int64_t resume_part = 4;

bool is_starting(InstanceState state) {
  return state == InstanceState::starting || state == InstanceState::loading;
}

/// Its failure is one of suspending, not of the model.
bool is_suspend_failure(InstanceState was, bool suspend_ordered) {
  return was == InstanceState::suspended || was == InstanceState::resuming ||
         (was == InstanceState::suspending && suspend_ordered);
}

}  // namespace

/// Not asked for by hand, nor ahead of a request, nor by what runs.
bool Core::is_for_waiters(const Instance& instance) {
  return instance.reason != StartReason::warm_request && instance.reason != StartReason::expected &&
         !is_for_load(instance.reason);
}

void Core::on(const DeviceAdded& e) {
  const auto at = std::lower_bound(devices_.begin(), devices_.end(), e.device.id,
                                   [](const Device& d, DeviceId id) { return d.spec.id < id; });
  STOKER_INVARIANT(at == devices_.end() || at->spec.id != e.device.id, "device {}",
                   e.device.id.value);
  devices_.insert(at, Device(e.device));
  rooms_.resize(devices_.size());
  stale_rooms_.resize(devices_.size());
  std::iota(stale_rooms_.begin(), stale_rooms_.end(), std::size_t{0});
  note_store_device(e.device);
  changed_devices_.push_back(e.device.id);
  try_unplaceable({e.device.id});
}

void Core::on(const NodeAdded& e) {
  const NodeSpec& spec = e.node;
  const bool is_new =
      nodes_.emplace(spec.id, Node{spec, MemoryLedger(spec.host_memory), {}}).second;
  STOKER_INVARIANT(is_new, "node {}", spec.id.value);
}

void Core::on(const PoolAdded& e) {
  const bool is_new = pools_.emplace(e.pool.id, Pool{e.pool, 0, {}}).second;
  STOKER_INVARIANT(is_new, "pool {}", e.pool.id.value);
}

/// What runs there cannot go on; it is nobody's fault but the device's.
void Core::on(const DeviceLost& e) {
  Device& lost = device_to_change(e.device);
  if (lost.lost) return;
  lost.lost = true;
  std::vector<Deployment*> hit;
  std::vector<Instance*> on_it = lost.residents;
  if (const Node* node = find_node(lost.node)) {
    for (Instance* each : node->sleepers) {  // their only way back is gone
      if (std::count(each->home.begin(), each->home.end(), e.device) > 0) on_it.push_back(each);
    }
  }
  for (Instance* each : on_it) {
    if (!lifecycle::next_state(each->state, InstanceInput::broke)) continue;
    if (each->wanted_back) want_no_more(*each);
    advance(*each, InstanceInput::broke);
    stop(*each, StopMode::kill, StopReason::device_lost);
    hit.push_back(each->owner);
  }
  look_elsewhere(e.device);
  for (Deployment* d : hit) scale(*d);
}

/// Those who wait look again, now that the device is known to be of no use: elsewhere, or they
/// learn that no other could ever hold them.
void Core::look_elsewhere(DeviceId device) {
  std::vector<InstanceId> waiting;
  for (const auto& [key, each] : waiting_) waiting.push_back(key.instance);
  for (const InstanceId id : waiting) {
    Instance* const each = find_instance(id);
    if (each == nullptr || each->owner->spec.pool) continue;
    // One before it may have taken it along.
    if (each->state != InstanceState::planned && !each->wanted_back) continue;
    if (!any_suits({device}, each->owner->spec.needs)) continue;
    if (std::count(each->awaits.begin(), each->awaits.end(), device) > 0) await_at(*each, {});
    if (!each->awaits.empty()) continue;
    if (each->wanted_back) {
      try_resume(*each);
    } else {
      try_place(*each, nullptr);
    }
  }
}

void Core::on(const DeviceReturned& e) {
  Device& back = device_to_change(e.device);
  back.lost = false;
  back.distrusted = false;
  back.failed_starts = 0;
  back.failed_deployments.clear();
  timers_.clear(TimerKind::device_trust, e.device.value);
  changed_devices_.push_back(e.device);
  try_unplaceable({e.device});
}

void Core::on(const DeploymentAdded& e) {
  const DeploymentSpec& spec = e.deployment;
  STOKER_INVARIANT(find_deployment(spec.id) == nullptr, "deployment {}", spec.id.value);
  STOKER_INVARIANT(spec.scale.concurrency >= 1, "deployment {}", spec.id.value);
  STOKER_INVARIANT(spec.scale.target_utilization_percent >= 1, "deployment {}", spec.id.value);
  STOKER_INVARIANT(spec.needs.devices >= 1, "deployment {}", spec.id.value);
  STOKER_INVARIANT(!spec.pool || pools_.contains(spec.pool), "deployment {}", spec.id.value);
  std::unique_ptr<Deployment>& d = deployments_[spec.id];
  d = std::make_unique<Deployment>();
  d->spec = spec;
  d->measured = spec.measured;
  d->start_time = StartEstimate(spec.expected_start);
  d->resume_time =
      StartEstimate(spec.expected_resume.ns > 0 ? spec.expected_resume
                                                : Duration{spec.expected_start.ns / resume_part});
  d->jitter = Prng(config_.seed ^ spec.id.value * 0x9e3779b97f4a7c15ULL);
  if (spec.scale.on.any()) d->load = std::make_unique<LoadWindows>(now_);
  for (const auto& [tenant, weight] : weights_) d->queue.set_weight(tenant, weight);
  deployment_by_id_.insert(spec.id, d.get());
  add_user(*d);
  scale(*d);
}

void Core::on(const DeploymentChanged& e) {
  Deployment* const d = find_deployment(e.deployment.id);
  if (d == nullptr || d->removed) return;
  const bool moves = d->spec.pool != e.deployment.pool;
  STOKER_INVARIANT(!moves || d->instances.empty(), "deployment {} changes its pool while it runs",
                   e.deployment.id.value);
  remove_user(*d);
  d->spec = e.deployment;
  d->changed = true;
  add_user(*d);
  if (!d->spec.scale.on.any()) {
    d->load.reset();
  } else if (!d->load) {
    d->load = std::make_unique<LoadWindows>(now_);
  }
  d->wanted_by_load = 0;
  d->calm_at = {};
  // A new model, option or memory limit may be what was wrong.
  d->failures.clear();
  d->suspend_failures = 0;
  timers_.clear(TimerKind::retry, d->spec.id.value);
  shed_surplus(*d);
  dispatch_waiting(*d);
  scale(*d);
  look_again_at_idle(*d);
}

void Core::on(const KeepWished& e) {
  Deployment* const d = find_deployment(e.deployment);
  if (d == nullptr || d->keep_wish == e.idle) return;
  STOKER_INVARIANT(!e.idle || e.idle->ns >= 0, "deployment {}", e.deployment.value);
  d->keep_wish = e.idle;
  for (Instance* each : d->instances) {
    if (!each->is_idle) continue;
    each->keep_check_set = true;
    timers_.set(TimerKind::keep_check, each->id.value, std::max(now_, keep_until(*each)));
  }
}

void Core::on(const BoundsChanged& e) {
  Deployment* const d = find_deployment(e.deployment);
  if (d == nullptr || d->removed) return;
  STOKER_INVARIANT(e.max_instances >= 1 && e.min_instances <= e.max_instances, "deployment {}",
                   e.deployment.value);
  ScalePolicy& policy = d->spec.scale;
  policy.min_instances = e.min_instances;
  policy.max_instances = e.max_instances;
  d->changed |= d->counts.all() > e.max_instances;
  shed_surplus(*d);
  drop_unneeded_plans(*d);
  scale(*d);
  look_again_at_idle(*d);
}

/// Those beyond a lower maximum leave: first what has not begun or is suspended, then idle ones,
/// then the newest.
void Core::shed_surplus(Deployment& d) {
  std::vector<Instance*> order = d.instances;
  const auto rank = [](const Instance* i) {
    if (i->state == InstanceState::planned || i->state == InstanceState::suspended) return 0;
    if (is_starting(i->state) || i->state == InstanceState::resuming) return 1;
    if (i->state == InstanceState::suspending) return 2;
    return i->in_flight.empty() ? 2 : 3;
  };
  std::sort(order.begin(), order.end(), [&](const Instance* a, const Instance* b) {
    return std::pair(rank(a), b->id) < std::pair(rank(b), a->id);
  });
  std::int32_t surplus = d.counts.all() - std::max(d.spec.scale.max_instances, 1);
  for (Instance* each : order) {
    if (surplus <= 0) break;
    if (each->state == InstanceState::ready) {
      drain(*each, StopReason::stop_request);
    } else if (rank(each) < 2) {
      stop(*each, StopMode::graceful, StopReason::stop_request);
    } else if (each->state == InstanceState::suspending) {
      stop_asleep(*each, StopReason::stop_request);
    } else {
      continue;
    }
    --surplus;
  }
}

void Core::on(const TenantWeighed& e) {
  weights_[e.tenant] = e.weight;
  for (const auto& [id, each] : deployments_) each->queue.set_weight(e.tenant, e.weight);
}

void Core::on(const DeploymentRemoved& e) {
  Deployment* const d = find_deployment(e.deployment);
  if (d == nullptr || d->removed) return;
  d->removed = true;
  touch(*d);
  refuse_all_queued(*d, RefuseReason::removed);
  wind_down(*d);
  forget_if_empty(*d);
}

void Core::on(const InstancePlaced& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr || instance->state != InstanceState::starting) return;
  if (instance->started_at != Instant{}) return;
  instance->started_at = now_;
  timers_.set(TimerKind::start_deadline, e.instance.value,
              now_ + instance->owner->spec.limits.start_timeout);
}

/// It may be running: its room stays reserved until the world says that it is gone.
void Core::on(const StartOutcomeUnknown& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr || instance->state != InstanceState::starting) return;
  break_down(*instance, StopReason::start_unconfirmed);
}

void Core::on(const InstanceUp& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr || instance->state != InstanceState::starting) return;
  if (instance->started_at == Instant{}) instance->started_at = now_;
  advance(*instance, InstanceInput::up);
  timers_.set(TimerKind::start_deadline, e.instance.value,
              now_ + instance->owner->spec.limits.load_stall_timeout);
}

void Core::on(const LoadProgressed& e) {
  const Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr) return;
  const RequestLimits& limits = instance->owner->spec.limits;
  if (instance->state == InstanceState::loading) {
    timers_.set(TimerKind::start_deadline, e.instance.value, now_ + limits.load_stall_timeout);
  } else if (instance->state == InstanceState::resuming) {
    timers_.set(TimerKind::start_deadline, e.instance.value, now_ + limits.suspend_timeout);
  }
}

void Core::on(const InstanceReady& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr) {
    // It speaks for a life that is over: no orphan may keep the device.
    actions_->push_back(
        StopInstance{e.instance, e.generation, StopMode::kill, StopReason::superseded, {}});
    return;
  }
  if (instance->state != InstanceState::loading) return;
  if (!take_measured(*instance, e.measured)) return;
  Deployment& d = *instance->owner;
  note_start_time(*instance);
  note_came_up(d);
  note_device_start(*instance, true);
  serve(*instance);
}

/// Its reservations become what it really holds. Gives false if that does not fit: then it stops.
bool Core::take_measured(Instance& instance, const MemoryNeed& measured) {
  timers_.clear(TimerKind::start_deadline, instance.id.value);
  Deployment& d = *instance.owner;
  bool fits = true;
  bool needs_less = false;
  for (const DeviceId id : instance.devices) {
    Device& on_device = device_to_change(id);
    const MemoryNeed before = need_of(d, on_device.spec.kind);
    d.measured[on_device.spec.kind] = measured;
    needs_less |= measured.private_bytes < before.private_bytes ||
                  measured.shared_bytes < before.shared_bytes;
    fits = on_device.memory.correct(instance.id, measured) && fits;
  }
  if (!fits) {
    // The estimate was too low and the rest of the device is spoken for. Start again with the
    // measured size: then room is made first.
    stop(instance, StopMode::kill, StopReason::memory_overrun);
    scale(d);
    return false;
  }
  room_changed(instance);
  if (needs_less && d.counts.planned > 0) {  // so little may be free elsewhere
    for (const Device& each : devices_) changed_devices_.push_back(each.id);
  }
  return true;
}

/// Needs: loading or resuming, and it fits.
void Core::serve(Instance& instance) {
  Deployment& d = *instance.owner;
  advance(instance, InstanceInput::became_ready);
  instance.ready_at = now_;
  if (d.failures.any()) {
    timers_.set_earlier(TimerKind::healthy, d.spec.id.value, now_ + healthy_reset);
  }
  dispatch_waiting(d);
  if (d.load || d.spec.scale.spare_instances > 0) scale(d);
  if (instance.in_flight.empty()) became_idle(instance);
  look_again_at_idle(d);
  if (shutting_down_) wind_down(d);
}

void Core::on(const LoadFailed& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr || !is_starting(instance->state)) return;
  Deployment& d = *instance->owner;
  advance(*instance, InstanceInput::broke);
  stop(*instance, StopMode::kill, StopReason::load_failed);
  if (e.failure == LoadFailure::out_of_memory) {
    note_device_start(*instance, false);
    note_failure(d, FailureKind::start_failed);
  } else {
    note_refused_load(d);
  }
  scale(d);
}

void Core::on(const InstanceExited& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr) return;
  Deployment& d = *instance->owner;
  const InstanceState was = instance->state;
  std::vector<DeviceId> usable_again;
  if (instance->unkillable) usable_again = instance->devices;
  const bool asleep = is_suspend_failure(was, instance->suspend_ordered);
  if (is_starting(was)) note_device_start(*instance, false);
  remove(*instance);
  if (asleep) note_suspend_failure(d);
  if (is_starting(was)) note_failure(d, FailureKind::start_failed);
  if (was == InstanceState::ready || was == InstanceState::draining ||
      (was == InstanceState::suspending && !asleep)) {
    note_failure(d, FailureKind::crashed);
  }
  scale(d);
  if (!usable_again.empty()) try_unplaceable(usable_again);
  if (shutting_down_ || d.removed) wind_down(d);
  forget_if_empty(d);
}

void Core::on(const StartFailed& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr) return;
  Deployment& d = *instance->owner;
  const bool was_wanted = is_starting(instance->state);
  if (was_wanted && e.failure == StartFailure::may_pass) note_device_start(*instance, false);
  remove(*instance);
  if (was_wanted && e.failure == StartFailure::will_stay) {
    note_refused_load(d);
  } else if (was_wanted) {
    note_failure(d, FailureKind::start_failed);
  }
  scale(d);
  if (shutting_down_ || d.removed) wind_down(d);
  forget_if_empty(d);
}

void Core::on(const InstanceHung& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance != nullptr) break_down(*instance, StopReason::hung);
}

void Core::on(const InstanceUnkillable& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr || instance->unkillable) return;
  instance->unkillable = true;
  const std::vector<DeviceId> devices = instance->devices;
  for (const DeviceId id : devices) ++device_to_change(id).unkillable;
  for (const DeviceId id : devices) look_elsewhere(id);
}

void Core::on(const WarmRequested& e) {
  Deployment* const d = find_deployment(e.deployment);
  if (d == nullptr || d->removed || shutting_down_) return;
  d->failures.clear();
  d->suspend_failures = 0;
  d->minimum_suspended = false;
  timers_.clear(TimerKind::retry, d->spec.id.value);
  if (d->counts.live == 0) bring(*d, StartReason::warm_request);
  scale(*d);
}

void Core::on(const StopRequested& e) {
  Deployment* const d = find_deployment(e.deployment);
  if (d == nullptr) return;
  if (!e.instance) d->minimum_suspended = true;
  for (Instance* instance : std::vector<Instance*>(d->instances)) {
    if (e.instance && e.instance != instance->id) continue;
    if (instance->state == InstanceState::planned && d->queue.empty()) {
      drop_planned(*instance);
    } else if (instance->state == InstanceState::suspending ||
               instance->state == InstanceState::suspended) {
      if (!instance->wanted_back || d->queue.empty()) {
        stop_asleep(*instance, StopReason::stop_request);
      }
    } else if (instance->state == InstanceState::ready) {
      drain(*instance, StopReason::stop_request);
    } else if ((is_starting(instance->state) || instance->state == InstanceState::resuming) &&
               d->queue.empty()) {
      stop(*instance, StopMode::graceful, StopReason::stop_request);
    }
  }
  scale(*d);
}

void Core::on(const ShutdownRequested&) {
  if (shutting_down_) return;
  shutting_down_ = true;
  timers_.set(TimerKind::shutdown_limit, 1, now_ + config_.shutdown_limit);
  for (auto& [id, d] : deployments_) wind_down(*d);
}

/// While the server or the deployment ends: stops what no request of `d` needs any more.
void Core::wind_down(Deployment& d) {
  if (!d.queue.empty()) return;
  const StopReason reason = shutting_down_ ? StopReason::shutdown : StopReason::removed;
  for (Instance* instance : std::vector<Instance*>(d.instances)) {
    if (instance->state == InstanceState::planned) {
      drop_planned(*instance);
    } else if (is_starting(instance->state) || instance->state == InstanceState::resuming ||
               instance->state == InstanceState::suspended ||
               ((instance->state == InstanceState::ready ||
                 instance->state == InstanceState::suspending) &&
                instance->in_flight.empty())) {
      stop(*instance, StopMode::graceful, reason);
    }
  }
}

/// Needs: ready and without a request. The list stays ordered by itself, since time only grows.
void Core::became_idle(Instance& instance) {
  STOKER_INVARIANT(!instance.is_idle, "instance {}", instance.id.value);
  instance.idle_since = now_;
  instance.is_idle = true;
  instance.longer_idle = shortest_idle_;
  instance.shorter_idle = nullptr;
  (shortest_idle_ == nullptr ? longest_idle_ : shortest_idle_->shorter_idle) = &instance;
  shortest_idle_ = &instance;
  if (!waiting_.empty()) room_changed(instance);
  if (instance.keep_check_set) return;  // it will see by itself that it is too early
  instance.keep_check_set = true;
  timers_.set(TimerKind::keep_check, instance.id.value, now_ + first_check_of(instance));
}

void Core::no_longer_idle(Instance& instance) {
  if (!instance.is_idle) return;
  instance.is_idle = false;
  (instance.longer_idle == nullptr ? longest_idle_ : instance.longer_idle->shorter_idle) =
      instance.shorter_idle;
  (instance.shorter_idle == nullptr ? shortest_idle_ : instance.shorter_idle->longer_idle) =
      instance.longer_idle;
}

/// Leaves routing first, then waits for its requests; without any it stops at once. One that makes
/// room for another model is never cut, so it has no limit but that of its requests.
void Core::drain(Instance& instance, StopReason reason) {
  instance.drain_reason = reason;
  no_longer_idle(instance);
  advance(instance, InstanceInput::drain);
  if (instance.in_flight.empty()) {
    stop(instance, StopMode::graceful, reason);
    return;
  }
  if (reason == StopReason::swap) return;
  timers_.set(TimerKind::drain_limit, instance.id.value,
              now_ + instance.owner->spec.limits.drain_limit);
}

/// Needs: it drains and its last request has ended.
void Core::drained(Instance& instance) {
  timers_.clear(TimerKind::drain_limit, instance.id.value);
  stop(instance, StopMode::graceful, instance.drain_reason);
}

void Core::stop(Instance& instance, StopMode mode, StopReason reason) {
  if (instance.state == InstanceState::planned) {
    drop_planned(instance);
    return;
  }
  const RequestLimits& limits = instance.owner->spec.limits;
  no_longer_idle(instance);
  if (instance.wanted_back) want_no_more(instance);
  if (lifecycle::next_state(instance.state, InstanceInput::stop)) {
    advance(instance, InstanceInput::stop);
  }
  for (const TimerKind kind : {TimerKind::start_deadline, TimerKind::keep_check,
                               TimerKind::drain_limit, TimerKind::suspend_check}) {
    timers_.clear(kind, instance.id.value);
  }
  const Duration grace = mode == StopMode::graceful ? limits.stop_grace : Duration{};
  timers_.set(TimerKind::stop_overdue, instance.id.value, now_ + grace + stop_slack);
  actions_->push_back(StopInstance{instance.id, instance.generation, mode, reason, grace});
}

/// It does not work any more. It is killed; its requests end when it is known to be gone.
void Core::break_down(Instance& instance, StopReason reason) {
  const InstanceState was = instance.state;
  if (!lifecycle::next_state(was, InstanceInput::broke)) return;
  Deployment& d = *instance.owner;
  no_longer_idle(instance);
  if (instance.wanted_back) want_no_more(instance);
  advance(instance, InstanceInput::broke);
  stop(instance, StopMode::kill, reason);
  if (is_starting(was)) note_device_start(instance, false);
  if (is_suspend_failure(was, instance.suspend_ordered)) {
    note_suspend_failure(d);
  } else {
    note_failure(d, is_starting(was) ? FailureKind::start_failed : FailureKind::crashed);
  }
  scale(d);
}

/// The process is gone: memory is free, requests on it are over, timers are void.
void Core::remove(Instance& instance) {
  const InstanceId id = instance.id;
  Deployment& d = *instance.owner;
  no_longer_idle(instance);
  if (instance.wanted_back) want_no_more(instance);
  for (const RequestId request : std::vector<RequestId>(instance.in_flight)) {
    leave_instance(request, *requests_.find(request));
    requests_.erase(request);
    actions_->push_back(FailRequest{request, id});
  }
  note_if_idle(d);
  room_changed(instance);
  release_room(instance);
  release_host(instance);
  for (const TimerKind kind :
       {TimerKind::start_deadline, TimerKind::keep_check, TimerKind::drain_limit,
        TimerKind::stop_overdue, TimerKind::suspend_check}) {
    timers_.clear(kind, id.value);
  }
  advance(instance, InstanceInput::exited);
  std::erase(d.instances, &instance);
  instance_by_id_.erase(id);
  instances_.erase(id);
}

void Core::note_failure(Deployment& d, FailureKind kind) {
  d.failures.failed(now_, kind, d.jitter);
  timers_.clear(TimerKind::healthy, d.spec.id.value);
  // Others go on: they may be healthy for long without another one that gets ready.
  if (d.counts.ready > 0) timers_.set(TimerKind::healthy, d.spec.id.value, now_ + healthy_reset);
  if (d.failures.crash_loop() && !d.counts.may_serve()) {
    refuse_all_queued(d, RefuseReason::crash_loop);
  }
}

/// Waiting would not help: unless another instance serves them, the waiting are told at once.
void Core::note_refused_load(Deployment& d) {
  note_failure(d, FailureKind::load_refused);
  if (!d.counts.may_serve()) refuse_all_queued(d, RefuseReason::load_failed);
}

/// From here on its gaps between requests say something to others too. Before, they are those of a
/// model that nobody can use: a broken one must change nothing for the others (V22).
void Core::note_came_up(Deployment& d) {
  if (d.came_up) return;
  d.came_up = true;
  teachers_.insert(d.spec.id);
  if (d.in_flight > 0 || !d.queue.empty()) next_use_.arrived(d.next_use, now_);
}

/// A device on which starts fail whatever the model is half dead: it is left alone for a while, so
/// that it does not draw every new start to its free memory. One broken model alone proves nothing.
void Core::note_device_start(const Instance& instance, bool worked) {
  for (const DeviceId id : instance.devices) {
    Device& on_device = device_to_change(id);
    if (worked) {
      on_device.failed_starts = 0;
      on_device.failed_deployments.clear();
      continue;
    }
    ++on_device.failed_starts;
    std::vector<DeploymentId>& failed = on_device.failed_deployments;
    const DeploymentId deployment_id = instance.owner->spec.id;
    if (failed.size() < distrust_after_deployments &&
        std::count(failed.begin(), failed.end(), deployment_id) == 0) {
      failed.push_back(deployment_id);
    }
    if (on_device.failed_starts < distrust_after_failures ||
        failed.size() < distrust_after_deployments || on_device.distrusted) {
      continue;
    }
    // Where else would they go? The only device of its kind is used as it is.
    const bool others = std::any_of(devices_.begin(), devices_.end(), [&](const Device& other) {
      return other.spec.id != id && other.spec.kind == on_device.spec.kind && !other.distrusted &&
             !other.unusable();
    });
    if (!others) continue;
    on_device.distrusted = true;
    on_device.failed_starts = 0;
    failed.clear();
    timers_.set(TimerKind::device_trust, id.value, now_ + distrust_for);
  }
}

/// The last waiter left: what has not begun is dropped; a load goes on unless told to abort.
void Core::abandon_unneeded(Deployment& d) {
  if (!d.queue.empty()) return;
  drop_unneeded_plans(d);
  if (d.spec.finish_abandoned_load) return;
  const std::vector<Instance*> all = d.instances;
  for (auto it = all.rbegin(); it != all.rend() && d.counts.live > minimum_of(d); ++it) {
    if (is_starting((*it)->state) && is_for_waiters(**it)) {
      stop(**it, StopMode::kill, StopReason::abandoned);
    }
  }
}

/// Nobody waits: what was planned for those who waited, and has no room yet, is not needed.
void Core::drop_unneeded_plans(Deployment& d) {
  if (!d.queue.empty() || d.counts.planned == 0) return;
  const std::vector<Instance*> all = d.instances;
  for (auto it = all.rbegin(); it != all.rend() && d.counts.live > minimum_of(d); ++it) {
    if (!is_for_waiters(**it)) continue;
    if ((*it)->state == InstanceState::planned)
      drop_planned(**it);
    else if ((*it)->wanted_back)
      want_no_more(**it);
  }
}

/// Of a removed deployment nothing is left: its state goes at the end of the step, when nobody
/// holds a reference to it.
void Core::forget_if_empty(Deployment& d) {
  if (d.removed && d.instances.empty()) forgotten_.push_back(d.spec.id);
}

}  // namespace stoker::core
