// A workload trace through the production core, in the simulated world: what would this traffic
// have cost, and how long would it have waited, under this configuration?
//
// Nothing breaks here; for faults there is seed_run.h. The same trace, server and calibration give
// the same result on every machine.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/percentiles.h"
#include "base/result.h"
#include "core/spec.h"
#include "sim/workload/calibration.h"
#include "sim/workload/trace.h"

namespace stoker::sim {

/// What the core of a server is told before the first request.
struct TraceServer {
  std::vector<core::DeviceSpec> devices;
  Bytes host_memory;  // that the devices' node lends to suspended instances
  std::vector<core::DeploymentSpec> deployments;
  std::map<std::string, std::int32_t> weights;  // of tenants by name; 1 where there is none
};

/// The server that a trace describes itself, with the configuration's defaults for what no trace
/// says. Devices of which it says nothing: one cpu of 16 GiB.
[[nodiscard]] TraceServer server_of(const TraceWorld& world);

struct TraceRunOptions {
  double speed = 1;  // arrivals come so many times as fast
  /// The deployment that stands for one of the trace; unset: of the same name.
  std::function<std::string(const std::string&)> deployment_for;
  /// What instances and requests take, over what the trace's first line says.
  const Calibration* calibration = nullptr;
  /// Requests take what was recorded, where it was; false: what the calibration says.
  bool recorded_service = true;
};

/// One side of a comparison: what was recorded, or what was simulated.
struct TraceOutcomes {
  std::uint64_t cold_starts = 0;    // instances that were started
  std::uint64_t cold_requests = 0;  // requests that waited for a start
  std::uint64_t completed = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t refused = 0;  // expired ones too
  std::uint64_t failed = 0;   // interrupted ones too
  Percentiles wait;           // arrival to dispatch, of those that were dispatched
};

struct TraceRunResult {
  std::uint64_t requests = 0;
  Duration length;  // beginning of the trace to the last end
  TraceOutcomes simulated;
  /// The order of an instance's start to its end, without what it was suspended, times its devices,
  /// from the beginning of the trace until the last one beyond the minimum was gone.
  Duration device_time;
  Duration busy_time;  // the part with a request in flight
  TraceOutcomes recorded;
  std::uint64_t receipts = 0;  // requests that had one; none: `recorded` says nothing
};

/// Needs: `source` has not been read.
/// Errors: those of the source; a deployment that the server does not have (invalid).
[[nodiscard]] Result<TraceRunResult> run_trace(RequestSource& source, const TraceServer& server,
                                               const TraceRunOptions& options = {});

}  // namespace stoker::sim
