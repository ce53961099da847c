// What a queued request is said to wait for: its place, the instance, the time.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdint>
#include <vector>

#include "core/core.h"
#include "core/fair_queue.h"
#include "core_rig.h"

namespace stoker::core {
namespace {

constexpr DeploymentId chat{1};

DeploymentSpec one_instance(std::int32_t concurrency = 1) {
  DeploymentSpec spec = deployment(1);
  spec.scale.concurrency = concurrency;
  spec.scale.max_instances = 1;
  return spec;
}

/// The only request of the instance ends, and it is stopped.
void stop_idle(CoreRig& rig, RequestId request, const StartInstance& start) {
  rig.step(RequestEnded{request});
  rig.step(StopRequested{chat, start.instance});
  rig.step(InstanceExited{start.instance, start.generation, ExitKind::clean});
  rig.take();
}

TEST(WaitingFor, NobodyWhoDoesNotWait) {
  CoreRig rig;
  rig.step(DeviceAdded{device(1)});
  rig.step(DeploymentAdded{one_instance()});
  EXPECT_FALSE(rig.core.waiting(rig.now, RequestId{1})) << "never heard of";
  rig.step(request(1, chat));
  EXPECT_TRUE(rig.core.waiting(rig.now, RequestId{1}));
  rig.bring_up(rig.take_all<StartInstance>().at(0));
  EXPECT_FALSE(rig.core.waiting(rig.now, RequestId{1})) << "it runs";
}

TEST(WaitingFor, AStartIsFollowedAndItsTimeIsLearned) {
  CoreRig rig;
  rig.step(DeviceAdded{device(1)});
  rig.at(at(1), DeploymentAdded{one_instance()});
  rig.step(request(1, chat));
  const StartInstance start = rig.take_all<StartInstance>().at(0);
  auto wait = rig.core.waiting(rig.now, RequestId{1});
  ASSERT_TRUE(wait);
  EXPECT_EQ(wait->position, 1);
  EXPECT_EQ(wait->awaits, start.instance);
  EXPECT_EQ(wait->state, InstanceState::starting);
  EXPECT_FALSE(wait->all_busy);
  EXPECT_FALSE(wait->expected) << "no start was seen yet";
  rig.step(InstanceUp{start.instance, start.generation});
  EXPECT_EQ(rig.core.waiting(rig.now, RequestId{1})->state, InstanceState::loading);

  rig.pass_until(at(21));
  rig.step(InstanceReady{start.instance, start.generation, start.reserved});
  stop_idle(rig, RequestId{1}, start);
  rig.step(request(2, chat));
  EXPECT_EQ(rig.core.waiting(rig.now, RequestId{2})->expected, seconds(20));
  EXPECT_EQ(rig.core.waiting(rig.now + seconds(15), RequestId{2})->expected, seconds(5));
  EXPECT_FALSE(rig.core.waiting(rig.now + seconds(21), RequestId{2})->expected) << "overdue";
}

TEST(WaitingFor, AfterAFailureItsBackoffCountsToo) {
  CoreRig rig;
  rig.step(DeviceAdded{device(1)});
  rig.at(at(1), DeploymentAdded{one_instance()});
  rig.step(request(1, chat));
  StartInstance start = rig.take_all<StartInstance>().at(0);
  rig.pass_until(at(21));
  rig.bring_up(start);
  stop_idle(rig, RequestId{1}, start);
  rig.step(request(2, chat));
  start = rig.take_all<StartInstance>().at(0);
  rig.step(InstanceExited{start.instance, start.generation, ExitKind::crashed});
  const auto wait = rig.core.waiting(rig.now, RequestId{2});
  ASSERT_TRUE(wait && wait->expected);
  EXPECT_EQ(wait->awaits, InstanceId{}) << "none is on its way";
  EXPECT_GT(*wait->expected, seconds(20)) << "a start, and the wait before it";
  EXPECT_LT(*wait->expected, seconds(22));
}

TEST(WaitingFor, BehindBusyInstancesByThePaceThatWasSeen) {
  CoreRig rig;
  rig.step(DeviceAdded{device(1)});
  rig.step(DeploymentAdded{one_instance(2)});
  rig.step(request(1, chat));
  rig.bring_up(rig.take_all<StartInstance>().at(0));
  rig.step(request(2, chat));
  for (std::uint64_t id = 3; id <= 6; ++id) rig.step(request(id, chat));
  const auto first = rig.core.waiting(rig.now, RequestId{3});
  const auto last = rig.core.waiting(rig.now, RequestId{6});
  ASSERT_TRUE(first && last);
  EXPECT_TRUE(first->all_busy);
  EXPECT_EQ(first->awaits, InstanceId{});
  EXPECT_EQ(first->position, 1);
  EXPECT_EQ(last->position, 4);
  EXPECT_EQ(first->expected, ms(500)) << "a second each, two at a time";
  EXPECT_EQ(last->expected, seconds(2));
}

TEST(WaitingFor, BeyondWhatIsCountedThereIsNoPlace) {
  CoreRig rig;
  rig.step(DeviceAdded{device(1)});
  DeploymentSpec spec = one_instance();
  spec.limits.max_queued = 2000;
  rig.step(DeploymentAdded{spec});
  for (std::uint64_t id = 1; id <= 1001; ++id) rig.step(request(id, chat));
  EXPECT_EQ(rig.core.waiting(rig.now, RequestId{1000})->position, 1000);
  EXPECT_EQ(rig.core.waiting(rig.now, RequestId{1001})->position, 0);
  EXPECT_FALSE(rig.core.waiting(rig.now, RequestId{1001})->expected);
}

/// The place of each is the number of the turn at which it is served.
TEST(FairQueuePosition, IsTheOrderOfService) {
  EXPECT_TRUE(rc::check([] {
    FairQueue queue;
    std::uint64_t order = 0;
    const auto push = [&] {
      const TenantId tenant{*rc::gen::inRange<std::uint64_t>(1, 5)};
      const auto priority = *rc::gen::inRange(0, 3);
      const auto cost = *rc::gen::inRange<std::int64_t>(1, 50);
      ++order;
      queue.push({RequestId{order}, tenant, priority, order, cost});
    };
    for (std::uint64_t tenant = 1; tenant <= 4; ++tenant) {
      queue.set_weight(TenantId{tenant}, *rc::gen::inRange(1, 4));
    }
    for (int i = *rc::gen::inRange(1, 30); i > 0; --i) push();
    for (int i = *rc::gen::inRange(0, queue.size()); i > 0; --i) queue.pop();
    for (int i = *rc::gen::inRange(1, 20); i > 0; --i) push();
    std::vector<std::pair<RequestId, std::int32_t>> told;
    queue.for_each([&](const QueuedRequest& each) {
      told.emplace_back(each.request, queue.position(each.tenant, each.priority, each.order, 1000));
    });
    const std::int32_t most = queue.size() / 2;
    queue.for_each([&](const QueuedRequest& each) {
      const std::int32_t place = queue.position(each.tenant, each.priority, each.order, 1000);
      RC_ASSERT(queue.position(each.tenant, each.priority, each.order, most) ==
                (place <= most ? place : 0));
    });
    for (std::int32_t turn = 1; !queue.empty(); ++turn) {
      const RequestId next = queue.front().request;
      for (const auto& [id, place] : told) {
        if (id == next) RC_ASSERT(place == turn);
      }
      queue.pop();
    }
  }));
}

}  // namespace
}  // namespace stoker::core
