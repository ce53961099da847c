#include "base/weekly_schedule.h"

#include <algorithm>

namespace stoker {
namespace {

constexpr std::int64_t minute_ns = minutes(1).ns;
constexpr std::int64_t day_minutes = 24 * 60;
constexpr std::int64_t week_minutes = 7 * day_minutes;
/// 1970-01-01 was a Thursday: so much of its week was over, counted from Monday.
constexpr std::int64_t epoch_in_week = 3 * day_minutes;

std::int64_t wrapped(std::int64_t minute) {
  return (minute % week_minutes + week_minutes) % week_minutes;
}

}  // namespace

ScheduledBounds bounds_at(std::span<const WeeklyWindow> windows, const InstanceBounds& usual,
                          WallTime now) {
  std::optional<InstanceBounds> inside;
  std::int64_t next = week_minutes;  // minutes from the begin of this one
  const std::int64_t minute = now.ns / minute_ns - (now.ns % minute_ns < 0 ? 1 : 0);
  for (const WeeklyWindow& each : windows) {
    const std::int64_t in_week = wrapped(minute + each.utc_offset_minutes + epoch_in_week);
    const std::int64_t length =
        each.to_minute - each.from_minute + (each.to_minute > each.from_minute ? 0 : day_minutes);
    for (std::int64_t day = 0; day < 7; ++day) {
      if ((each.days >> day & 1) == 0) continue;
      const std::int64_t begin = day * day_minutes + each.from_minute;
      const std::int64_t since = wrapped(in_week - begin);
      const bool is_inside = since < length;
      next = std::min(next, is_inside ? length - since : week_minutes - since);
      if (!is_inside) continue;
      const std::int32_t most = each.max_instances.value_or(usual.max_instances);
      if (!inside) {
        inside = {each.min_instances, most};
      } else {
        inside->min_instances = std::max(inside->min_instances, each.min_instances);
        inside->max_instances = std::max(inside->max_instances, most);
      }
    }
  }
  const std::int64_t minute_begin = minute * minute_ns;
  return {inside.value_or(usual), Duration{minute_begin + next * minute_ns - now.ns}};
}

}  // namespace stoker
