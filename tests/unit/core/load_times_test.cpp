// Start times by kind of device and tier of the weights.
#include "core/load_times.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "core/describe.h"
#include "core/event_codec.h"
#include "core/placement.h"

namespace stoker::core {
namespace {

constexpr DeviceKind cuda = DeviceKind::cuda;

double seconds_of(Duration d) {
  return static_cast<double>(d.ns) / 1e9;
}

TEST(LoadTimes, SaysNothingBeforeThreeStarts) {
  LoadTimes times;
  EXPECT_FALSE(times.expected(cuda, Tier::disk, gib(4)));
  times.observed(cuda, Tier::disk, gib(4), seconds(6));
  times.observed(cuda, Tier::disk, gib(4), seconds(6));
  EXPECT_FALSE(times.expected(cuda, Tier::disk, gib(4)));
  times.observed(cuda, Tier::disk, gib(4), seconds(6));
  EXPECT_NEAR(seconds_of(*times.expected(cuda, Tier::disk, gib(4))), 6, 0.3);
  EXPECT_FALSE(times.expected(cuda, Tier::host, gib(4)));
  EXPECT_FALSE(times.expected(DeviceKind::cpu, Tier::disk, gib(4)));
}

TEST(LoadTimes, FindsTheFixedPartAndTheBandwidth) {
  LoadTimes times;
  const auto real = [](std::int64_t gibs) { return ms(3000 + 500 * gibs); };  // 2 GiB/s
  for (int round = 0; round < 5; ++round) {
    for (const std::int64_t gibs : {1, 4, 16}) {
      times.observed(cuda, Tier::disk, gib(gibs), real(gibs));
    }
  }
  for (const std::int64_t gibs : {1, 8, 40}) {
    EXPECT_NEAR(seconds_of(*times.expected(cuda, Tier::disk, gib(gibs))), seconds_of(real(gibs)),
                0.05 * seconds_of(real(gibs)))
        << gibs;
  }
}

TEST(LoadTimes, FollowsASlowerDisk) {
  LoadTimes times;
  for (int i = 0; i < 100; ++i) times.observed(cuda, Tier::disk, gib(1 + i % 8), seconds(2));
  for (int i = 0; i < 150; ++i) {
    times.observed(cuda, Tier::disk, gib(1 + i % 8), seconds(2 + 2 * (1 + i % 8)));
  }
  EXPECT_NEAR(seconds_of(*times.expected(cuda, Tier::disk, gib(4))), 10, 1);
}

TEST(LoadTimes, StaysSaneWithStartsOfOneSize) {
  LoadTimes times;
  for (int i = 0; i < 10'000; ++i) times.observed(cuda, Tier::disk, gib(4), seconds(6));
  EXPECT_NEAR(seconds_of(*times.expected(cuda, Tier::disk, gib(4))), 6, 0.1);
  EXPECT_LT(seconds_of(*times.expected(cuda, Tier::disk, gib(40))), 60);
  EXPECT_GE(seconds_of(*times.expected(cuda, Tier::disk, {})), 0);
}

RC_GTEST_PROP(LoadTimes, IsNeverNegativeAndFinite, ()) {
  LoadTimes times;
  for (int i = 0; i < 60; ++i) {
    times.observed(cuda, Tier::remote, Bytes{*rc::gen::inRange<std::int64_t>(0, 1LL << 40)},
                   Duration{*rc::gen::inRange<std::int64_t>(0, 1'000'000'000'000)});
    const auto at = times.expected(cuda, Tier::remote, gib(*rc::gen::inRange(0, 1000)));
    RC_ASSERT(!at || (at->ns >= 0 && at->ns <= 100'000'000'000'000'000));
  }
}

TEST(OwnTimes, ItsOwnFirstThenTheLineThenTheGuess) {
  LoadTimes others;
  OwnTimes own;
  const auto expected = [&](Tier from) {
    return own.expected(others, cuda, from, gib(4), seconds(5));
  };
  EXPECT_EQ(expected(Tier::disk), seconds(5));
  own.observed(cuda, Tier::disk, seconds(20));
  EXPECT_EQ(expected(Tier::disk), seconds(20));
  EXPECT_EQ(expected(Tier::host), seconds(20));  // nothing says by how much it is faster
  for (int i = 0; i < 20; ++i) {
    others.observed(cuda, Tier::disk, gib(4), seconds(10));
    others.observed(cuda, Tier::host, gib(4), seconds(4));
  }
  EXPECT_NEAR(seconds_of(expected(Tier::host)), 14, 0.5);  // as much faster as others are
  own.observed(cuda, Tier::host, seconds(9));
  EXPECT_EQ(expected(Tier::host), seconds(9));
  OwnTimes none;
  EXPECT_NEAR(seconds_of(none.expected(others, cuda, Tier::disk, gib(4), seconds(5))), 10, 0.5);
}

TEST(OwnTimes, WhatANearerTierSaves) {
  LoadTimes others;
  OwnTimes own;
  const auto saved = [&](Tier below, Tier here) {
    return own.saved(others, cuda, below, here, gib(4));
  };
  // From the priors: 10, 1 and 0.2 s a GiB.
  EXPECT_NEAR(seconds_of(saved(Tier::remote, Tier::disk)), 36, 0.1);
  EXPECT_NEAR(seconds_of(saved(Tier::disk, Tier::host)), 3.2, 0.1);
  own.observed(cuda, Tier::remote, seconds(20));
  EXPECT_NEAR(seconds_of(saved(Tier::remote, Tier::disk)), 36, 0.1) << "one end says nothing";
  own.observed(cuda, Tier::disk, seconds(12));
  EXPECT_EQ(saved(Tier::remote, Tier::disk), seconds(8));
  own.observed(cuda, Tier::host, seconds(13));
  EXPECT_EQ(saved(Tier::disk, Tier::host), Duration{}) << "never less than nothing";
}

TEST(ReadyTimes, KnowsTheFastestTierOfEachNode) {
  const ModelPlace places[] = {{NodeId{2}, 0b010}, {NodeId{5}, 0b011}};
  const ReadyTimes ready{{}, places, Tier::remote};
  EXPECT_EQ(ready.tier_on(NodeId{1}), Tier::remote);
  EXPECT_EQ(ready.tier_on(NodeId{2}), Tier::disk);
  EXPECT_EQ(ready.tier_on(NodeId{5}), Tier::host);
}

TEST(Place, ReadySoonestThenTheTightestFit) {
  DeviceNeed need;
  const auto view = [](std::uint64_t id, std::int64_t free_mib, Duration ready) {
    DeviceView device;
    device.id = DeviceId{id};
    device.capacity = mib(100);
    device.free = mib(free_mib);
    device.cost = mib(30);
    device.free_slots = 1;
    device.ready_after = ready;
    return device;
  };
  const std::vector<DeviceView> devices = {view(1, 40, seconds(9)), view(2, 90, seconds(2)),
                                           view(3, 80, seconds(2))};
  EXPECT_EQ(place(need, devices).devices, std::vector<DeviceId>{DeviceId{3}});
  std::vector<DeviceRoom> rooms;
  for (const DeviceView& each : devices) {
    DeviceRoom room;
    room.device = each.id;
    room.node = NodeId{each.id.value};
    room.capacity = each.capacity;
    room.free = each.free;
    room.free_slots = 1;
    room.free_share_permille = 1000;
    rooms.push_back(room);
  }
  const ModelPlace places[] = {{NodeId{2}, 0b010}, {NodeId{3}, 0b010}};
  ReadyTimes ready{{}, places, Tier::remote};
  ready.after[0] = {seconds(1), seconds(2), seconds(9)};
  SinglePlacement single(need);
  std::vector<std::size_t> unusual;
  single.look_at(rooms, {mib(30), mib(30), mib(30)}, 0, ready, false, unusual);
  EXPECT_EQ(single.result().devices, std::vector<DeviceId>{DeviceId{3}});
}

TEST(EventCodec, KeepsWhereModelsLie) {
  for (const Event& event : {Event(ModelInTier{NodeId{2}, ModelId{3}, Tier::host}),
                             Event(ModelLost{NodeId{2}, ModelId{3}, Tier::disk}),
                             Event(TierLost{NodeId{9}, Tier::host})}) {
    std::string bytes;
    encode(bytes, Instant{11}, event);
    std::string_view rest = bytes;
    const auto back = decode_event(rest);
    ASSERT_TRUE(back && rest.empty());
    EXPECT_EQ(describe(back->event), describe(event));
  }
}

}  // namespace
}  // namespace stoker::core
