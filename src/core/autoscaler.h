// How many instances a deployment should have, from counts and averages alone. Pure.
#pragma once

#include <cstdint>
#include <span>

#include "core/actions.h"
#include "core/spec.h"

namespace stoker::core {

/// Averages over the long and the short window. See load_windows.h.
struct LoadAverages {
  std::int64_t slots_stable_milli = 0;  // slots in use, in thousandths
  std::int64_t slots_panic_milli = 0;
  std::int64_t rate_stable_milli = 0;  // requests/s, in thousandths
  std::int64_t rate_panic_milli = 0;
  Duration first_token;  // {0}: none was seen
};

/// Live = planned, starting, loading and ready instances: those that will take requests.
struct Demand {
  std::int32_t queued = 0;
  std::int32_t live_instances = 0;
  std::int32_t free_slots = 0;     // concurrency left on live instances, starting ones included
  bool minimum_suspended = false;  // an administrator stopped it; the next request lifts that
  std::int32_t ready_instances = 0;
  std::int32_t in_flight = 0;  // on ready instances
  LoadAverages load;
  std::int32_t wait_shortfall = 0;  // see shortfall_for_wait()
  /// One was stopped for want of load a moment ago: only requests that wait start one again.
  bool cooling_down = false;
};

struct ScaleDecision {
  std::int32_t desired_instances = 0;  // never below what lives: shrinking is a matter of idle time
  StartReason reason = StartReason::from_zero;  // of the instances that are missing
};

/// Gives: the largest of what these ask for, within [min, max]:
///   from zero one, whatever else is asked for;
///   queue depth: live + ceil(backlog / (concurrency x target_utilization)) when
///     backlog = queued - free_slots reaches scale_up_threshold;
///   queue wait: live + wait_shortfall;
///   load: demand_of_load();
///   spares: the instances that requests fill, and spare_instances more, once one is ready.
/// Source: DESIGN.md 4.14.
[[nodiscard]] ScaleDecision decide_scale(const ScalePolicy& policy, const Demand& demand);

/// What averages over time ask for.
struct LoadDemand {
  std::int32_t stable = 0;                        // by the long window: so many are kept
  std::int32_t panic = 0;                         // by the short one
  StartReason reason = StartReason::utilization;  // of the larger
  bool starts_panic = false;                      // the short window asks for twice what is ready
};
/// Gives: per signal ceil(average / target of one instance). Time to first token has one number for
///   both windows: ready x (mean / objective), at most twice what is ready, one less below half of
///   the objective, and never more than one instance per request in flight, because a request that
///   is alone on its instance gains nothing from another one.
/// Source: Knative's pod autoscaler (windows of 60 s and 6 s, panic at 200 %).
[[nodiscard]] LoadDemand demand_of_load(const ScalePolicy& policy, const LoadAverages& load,
                                        std::int32_t ready_instances);

/// What the wait of the newest request depends on.
struct WaitForecast {
  Duration objective;
  Duration start_time;    // of an instance, order to ready
  Duration service_time;  // of a request
  std::int32_t queued = 0;
  std::int32_t concurrency = 1;
  std::int32_t ready_instances = 0;    // all of their slots are taken
  std::span<const Duration> starting;  // until each of them should be ready, >= 0
  std::int64_t arrivals_per_second_milli = 0;
};
/// How many more instances the objective needs: none if what is ready and starting serves the queue
/// in time. Otherwise as many as do it if they come in time; if none can, as many as keep the
/// objective from the moment on when they are ready, counting what will have been served and what
/// will have come by then, and no more than the present rate of requests keeps busy.
/// Cost: O(starting).
[[nodiscard]] std::int32_t shortfall_for_wait(const WaitForecast& forecast);

}  // namespace stoker::core
