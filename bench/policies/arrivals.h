// The arrivals of a trace, as the policies see them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/units.h"

namespace stoker::bench {

struct Arrival {
  Instant at;
  Duration service;         // on its instance
  std::uint32_t model = 0;  // 0 .. models-1
};
struct Arrivals {
  std::vector<Arrival> all;  // by time
  std::uint32_t models = 0;
  /// Parameters are tuned on what comes before it, results are scored on the rest.
  [[nodiscard]] std::size_t third() const { return all.size() / 3; }
};

}  // namespace stoker::bench
