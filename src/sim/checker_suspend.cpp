// Orders that take instances off their devices and back, and the host memory that they hold: V3,
// V7, V12, V15, V16.
#include <algorithm>

#include "base/invariant.h"
#include "sim/checker.h"

namespace stoker::sim {

using core::StopReason;

void Checker::on(Instant now, const core::SuspendInstance& a, const core::Event& cause) {
  Instance& each = instance(a.instance);
  Deployment& d = deployments_.at(each.deployment);
  STOKER_INVARIANT(each.generation == a.generation, "instance {}", a.instance.value);
  STOKER_INVARIANT(each.stage == Stage::ready && each.running.empty() && !each.broken,
                   "V15 instance {} is suspended while it works", a.instance.value);
  STOKER_INVARIANT((d.spec.can_suspend && d.spec.scale.keep_warm.suspend) || d.changed,
                   "instance {} cannot be suspended", a.instance.value);
  STOKER_INVARIANT(!each.pool, "instance {} of a pool is suspended", a.instance.value);
  // It may have waited for host memory: then others may have gone since it was chosen.
  const bool waited = std::holds_alternative<core::InstanceExited>(cause) ||
                      std::holds_alternative<core::StartFailed>(cause) ||
                      std::holds_alternative<core::InstanceResumed>(cause);
  if (a.reason == StopReason::idle) {
    if (!waited) check_kept(now, each, d);
    idle_choice(now, each, d, a.instance);
    reached(State::suspended_idle);
  } else if (a.reason == StopReason::make_room) {
    reached(State::suspended_to_make_room);
  } else {
    STOKER_INVARIANT(a.reason == StopReason::swap, "instance {} is suspended for {}",
                     a.instance.value, to_text(a.reason));
    reached(State::suspended_for_swap);
  }
  if (waited) reached(State::host_room_awaited);
  if (a.reason != StopReason::swap && !waited) {
    STOKER_INVARIANT(d.by_hand || warm_of(each.deployment) > d.spec.scale.min_instances,
                     "V16 deployment {} falls below its minimum", each.deployment.value);
  }
  if (++each.suspends == 2) reached(State::suspended_again);
  each.stage = Stage::suspending;
  each.node = devices_.at(each.devices.front()).spec.node;
  each.host = a.host_bytes;
  check_host(each.node);
}

void Checker::on(Instant now, const core::ResumeInstance& a, const core::Event& cause) {
  Instance& each = instance(a.instance);
  Deployment& d = deployments_.at(each.deployment);
  STOKER_INVARIANT(each.generation == a.generation && a.deployment == each.deployment,
                   "instance {}", a.instance.value);
  STOKER_INVARIANT(each.stage == Stage::suspended, "V7 instance {} is resumed and not suspended",
                   a.instance.value);
  STOKER_INVARIANT(a.devices == each.home, "V7 instance {} is resumed on other devices",
                   a.instance.value);
  STOKER_INVARIANT(!d.removed || d.waiting > 0, "instance {} of a removed deployment",
                   a.instance.value);
  check_cool_down(d, a.reason, a.deployment, a.wanted_at);
  each.stage = Stage::resuming;
  each.devices = a.devices;
  each.held = a.reserved;
  each.resumed_at = now;
  each.reason = a.reason;
  each.share_permille = d.spec.needs.share_permille;
  each.exclusive = d.spec.needs.exclusive;
  take_devices(d, a.instance, a.devices);
  if (a.reason != core::StartReason::replace) d.scaled_up_at = now;
  if (std::holds_alternative<core::InstanceSuspended>(cause)) {
    reached(State::asked_back_while_suspending);
  }
  switch (a.reason) {
    case core::StartReason::at_minimum:
      reached(State::resumed_for_minimum);
      break;
    case core::StartReason::warm_request:
      reached(State::resumed_by_hand);
      break;
    default:
      reached(is_for_load(a.reason) ? State::resumed_for_load : State::resumed_for_request);
      break;
  }
}

Bytes Checker::host_held(NodeId id) const {
  Bytes sum;
  for (const auto& [instance, each] : instances_) {
    if (each.node == id) sum += each.host;
  }
  return sum;
}

/// V3: what the suspended hold, and those on their way, fits into what the node lends.
void Checker::check_host(NodeId id) const {
  const Bytes held = host_held(id);
  STOKER_INVARIANT(held <= nodes_.at(id).host_memory, "V3 node {} lends {} of {}", id.value,
                   held.value, nodes_.at(id).host_memory.value);
}

}  // namespace stoker::sim
