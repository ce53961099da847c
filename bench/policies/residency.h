// Which models to keep where only so many fit: misses of Stoker's index beside LRU, GDSF, LRFU and
// the clairvoyant. Requests come in the order of arrival, a miss must load, all models are equal in
// size and reload time.
#pragma once

#include <cstdint>

#include "arrivals.h"

namespace stoker::bench {

struct Misses {
  std::uint64_t all = 0;
  std::uint64_t rest = 0;  // after the first third
};
struct Residency {
  std::int32_t resident = 0;
  Misses lru;
  Misses gdsf;  // Cherkasova, 1998, as FaasCache (ASPLOS 2021) uses it for instances
  Misses lrfu;  // Lee et al., 2001; lambda tuned on the first third
  double lrfu_lambda = 0;
  Misses stoker;
  Misses belady;
};
[[nodiscard]] Residency measure_residency(const Arrivals& arrivals, std::int32_t resident);

}  // namespace stoker::bench
