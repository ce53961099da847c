// How long to keep an idle model warm where memory is no question: cold starts against idle device
// time. One instance a model; it is busy from a request to the end of the last that overlaps.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arrivals.h"

namespace stoker::bench {

struct KeepWarmScore {  // after the first third
  std::uint64_t cold_starts = 0;
  double idle_s = 0;  // of a device
};
struct NamedScore {
  std::string name;
  KeepWarmScore score;
};
struct KeepWarm {
  std::vector<NamedScore> fixed;        // fixed times, by time
  KeepWarmScore hybrid;                 // Shahrad et al., ATC 2020
  std::vector<NamedScore> stoker;       // by the worth of a cold start in seconds of idling
  std::vector<NamedScore> clairvoyant;  // keeps only what is used again within a time
  /// Idle time of ours over that of 20 minutes fixed, at its cold starts, on our own curve.
  double stoker_over_fixed_20min = 0;
};
[[nodiscard]] KeepWarm measure_keep_warm(const Arrivals& arrivals);

/// Idle time at so many cold starts, linear between the points of a curve; beyond its ends that of
/// the nearest point with no more cold starts, or of the last.
[[nodiscard]] double idle_at(const std::vector<NamedScore>& curve, std::uint64_t cold_starts);

}  // namespace stoker::bench
