#include "base/weekly_schedule.h"

#include <gtest/gtest.h>

#include <vector>

namespace stoker {
namespace {

/// 2026-11-02 is a Monday; 20,759 days after 1970-01-01.
WallTime monday(std::int64_t day, std::int64_t hour, std::int64_t minute = 0) {
  return {(((20'759 + day) * 24 + hour) * 60 + minute) * minutes(1).ns};
}

constexpr InstanceBounds usual{1, 10};
constexpr std::uint8_t weekdays = 0x1f;

TEST(BoundsAt, WeekdaysEightToTwenty) {
  const std::vector<WeeklyWindow> office = {{weekdays, 8 * 60, 20 * 60, 0, 5, {}}};
  const auto at = [&](WallTime t) { return bounds_at(office, usual, t); };
  EXPECT_EQ(at(monday(0, 7, 59)).bounds, usual);
  EXPECT_EQ(at(monday(0, 7, 59)).valid_for, minutes(1));
  EXPECT_EQ(at(monday(0, 8)).bounds, (InstanceBounds{5, 10}));
  EXPECT_EQ(at(monday(0, 8)).valid_for, minutes(12 * 60));
  EXPECT_EQ(at(monday(4, 19, 59)).bounds, (InstanceBounds{5, 10}));
  EXPECT_EQ(at(monday(4, 20)).bounds, usual);
  EXPECT_EQ(at(monday(4, 20)).valid_for, minutes(60 * 60)) << "until Monday";
  EXPECT_EQ(at(monday(6, 12)).bounds, usual);
}

TEST(BoundsAt, OverMidnightAndTheWeeksEnd) {
  const std::vector<WeeklyWindow> night = {{1U << 6U, 22 * 60, 6 * 60, 0, 0, 2}};
  EXPECT_EQ(bounds_at(night, usual, monday(6, 23)).bounds, (InstanceBounds{0, 2}));
  EXPECT_EQ(bounds_at(night, usual, monday(7, 5, 59)).bounds, (InstanceBounds{0, 2}));
  EXPECT_EQ(bounds_at(night, usual, monday(7, 6)).bounds, usual);
}

TEST(BoundsAt, LocalTime) {
  const std::vector<WeeklyWindow> berlin = {{weekdays, 0, 60, 120, 3, {}}};
  EXPECT_EQ(bounds_at(berlin, usual, monday(-1, 22)).bounds.min_instances, 3)
      << "Monday 00:00 there";
  EXPECT_EQ(bounds_at(berlin, usual, monday(0, 0)).bounds, usual);
  const std::vector<WeeklyWindow> west = {{1U, 23 * 60, 24 * 60, -300, 3, {}}};
  EXPECT_EQ(bounds_at(west, usual, monday(1, 4, 30)).bounds.min_instances, 3);
}

TEST(BoundsAt, WhereWindowsOverlapTheLargestHolds) {
  const std::vector<WeeklyWindow> two = {{0x7f, 0, 24 * 60, 0, 2, 4},
                                         {weekdays, 9 * 60, 17 * 60, 0, 1, 20}};
  EXPECT_EQ(bounds_at(two, usual, monday(0, 12)).bounds, (InstanceBounds{2, 20}));
  EXPECT_EQ(bounds_at(two, usual, monday(0, 18)).bounds, (InstanceBounds{2, 4}));
  EXPECT_GT(bounds_at(two, usual, monday(0, 23, 59)).valid_for.ns, 0);
}

TEST(BoundsAt, IsTrueUntilItSaysSo) {
  const std::vector<WeeklyWindow> windows = {{0x15, 510, 1020, 60, 2, 4},
                                             {0x6a, 1380, 30, -330, 1, 20}};
  WallTime now = monday(0, 0);
  now.ns += 1;
  while (now.ns < monday(14, 0).ns) {
    const ScheduledBounds here = bounds_at(windows, usual, now);
    ASSERT_GT(here.valid_for.ns, 0);
    const WallTime last{now.ns + here.valid_for.ns - 1};
    ASSERT_EQ(bounds_at(windows, usual, last).bounds, here.bounds);
    ASSERT_EQ(bounds_at(windows, usual, last).valid_for, Duration{1});
    now.ns += here.valid_for.ns;
  }
}

}  // namespace
}  // namespace stoker
