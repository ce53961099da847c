#include "driven_world.h"

#include <string>

namespace stoker::bench {
namespace {

core::DeploymentSpec deployment(std::uint64_t id, const DrivenWorld& driven) {
  core::DeploymentSpec d;
  d.id = DeploymentId{id};
  d.name = "m" + std::to_string(id);
  d.limits.max_queued = 1'000'000;
  d.limits.queue_timeout = minutes(24 * 60);
  d.limits.start_timeout = d.limits.load_stall_timeout = minutes(30);
  d.estimate.private_bytes = mib(1);
  driven.shape(d);
  return d;
}

}  // namespace

sim::WorldTotals drive(const Arrivals& arrivals, const DrivenWorld& driven,
                       sim::Observer& observer) {
  sim::World world(1, sim::no_faults(), &observer);
  const NodeId node{1};
  if (driven.host_memory > Bytes{}) world.add_node({node, driven.host_memory});
  core::DeviceSpec device;
  device.id = DeviceId{1};
  device.kind = core::DeviceKind::fake;
  device.memory = driven.memory;
  device.slots = driven.slots;
  if (driven.host_memory > Bytes{}) device.node = node;
  world.add_device(device);
  for (std::uint64_t m = 1; m <= arrivals.models; ++m) {
    const core::DeploymentSpec spec = deployment(m, driven);
    sim::Behaviour behaviour;
    behaviour.start = {};
    behaviour.load = driven.load;
    behaviour.memory = spec.estimate;
    if (driven.behave) driven.behave(behaviour);
    world.add_deployment(spec, behaviour);
  }
  std::uint64_t id = 0;
  for (const Arrival& each : arrivals.all) {
    world.run_until(each.at);
    sim::Arrival arrival;
    arrival.request = RequestId{++id};
    arrival.deployment = DeploymentId{each.model + 1};
    arrival.service = driven.service.value_or(each.service);
    world.arrive(arrival);
  }
  world.run_until(driven.until);
  return world.totals();
}

}  // namespace stoker::bench
