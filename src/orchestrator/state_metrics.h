// Gauges of what runs: instances, queues, device memory. Read from the core only when somebody
// scrapes, so that they cost a request nothing.
#pragma once

#include "obs/metrics.h"
#include "orchestrator/orchestrator.h"

namespace stoker::orchestrator {

/// Needs: both outlive the registry's last render(). Once per registry.
void register_state_metrics(obs::Registry& registry, const Orchestrator& orchestrator);

}  // namespace stoker::orchestrator
