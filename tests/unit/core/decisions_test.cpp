// Tables for the pure parts of the core.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "base/id_table.h"
#include "core/affinity.h"
#include "core/autoscaler.h"
#include "core/failure_policy.h"
#include "core/fair_queue.h"
#include "core/lifecycle.h"
#include "core/memory_ledger.h"
#include "core/placement.h"
#include "core/timers.h"

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
  EXPECT_EQ(place({}, devices).devices, std::vector{DeviceId{2}});
}

TEST(Place, WhereTheWeightsAre) {
  std::vector<DeviceView> devices = {device(1, 40, 30), device(2, 90, 30)};
  devices[1].holds_weights = true;
  EXPECT_EQ(place({}, devices).devices, std::vector{DeviceId{2}});
}

TEST(Place, SaysWhetherItCouldEverFit) {
  const std::vector<DeviceView> busy = {device(1, 10, 30)};
  EXPECT_TRUE(place({}, busy).devices.empty());
  EXPECT_TRUE(place({}, busy).possible);
  const std::vector<DeviceView> small = {device(1, 100, 130)};
  EXPECT_FALSE(place({}, small).possible);
  std::vector<DeviceView> lost = {device(1, 100, 30)};
  lost[0].lost = true;
  EXPECT_FALSE(place({}, lost).possible);
  EXPECT_FALSE(place({.kinds = {DeviceKind::cuda}}, busy).possible);
}

TEST(Place, SeveralDevicesLieOnOneNode) {
  std::vector<DeviceView> devices = {device(1, 90, 30), device(2, 40, 30), device(3, 50, 30),
                                     device(4, 20, 30)};
  for (std::size_t i = 0; i < devices.size(); ++i) devices[i].node = NodeId{i < 2 ? 1U : 2U};
  const DeviceNeed two{.devices = 2};
  EXPECT_EQ(place(two, devices).devices, (std::vector{DeviceId{1}, DeviceId{2}}));
  EXPECT_FALSE(place({.devices = 3}, devices).possible) << "no node has three";
  devices[0].free = mib(10);
  EXPECT_TRUE(place(two, devices).devices.empty());
  EXPECT_TRUE(place(two, devices).possible);
}

TEST(WhyUnfit, EachReason) {
  struct Case {
    const char* name;
    DeviceNeed need;
    void (*change)(DeviceView&);
    std::optional<Unfit> want;
  };
  const Case cases[] = {
      {"fits", {}, [](DeviceView&) {}, std::nullopt},
      {"lost before anything that may pass",
       {},
       [](DeviceView& v) {
         v.lost = v.distrusted = true;
         v.free_slots = 0;
       },
       Unfit::lost},
      {"what it is before what happened to it",
       {.kinds = {DeviceKind::cuda}},
       [](DeviceView& v) { v.lost = true; },
       Unfit::wrong_kind},
      {"kind", {.kinds = {DeviceKind::cuda}}, [](DeviceView&) {}, Unfit::wrong_kind},
      {"label", {}, [](DeviceView& v) { v.labels_match = false; }, Unfit::wrong_label},
      {"never", {}, [](DeviceView& v) { v.cost = mib(101); }, Unfit::too_small},
      {"distrusted", {}, [](DeviceView& v) { v.distrusted = true; }, Unfit::distrusted},
      {"somebody has it alone", {}, [](DeviceView& v) { v.taken_alone = true; }, Unfit::not_alone},
      {"wants it alone",
       {.exclusive = true},
       [](DeviceView& v) { v.residents = 1; },
       Unfit::not_alone},
      {"alone on an empty one", {.exclusive = true}, [](DeviceView&) {}, std::nullopt},
      {"memory", {}, [](DeviceView& v) { v.free = mib(29); }, Unfit::too_little_free},
      {"slots", {}, [](DeviceView& v) { v.free_slots = 0; }, Unfit::no_slot},
      {"share",
       {.share_permille = 600},
       [](DeviceView& v) { v.free_share_permille = 500; },
       Unfit::no_share},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    DeviceView view = device(1, 90, 30);
    c.change(view);
    EXPECT_EQ(why_unfit(c.need, view), c.want);
  }
}

EvictionCandidate idle(std::uint64_t id, std::int64_t since, std::int64_t frees_mib) {
  return {InstanceId{id}, false, 0, Instant{since}, mib(frees_mib), 0};
}

TEST(ChooseEviction, LongestIdleWithoutNeedlessVictims) {
  std::vector<EvictionView> views(1);
  views[0].device = device(1, 0, 50);
  views[0].candidates = {idle(1, 10, 10), idle(2, 20, 50), idle(3, 30, 50)};
  const Eviction eviction = choose_eviction({}, views);
  EXPECT_EQ(eviction.devices, std::vector{DeviceId{1}});
  EXPECT_EQ(eviction.victims, std::vector{InstanceId{2}});
}

TEST(ChooseEviction, LeastLossPerByte) {
  std::vector<EvictionView> views(1);
  views[0].device = device(1, 0, 50);
  views[0].candidates = {idle(1, 10, 50), idle(2, 20, 100), idle(3, 30, 50)};
  views[0].candidates[0].loss = 3;
  views[0].candidates[1].loss = 5;  // half as much for a byte as 3's
  views[0].candidates[2].loss = 4;
  EXPECT_EQ(choose_eviction({}, views).victims, std::vector{InstanceId{2}});
}

TEST(ChooseEviction, ABusyOneOnlyIfNoOtherWillDo) {
  std::vector<EvictionView> views(2);
  views[0].device = device(1, 0, 50);
  views[0].candidates = {idle(1, 10, 50)};
  views[0].candidates[0].busy = true;
  views[1].device = device(2, 0, 50);
  views[1].candidates = {idle(2, 90, 50)};
  views[1].candidates[0].loss = 100;
  EXPECT_EQ(choose_eviction({}, views).devices, std::vector{DeviceId{2}});
  views[1].candidates.clear();
  const Eviction swap = choose_eviction({}, views);
  EXPECT_EQ(swap.devices, std::vector{DeviceId{1}});
  EXPECT_TRUE(swap.busy);
}

TEST(ChooseEviction, WaitsForWhatIsStoppingAlready) {
  std::vector<EvictionView> views(1);
  views[0].device = device(1, 0, 50);
  views[0].free_soon = mib(60);
  views[0].slots_soon = 1;
  views[0].candidates = {idle(2, 20, 50)};
  const Eviction eviction = choose_eviction({}, views);
  EXPECT_EQ(eviction.devices, std::vector{DeviceId{1}});
  EXPECT_TRUE(eviction.victims.empty());
}

TEST(ChooseEviction, SeveralDevicesOfOneNode) {
  std::vector<EvictionView> views(3);
  for (std::size_t i = 0; i < views.size(); ++i) {
    views[i].device = device(i + 1, 0, 50);
    views[i].device.node = NodeId{i == 0 ? 1U : 2U};
    views[i].candidates = {idle(i + 1, 10, 50)};
  }
  const Eviction eviction = choose_eviction({.devices = 2}, views);
  EXPECT_EQ(eviction.devices, (std::vector{DeviceId{2}, DeviceId{3}}));
  EXPECT_EQ(eviction.victims, (std::vector{InstanceId{2}, InstanceId{3}}));
}

TEST(ChooseEviction, AnExclusiveOneNeedsAllToGo) {
  std::vector<EvictionView> views(1);
  views[0].device = device(1, 80, 10);
  views[0].device.residents = 2;
  views[0].candidates = {idle(1, 10, 5), idle(2, 20, 5)};
  EXPECT_EQ(choose_eviction({.exclusive = true}, views).victims.size(), 2U);
}

TEST(ChooseEviction, NothingIdle) {
  std::vector<EvictionView> views(1);
  views[0].device = device(1, 0, 50);
  EXPECT_TRUE(choose_eviction({}, views).devices.empty());
}

TEST(FairQueue, ATenantThatFloodsWaitsForItself) {
  FairQueue queue;
  std::uint64_t order = 0;
  for (std::uint64_t i = 1; i <= 100; ++i) {
    queue.push({RequestId{i}, TenantId{1}, 0, ++order, 1});
  }
  queue.push({RequestId{101}, TenantId{2}, 0, ++order, 1});
  queue.push({RequestId{102}, TenantId{2}, 0, ++order, 1});
  std::vector<std::uint64_t> served;
  for (int i = 0; i < 4; ++i) {
    served.push_back(queue.front().request.value);
    queue.pop();
  }
  EXPECT_EQ(served, (std::vector<std::uint64_t>{1, 101, 2, 102}));
  EXPECT_EQ(queue.size(), 98);
  EXPECT_EQ(queue.size_of(TenantId{2}), 0);
}

TEST(FairQueue, PriorityThenArrivalWithinATenant) {
  FairQueue queue;
  queue.push({RequestId{1}, {}, 0, 1, 1});
  queue.push({RequestId{2}, {}, 5, 2, 1});
  queue.push({RequestId{3}, {}, 5, 3, 1});
  std::vector<std::uint64_t> served;
  for (; !queue.empty(); queue.pop()) served.push_back(queue.front().request.value);
  EXPECT_EQ(served, (std::vector<std::uint64_t>{2, 3, 1}));
}

/// Whatever is pushed, charged and erased: over a time in which two tenants both wait, what each
/// was served differs from its share by at most two of the largest requests.
TEST(FairQueue, SharesFollowWeights) {
  rc::check([] {
    FairQueue queue;
    const auto weight = *rc::gen::inRange(1, 5);
    queue.set_weight(TenantId{2}, weight);
    std::uint64_t id = 0;
    const auto push = [&](std::uint64_t tenant) {
      ++id;
      queue.push({RequestId{id}, TenantId{tenant}, 0, id, *rc::gen::inRange(1, 20)});
    };
    for (int i = 0; i < 40; ++i) {
      push(1);
      push(2);
    }
    std::map<std::uint64_t, std::int64_t> took;
    for (int i = 0; i < 30; ++i) {
      const QueuedRequest next = queue.front();
      took[next.tenant.value] += next.cost;
      queue.pop();
      push(next.tenant.value);
    }
    RC_ASSERT(took[1] * weight <= took[2] + 2 * 20 * weight);
    RC_ASSERT(took[2] <= took[1] * weight + 2 * 20 * weight);
  });
}

TEST(FairQueue, WhatARequestReallyTookCounts) {
  FairQueue queue;
  for (std::uint64_t i = 1; i <= 4; ++i) {
    queue.push({RequestId{i}, TenantId{1}, 0, i, 1});
    queue.push({RequestId{10 + i}, TenantId{2}, 0, 10 + i, 1});
  }
  EXPECT_EQ(queue.front().request, RequestId{1});
  queue.pop();
  queue.charge(TenantId{1}, 2);  // it took three times what was expected
  std::vector<std::uint64_t> served;
  for (int i = 0; i < 4; ++i) {
    served.push_back(queue.front().request.value);
    queue.pop();
  }
  EXPECT_EQ(served, (std::vector<std::uint64_t>{11, 12, 13, 2}));
}

TEST(ChooseInstance, LeastInFlightThenLowestNumber) {
  const ReadyInstance ready[] = {{1, 2}, {2, 1}, {3, 1}};
  EXPECT_EQ(choose_instance(ready, 4, 0), 1U);
  EXPECT_EQ(choose_instance(ready, 1, 0), std::nullopt);
  EXPECT_EQ(choose_instance({}, 1, 0), std::nullopt);
  EXPECT_EQ(choose_instance({}, 1, 7), std::nullopt);
}

TEST(ChooseInstance, AKeyStaysWhereItWasAndMovesOnlyWhenItMust) {
  rc::check([](std::uint64_t key) {
    key |= 1;
    std::vector<ReadyInstance> ready;
    for (std::uint32_t i = 1; i <= 8; ++i) ready.push_back({i, 0});
    const std::size_t home = *choose_instance(ready, 4, key);
    std::vector<ReadyInstance> fewer = ready;
    const std::size_t other = (home + 1) % 8;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(other));
    RC_ASSERT(fewer[*choose_instance(fewer, 4, key)].number == ready[home].number);
    ready[home].in_flight = 4;
    RC_ASSERT(*choose_instance(ready, 4, key) != home);
    ready[home].in_flight = 2;  // beyond 1.25 times the mean of 3 / 8, rounded up
    RC_ASSERT(*choose_instance(ready, 4, key) != home);
  });
}

TEST(Timers, FireInOrderWhateverWasSetClearedAndMoved) {
  rc::check([](const std::vector<std::tuple<std::uint8_t, std::uint8_t, bool>>& operations) {
    Timers timers;
    std::map<std::pair<TimerKind, std::uint64_t>, std::int64_t> model;
    for (const auto& [raw, at, set] : operations) {
      const auto kind = static_cast<TimerKind>(raw % 3);
      const std::uint64_t id = raw / 3 + 1U;
      if (set) {
        timers.set(kind, id, Instant{at});
        model[{kind, id}] = at;
      } else {
        timers.clear(kind, id);
        model.erase({kind, id});
      }
      RC_ASSERT(timers.size() == model.size());
    }
    std::vector<std::tuple<std::int64_t, TimerKind, std::uint64_t>> want;
    for (const auto& [key, at] : model) want.emplace_back(at, key.first, key.second);
    std::sort(want.begin(), want.end());
    for (const auto& [at, kind, id] : want) {
      RC_ASSERT(timers.next() == Instant{at});
      const auto due = timers.take_due(Instant{at});
      RC_ASSERT(due && due->at.ns == at && due->kind == kind && due->id == id);
    }
    RC_ASSERT(!timers.next().has_value());
  });
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
