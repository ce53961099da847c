// Tables for the pure parts of the core.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>

#include "base/id_table.h"
#include "core/autoscaler.h"
#include "core/failure_policy.h"
#include "core/lifecycle.h"
#include "core/memory_ledger.h"
#include "core/placement.h"

namespace stoker::core {
namespace {

TEST(DecideScale, Table) {
  struct Case {
    const char* name;
    ScalePolicy policy;
    Demand demand;
    ScaleDecision want;
  };
  const ScalePolicy four{.min_instances = 0,
                         .max_instances = 10,
                         .concurrency = 4,
                         .target_utilization_percent = 70,
                         .scale_up_threshold = 10};
  const Case cases[] = {
      {"nothing to do", four, {}, {0, StartReason::from_zero}},
      {"from zero one", four, {.queued = 1}, {1, StartReason::from_zero}},
      {"from zero one, however many wait", four, {.queued = 50}, {1, StartReason::from_zero}},
      {"free slots cover the queue",
       four,
       {.queued = 4, .live_instances = 1, .free_slots = 4},
       {1, StartReason::from_zero}},
      {"below the threshold",
       four,
       {.queued = 13, .live_instances = 1, .free_slots = 4},
       {1, StartReason::from_zero}},
      {"at the threshold: 1 + ceil(10 / 2.8)",
       four,
       {.queued = 14, .live_instances = 1, .free_slots = 4},
       {5, StartReason::queue_depth}},
      {"never above the maximum",
       four,
       {.queued = 500, .live_instances = 1, .free_slots = 0},
       {10, StartReason::queue_depth}},
      {"exact division does not round up",
       {.max_instances = 9, .concurrency = 2, .target_utilization_percent = 100},
       {.queued = 4, .live_instances = 1},
       {3, StartReason::queue_depth}},
      {"minimum", {.min_instances = 2, .max_instances = 3}, {}, {2, StartReason::at_minimum}},
      {"minimum suspended",
       {.min_instances = 2, .max_instances = 3},
       {.minimum_suspended = true},
       {0, StartReason::from_zero}},
      {"more live than the maximum is not a start",
       {.max_instances = 1},
       {.live_instances = 2},
       {2, StartReason::from_zero}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const ScaleDecision got = decide_scale(c.policy, c.demand);
    EXPECT_EQ(got.desired_instances, c.want.desired_instances);
    EXPECT_EQ(got.reason, c.want.reason);
  }
}

TEST(Lifecycle, NothingLeavesGoneAndEverythingReachesIt) {
  const InstanceState all[] = {InstanceState::planned,  InstanceState::starting,
                               InstanceState::loading,  InstanceState::ready,
                               InstanceState::draining, InstanceState::stopping,
                               InstanceState::failed,   InstanceState::gone};
  std::map<InstanceState, bool> reaches = {{InstanceState::gone, true}};
  for (std::size_t round = 0; round < std::size(all); ++round) {
    for (const lifecycle::Transition& t : lifecycle::transitions) {
      EXPECT_NE(t.from, InstanceState::gone);
      if (reaches[t.to]) reaches[t.from] = true;
    }
  }
  for (const InstanceState state : all) EXPECT_TRUE(reaches[state]) << to_text(state);
}

TEST(FailureState, BacksOffAndLoops) {
  Prng prng(7);
  FailureState state;
  Instant now = Instant{} + seconds(100);
  const Duration want[] = {seconds(1), seconds(2), seconds(4), seconds(8)};
  for (const Duration backoff : want) {
    state.failed(now, FailureKind::start_failed, prng);
    const Duration got = state.retry_at() - now;
    EXPECT_GE(got.ns, backoff.ns * 8 / 10);
    EXPECT_LE(got.ns, backoff.ns * 12 / 10);
    EXPECT_FALSE(state.crash_loop());
    now = state.retry_at();
  }
  state.failed(now, FailureKind::crashed, prng);
  EXPECT_TRUE(state.crash_loop());
  EXPECT_GE((state.retry_at() - now).ns, seconds(48).ns);
  state.clear();
  EXPECT_FALSE(state.any());
}

TEST(FailureState, FiveSlowFailuresAreNoLoop) {
  Prng prng(7);
  FailureState state;
  for (int i = 0; i < 8; ++i) {
    state.failed(Instant{} + minutes(i + 1), FailureKind::crashed, prng);
    EXPECT_FALSE(state.crash_loop());
  }
  EXPECT_EQ(state.consecutive(), 8);
}

TEST(MemoryLedger, SharesWeightsOnce) {
  MemoryLedger ledger(mib(100));
  const WeightsId weights{9};
  const MemoryNeed need{mib(10), mib(50)};
  EXPECT_EQ(ledger.cost_of(need, weights), mib(60));
  ledger.reserve(InstanceId{1}, need, weights);
  EXPECT_EQ(ledger.cost_of(need, weights), mib(10));
  ledger.reserve(InstanceId{2}, need, weights);
  EXPECT_EQ(ledger.reserved(), mib(70));
  EXPECT_EQ(ledger.freed_by(InstanceId{1}), mib(10));
  ledger.release(InstanceId{1});
  EXPECT_EQ(ledger.freed_by(InstanceId{2}), mib(60));
  EXPECT_TRUE(ledger.correct(InstanceId{2}, {mib(5), mib(40)}));
  EXPECT_EQ(ledger.reserved(), mib(45));
  EXPECT_FALSE(ledger.correct(InstanceId{2}, {mib(80), mib(40)}));
  EXPECT_EQ(ledger.reserved(), mib(45)) << "a correction that does not fit changes nothing";
  ledger.release(InstanceId{2});
  EXPECT_EQ(ledger.reserved(), Bytes{});
  EXPECT_EQ(ledger.recount(), Bytes{});
}

DeviceView device(std::uint64_t id, std::int64_t free_mib, std::int64_t cost_mib) {
  DeviceView view;
  view.id = DeviceId{id};
  view.capacity = mib(100);
  view.free = mib(free_mib);
  view.cost = mib(cost_mib);
  view.free_slots = 1;
  return view;
}

TEST(Place, TightestFitThenLowestId) {
  const std::vector<DeviceView> devices = {device(1, 90, 30), device(2, 40, 30), device(3, 40, 30)};
  EXPECT_EQ(place({}, devices).device, DeviceId{2});
}

TEST(Place, WhereTheWeightsAre) {
  std::vector<DeviceView> devices = {device(1, 40, 30), device(2, 90, 30)};
  devices[1].holds_weights = true;
  EXPECT_EQ(place({}, devices).device, DeviceId{2});
}

TEST(Place, SaysWhetherItCouldEverFit) {
  const std::vector<DeviceView> busy = {device(1, 10, 30)};
  EXPECT_FALSE(place({}, busy).device);
  EXPECT_TRUE(place({}, busy).possible);
  const std::vector<DeviceView> small = {device(1, 100, 130)};
  EXPECT_FALSE(place({}, small).possible);
  std::vector<DeviceView> lost = {device(1, 100, 30)};
  lost[0].lost = true;
  EXPECT_FALSE(place({}, lost).possible);
  const DeviceKind cuda[] = {DeviceKind::cuda};
  EXPECT_FALSE(place(cuda, busy).possible);
}

TEST(ChooseEviction, LongestIdleWithoutNeedlessVictims) {
  std::vector<DeviceView> devices = {device(1, 0, 50)};
  devices[0].idle = {{InstanceId{1}, Instant{10}, mib(10)},
                     {InstanceId{2}, Instant{20}, mib(50)},
                     {InstanceId{3}, Instant{30}, mib(50)}};
  const Eviction eviction = choose_eviction({}, devices);
  EXPECT_EQ(eviction.device, DeviceId{1});
  EXPECT_EQ(eviction.victims, std::vector{InstanceId{2}});
}

TEST(ChooseEviction, WaitsForWhatIsStoppingAlready) {
  std::vector<DeviceView> devices = {device(1, 0, 50)};
  devices[0].free_soon = mib(60);
  devices[0].slots_soon = 1;
  devices[0].idle = {{InstanceId{2}, Instant{20}, mib(50)}};
  const Eviction eviction = choose_eviction({}, devices);
  EXPECT_EQ(eviction.device, DeviceId{1});
  EXPECT_TRUE(eviction.victims.empty());
}

TEST(ChooseEviction, NothingIdle) {
  const std::vector<DeviceView> devices = {device(1, 0, 50)};
  EXPECT_FALSE(choose_eviction({}, devices).device);
}

TEST(IdTable, BehavesLikeAMap) {
  rc::check([](const std::vector<std::pair<std::uint8_t, bool>>& operations) {
    IdTable<RequestId, int> table;
    std::map<std::uint64_t, int> model;
    int counter = 0;
    for (const auto& [raw, insert] : operations) {
      const RequestId key{std::uint64_t{raw} + 1};
      if (insert && !model.contains(key.value)) {
        table.insert(key, ++counter);
        model[key.value] = counter;
      } else if (!insert) {
        RC_ASSERT(table.erase(key) == (model.erase(key.value) == 1));
      }
      RC_ASSERT(table.size() == model.size());
      for (std::uint64_t k = 1; k <= 256; ++k) {
        const int* found = table.find(RequestId{k});
        RC_ASSERT((found != nullptr) == model.contains(k));
        if (found != nullptr) RC_ASSERT(*found == model.at(k));
      }
    }
  });
}

}  // namespace
}  // namespace stoker::core
