// Nobody waits for room that is there, or that idle ones of others could make: whoever is first in
// line must have been asked when it came.
#include <algorithm>

#include "base/invariant.h"
#include "sim/checker.h"

namespace stoker::sim {
namespace {

/// A device on which starts failed may be left alone so long.
constexpr Duration distrusted_for = seconds(31);
/// An idle instance keeps its place so long at most.
constexpr Duration longest_idle_stay = seconds(2);

bool is_leaving(core::InstanceState state) {
  return state == core::InstanceState::draining || state == core::InstanceState::stopping ||
         state == core::InstanceState::failed || state == core::InstanceState::suspending;
}

}  // namespace

void Checker::check_waiting(Instant now, const core::Summary& summary) const {
  if (shutting_down_ || (start_failed_at_ && now - *start_failed_at_ < distrusted_for)) return;
  // First in line: of each pool, and of our own devices.
  std::map<PoolId, const core::InstanceSummary*> first;
  bool wanted_back = false;  // some are in line by when they were asked for, not by their ids
  for (const core::InstanceSummary& each : summary.instances) {
    wanted_back |= each.wanted_back;
    if (each.state != core::InstanceState::planned) continue;
    const Deployment& d = deployments_.at(each.deployment);
    if (d.changed) return;  // its place in the line is as it was
    const core::InstanceSummary*& best = first[d.spec.pool];
    if (best == nullptr || d.spec.priority > deployments_.at(best->deployment).spec.priority) {
      best = &each;
    }
  }
  for (const auto& [pool, waiter] : first) {
    if (!pool && wanted_back) continue;
    const Deployment& d = deployments_.at(waiter->deployment);
    STOKER_INVARIANT(!could_hold(d, true), "L4 instance {} is first in line, and there is room",
                     waiter->id.value);
    STOKER_INVARIANT(pool || d.spec.needs.devices > 1 || !could_be_made(now, d, summary),
                     "L4 instance {} is first in line, and idle ones could make room",
                     waiter->id.value);
  }
}

/// Who waits while nothing of its deployment lives is reason enough for one that is suspended.
void Checker::check_asleep(const core::Summary& summary) const {
  std::map<DeploymentId, const core::DeploymentSummary*> waited_for;
  for (const core::DeploymentSummary& each : summary.deployments) {
    const bool waits = each.queued > 0 && each.live_instances == 0;
    if (waits && !deployments_.at(each.id).removed) waited_for[each.id] = &each;
  }
  // It is looked at again when one that leaves is gone.
  for (const core::InstanceSummary& each : summary.instances) {
    if (is_leaving(each.state)) waited_for.erase(each.deployment);
  }
  for (const core::InstanceSummary& each : summary.instances) {
    if (each.state != core::InstanceState::suspended) continue;
    const auto found = waited_for.find(each.deployment);
    STOKER_INVARIANT(found == waited_for.end(),
                     "L1 {} requests wait for deployment {}, and instance {} is not asked back",
                     found->second->queued, each.deployment.value, each.id.value);
  }
}

/// A busy one makes room only for those of its priority or a higher one.
void Checker::check_swaps(Instant now, const core::Summary& summary) const {
  std::optional<std::int32_t> most_urgent;
  for (const core::InstanceSummary& each : summary.instances) {
    if (each.state != core::InstanceState::planned && !each.wanted_back) continue;
    const Deployment& d = deployments_.at(each.deployment);
    if (d.changed) return;  // its place in the line is as it was
    if (!d.spec.pool)
      most_urgent = std::max(most_urgent.value_or(d.spec.priority), d.spec.priority);
  }
  if (!most_urgent) return;
  for (const core::InstanceSummary& each : summary.instances) {
    const bool leaves = each.state == core::InstanceState::draining ||
                        each.state == core::InstanceState::suspending;
    if (!leaves || each.drains_for != core::StopReason::swap || each.since != now) continue;
    const Deployment& d = deployments_.at(each.deployment);
    STOKER_INVARIANT(d.changed || d.spec.priority <= *most_urgent,
                     "instance {} of priority {} makes room, and nobody above {} waits",
                     each.id.value, d.spec.priority, *most_urgent);
  }
}

/// On one device, by stopping idle ones of others that have had their stay; false wherever
/// something leaves already.
bool Checker::could_be_made(Instant now, const Deployment& d, const core::Summary& summary) const {
  std::map<InstanceId, const core::InstanceSummary*> instances;
  std::map<DeploymentId, std::int32_t> to_spare;
  std::map<DeploymentId, std::int32_t> queued;
  for (const core::DeploymentSummary& each : summary.deployments) queued[each.id] = each.queued;
  for (const core::InstanceSummary& each : summary.instances) {
    if (is_leaving(each.state)) return false;
    instances[each.id] = &each;
    // Those that are starting may count too, but who waits is asked again when they are ready.
    if (each.state == core::InstanceState::ready) ++to_spare[each.deployment];
  }
  for (auto& [id, count] : to_spare) count -= deployments_.at(id).spec.scale.min_instances;
  for (const auto& [id, device] : devices_) {
    if (device.lost || !suits(device.spec, d.spec.needs)) continue;
    std::map<DeploymentId, std::int32_t> left = to_spare;
    Bytes free = device.spec.memory;
    std::int32_t slots = device.spec.slots;
    std::int32_t share_permille = 1000;
    bool alone = false;
    bool stays = false;
    for (const InstanceId resident : device.residents) {
      const auto it = instances.find(resident);
      if (it == instances.end()) return false;  // it was started in this step
      const core::InstanceSummary& each = *it->second;
      const bool idle = each.state == core::InstanceState::ready && each.in_flight == 0 &&
                        queued[each.deployment] == 0 && now - each.since >= longest_idle_stay;
      const Instance& books = instances_.at(resident);
      if (idle && each.deployment != d.spec.id && left[each.deployment]-- > 0) {
        // Each alone leaves the weights to the others; the core does not add up that all go.
        const WeightsId weights = deployments_.at(each.deployment).spec.weights;
        const auto same = [&](InstanceId other) {
          return weights &&
                 deployments_.at(instances_.at(other).deployment).spec.weights == weights;
        };
        const auto holders = std::count_if(device.residents.begin(), device.residents.end(), same);
        if (holders > 1) free -= books.held.shared_bytes;
        continue;
      }
      free -= std::max(books.at_most, books.held.private_bytes + books.held.shared_bytes);
      share_permille -= books.share_permille;
      alone |= books.exclusive || books.unkillable;
      stays = true;
      --slots;
    }
    if (alone || (stays && d.spec.needs.exclusive)) continue;
    if (slots >= 1 && share_permille >= d.spec.needs.share_permille &&
        d.need.private_bytes + d.need.shared_bytes <= free) {
      return true;
    }
  }
  return false;
}

/// A failed start, wherever it was: what the core may hold against a device.
void Checker::note_failed_start(Instant now, const Instance& instance) {
  start_failed_at_ = now;
  for (const DeviceId id : instance.started_on) {
    Device& device = devices_.at(id);
    ++device.failed_starts;
    device.failed_deployments.insert(instance.deployment);
    if (device.failed_starts >= 3 && device.failed_deployments.size() >= 2) {
      device.may_be_distrusted_until = now + distrusted_for;
    }
  }
}

void Checker::note_worked_start(const Instance& instance) {
  for (const DeviceId id : instance.started_on) {
    devices_.at(id).failed_starts = 0;
    devices_.at(id).failed_deployments.clear();
  }
}

/// What is due together is done in its order, so trust that came back since the step before may not
/// be known yet.
void Checker::check_distrust(const core::AwaitRoom& a) const {
  const std::int32_t distrusted = a.unfit[static_cast<std::size_t>(core::Unfit::distrusted)];
  std::int32_t may_be = 0;
  for (const auto& [id, device] : devices_)
    may_be += device.may_be_distrusted_until >= previous_ ? 1 : 0;
  STOKER_INVARIANT(distrusted <= may_be,
                   "instance {} is told of {} distrusted devices, and {} have given reason",
                   a.instance.value, distrusted, may_be);
}

}  // namespace stoker::sim
