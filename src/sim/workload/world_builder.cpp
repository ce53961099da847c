#include "sim/workload/world_builder.h"

namespace stoker::sim {

std::uint32_t WorldBuilder::deployment(std::string_view name, const TraceDeployment& defaults) {
  if (const auto found = deployments_.find(name); found != deployments_.end()) {
    return found->second;
  }
  TraceDeployment added = defaults;
  added.name = name;
  return add_deployment(std::move(added));
}

std::uint32_t WorldBuilder::add_deployment(TraceDeployment deployment) {
  const auto index = static_cast<std::uint32_t>(world_.deployments.size());
  const auto [place, added] = deployments_.emplace(deployment.name, index);
  if (added) world_.deployments.push_back(std::move(deployment));
  return place->second;
}

std::uint32_t WorldBuilder::tenant(std::string_view name) {
  if (const auto found = tenants_.find(name); found != tenants_.end()) return found->second;
  const auto index = static_cast<std::uint32_t>(world_.tenants.size());
  tenants_.emplace(std::string(name), index);
  world_.tenants.emplace_back(name);
  return index;
}

}  // namespace stoker::sim
