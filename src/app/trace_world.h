// A server's configuration as the simulator and the recorded traffic want it.
#pragma once

#include <vector>

#include "backend/devices/devices.h"
#include "base/result.h"
#include "config/config.h"
#include "orchestrator/footprints.h"
#include "orchestrator/launch_spec.h"
#include "sim/trace_run.h"
#include "sim/workload/trace.h"

namespace stoker::app {

/// Names what each plan's instances hold, and takes over what earlier lives measured.
void recall_footprints(const orchestrator::Footprints& footprints,
                       const std::vector<backend::Device>& devices,
                       std::vector<orchestrator::DeploymentPlan>& plans);

/// What the first line of recorded traffic says of this server.
/// Needs: the footprints of `plans` were recalled.
[[nodiscard]] sim::TraceWorld trace_world(const std::vector<backend::Device>& devices,
                                          const std::vector<orchestrator::DeploymentPlan>& plans);

/// What the core of a server with this configuration would be told on this machine, with what an
/// earlier life of it measured. Starts and changes nothing.
/// Errors: as of serve(), before it opens its state directory.
[[nodiscard]] Result<sim::TraceServer> simulated_server(const config::ServerConfig& config);

}  // namespace stoker::app
