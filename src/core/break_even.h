// What a cold start costs, in time of an idle device: the time that the start takes of the device,
// and the waiting of those who want it. As a formula with prices per second,
//
//   break-even = (start x device + start x waiting) / device = start x (1 + waiting / device)
//
// A second of waiting is worth wait_weight seconds of a device that costs one unit of the currency
// per hour; a device without a price counts as such a one.
// Source: ski rental and keep-warm economics, SCHEDULING 2.9; docs/adr/0004.
#pragma once

#include <cstdint>

#include "base/money.h"
#include "base/units.h"

namespace stoker::core {

/// Where no price is known. So wait_weight is also what an hour of waiting is worth, in units.
inline constexpr NanoPrice usual_price_per_hour{1'000'000'000};
/// Longer than any keep-warm time, and yet twice it may be added to an Instant.
inline constexpr Duration longest_break_even = seconds(std::int64_t{365} * 86'400);

/// The idling that is worth a cold start.   Units: nano-units of the currency per hour of all that
/// the instance idles on; {0}: not known.   Needs: start_time, wait_weight and price >= 0.
/// Gives: a dearer device never a longer time; start x (1 + wait_weight) without a price.
[[nodiscard]] Duration break_even(Duration start_time, std::int32_t wait_weight,
                                  NanoPrice idle_price_per_hour);

}  // namespace stoker::core
