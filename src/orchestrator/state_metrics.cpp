#include "orchestrator/state_metrics.h"

#include <array>
#include <map>
#include <memory>
#include <set>
#include <string>
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
  auto shown = std::make_shared<std::set<std::string>>();  // deployments that have series
  registry.on_render([shown, instances = &instances, desired = &desired, queued = &queued,
                      crash_loop = &crash_loop, memory = &memory, reserved = &reserved,
                      source = &orchestrator] {
    const core::Summary summary = source->summary();
    const std::shared_ptr<const Orchestrator::Plans> plans = source->plans();
    // A deployment that was replaced has the name of its successor: both count.
    std::map<std::string, core::DeploymentSummary> by_name;
    for (const std::string& name : *shown) by_name[name];
    std::map<std::pair<std::string, core::InstanceState>, std::int64_t> counts;
    for (const core::InstanceSummary& i : summary.instances) {
      ++counts[{plans->at(i.deployment)->spec.name, i.state}];
    }
    for (const core::DeploymentSummary& d : summary.deployments) {
      core::DeploymentSummary& all = by_name[plans->at(d.id)->spec.name];
      all.desired_instances += d.desired_instances;
      all.queued += d.queued;
      all.crash_loop |= d.crash_loop;
    }
    for (const auto& [name, d] : by_name) {
      shown->insert(name);
      for (const core::InstanceState state : shown_states) {
        instances->with({name, core::to_text(state)}).set(counts[{name, state}]);
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
