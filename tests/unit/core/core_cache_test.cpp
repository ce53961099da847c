// The stores' moves as the core orders them: what requests and starts taught, which node, what an
// instance holds, and that a core without a store orders nothing.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/describe.h"
#include "core_rig.h"

namespace stoker::core {
namespace {

constexpr NodeId first{1};
constexpr NodeId second{2};

DeviceSpec device_on(std::uint64_t id, NodeId node) {
  DeviceSpec spec = device(id);
  spec.node = node;
  return spec;
}

DeploymentSpec stored(std::uint64_t id, std::uint64_t model, std::int64_t size_mib) {
  DeploymentSpec spec = deployment(id, 20);
  spec.model = {ModelId{model}, mib(size_mib), {}};
  spec.scale.scale_to_zero_delay = seconds(5);
  return spec;
}

StoreAdded store_on(NodeId node, std::int64_t disk_mib, std::int64_t host_mib) {
  return {{node, mib(disk_mib), mib(host_mib), seconds(30)}};
}

class CacheRig : public CoreRig {
 public:
  using CoreRig::CoreRig;
  /// One request, served by a new instance that goes when it is idle.
  void serve(std::uint64_t deployment_id) {
    step(request(++requests_, DeploymentId{deployment_id}));
    for (const Action& each : take()) {
      const auto* start = std::get_if<StartInstance>(&each);
      if (start == nullptr) continue;
      now = now + (start->from == Tier::remote ? seconds(9) : seconds(2));
      step(InstanceUp{start->instance, start->generation});
      step(InstanceReady{start->instance, start->generation, start->reserved});
      step(RequestEnded{RequestId{requests_}, 0});
      pass_until(now + seconds(6));
      step(InstanceExited{start->instance, start->generation, ExitKind::clean});
      note(take());
      return;
    }
  }
  /// Rounds for so long; the store does what it is told.
  void pass(Duration d) {
    for (const Instant end = now + d; now < end;) {
      pass_until(now + seconds(1));
      note(take());
    }
  }
  void note(const Actions& actions) {
    for (const Action& each : actions) {
      if (const auto* fetch = std::get_if<PrefetchModel>(&each)) {
        log.push_back(describe(each).substr(0, describe(each).find(", which")));
        step(ModelFetched{fetch->node, fetch->model, fetch->tier, fetch->move, fetch->bytes});
      } else if (const auto* drop = std::get_if<DropModel>(&each)) {
        log.push_back(describe(each).substr(0, describe(each).find(", where")));
        step(ModelDropped{drop->node, drop->model, drop->tier, drop->move});
      } else if (std::holds_alternative<PinModel>(each) ||
                 std::holds_alternative<RefuseCopy>(each)) {
        log.push_back(describe(each));
      }
    }
  }
  std::vector<std::string> log;

 private:
  std::uint64_t requests_ = 0;
};

using Log = std::vector<std::string>;

TEST(CoreCache, WithoutAStoreNothingIsOrdered) {
  CacheRig rig;
  rig.step(DeviceAdded{device_on(1, first)});
  rig.step(DeploymentAdded{stored(1, 1, 10)});
  for (int i = 0; i < 5; ++i) rig.serve(1);
  rig.pass(seconds(60));
  EXPECT_EQ(rig.log, Log{});
  EXPECT_TRUE(rig.core.summary().stores.empty());
}

TEST(CoreCache, BringsWhatIsUsedNearer) {
  CacheRig rig;
  rig.step(DeviceAdded{device_on(1, first)});
  rig.step(store_on(first, 100, 100));
  rig.step(DeploymentAdded{stored(1, 1, 10)});
  rig.step(DeploymentAdded{stored(2, 2, 10)});  // nobody asks for it
  rig.pass(seconds(20));
  EXPECT_EQ(rig.log, Log{}) << "nothing is known of it";
  for (int i = 0; i < 3; ++i) rig.serve(1);
  rig.pass(seconds(20));
  EXPECT_EQ(rig.log, Log({"bring model 1 with 10.0 MiB to the disk tier of node 1 (room)",
                          "bring model 1 with 10.0 MiB to the host memory tier of node 1 (room)"}));
  rig.step(request(900, DeploymentId{1}));
  const auto starts = rig.take_all<StartInstance>();
  ASSERT_EQ(starts.size(), 1U);
  EXPECT_EQ(starts[0].from, Tier::host);
  const Summary summary = rig.core.summary();
  ASSERT_EQ(summary.stores.size(), 2U);
  EXPECT_EQ(summary.stores[0].held, mib(10));
  EXPECT_EQ(summary.stores[1].capacity, mib(100));
}

TEST(CoreCache, WhatAnInstanceHoldsStaysAndALossIsTaken) {
  CacheRig rig;
  rig.step(DeviceAdded{device_on(1, first)});
  rig.step(store_on(first, 10, 0));
  rig.step(DeploymentAdded{stored(1, 1, 10)});
  rig.step(DeploymentAdded{stored(2, 2, 10)});
  rig.serve(1);
  rig.step(ModelInTier{first, ModelId{1}, Tier::disk, mib(10)});
  rig.step(request(900, DeploymentId{1}));
  const auto starts = rig.take_all<StartInstance>();
  ASSERT_EQ(starts.size(), 1U);
  EXPECT_EQ(starts[0].from, Tier::disk);
  rig.bring_up(starts[0]);
  rig.log.clear();
  for (int i = 0; i < 30; ++i) rig.serve(2);
  EXPECT_EQ(rig.log, Log{}) << "the other one's file is open";
  rig.step(TierLost{first, Tier::disk});
  rig.pass(seconds(40));
  EXPECT_EQ(rig.log, Log{"bring model 2 with 10.0 MiB to the disk tier of node 1 (room)"});
}

TEST(CoreCache, ADropIsCountedOnAtOnceAndTakenBackIfItFails) {
  CacheRig rig;
  rig.step(DeviceAdded{device_on(1, first)});
  rig.step(DeploymentAdded{stored(1, 1, 10)});
  rig.step(ModelInTier{first, ModelId{1}, Tier::disk, mib(10)});
  rig.step(ModelInTier{first, ModelId{1}, Tier::host, mib(10)});
  rig.step(store_on(first, 5, 20));
  rig.pass_until(at(3));
  auto drops = rig.take_all<DropModel>();
  ASSERT_EQ(drops.size(), 1U) << "host memory first";
  EXPECT_EQ(drops[0].tier, Tier::host);
  EXPECT_EQ(drops[0].reason, DropReason::over_capacity);
  rig.step(request(900, DeploymentId{1}));
  EXPECT_EQ(rig.take_all<StartInstance>().at(0).from, Tier::disk);
  rig.step(MoveFailed{first, ModelId{1}, Tier::host, drops[0].move, MoveFailure::error, mib(12)});
  rig.step(MoveFailed{first, ModelId{1}, Tier::host, drops[0].move, MoveFailure::error, {}});
  EXPECT_EQ(rig.core.summary().stores[0].held, mib(12)) << "as the store said";
  rig.step(ModelDropped{first, ModelId{1}, Tier::host, drops[0].move});
  EXPECT_EQ(rig.core.summary().stores[0].held, mib(12)) << "of a move that is over";
}

TEST(CoreCache, MessagesAboutNoStoreOrTheRemoteOneChangeNothing) {
  CacheRig rig;
  rig.step(DeviceAdded{device_on(1, first)});
  for (const bool with_store : {false, true}) {
    if (with_store) rig.step(store_on(first, 10, 10));
    const Tier tier = with_store ? Tier::remote : Tier::disk;
    rig.step(ModelFetched{first, ModelId{1}, tier, MoveId{1}, mib(1)});
    rig.step(ModelDropped{first, ModelId{1}, tier, MoveId{1}});
    rig.step(MoveFailed{first, ModelId{1}, tier, MoveId{1}, MoveFailure::error, {}});
    rig.step(ModelInTier{first, ModelId{1}, Tier::remote});
    rig.step(ModelLost{first, ModelId{1}, Tier::remote});
    rig.step(TierLost{first, Tier::remote});
  }
  rig.step(ModelFetched{first, ModelId{1}, Tier::disk, MoveId{1}, mib(1)});
  for (const StoreSummary& each : rig.core.summary().stores) EXPECT_EQ(each.held, Bytes{});
}

TEST(CoreCache, PinnedOnEveryNodeThatSuits) {
  CacheRig rig;
  rig.step(store_on(first, 100, 100));
  rig.step(store_on(second, 100, 5));
  rig.step(DeviceAdded{device_on(1, first)});
  rig.step(DeviceAdded{device_on(2, second)});
  rig.step(DeviceAdded{device_on(3, second)});
  DeploymentSpec d = stored(1, 1, 10);
  d.model.pinned = Tier::host;
  rig.step(DeploymentAdded{d});
  DeploymentSpec nowhere = stored(2, 2, 10);
  nowhere.needs.kinds = {DeviceKind::cuda};
  nowhere.model.pinned = Tier::disk;
  rig.step(DeploymentAdded{nowhere});
  rig.pass(seconds(10));
  EXPECT_EQ(rig.log,
            Log({"bring model 1 with 10.0 MiB to the disk tier of node 1 (pinned)",
                 "bring model 1 with 10.0 MiB to the disk tier of node 2 (pinned)",
                 "bring model 1 with 10.0 MiB to the host memory tier of node 1 (pinned)",
                 "pin model 1 in the disk tier of node 1",
                 "model 1 with 10.0 MiB does not come to the host memory tier of node 2 of 5.0 MiB "
                 "(larger_than_tier)",
                 "pin model 1 in the disk tier of node 2",
                 "pin model 1 in the host memory tier of node 1"}));
  rig.log.clear();
  d.model.pinned = Tier::remote;
  rig.step(DeploymentChanged{d});
  rig.pass(seconds(10));
  EXPECT_EQ(rig.log, Log({"pin no longer model 1 in the host memory tier of node 1",
                          "pin no longer model 1 in the disk tier of node 1",
                          "pin no longer model 1 in the disk tier of node 2"}));
}

TEST(CoreCache, WhoseModelChangesPinsTheOldOneNoLonger) {
  CacheRig rig;
  rig.step(DeviceAdded{device_on(1, first)});
  rig.step(store_on(first, 100, 0));
  DeploymentSpec d = stored(1, 1, 10);
  d.model.pinned = Tier::disk;
  rig.step(DeploymentAdded{d});
  rig.pass(seconds(5));
  rig.log.clear();
  d.model.id = ModelId{2};
  rig.step(DeploymentChanged{d});
  rig.pass(seconds(5));
  EXPECT_EQ(rig.log, Log({"pin no longer model 1 in the disk tier of node 1",
                          "bring model 2 with 10.0 MiB to the disk tier of node 1 (pinned)",
                          "pin model 2 in the disk tier of node 1"}));
}

TEST(CoreCache, AFetchThatFailedIsTriedAgainAfterItsRestThoughNothingElseHappens) {
  CacheRig rig;
  rig.step(DeviceAdded{device_on(1, first)});
  rig.step(store_on(first, 100, 0));
  DeploymentSpec d = stored(1, 1, 10);
  d.model.pinned = Tier::disk;
  rig.step(DeploymentAdded{d});
  rig.pass_until(at(3));
  const auto fetches = rig.take_all<PrefetchModel>();
  ASSERT_EQ(fetches.size(), 1U);
  rig.step(MoveFailed{first, ModelId{1}, Tier::disk, fetches[0].move, MoveFailure::error, {}});
  rig.pass_until(at(32));
  EXPECT_TRUE(rig.take_all<PrefetchModel>().empty()) << "it rests for 30 s";
  rig.pass_until(at(35));
  EXPECT_EQ(rig.take_all<PrefetchModel>().size(), 1U);
}

TEST(CoreCache, WhatTheLastLifeOfTheServerOrderedEndsNoMoveOfThisOne) {
  CoreConfig config;
  config.epoch = Epoch{7};
  CacheRig rig(config);
  rig.step(DeviceAdded{device_on(1, first)});
  rig.step(store_on(first, 100, 0));
  DeploymentSpec d = stored(1, 1, 10);
  d.model.pinned = Tier::disk;
  rig.step(DeploymentAdded{d});
  rig.pass_until(at(3));
  const auto fetches = rig.take_all<PrefetchModel>();
  ASSERT_EQ(fetches.size(), 1U);
  EXPECT_EQ(fetches[0].move, MoveId{(std::uint64_t{7} << 32U) + 1});
  rig.step(
      ModelFetched{first, ModelId{1}, Tier::disk, MoveId{(std::uint64_t{6} << 32U) + 1}, mib(10)});
  rig.pass(seconds(5));
  EXPECT_EQ(rig.log, Log{}) << "it is not there";
  rig.step(ModelFetched{first, ModelId{1}, Tier::disk, fetches[0].move, mib(10)});
  rig.pass(seconds(5));
  EXPECT_EQ(rig.log, Log{"pin model 1 in the disk tier of node 1"});
}

TEST(CoreCache, ASecondCopyElsewhereIsWorthAHalf) {
  CacheRig rig;
  rig.step(DeviceAdded{device_on(1, first)});
  rig.step(DeviceAdded{device_on(2, second)});
  rig.step(store_on(first, 10, 0));
  rig.step(store_on(second, 10, 0));
  // Two models, used alike, two disks for one each: not the same one twice.
  rig.step(DeploymentAdded{stored(1, 1, 10)});
  rig.step(DeploymentAdded{stored(2, 2, 10)});
  for (int i = 0; i < 6; ++i) {
    rig.serve(1);
    rig.serve(2);
  }
  rig.pass(seconds(100));
  for (const std::uint64_t id : {1U, 2U}) {
    rig.step(request(900 + id, DeploymentId{id}));
    for (const StartInstance& each : rig.take_all<StartInstance>()) {
      EXPECT_EQ(each.from, Tier::disk) << "model " << id << " lies nowhere";
    }
  }
}

TEST(CoreCache, AModelOfManyDeploymentsAndOneThatIsRemoved) {
  CacheRig rig;
  rig.step(DeviceAdded{device_on(1, first)});
  rig.step(store_on(first, 10, 0));
  rig.step(DeploymentAdded{stored(1, 1, 10)});
  rig.step(DeploymentAdded{stored(2, 1, 10)});
  rig.step(DeploymentAdded{stored(3, 2, 10)});
  for (int i = 0; i < 3; ++i) {
    rig.serve(1);
    rig.serve(2);
  }
  rig.pass(seconds(5));
  EXPECT_EQ(rig.log, Log{"bring model 1 with 10.0 MiB to the disk tier of node 1 (room)"});
  rig.log.clear();
  rig.step(DeploymentRemoved{DeploymentId{1}});
  rig.step(DeploymentRemoved{DeploymentId{2}});
  rig.pass(seconds(40));
  EXPECT_EQ(rig.log, Log{}) << "it leaves when its room is needed";
  for (int i = 0; i < 3; ++i) rig.serve(3);
  rig.pass(seconds(5));
  EXPECT_EQ(rig.log, Log({"take model 1 with 10.0 MiB from the disk tier of node 1 (worth_less)",
                          "bring model 2 with 10.0 MiB to the disk tier of node 1 (room)"}));
}

TEST(CoreCache, AServerThatEndsMovesNothing) {
  CacheRig rig;
  rig.step(DeviceAdded{device_on(1, first)});
  rig.step(store_on(first, 10, 0));
  rig.step(DeploymentAdded{stored(1, 1, 10)});
  rig.step(ShutdownRequested{});
  DeploymentSpec d = stored(1, 1, 10);
  d.model.pinned = Tier::disk;
  rig.step(DeploymentChanged{d});
  rig.pass(seconds(10));
  EXPECT_EQ(rig.log, Log{});
}

TEST(CoreCache, AStoreThatComesLateKnowsWhoReads) {
  CacheRig rig;
  rig.step(DeviceAdded{device_on(1, first)});
  rig.step(DeploymentAdded{stored(1, 1, 10)});
  rig.step(ModelInTier{first, ModelId{1}, Tier::disk});
  rig.step(request(1, DeploymentId{1}));
  const auto starts = rig.take_all<StartInstance>();
  ASSERT_EQ(starts.size(), 1U);
  rig.step(store_on(first, 5, 0));
  rig.pass(seconds(10));
  EXPECT_EQ(rig.log, Log{}) << "it is more than may lie there, and it is read";
  rig.step(RequestCancelled{RequestId{1}});
  rig.step(InstanceExited{starts[0].instance, starts[0].generation, ExitKind::crashed});
  rig.note(rig.take());
  rig.pass(seconds(10));
  EXPECT_FALSE(rig.log.empty());
}

}  // namespace
}  // namespace stoker::core
