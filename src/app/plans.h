// The checked configuration turned into what each part needs: core specs with launch specs for the
// orchestrator, the directory for the gateway, device requests for the backend. Pure but for
// reading the sizes of model files.
#pragma once

#include <string>
#include <vector>

#include "backend/devices/devices.h"
#include "config/config.h"
#include "gateway/directory.h"
#include "orchestrator/launch_spec.h"

namespace stoker::app {

/// One plan a deployment, in the order of the configuration; ids count from 1.
/// Errors: invalid, naming the deployment (a runtime that this version cannot start).
[[nodiscard]] Result<std::vector<orchestrator::DeploymentPlan>> make_plans(
    const config::ServerConfig& config);

/// Needs: `plans` were made from `config`.
[[nodiscard]] Result<gateway::DirectoryPtr> make_directory(
    const config::ServerConfig& config, const std::vector<orchestrator::DeploymentPlan>& plans);

[[nodiscard]] std::vector<backend::DeviceRequest> device_requests(
    const config::ServerConfig& config);

}  // namespace stoker::app
