// The full sweep of the core against the books, and what must be true once all is quiet: V1, V16,
// L1 to L6.
#include <fmt/format.h>

#include <algorithm>

#include "base/invariant.h"
#include "base/text.h"
#include "sim/checker.h"

namespace stoker::sim {

void Checker::sweep(Instant now, const core::Core& core) {
  core.check_invariants();
  const core::Summary summary = core.summary();
  std::int32_t running = 0;
  for (const core::InstanceSummary& each : summary.instances) {
    running += each.in_flight;
    if (each.state == core::InstanceState::planned) continue;
    const auto it = instances_.find(each.id);
    STOKER_INVARIANT(it != instances_.end(), "V6 instance {}", each.id.value);
    STOKER_INVARIANT(static_cast<std::int32_t>(it->second.running.size()) == each.in_flight,
                     "V9 instance {}: {} run, it says {}", each.id.value, it->second.running.size(),
                     each.in_flight);
  }
  std::int32_t waiting = 0;
  for (const core::DeploymentSummary& each : summary.deployments) {
    const auto it = deployments_.find(each.id);
    STOKER_INVARIANT(it != deployments_.end(), "deployment {}", each.id.value);
    Deployment& d = it->second;
    waiting += each.queued;
    STOKER_INVARIANT(d.waiting == each.queued, "V1 deployment {}: {} wait, it says {}",
                     each.id.value, d.waiting, each.queued);
    // V16: below the minimum for long only with a reason.
    const bool excused = d.by_hand || d.removed || shutting_down_ || each.failures > 0;
    const bool below = each.live_instances < d.spec.scale.min_instances && !excused;
    // Those that drain still count towards the maximum.
    const bool leaving = std::any_of(
        summary.instances.begin(), summary.instances.end(), [&](const core::InstanceSummary& i) {
          return i.deployment == each.id && (i.state == core::InstanceState::draining ||
                                             i.state == core::InstanceState::suspending ||
                                             i.state == core::InstanceState::stopping ||
                                             i.state == core::InstanceState::failed);
        });
    if (!below || leaving || !could_hold(d, false)) {
      d.below_minimum_since.reset();
    } else if (!d.below_minimum_since) {
      d.below_minimum_since = now;
    } else {
      // What is planned counts as alive, so that only the word of a death takes time.
      STOKER_INVARIANT(now - *d.below_minimum_since <= seconds(1), "V16 deployment {} has {} of {}",
                       each.id.value, each.live_instances, d.spec.scale.min_instances);
    }
  }
  for (const core::NodeSummary& each : summary.nodes) {
    // Reserved before the order that is seen from here.
    STOKER_INVARIANT(
        each.host_reserved >= host_held(each.id) && each.host_reserved <= each.host_memory,
        "V3 node {}: {} held, it says {} of {}", each.id.value, host_held(each.id).value,
        each.host_reserved.value, each.host_memory.value);
  }
  check_stores(now, summary);
  check_waiting(now, summary);
  check_asleep(summary);
  check_swaps(now, summary);
  check_limits(now, summary);
  check_forgotten(now, summary);
  check_least(summary);
  STOKER_INVARIANT(static_cast<std::size_t>(waiting + running) == requests_.size(),
                   "V1 {} wait and {} run of {}", waiting, running, requests_.size());
}

bool Checker::suits(const core::DeviceSpec& device, const core::DeviceNeed& needs) {
  const bool kind =
      needs.kinds.empty() || std::count(needs.kinds.begin(), needs.kinds.end(), device.kind) > 0;
  return kind && std::includes(device.labels.begin(), device.labels.end(), needs.labels.begin(),
                               needs.labels.end());
}

bool Checker::could_hold(const Deployment& d, bool now) const {
  const core::DeviceNeed& needs = d.spec.needs;
  if (d.spec.pool) {
    std::int32_t held = 0;
    for (const auto& [id, each] : instances_)
      held += each.pool == d.spec.pool ? each.pool_devices : 0;
    return (now ? held : 0) + needs.devices <= pools_.at(d.spec.pool).quota_devices;
  }
  std::map<NodeId, std::int32_t> on_node;
  for (const auto& [id, device] : devices_) {
    const bool stuck = std::any_of(device.residents.begin(), device.residents.end(),
                                   [&](InstanceId each) { return instances_.at(each).unkillable; });
    if (device.lost || stuck || !suits(device.spec, needs)) continue;
    Bytes free = device.spec.memory;
    std::int32_t share_permille = 1000;
    bool alone = false;
    if (now) {
      for (const InstanceId each : device.residents) {
        const Instance& resident = instances_.at(each);
        free -=
            std::max(resident.at_most, resident.held.private_bytes + resident.held.shared_bytes);
        share_permille -= resident.share_permille;
        alone |= resident.exclusive || needs.exclusive;
      }
      if (static_cast<std::int32_t>(device.residents.size()) >= device.spec.slots) continue;
    }
    if (alone || share_permille < needs.share_permille) continue;
    if (d.need.private_bytes + d.need.shared_bytes > free) continue;
    if (++on_node[device.spec.node] >= needs.devices) return true;
  }
  return false;
}

void Checker::check_settled(const core::Core& core, const World& world) {
  sweep(world.now(), core);
  STOKER_INVARIANT(world.open_requests() == 0, "L1 {} requests never ended", world.open_requests());
  const core::Summary summary = core.summary();
  if (trace_) {
    for (const core::InstanceSummary& each : summary.instances) {
      trace_(fmt::format("at the end: instance {} of deployment {} is {} with {} on {} devices",
                         each.id.value, each.deployment.value, to_text(each.state),
                         to_text(each.private_bytes + each.shared_bytes), each.devices.size()));
    }
  }
  std::map<DeploymentId, std::int32_t> placed;
  for (const core::InstanceSummary& each : summary.instances) {
    // A suspended one that is left was asked back, and waits; else its time would be over.
    if (each.state != core::InstanceState::planned &&
        each.state != core::InstanceState::suspended) {
      ++placed[each.deployment];
    } else {
      STOKER_INVARIANT(!could_hold(deployments_.at(each.deployment), true),
                       "L4 instance {} waits and there is room", each.id.value);
      continue;
    }
    STOKER_INVARIANT(each.state == core::InstanceState::ready, "L2 instance {} is {} for {} ns",
                     each.id.value, to_text(each.state), (world.now() - each.since).ns);
  }
  for (const core::DeploymentSummary& each : summary.deployments) {
    const Deployment& d = deployments_.at(each.id);
    STOKER_INVARIANT(
        d.by_hand || each.live_instances >= d.spec.scale.min_instances || !could_hold(d, false),
        "L4 deployment {} has {} of {}", each.id.value, each.live_instances,
        d.spec.scale.min_instances);
    const std::int32_t kept = d.removed ? 0 : d.spec.scale.min_instances;
    STOKER_INVARIANT(placed[each.id] <= kept, "L3 deployment {} keeps {}", each.id.value,
                     placed[each.id]);
  }
  check_settled_stores();
  for (const core::NodeSummary& each : summary.nodes) {
    STOKER_INVARIANT(each.host_reserved == host_held(each.id), "L6 node {} holds {}", each.id.value,
                     each.host_reserved.value);
  }
  for (const core::DeviceSummary& each : summary.devices) {
    const auto held = static_cast<std::int32_t>(devices_.at(each.id).residents.size());
    STOKER_INVARIANT(each.residents == held && (held > 0) == (each.reserved > Bytes{}),
                     "L6 device {} holds {} for {}", each.id.value, each.reserved.value, held);
  }
}

}  // namespace stoker::sim
