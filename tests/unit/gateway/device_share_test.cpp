#include "gateway/device_share.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/prng.h"

namespace stoker::gateway {
namespace {

Instant at(std::int64_t ns) {
  return Instant{ns};
}

TEST(DeviceShare, OneRequestAloneIsChargedItsWholeRun) {
  DeviceShare share;
  const auto mark = share.begin(at(1000));
  EXPECT_EQ(share.end(mark, at(3500)), Duration{2500});
}

TEST(DeviceShare, TwoShareTheTimeThatTheyOverlap) {
  DeviceShare share;
  const auto a = share.begin(at(0));
  const auto b = share.begin(at(100));              // a alone: 100
  EXPECT_EQ(share.end(a, at(300)), Duration{200});  // + 200 / 2
  EXPECT_EQ(share.end(b, at(350)), Duration{150});  // 100 + 50 alone
}

// V26: over any run, what is charged never exceeds the time that passed with work to do.
TEST(DeviceShare, NeverChargesMoreThanTheBusyTime) {
  Prng random(3);
  for (int round = 0; round < 200; ++round) {
    DeviceShare share;
    std::vector<DeviceShare::Mark> running;
    std::int64_t now = 0;
    std::int64_t busy = 0;
    std::int64_t charged = 0;
    std::int64_t ended = 0;
    for (int i = 0; i < 200; ++i) {
      const auto passed = static_cast<std::int64_t>(random.below(1'000'000));
      now += passed;
      if (!running.empty()) busy += passed;
      if (running.empty() || random.below(2) == 0) {
        running.push_back(share.begin(at(now)));
      } else {
        charged += share.end(running.back(), at(now)).ns;
        running.pop_back();
        ++ended;
      }
    }
    for (const auto mark : running) charged += share.end(mark, at(now)).ns;
    ASSERT_LE(charged, busy);
    ASSERT_GE(charged, busy - ended - static_cast<std::int64_t>(running.size()));
  }
}

TEST(DeviceShare, AClockReadTooEarlyChangesNothing) {
  DeviceShare share;
  const auto a = share.begin(at(1000));
  const auto b = share.begin(at(900));  // read before, locked after
  EXPECT_EQ(share.end(b, at(1000)), Duration{0});
  EXPECT_EQ(share.end(a, at(1100)), Duration{100});
}

}  // namespace
}  // namespace stoker::gateway
