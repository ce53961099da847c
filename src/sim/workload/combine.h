// Sources made of other sources: several at once, a part of one, a list in memory.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "sim/workload/trace.h"

namespace stoker::sim {

/// All requests of all sources in the order of time; at equal times the earlier source is first.
/// Deployments and tenants of one name become one, described as the first source does; devices are
/// the first source's that has any.
[[nodiscard]] std::unique_ptr<RequestSource> merge(
    std::vector<std::unique_ptr<RequestSource>> sources);

struct Limit {
  std::int64_t requests = std::numeric_limits<std::int64_t>::max();
  std::optional<Duration> until;  // requests at this time and later are left out
};
[[nodiscard]] std::unique_ptr<RequestSource> limit(std::unique_ptr<RequestSource> source,
                                                   const Limit& limit);

/// Needs: the requests in the order of time, their indices within `world`.
[[nodiscard]] std::unique_ptr<RequestSource> replay(TraceWorld world,
                                                    std::vector<TraceRequest> requests);

}  // namespace stoker::sim
