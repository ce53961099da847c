#include "core/core.h"

#include <algorithm>

#include "base/invariant.h"
#include "base/overloaded.h"

namespace stoker::core {

Core::Core(const CoreConfig& config)
    : config_(config), next_move_((config.epoch.value << 32U) + 1) {}
Core::~Core() = default;

void Core::step(Instant now, const Event& event, Actions& actions) {
  STOKER_INVARIANT(now >= now_, "V21 time went from {} back to {}", now_.ns, now.ns);
  now_ = now;
  actions_ = &actions;
  while (const std::optional<Timers::Due> due = timers_.take_due(now)) fire(*due);
  handle(event);
  // Each time round one that waits starts or is dropped, or nothing changes any more.
  while (!changed_devices_.empty() || !changed_pools_.empty()) retry_waiting();
  if (!forgotten_.empty()) forget();
  actions_ = nullptr;
}

void Core::forget() {
  for (const DeploymentId id : forgotten_) {
    for (const TimerKind kind :
         {TimerKind::retry, TimerKind::healthy, TimerKind::prewarm, TimerKind::load_check}) {
      timers_.clear(kind, id.value);
    }
    teachers_.erase(id);
    if (const Deployment* const d = find_deployment(id)) remove_user(*d);
    deployment_by_id_.erase(id);
    deployments_.erase(id);
  }
  forgotten_.clear();
}

void Core::handle(const Event& event) {
  std::visit(Overloaded{
                 [&](const DeviceAdded& e) { on(e); },
                 [&](const NodeAdded& e) { on(e); },
                 [&](const PoolAdded& e) { on(e); },
                 [&](const DeviceLost& e) { on(e); },
                 [&](const DeviceReturned& e) { on(e); },
                 [&](const DeploymentAdded& e) { on(e); },
                 [&](const DeploymentChanged& e) { on(e); },
                 [&](const BoundsChanged& e) { on(e); },
                 [&](const TenantWeighed& e) { on(e); },
                 [&](const FirstTokenSent& e) { on(e); },
                 [&](const DeploymentRemoved& e) { on(e); },
                 [&](const RequestArrived& e) { on(e); },
                 [&](const RequestEnded& e) { on(e); },
                 [&](const RequestCancelled& e) { on(e); },
                 [&](const RequestUndelivered& e) { on(e); },
                 [&](const InstancePlaced& e) { on(e); },
                 [&](const StartOutcomeUnknown& e) { on(e); },
                 [&](const InstanceUp& e) { on(e); },
                 [&](const LoadProgressed& e) { on(e); },
                 [&](const InstanceReady& e) { on(e); },
                 [&](const LoadFailed& e) { on(e); },
                 [&](const InstanceExited& e) { on(e); },
                 [&](const StartFailed& e) { on(e); },
                 [&](const InstanceHung& e) { on(e); },
                 [&](const InstanceUnkillable& e) { on(e); },
                 [&](const StoreAdded& e) { on(e); },
                 [&](const ModelFetched& e) { on(e); },
                 [&](const ModelDropped& e) { on(e); },
                 [&](const MoveFailed& e) { on(e); },
                 [&](const ModelInTier& e) { on(e); },
                 [&](const ModelLost& e) { on(e); },
                 [&](const TierLost& e) { on(e); },
                 [&](const InstanceSuspended& e) { on(e); },
                 [&](const SuspendFailed& e) { on(e); },
                 [&](const InstanceResumed& e) { on(e); },
                 [&](const ResumeFailed& e) { on(e); },
                 [&](const WarmRequested& e) { on(e); },
                 [&](const StopRequested& e) { on(e); },
                 [&](const KeepWished& e) { on(e); },
                 [&](const ShutdownRequested& e) { on(e); },
                 [](const WokeUp&) {},  // what was due has been done
             },
             event);
}

/// Whatever a timer names is there: its timers are cleared before it goes.
void Core::fire(const Timers::Due& due) {
  switch (due.kind) {
    case TimerKind::queue_deadline:
      refuse(RequestId{due.id}, RefuseReason::queue_timeout, seconds(1));
      return;
    case TimerKind::cancel_grace: {
      const Request* const request = requests_.find(RequestId{due.id});
      STOKER_INVARIANT(request != nullptr && request->state == RequestState::cancelling,
                       "request {} is not being cancelled", due.id);
      break_down(*request->instance, StopReason::cancel_ignored);
      return;
    }
    case TimerKind::start_deadline:
      start_overdue(instance(InstanceId{due.id}));
      return;
    case TimerKind::keep_check:
      check_keep(instance(InstanceId{due.id}));
      return;
    case TimerKind::suspend_check:
      check_suspended(instance(InstanceId{due.id}));
      return;
    case TimerKind::drain_limit:
      stop(instance(InstanceId{due.id}), StopMode::kill, StopReason::drain_limit);
      return;
    case TimerKind::stop_overdue:
      actions_->push_back(StopInstance{InstanceId{due.id},
                                       instance(InstanceId{due.id}).generation,
                                       StopMode::kill,
                                       StopReason::not_stopping,
                                       {}});
      return;
    case TimerKind::retry:
      scale(deployment(DeploymentId{due.id}));
      return;
    case TimerKind::healthy:
      deployment(DeploymentId{due.id}).failures.clear();
      return;
    case TimerKind::prewarm:
      prewarm(deployment(DeploymentId{due.id}));
      return;
    case TimerKind::load_check:
      check_load(deployment(DeploymentId{due.id}));
      return;
    case TimerKind::swap:
      changed_devices_.push_back(DeviceId{due.id});
      return;
    case TimerKind::pool_swap:
      changed_pools_.push_back(PoolId{due.id});
      return;
    case TimerKind::device_trust:
      device_to_change(DeviceId{due.id}).distrusted = false;
      changed_devices_.push_back(DeviceId{due.id});
      return;
    case TimerKind::cache_round:
      cache_round();
      return;
    case TimerKind::shutdown_limit:
      for (auto& [id, each] : deployments_) {
        refuse_all_queued(*each, RefuseReason::shutting_down);
        for (Instance* one : std::vector<Instance*>(each->instances)) {
          stop(*one, StopMode::kill, StopReason::shutdown);
        }
      }
      return;
  }
}

/// Its hello, its place in a pool or the progress of its load did not come in time.
void Core::start_overdue(Instance& instance) {
  if (instance.state == InstanceState::suspending) {
    suspend_overdue(instance);
  } else if (instance.state == InstanceState::resuming) {
    break_down(instance, StopReason::resume_failed);
  } else if (instance.state == InstanceState::loading) {
    break_down(instance, StopReason::load_stalled);
  } else if (instance.started_at == Instant{} && instance.pool) {
    stop(instance, StopMode::kill, StopReason::not_placed);
    scale(*instance.owner);
  } else {
    break_down(instance, StopReason::start_timeout);
  }
}

Core::Deployment* Core::find_deployment(DeploymentId id) const {
  Deployment* const* found = deployment_by_id_.find(id);
  return found == nullptr ? nullptr : *found;
}

Core::Deployment& Core::deployment(DeploymentId id) const {
  Deployment* found = find_deployment(id);
  STOKER_INVARIANT(found != nullptr, "deployment {}", id.value);
  return *found;
}

Core::Instance* Core::find_instance(InstanceId id) const {
  Instance* const* found = instance_by_id_.find(id);
  return found == nullptr ? nullptr : *found;
}

Core::Instance& Core::instance(InstanceId id) const {
  Instance* found = find_instance(id);
  STOKER_INVARIANT(found != nullptr, "instance {}", id.value);
  return *found;
}

/// The instance of that life, or nullptr: then the message is late and must change nothing.
Core::Instance* Core::live_instance(InstanceId id, Generation generation) const {
  Instance* instance = find_instance(id);
  return instance != nullptr && instance->generation == generation ? instance : nullptr;
}

const Core::Device& Core::device(DeviceId id) const {
  const auto it = std::lower_bound(devices_.begin(), devices_.end(), id,
                                   [](const Device& d, DeviceId at) { return d.spec.id < at; });
  STOKER_INVARIANT(it != devices_.end() && it->spec.id == id, "device {}", id.value);
  return *it;
}
Core::Device& Core::device_to_change(DeviceId id) {
  const auto index = static_cast<std::size_t>(&device(id) - devices_.data());
  if (stale_rooms_.empty() || stale_rooms_.back() != index) stale_rooms_.push_back(index);
  return devices_[index];
}

/// The only writer of Instance::state.
void Core::advance(Instance& instance, InstanceInput input) {
  const std::optional<InstanceState> next = lifecycle::next_state(instance.state, input);
  STOKER_INVARIANT(next.has_value(), "V7 instance {} in {} cannot take input {}", instance.id.value,
                   to_text(instance.state), static_cast<int>(input));
  count(instance, -1);
  const bool was_leaving = is_leaving(instance);
  const InstanceState before = instance.state;
  instance.state = *next;
  if (*next != InstanceState::suspending && *next != InstanceState::suspended) {
    instance.wanted_back = false;
  }
  instance.since = now_;
  count(instance, 1);
  if (!was_leaving && is_leaving(instance)) note_leaving(instance);
  if (instance.model) note_model_use(instance, before);
}

void Core::count(Instance& instance, std::int32_t sign) {
  Counts& counts = instance.owner->counts;
  switch (instance.state) {
    case InstanceState::ready:
      counts.ready += sign;
      instance.owner->ready_in_flight +=
          sign * static_cast<std::int32_t>(instance.in_flight.size());
      counts.live += sign;
      return;
    case InstanceState::planned:
      counts.planned += sign;
      [[fallthrough]];
    case InstanceState::starting:
    case InstanceState::loading:
      counts.live += sign;
      return;
    case InstanceState::resuming:
      counts.live += sign;
      counts.coming_back += sign;
      return;
    case InstanceState::suspending:
    case InstanceState::suspended:
      if (instance.wanted_back) {
        counts.live += sign;
        counts.planned += sign;
        counts.coming_back += sign;
      } else {
        counts.asleep += sign;
      }
      return;
    case InstanceState::draining:
      counts.draining += sign;
      return;
    case InstanceState::stopping:
    case InstanceState::failed:
    case InstanceState::gone:
      return;
  }
}

bool Core::quiet() const {
  return shutting_down_ && queued_ == 0 && running_ == 0 && instances_.empty();
}

Summary Core::summary() const {
  Summary summary;
  for (const auto& [id, d] : deployments_) {
    DeploymentSummary row{id,
                          d->queue.size(),
                          0,
                          d->counts.ready,
                          d->counts.live,
                          d->desired,
                          d->failures.consecutive(),
                          d->failures.crash_loop(),
                          d->failures.retry_at(),
                          d->start_time.get(),
                          d->counts.asleep,
                          d->resume_time.get()};
    for (const Instance* each : d->instances) {
      row.running += static_cast<std::int32_t>(each->in_flight.size());
    }
    summary.deployments.push_back(row);
  }
  for (const auto& [id, instance] : instances_) {
    MemoryNeed held;
    for (const DeviceId each : instance->devices) {
      const MemoryNeed here = device(each).memory.held_by(id);
      held.private_bytes += here.private_bytes;
      held.shared_bytes += here.shared_bytes;
    }
    summary.instances.push_back(
        {id, instance->generation, instance->owner->spec.id, instance->devices, instance->state,
         static_cast<std::int32_t>(instance->in_flight.size()), held.private_bytes,
         held.shared_bytes,
         instance->holds_host ? nodes_.at(instance->node).host.held_by(id).private_bytes : Bytes{},
         instance->since, instance->wanted_back, instance->drain_reason});
  }
  for (const Device& each : devices_) {
    summary.devices.push_back({each.spec.id, each.spec.kind, each.spec.name, each.spec.memory,
                               each.memory.reserved(), each.spec.slots, each.memory.residents(),
                               each.unusable()});
  }
  for (const auto& [id, node] : nodes_) {
    summary.nodes.push_back({id, node.host.capacity(), node.host.reserved()});
  }
  for (const auto& [id, store] : stores_) {
    for (const Tier tier : {Tier::host, Tier::disk}) {
      summary.stores.push_back({id, tier, store.plan.capacity(tier), store.plan.held(tier)});
    }
  }
  return summary;
}

}  // namespace stoker::core
