// The checked configuration turned into what each part needs: core specs with launch specs for the
// orchestrator, the directory for the gateway, device requests for the backend. Pure but for
// reading the sizes of model files.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "backend/devices/devices.h"
#include "config/config.h"
#include "gateway/directory.h"
#include "orchestrator/launch_spec.h"

namespace stoker::app {

/// The numbers that names have in one life of a server. None is used twice.
class PlanIds {
 public:
  /// The deployment's, given on first use; they count from 1.
  DeploymentId deployment(const std::string& name);
  /// From now on `name` is another deployment, or none.
  void forget(const std::string& name) { deployments_.erase(name); }
  WeightsId weights(const std::string& model);

 private:
  std::map<std::string, DeploymentId> deployments_;
  std::map<std::string, WeightsId> weights_;
  std::uint64_t deployments_given_ = 0;
};

/// One plan a deployment, in the order of the configuration.
/// Errors: invalid, naming the deployment (a runtime that this version cannot start).
[[nodiscard]] Result<std::vector<orchestrator::DeploymentPlan>> make_plans(
    const config::ServerConfig& config, PlanIds& ids);

/// Needs: `plans` were made from `config`.
[[nodiscard]] Result<gateway::DirectoryPtr> make_directory(
    const config::ServerConfig& config, const std::vector<orchestrator::DeploymentPlan>& plans);

[[nodiscard]] std::vector<backend::DeviceRequest> device_requests(
    const config::ServerConfig& config);

/// What suspended instances may hold of the host's memory: what is configured, and at most half of
/// a `cpu` device. That has so much less, because its memory is the host's.
/// Gives: {0}: nothing is lent, and nothing was changed.
[[nodiscard]] Bytes lend_host_memory(const config::ServerConfig& config,
                                     std::vector<backend::Device>& devices);

}  // namespace stoker::app
