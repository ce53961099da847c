// Whether an instance is worth suspending, and who leaves host memory for it. Pure functions.
//
// The worth of one that is suspended is what it is expected to save per second: uses per second,
// times the seconds that a resume is shorter than a start, times what a second of waiting is worth.
// It pays its part of what the node's host memory costs, and where that is full it must be worth
// more than those who leave for it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/units.h"

namespace stoker::core {

/// Who comes must be worth so much more than those who go, in percent, or two of about the same
/// worth would take turns.
inline constexpr double host_swap_margin = 1.25;

struct Sleeper {  // one that is suspended, and not asked back
  InstanceId instance;
  double worth = 0;  // seconds saved per second
  Bytes bytes;       // of host memory
  Instant since;
};

/// What the memory costs, in seconds of a device per second.   Needs: capacity > 0.
[[nodiscard]] double host_cost(Bytes bytes, Bytes capacity, std::int32_t cost_permille);

/// Who has to go so that `needed` fits into `free`: least worth per byte first, then the longest
/// suspended, then the lowest id; none that turns out not to be needed.
/// Gives: ascending ids, empty if it fits as it is; nullopt: there is no room that is worth it.
[[nodiscard]] std::optional<std::vector<InstanceId>> choose_sleepers(double worth, Bytes needed,
                                                                     Bytes free,
                                                                     std::vector<Sleeper> sleepers);

}  // namespace stoker::core
