// Parts of placement and memory that the other tables leave out: what makes a device look changed,
// in which order costs count, what is held by whom.
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "aggregate_members.h"
#include "core/level_keep.h"
#include "core/memory_ledger.h"
#include "core/placement.h"
#include "core/spec.h"

namespace stoker::core {
namespace {

/// Calls `changed` with copies of `x`, each with another member set to something else.
template <class T, class Changed>
void change_each_member(const T& x, Changed&& changed) {
  [&]<std::size_t... i>(std::index_sequence<i...>) {
    const auto change = [&](auto index) {
      T copy = x;
      auto& member = std::get<decltype(index)::value>(members_of(copy));
      using Member = std::remove_reference_t<decltype(member)>;
      if constexpr (std::is_same_v<Member, bool>) {
        member = !member;
      } else if constexpr (std::is_enum_v<Member>) {
        member = static_cast<Member>(static_cast<int>(member) + 1);
      } else if constexpr (requires { ++member; }) {
        ++member;
      } else {
        ++std::get<0>(members_of(member));  // of an id, of bytes
      }
      changed(copy);
    };
    (change(std::integral_constant<std::size_t, i>()), ...);
  }(std::make_index_sequence<member_count<T>>());
}

/// Whether a room that is kept is still right is seen by comparing it: each member counts.
TEST(DeviceRoom, DiffersInEachMember) {
  static_assert(member_count<DeviceRoom> >= 12);
  const DeviceRoom room;
  EXPECT_EQ(room, DeviceRoom{});
  change_each_member(room, [&](const DeviceRoom& other) { EXPECT_NE(room, other); });
}

TEST(PlacementCost, WeightsThenTheSoonestThenTheTightestFitThenTheLowestId) {
  const PlacementCost here{false, seconds(9), mib(9), DeviceId{9}};
  const PlacementCost soon{true, seconds(1), mib(9), DeviceId{9}};
  const PlacementCost tight{true, seconds(2), mib(1), DeviceId{9}};
  const PlacementCost loose{true, seconds(2), mib(2), DeviceId{1}};
  const PlacementCost loose_too{true, seconds(2), mib(2), DeviceId{2}};
  const std::array order = {here, soon, tight, loose, loose_too};
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (std::size_t j = 0; j < order.size(); ++j) {
      EXPECT_EQ(order[i] < order[j], i < j) << i << " " << j;
      EXPECT_EQ(order[i] == order[j], i == j) << i << " " << j;
    }
  }
}

TEST(MayPass, OnlyWhatOthersLeavingCanChange) {
  const std::array<bool, unfit_kinds> want = {false, false, false, false, false,
                                              true,  true,  true,  true};
  for (std::size_t i = 0; i < unfit_kinds; ++i) {
    EXPECT_EQ(may_pass(static_cast<Unfit>(i)), want[i]) << to_text(static_cast<Unfit>(i));
  }
  EXPECT_FALSE(may_pass(static_cast<Unfit>(unfit_kinds))) << "what is not known is not waited for";
}

TEST(ScaleOn, SaysWhatMustBeKept) {
  struct Case {
    const char* name;
    ScaleOn on;
    bool by_average;
    bool any;
  };
  const Case cases[] = {
      {"nothing", {}, false, false},
      {"utilization", {.utilization = true, .queue_wait = {}, .first_token = {}}, true, true},
      {"first token", {.queue_wait = {}, .first_token = seconds(1)}, true, true},
      {"rate", {.queue_wait = {}, .first_token = {}, .rate_milli = 1}, true, true},
      {"wait", {.queue_wait = seconds(1), .first_token = {}}, false, true},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(c.on.by_average(), c.by_average) << c.name;
    EXPECT_EQ(c.on.any(), c.any) << c.name;
  }
}

TEST(MemoryLedger, WhoHoldsNothingFreesNothing) {
  MemoryLedger ledger(mib(100));
  ledger.reserve(InstanceId{1}, {mib(10), mib(50)}, WeightsId{9});
  EXPECT_EQ(ledger.freed_by(InstanceId{2}), Bytes{});
  EXPECT_EQ(ledger.held_by(InstanceId{2}).private_bytes, Bytes{});
  ledger.release(InstanceId{2});
  EXPECT_EQ(ledger.reserved(), mib(60));
  EXPECT_EQ(ledger.residents(), 1);
  ledger.release(InstanceId{1});
  ledger.release(InstanceId{1});
  EXPECT_EQ(ledger.reserved(), Bytes{});
}

TEST(MemoryLedger, WithoutAWeightsFileNothingIsShared) {
  MemoryLedger ledger(mib(100));
  const MemoryNeed need{mib(10), mib(20)};
  ledger.reserve(InstanceId{1}, need, {});
  ledger.reserve(InstanceId{2}, need, {});
  EXPECT_EQ(ledger.reserved(), mib(60));
  EXPECT_EQ(ledger.held_weights(), 0U);
  EXPECT_EQ(ledger.freed_by(InstanceId{1}), mib(30));
  EXPECT_TRUE(ledger.correct(InstanceId{1}, {mib(30), mib(40)}));
  EXPECT_EQ(ledger.reserved(), mib(100));
  EXPECT_EQ(ledger.reserved(), ledger.recount());
}

TEST(LevelKeep, AGapOfWeeksIsOneWithoutAnEnd) {
  LevelKeep levels;
  Instant now;
  for (int i = 0; i < 20; ++i) {
    levels.demand(now, 2);
    levels.demand(now + seconds(1), 1);
    now = now + minutes(60 * 24 * 20);
  }
  const auto until = levels.keep_until(2, seconds(20));
  EXPECT_EQ(*until - (now - minutes(60 * 24 * 20)), seconds(6)) << "1 s, and a quarter of a start";
}

TEST(LevelKeep, WhatCostsNothingToStartIsNotKept) {
  LevelKeep levels;
  Instant now;
  for (int i = 0; i < 20; ++i) {
    levels.demand(now, 2);
    now = now + seconds(1);
    levels.demand(now, 1);
    now = now + seconds(5);
  }
  EXPECT_EQ(*levels.keep_until(2, Duration{}), now - seconds(5));
  EXPECT_GT(*levels.keep_until(2, seconds(20)), now - seconds(5));
  EXPECT_EQ(*levels.keep_until(2, Duration{}), now - seconds(5)) << "asked anew";
}

}  // namespace
}  // namespace stoker::core
