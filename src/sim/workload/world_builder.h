// Collects the names that a trace mentions into a TraceWorld, each once.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "sim/workload/trace.h"

namespace stoker::sim {

class WorldBuilder {
 public:
  [[nodiscard]] const TraceWorld& world() const { return world_; }
  void set_started_at(WallTime at) { world_.started_at = at; }
  void add_device(TraceDevice device) { world_.devices.push_back(std::move(device)); }

  /// Gives: the index of the deployment of that name; a new one is `defaults` with the name.
  std::uint32_t deployment(std::string_view name, const TraceDeployment& defaults);
  std::uint32_t tenant(std::string_view name);
  /// As deployment(), with the whole description; one of that name that is there already stays.
  std::uint32_t add_deployment(TraceDeployment deployment);

 private:
  // Sorted maps: they are looked into once a request, which is a few names deep.
  using Indices = std::map<std::string, std::uint32_t, std::less<>>;
  TraceWorld world_;
  Indices deployments_;
  Indices tenants_;
};

}  // namespace stoker::sim
