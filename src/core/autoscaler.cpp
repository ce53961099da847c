#include "core/autoscaler.h"

#include <algorithm>

namespace stoker::core {

ScaleDecision decide_scale(const ScalePolicy& policy, const Demand& demand) {
  ScaleDecision decision{demand.live_instances, StartReason::from_zero};
  const std::int64_t backlog = std::int64_t{demand.queued} - demand.free_slots;
  if (demand.live_instances == 0 && demand.queued > 0) {
    decision = {1, StartReason::from_zero};
  } else if (backlog > 0 && backlog >= policy.scale_up_threshold) {
    // ceil(backlog / (concurrency x target / 100)) without leaving the integers
    const std::int64_t per_instance_x100 =
        std::int64_t{policy.concurrency} * policy.target_utilization_percent;
    const std::int64_t more = (backlog * 100 + per_instance_x100 - 1) / per_instance_x100;
    const std::int64_t wanted =
        std::min<std::int64_t>(demand.live_instances + more, policy.max_instances);
    decision = {static_cast<std::int32_t>(std::max<std::int64_t>(wanted, demand.live_instances)),
                StartReason::queue_depth};
  }
  if (!demand.minimum_suspended && decision.desired_instances < policy.min_instances) {
    decision = {policy.min_instances, StartReason::at_minimum};
  }
  if (decision.desired_instances > policy.max_instances) {
    decision.desired_instances = std::max(policy.max_instances, demand.live_instances);
  }
  return decision;
}

}  // namespace stoker::core
