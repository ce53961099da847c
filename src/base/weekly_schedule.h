// Bounds that recur every week, such as "Monday to Friday, 8 to 20 o'clock, at least 5". Pure: the
// time of the calendar is an argument, so that a server, a simulation and a test read one schedule.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/units.h"

namespace stoker {

/// Local time is UTC plus a fixed offset; no daylight saving.
struct WeeklyWindow {
  std::uint8_t days = 0x7f;             // bit 0 is Monday; the local day on which it begins
  std::int32_t from_minute = 0;         // of the local day, 0 .. 1440
  std::int32_t to_minute = 24 * 60;     // exclusive; not after from_minute: of the next day
  std::int32_t utc_offset_minutes = 0;  // local time - UTC
  std::int32_t min_instances = 0;
  std::optional<std::int32_t> max_instances;  // nullopt: as outside of the window
};

struct InstanceBounds {
  std::int32_t min_instances = 0;
  std::int32_t max_instances = 1;
  auto operator<=>(const InstanceBounds&) const = default;
};
struct ScheduledBounds {
  InstanceBounds bounds;
  /// Until the next begin or end of any window; 0 < it <= a week.
  Duration valid_for;
};

/// Gives: inside of one window its bounds, inside of several the largest minimum and the largest
///   maximum, outside of all `usual`.
/// Needs: at least one window has a day.   Cost: O(windows).
[[nodiscard]] ScheduledBounds bounds_at(std::span<const WeeklyWindow> windows,
                                        const InstanceBounds& usual, WallTime now);

}  // namespace stoker
