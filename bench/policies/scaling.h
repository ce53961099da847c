// How many instances: device time and waits of our core beside the autoscalers of Knative and Ray
// Serve, on one trace, with as many devices as anybody wants.
//
// Ours is the production core in the simulator's world; the others are rules in a Fleet, which has
// the same start time, concurrency and service times. Settings are fixed on the first third of the
// trace; device time and waits are those of the rest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arrivals.h"

namespace stoker::bench {

struct ScalingScore {
  std::string settings;
  double device_s = 0;
  double p50_s = 0;  // wait of a request until it runs
  double p99_s = 0;
};
/// A peer, and ours with the settings that had waits no longer than its on the first third.
struct ScalingCell {
  std::string peer;  // "kpa_default", "kpa_tuned", "ray_default", "ray_tuned"
  ScalingScore theirs;
  ScalingScore ours;
  /// The least device time of any of our settings with a p99 no worse on the rest: what a better
  /// choice of settings could reach.
  ScalingScore best;
  [[nodiscard]] double ratio() const { return ours.device_s / theirs.device_s; }
  [[nodiscard]] bool no_worse() const { return ours.p99_s <= theirs.p99_s + 1e-3; }
};
struct ScalingTable {
  std::int32_t start_s = 0;
  std::int32_t concurrency = 1;
  double work_s = 0;         // service time / concurrency: nobody can do with less
  double clairvoyant_s = 0;  // no request ever waits, and the next one is known
  std::vector<ScalingCell> cells;
};
[[nodiscard]] ScalingTable measure_scaling(const Arrivals& arrivals, std::int32_t start_s,
                                           std::int32_t concurrency);

}  // namespace stoker::bench
