// How many instances a deployment should have, from counts alone. Pure.
#pragma once

#include <cstdint>

#include "core/actions.h"
#include "core/spec.h"

namespace stoker::core {

/// Live = planned, starting, loading and ready instances: those that will take requests.
struct Demand {
  std::int32_t queued = 0;
  std::int32_t live_instances = 0;
  std::int32_t free_slots = 0;     // concurrency left on live instances, starting ones included
  bool minimum_suspended = false;  // an administrator stopped it; the next request lifts that
};

struct ScaleDecision {
  std::int32_t desired_instances = 0;  // never below what lives: shrinking is a matter of idle time
  StartReason reason = StartReason::from_zero;  // of the instances that are missing
};

/// Gives: from zero one; beyond it live + ceil(backlog / (concurrency x target_utilization)) when
///   backlog = queued - free_slots reaches scale_up_threshold; within [min, max].
/// Source: DESIGN.md 4.14.
[[nodiscard]] ScaleDecision decide_scale(const ScalePolicy& policy, const Demand& demand);

}  // namespace stoker::core
