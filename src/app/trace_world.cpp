#include "app/trace_world.h"

#include <filesystem>

#include "app/plans.h"
#include "ledger/state_dir.h"

namespace stoker::app {

void recall_footprints(const orchestrator::Footprints& footprints,
                       const std::vector<backend::Device>& devices,
                       std::vector<orchestrator::DeploymentPlan>& plans) {
  for (orchestrator::DeploymentPlan& plan : plans) {
    plan.footprint_key = orchestrator::footprint_key(plan);
    plan.spec.measured = footprints.recall(plan.footprint_key, devices);
  }
}

sim::TraceWorld trace_world(const std::vector<backend::Device>& devices,
                            const std::vector<orchestrator::DeploymentPlan>& plans) {
  sim::TraceWorld world;
  for (const backend::Device& each : devices) {
    sim::TraceDevice device;
    device.name = each.id;
    device.kind = backend::to_text(each.kind);
    device.memory = each.memory;
    device.slots = each.slots;
    device.price_per_hour = each.price_per_hour;
    world.devices.push_back(std::move(device));
  }
  for (const orchestrator::DeploymentPlan& plan : plans) {
    core::MemoryNeed need = plan.spec.estimate;
    if (!plan.spec.measured.empty()) need = plan.spec.measured.begin()->second;
    sim::TraceDeployment deployment;
    deployment.name = plan.spec.name;
    deployment.memory = need.private_bytes + need.shared_bytes;
    deployment.weights = need.shared_bytes;
    deployment.concurrency = plan.spec.scale.concurrency;
    world.deployments.push_back(std::move(deployment));
  }
  return world;
}

Result<sim::TraceServer> simulated_server(const config::ServerConfig& config) {
  PlanIds ids;
  Result<std::vector<orchestrator::DeploymentPlan>> plans = make_plans(config, ids);
  if (!plans) return tl::unexpected(plans.error());
  Result<backend::DeviceProbe> probe = backend::probe_devices({device_requests(config)});
  if (!probe) return tl::unexpected(probe.error());
  const orchestrator::Footprints footprints(ledger::footprints_path(config.state_dir));
  recall_footprints(footprints, probe->devices, *plans);
  sim::TraceServer server;
  server.host_memory = lend_host_memory(config, probe->devices);
  for (const backend::Device& each : probe->devices) {
    server.devices.push_back(orchestrator::device_spec(DeviceId{server.devices.size() + 1}, each));
  }
  for (orchestrator::DeploymentPlan& plan : *plans) {
    server.deployments.push_back(std::move(plan.spec));
  }
  for (const config::TenantConfig& each : config.tenants) server.weights[each.name] = each.weight;
  return server;
}

}  // namespace stoker::app
