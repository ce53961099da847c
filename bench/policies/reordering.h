// What the core's swap-aware order saves where models compete for slots: it serves what is resident
// first, batches by model, and swaps after a stay. The production core runs in the simulator's
// world on one device with so many slots; a request runs for a millisecond, so that loading is all
// that counts.
#pragma once

#include <cstdint>

#include "arrivals.h"

namespace stoker::bench {

struct Reordering {
  std::int32_t resident = 0;
  std::int32_t load_s = 0;
  std::uint64_t loads_in_order = 0;  // each request at its turn, evicting by the same index
  std::uint64_t loads = 0;
  std::uint64_t waited_longer = 0;  // requests that waited half a second longer than for one load
  double p99_extra_s = 0;           // of all requests: the wait beyond one load
  double largest_extra_s = 0;
};
[[nodiscard]] Reordering measure_reordering(const Arrivals& arrivals, std::int32_t resident,
                                            std::int32_t load_s, std::uint64_t loads_in_order);

}  // namespace stoker::bench
