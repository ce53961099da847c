#include "orchestrator/state_metrics.h"

#include <array>
#include <map>
#include <utility>

namespace stoker::orchestrator {
namespace {

constexpr std::array<core::InstanceState, 10> shown_states = {
    core::InstanceState::planned, core::InstanceState::starting,   core::InstanceState::loading,
    core::InstanceState::ready,   core::InstanceState::draining,   core::InstanceState::stopping,
    core::InstanceState::failed,  core::InstanceState::suspending, core::InstanceState::suspended,
    core::InstanceState::resuming};

}  // namespace

void register_state_metrics(obs::Registry& registry, const Orchestrator& orchestrator) {
  auto& instances = registry.gauge_family({.name = "stoker_instances",
                                           .help = "Instances by state",
                                           .labels = {"deployment", "state"}});
  auto& desired = registry.gauge_family({.name = "stoker_desired_instances",
                                         .help = "Instances that the autoscaler wants",
                                         .labels = {"deployment"}});
  auto& queued = registry.gauge_family({.name = "stoker_queued_requests",
                                        .help = "Requests that wait for an instance",
                                        .labels = {"deployment"}});
  auto& crash_loop = registry.gauge_family({.name = "stoker_crash_loop",
                                            .help = "1 while a deployment is in a crash loop",
                                            .labels = {"deployment"}});
  auto& memory = registry.gauge_family({.name = "stoker_device_memory_bytes",
                                        .help = "Memory that instances may reserve",
                                        .labels = {"device"}});
  auto& reserved = registry.gauge_family({.name = "stoker_device_reserved_bytes",
                                          .help = "Memory that instances have reserved",
                                          .labels = {"device"}});
  registry.on_render([instances = &instances, desired = &desired, queued = &queued,
                      crash_loop = &crash_loop, memory = &memory, reserved = &reserved,
                      source = &orchestrator] {
    const core::Summary summary = source->summary();
    std::map<std::pair<DeploymentId, core::InstanceState>, std::int64_t> counts;
    for (const core::InstanceSummary& i : summary.instances) ++counts[{i.deployment, i.state}];
    for (const core::DeploymentSummary& d : summary.deployments) {
      const std::string& name = source->plans().at(d.id).spec.name;
      for (const core::InstanceState state : shown_states) {
        instances->with({name, core::to_text(state)}).set(counts[{d.id, state}]);
      }
      desired->with({name}).set(std::int64_t{d.desired_instances});
      queued->with({name}).set(std::int64_t{d.queued});
      crash_loop->with({name}).set(std::int64_t{d.crash_loop ? 1 : 0});
    }
    for (const core::DeviceSummary& d : summary.devices) {
      memory->with({d.name}).set(d.memory);
      reserved->with({d.name}).set(d.reserved);
    }
  });
}

}  // namespace stoker::orchestrator
