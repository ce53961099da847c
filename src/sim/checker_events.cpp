// What each event tells the checker: its books, and the rare states that it shows.
#include <algorithm>

#include "sim/checker.h"

namespace stoker::sim {

void Checker::hear(Instant, const core::DeviceAdded& e) {
  devices_[e.device.id] = {e.device, {}, false};
}

void Checker::hear(Instant, const core::NodeAdded& e) {
  nodes_[e.node.id] = e.node;
}

void Checker::hear(Instant, const core::PoolAdded& e) {
  pools_[e.pool.id] = e.pool;
}

void Checker::hear(Instant, const core::TenantWeighed& e) {
  weights_[e.tenant] = e.weight;
}

void Checker::hear(Instant, const core::DeviceLost& e) {
  Device& device = devices_.at(e.device);
  device.lost = true;
  if (device.residents.empty()) reached(State::device_lost_idle);
  for (const auto& [id, each] : instances_) {
    if (each.stage == Stage::suspended &&
        std::count(each.home.begin(), each.home.end(), e.device) > 0) {
      reached(State::device_lost_while_suspended);
    }
  }
  for (const InstanceId id : device.residents) {
    const Instance& each = instances_.at(id);
    if (each.stage == Stage::starting || each.stage == Stage::loading) {
      reached(State::device_lost_while_loading);
    }
    if (!each.running.empty()) reached(State::device_lost_while_busy);
  }
}

void Checker::hear(Instant, const core::DeviceReturned& e) {
  devices_.at(e.device).lost = false;
  reached(State::device_returned);
}

void Checker::hear(Instant, const core::DeploymentAdded& e) {
  Deployment& d = deployments_[e.deployment.id];
  d.spec = e.deployment;
  d.need = e.deployment.estimate;
  d.shortest_resume = d.spec.expected_resume.ns > 0 ? d.spec.expected_resume
                                                    : Duration{d.spec.expected_start.ns / 4};
  d.most_instances = e.deployment.scale.max_instances;
}

void Checker::hear(Instant, const core::DeploymentChanged& e) {
  const auto it = deployments_.find(e.deployment.id);
  if (it == deployments_.end()) return;
  Deployment& d = it->second;
  const std::int32_t live = live_of(e.deployment.id);
  if (live > 0) reached(State::deployment_changed_while_running);
  if (live > e.deployment.scale.max_instances) reached(State::maximum_lowered_below_live);
  d.spec = e.deployment;
  d.changed = true;
  d.failing = false;
  d.starts.clear();
  d.most_instances = std::max(d.most_instances, e.deployment.scale.max_instances);
}

void Checker::hear(Instant, const core::BoundsChanged& e) {
  const auto it = deployments_.find(e.deployment);
  if (it == deployments_.end()) return;
  Deployment& d = it->second;
  const std::int32_t live = live_of(e.deployment);
  if (live > e.max_instances) {
    reached(State::maximum_lowered_below_live);
    d.changed = true;  // those beyond it still drain
  }
  core::ScalePolicy& policy = d.spec.scale;
  if (live < e.min_instances) reached(State::minimum_raised_above_live);
  if (live > e.min_instances && live <= policy.min_instances) {
    reached(State::minimum_lowered_below_live);
  }
  policy.min_instances = e.min_instances;
  policy.max_instances = e.max_instances;
  d.rebounded = true;
  d.most_instances = std::max(d.most_instances, e.max_instances);
}

void Checker::hear(Instant, const core::DeploymentRemoved& e) {
  const auto it = deployments_.find(e.deployment);
  if (it == deployments_.end()) return;
  it->second.removed = true;
  for (const auto& [id, each] : instances_) {
    if (each.deployment != e.deployment) continue;
    if (!each.running.empty()) reached(State::deployment_removed_while_busy);
    if (each.stage == Stage::suspended) reached(State::removed_while_suspended);
  }
}

void Checker::hear(Instant, const core::RequestArrived& e) {
  const auto it = deployments_.find(e.deployment);
  if (it != deployments_.end()) it->second.by_hand = false;
}

void Checker::hear(Instant now, const core::RequestUndelivered& e) {
  Request* r = requests_.find(e.request);
  if (r == nullptr || !r->instance) return;
  Deployment& owner = deployments_.at(r->deployment);
  std::int64_t& served = owner.served[r->tenant];
  served = std::max(served - share_of(r->tenant, r->cost),
                    owner.served_now);  // it was not served after all
  let_go(now, e.request, *r);
  instance(r->instance).broken = true;
  if (r->cancelled) return;  // its end follows
  if (r->attempts == 2) reached(State::undelivered_twice);
  if (!r->own_deadline) r->deadline = now + owner.spec.limits.queue_timeout;
  wait(e.request, *r);
}

void Checker::hear(Instant, const core::FirstTokenSent& e) {
  const Request* r = requests_.find(e.request);
  if (r == nullptr || !r->instance) return;
  Deployment& d = deployments_.at(r->deployment);
  const auto& objective = d.spec.scale.on.first_token;
  if (objective && e.took > *objective) d.token_late = true;
}

void Checker::hear(Instant, const core::RequestCancelled& e) {
  Request* r = requests_.find(e.request);
  if (r != nullptr) r->cancelled = true;
}

void Checker::hear(Instant now, const core::InstanceUp& e) {
  const auto it = instances_.find(e.instance);
  if (it == instances_.end() || it->second.generation != e.generation) return;
  if (it->second.stage == Stage::starting) it->second.stage = Stage::loading;
  // At the very beginning of time the core takes it for not known, and starts here.
  if (it->second.started_at == Instant{}) it->second.started_at = now;
}

void Checker::hear(Instant, const core::LoadProgressed& e) {
  const auto it = instances_.find(e.instance);
  if (it == instances_.end() || it->second.generation != e.generation) return;
  const bool before_up = it->second.stage == Stage::starting;
  if (before_up || it->second.stage == Stage::ready) reached(State::told_out_of_order);
}

void Checker::hear(Instant, const core::InstanceReady& e) {
  const auto it = instances_.find(e.instance);
  if (it == instances_.end() || it->second.generation != e.generation) {
    reached(State::ready_of_an_old_life);
    return;
  }
  if (it->second.stage == Stage::ready) reached(State::ready_told_twice);
  if (it->second.stage != Stage::loading) return;
  measured_ = e.measured;
  measured_of_ = e.instance;
  deployments_.at(it->second.deployment).need = e.measured;
  before_measured_ = it->second.held;
  if (e.measured.private_bytes > it->second.held.private_bytes) {
    reached(State::load_took_more_than_estimated);
  }
  // Taken back if the core says that it does not fit.
  it->second.held = e.measured;
}

void Checker::hear(Instant now, const core::InstanceExited& e) {
  const auto it = instances_.find(e.instance);
  if (it == instances_.end() || it->second.generation != e.generation) return;
  Instance& each = it->second;
  switch (each.stage) {
    case Stage::starting:
      reached(State::crashed_while_starting);
      break;
    case Stage::loading:
      reached(State::crashed_while_loading);
      break;
    case Stage::ready:
      reached(each.running.empty() ? State::crashed_while_idle : State::crashed_while_busy);
      break;
    case Stage::suspending:
      reached(State::crashed_while_suspending);
      each.stage = Stage::leaving;  // another may come at once
      return;
    case Stage::suspended:
      reached(State::crashed_while_suspended);
      each.stage = Stage::leaving;  // another may come at once
      return;
    case Stage::resuming:
      reached(State::crashed_while_resuming);
      each.stage = Stage::leaving;  // another may come at once
      return;
    case Stage::leaving:
      if (each.drained) reached(State::crashed_while_draining);
      break;
  }
  if (each.stage == Stage::leaving) return;
  note_failure(now, deployments_.at(each.deployment));
  if (each.stage != Stage::ready) note_failed_start(now, each);
}

void Checker::hear(Instant, const core::InstanceHung& e) {
  const auto it = instances_.find(e.instance);
  if (it == instances_.end()) return;
  if (it->second.stage == Stage::suspended) {
    reached(State::hung_while_suspended);
    return;
  }
  reached(it->second.stage == Stage::ready ? State::hung_while_busy : State::hung_while_loading);
}

void Checker::hear(Instant, const core::LoadFailed& e) {
  reached(e.failure == core::LoadFailure::out_of_memory ? State::load_ran_out_of_memory
                                                        : State::load_failed_for_good);
}

void Checker::hear(Instant now, const core::StartFailed& e) {
  reached(e.failure == core::StartFailure::may_pass ? State::start_failed_may_pass
                                                    : State::start_failed_will_stay);
  const auto it = instances_.find(e.instance);
  if (it == instances_.end()) return;
  note_failure(now, deployments_.at(it->second.deployment));
  note_failed_start(now, it->second);
}

void Checker::hear(Instant, const core::StartOutcomeUnknown&) {
  reached(State::start_outcome_unknown);
}

void Checker::hear(Instant, const core::InstancePlaced&) {
  reached(State::pool_start_placed_late);
}

void Checker::hear(Instant, const core::InstanceUnkillable& e) {
  reached(State::unkillable);
  const auto it = instances_.find(e.instance);
  if (it != instances_.end()) it->second.unkillable = true;
}

void Checker::hear(Instant, const core::InstanceSuspended& e) {
  const auto it = instances_.find(e.instance);
  if (it == instances_.end() || it->second.generation != e.generation) return;
  Instance& each = it->second;
  if (each.stage != Stage::suspending) return;
  if (e.device_bytes > Bytes{}) {
    reached(State::suspend_kept_device_memory);
    return;
  }
  if (e.host_bytes > each.host) reached(State::suspended_larger_than_estimated);
  for (const DeviceId device : each.devices) devices_.at(device).residents.erase(e.instance);
  each.home = each.devices;
  each.devices.clear();
  each.host_before = each.host;
  each.host = e.host_bytes;  // taken back if the core says that it does not fit
  each.stage = Stage::suspended;
}

void Checker::hear(Instant, const core::SuspendFailed& e) {
  reached(e.failure == core::SuspendFailure::refused ? State::suspend_refused
                                                     : State::suspend_outcome_unknown);
}

void Checker::hear(Instant, const core::InstanceResumed& e) {
  const auto it = instances_.find(e.instance);
  if (it == instances_.end() || it->second.generation != e.generation) return;
  Instance& each = it->second;
  if (each.stage != Stage::resuming) return;
  each.host = {};
  measured_ = e.measured;
  measured_of_ = e.instance;
  deployments_.at(each.deployment).need = e.measured;
  before_measured_ = each.held;
  each.held = e.measured;
}

void Checker::hear(Instant, const core::ResumeFailed& e) {
  reached(e.failure == core::SuspendFailure::refused ? State::resume_refused
                                                     : State::resume_outcome_unknown);
}

void Checker::hear(Instant, const core::WarmRequested& e) {
  const auto it = deployments_.find(e.deployment);
  if (it == deployments_.end()) return;
  if (it->second.failing && it->second.starts.size() >= 5) {
    reached(State::crash_loop_left_by_hand);
  }
  it->second.by_hand = false;
  it->second.failing = false;
  it->second.starts.clear();
}

void Checker::hear(Instant now, const core::StopRequested& e) {
  note_asked_to_stop(now, e);
  const auto it = deployments_.find(e.deployment);
  if (it != deployments_.end() && !e.instance) it->second.by_hand = true;
  for (const auto& [id, each] : instances_) {
    if (each.deployment == e.deployment && each.stage == Stage::suspended) {
      reached(State::stopped_by_hand_while_suspended);
    }
  }
}

void Checker::hear(Instant now, const core::ShutdownRequested&) {
  shutting_down_ = true;
  if (!shut_down_by_) shut_down_by_ = now + core::CoreConfig{}.shutdown_limit;
  for (const auto& [id, each] : instances_) {
    if (!each.running.empty()) reached(State::shut_down_while_busy);
  }
}

}  // namespace stoker::sim
