// The lives of instances: start, load, ready, idle, drain, stop, failure.
#include <algorithm>

#include "base/invariant.h"
#include "core/core.h"

namespace stoker::core {
namespace {

/// After its grace a stopping worker is killed; so long it may take to be seen gone.
constexpr Duration stop_slack = seconds(2);

bool is_starting(InstanceState state) {
  return state == InstanceState::starting || state == InstanceState::loading;
}

}  // namespace

void Core::on(const DeviceAdded& e) {
  STOKER_INVARIANT(!devices_.contains(e.device.id), "device {}", e.device.id.value);
  devices_.emplace(e.device.id, Device{e.device, MemoryLedger(e.device.memory), false});
  room_changed_ = true;
}

void Core::on(const DeploymentAdded& e) {
  const DeploymentId id = e.deployment.id;
  STOKER_INVARIANT(!deployments_.contains(id), "deployment {}", id.value);
  STOKER_INVARIANT(e.deployment.scale.concurrency >= 1, "deployment {}", id.value);
  STOKER_INVARIANT(e.deployment.scale.target_utilization_percent >= 1, "deployment {}", id.value);
  Deployment& d = deployments_[id];
  d.spec = e.deployment;
  d.measured = e.deployment.measured;
  scale(d);
}

void Core::on(const InstanceUp& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr || instance->state != InstanceState::starting) return;
  advance(e.instance, *instance, InstanceInput::up);
  timers_.set(TimerKind::start_deadline, e.instance.value,
              now_ + deployment(instance->deployment).spec.limits.load_stall_timeout);
}

void Core::on(const LoadProgressed& e) {
  const Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr || instance->state != InstanceState::loading) return;
  timers_.set(TimerKind::start_deadline, e.instance.value,
              now_ + deployments_.at(instance->deployment).spec.limits.load_stall_timeout);
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
  timers_.clear(TimerKind::start_deadline, e.instance.value);
  Deployment& d = deployment(instance->deployment);
  Device& device = devices_.at(instance->device);
  d.measured[device.spec.kind] = e.measured;
  if (!device.memory.correct(e.instance, e.measured)) {
    // The estimate was too low and the rest of the device is spoken for. Start again with the
    // measured size: then room is made first.
    stop(e.instance, *instance, StopMode::kill, StopReason::memory_overrun);
    scale(d);
    return;
  }
  room_changed_ = true;
  advance(e.instance, *instance, InstanceInput::became_ready);
  if (d.failures.any()) timers_.set(TimerKind::healthy, d.spec.id.value, now_ + healthy_reset);
  dispatch_waiting(d);
  if (instance->in_flight.empty()) became_idle(e.instance, *instance);
  if (shutting_down_) wind_down(d);
}

void Core::on(const LoadFailed& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr || !is_starting(instance->state)) return;
  Deployment& d = deployment(instance->deployment);
  advance(e.instance, *instance, InstanceInput::broke);
  stop(e.instance, *instance, StopMode::kill, StopReason::load_failed);
  if (e.failure == LoadFailure::out_of_memory) {
    note_failure(d, FailureKind::start_failed);
  } else {
    note_refused_load(d);
  }
  scale(d);
}

void Core::on(const InstanceExited& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr) return;
  Deployment& d = deployment(instance->deployment);
  const InstanceState was = instance->state;
  remove(e.instance, *instance);
  if (is_starting(was)) note_failure(d, FailureKind::start_failed);
  if (was == InstanceState::ready || was == InstanceState::draining) {
    note_failure(d, FailureKind::crashed);
  }
  scale(d);
  if (shutting_down_) wind_down(d);
}

void Core::on(const StartFailed& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr) return;
  Deployment& d = deployment(instance->deployment);
  const bool was_wanted = is_starting(instance->state);
  remove(e.instance, *instance);
  if (was_wanted && e.failure == StartFailure::will_stay) {
    note_refused_load(d);
  } else if (was_wanted) {
    note_failure(d, FailureKind::start_failed);
  }
  scale(d);
  if (shutting_down_) wind_down(d);
}

void Core::on(const InstanceHung& e) {
  Instance* instance = live_instance(e.instance, e.generation);
  if (instance != nullptr) break_down(e.instance, *instance, StopReason::hung);
}

void Core::on(const InstanceUnkillable& e) {
  const Instance* instance = live_instance(e.instance, e.generation);
  if (instance == nullptr) return;
  const auto device = devices_.find(instance->device);
  if (device != devices_.end()) device->second.lost = true;
}

void Core::on(const WarmRequested& e) {
  Deployment& d = deployment(e.deployment);
  if (shutting_down_) return;
  d.failures.clear();
  d.minimum_suspended = false;
  timers_.clear(TimerKind::retry, d.spec.id.value);
  const Counts counts = count(d);
  if (counts.live == 0 && counts.draining < d.spec.scale.max_instances) {
    plan(d, StartReason::warm_request);
  }
  scale(d);
}

void Core::on(const StopRequested& e) {
  Deployment& d = deployment(e.deployment);
  if (!e.instance) d.minimum_suspended = true;
  for (const InstanceId id : std::vector<InstanceId>(d.instances)) {
    if (e.instance && e.instance != id) continue;
    Instance& instance = instances_.at(id);
    if (instance.state == InstanceState::planned && d.queue.empty()) {
      drop_planned(id, instance);
    } else if (instance.state == InstanceState::ready) {
      drain(id, instance, StopReason::stop_request);
    } else if (is_starting(instance.state) && d.queue.empty()) {
      stop(id, instance, StopMode::graceful, StopReason::stop_request);
    }
  }
  scale(d);
}

void Core::on(const ShutdownRequested&) {
  if (shutting_down_) return;
  shutting_down_ = true;
  timers_.set(TimerKind::shutdown_limit, 0, now_ + config_.shutdown_limit);
  for (auto& [id, d] : deployments_) wind_down(d);
}

/// While shutting down: stops what no request of `d` needs any more.
void Core::wind_down(Deployment& d) {
  if (!d.queue.empty()) return;
  for (const InstanceId id : std::vector<InstanceId>(d.instances)) {
    Instance& instance = instances_.at(id);
    if (instance.state == InstanceState::planned) {
      drop_planned(id, instance);
    } else if (is_starting(instance.state) ||
               (instance.state == InstanceState::ready && instance.in_flight.empty())) {
      stop(id, instance, StopMode::graceful, StopReason::shutdown);
    }
  }
}

void Core::became_idle(InstanceId id, Instance& instance) {
  instance.idle_since = now_;
  if (!waiting_.empty()) room_changed_ = true;
  if (instance.idle_check_set) return;  // it will see by itself that it is too early
  const ScalePolicy& policy = deployments_.at(instance.deployment).spec.scale;
  instance.idle_check_set = true;
  timers_.set(TimerKind::idle_check, id.value,
              now_ + std::min(policy.scale_down_delay, policy.scale_to_zero_delay));
}

void Core::check_idle(InstanceId id) {
  const auto it = instances_.find(id);
  if (it == instances_.end()) return;
  Instance& instance = it->second;
  instance.idle_check_set = false;
  if (instance.state != InstanceState::ready || !instance.in_flight.empty()) return;
  Deployment& d = deployment(instance.deployment);
  const ScalePolicy& policy = d.spec.scale;
  const std::int32_t live = count(d).live;
  const Duration delay = live == 1 ? policy.scale_to_zero_delay : policy.scale_down_delay;
  const Instant due = instance.idle_since + delay;
  const std::int32_t minimum = d.minimum_suspended ? 0 : policy.min_instances;
  if (now_ >= due && live > minimum && d.queue.empty()) {
    stop(id, instance, StopMode::graceful, StopReason::idle);
    scale(d);
    return;
  }
  instance.idle_check_set = true;
  const Duration again = std::max(delay, ms(1));  // never twice in one instant
  timers_.set(TimerKind::idle_check, id.value, due > now_ ? due : now_ + again);
}

/// Leaves routing first, then waits for its requests; without any it stops at once.
void Core::drain(InstanceId id, Instance& instance, StopReason reason) {
  advance(id, instance, InstanceInput::drain);
  if (instance.in_flight.empty()) {
    stop(id, instance, StopMode::graceful, reason);
    return;
  }
  timers_.set(TimerKind::drain_limit, id.value,
              now_ + deployment(instance.deployment).spec.limits.drain_limit);
}

void Core::stop(InstanceId id, Instance& instance, StopMode mode, StopReason reason) {
  if (instance.state == InstanceState::planned) {
    drop_planned(id, instance);
    return;
  }
  const RequestLimits& limits = deployment(instance.deployment).spec.limits;
  if (lifecycle::next_state(instance.state, InstanceInput::stop)) {
    advance(id, instance, InstanceInput::stop);
  }
  timers_.clear(TimerKind::start_deadline, id.value);
  timers_.clear(TimerKind::idle_check, id.value);
  timers_.clear(TimerKind::drain_limit, id.value);
  const Duration grace = mode == StopMode::graceful ? limits.stop_grace : Duration{};
  timers_.set(TimerKind::stop_overdue, id.value, now_ + grace + stop_slack);
  actions_->push_back(StopInstance{id, instance.generation, mode, reason, grace});
}

/// It does not work any more. It is killed; its requests end when it is known to be gone.
void Core::break_down(InstanceId id, Instance& instance, StopReason reason) {
  const InstanceState was = instance.state;
  if (!lifecycle::next_state(was, InstanceInput::broke)) return;
  Deployment& d = deployment(instance.deployment);
  advance(id, instance, InstanceInput::broke);
  stop(id, instance, StopMode::kill, reason);
  note_failure(d, is_starting(was) ? FailureKind::start_failed : FailureKind::crashed);
  scale(d);
}

/// The process is gone: memory is free, requests on it are over, timers are void.
void Core::remove(InstanceId id, Instance& instance) {
  if (const auto device = devices_.find(instance.device); device != devices_.end()) {
    device->second.memory.release(id);
  }
  for (const RequestId request : std::vector<RequestId>(instance.in_flight)) {
    leave_instance(request, *requests_.find(request));
    requests_.erase(request);
    actions_->push_back(FailRequest{request, id});
  }
  for (const TimerKind kind : {TimerKind::start_deadline, TimerKind::idle_check,
                               TimerKind::drain_limit, TimerKind::stop_overdue}) {
    timers_.clear(kind, id.value);
  }
  advance(id, instance, InstanceInput::exited);
  std::erase(deployment(instance.deployment).instances, id);
  instances_.erase(id);
  room_changed_ = true;
}

void Core::note_failure(Deployment& d, FailureKind kind) {
  d.failures.failed(now_, kind, prng_);
  timers_.clear(TimerKind::healthy, d.spec.id.value);
  if (d.failures.crash_loop() && count(d).ready == 0) {
    refuse_all_queued(d, RefuseReason::crash_loop);
  }
}

/// Waiting would not help: unless another instance serves them, the waiting are told at once.
void Core::note_refused_load(Deployment& d) {
  note_failure(d, FailureKind::load_refused);
  if (count(d).ready == 0) refuse_all_queued(d, RefuseReason::load_failed);
}

/// The last waiter left: what has not begun is dropped; a load goes on unless told to abort.
void Core::abandon_unneeded(Deployment& d) {
  if (!d.queue.empty()) return;
  const std::int32_t minimum = d.minimum_suspended ? 0 : d.spec.scale.min_instances;
  std::int32_t live = count(d).live;
  const std::vector<InstanceId> ids = d.instances;
  for (auto it = ids.rbegin(); it != ids.rend() && live > minimum; ++it) {
    Instance& instance = instances_.at(*it);
    if (instance.reason == StartReason::warm_request) continue;
    if (instance.state == InstanceState::planned) {
      drop_planned(*it, instance);
      --live;
    } else if (is_starting(instance.state) && !d.spec.finish_abandoned_load) {
      stop(*it, instance, StopMode::kill, StopReason::abandoned);
      --live;
    }
  }
}

}  // namespace stoker::core
