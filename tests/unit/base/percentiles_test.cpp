#include "base/percentiles.h"

#include <gtest/gtest.h>

namespace stoker {
namespace {

TEST(Percentiles, NearestRank) {
  struct Case {
    int count;
    int percent;
    int want;  // of 1 .. count
  };
  for (const Case& c : {Case{1, 0, 1}, Case{1, 50, 1}, Case{1, 100, 1}, Case{2, 50, 1},
                        Case{2, 51, 2}, Case{100, 1, 1}, Case{100, 50, 50}, Case{100, 95, 95},
                        Case{100, 99, 99}, Case{100, 100, 100}, Case{10, 95, 10}, Case{3, 0, 1}}) {
    Percentiles percentiles;
    for (int i = c.count; i >= 1; --i) percentiles.add(ms(i));
    EXPECT_EQ(percentiles.at(c.percent), ms(c.want)) << c.percent << " % of " << c.count;
  }
}

TEST(Percentiles, NoneAndMore) {
  Percentiles percentiles;
  EXPECT_EQ(percentiles.at(99), Duration{});
  percentiles.add(ms(5));
  EXPECT_EQ(percentiles.at(50), ms(5));
  percentiles.add(ms(1));  // after it was asked
  EXPECT_EQ(percentiles.at(50), ms(1));
  EXPECT_EQ(percentiles.count(), 2U);
}

}  // namespace
}  // namespace stoker
