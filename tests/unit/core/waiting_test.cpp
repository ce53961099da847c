// Who waits for room is asked again when something changes that could help, and only then; and what
// is decided about one deployment does not hang on another that fails.
#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "core/core.h"

namespace stoker::core {
namespace {

/// Devices and deployments of one core, driven by hand.
class Driven {
 public:
  Actions step(Duration at, const Event& event) {
    Actions actions;
    core_.step(Instant{} + at, event, actions);
    return actions;
  }
  Actions wake_next() {
    const Duration at = *core_.next_wakeup() - Instant{};
    last_wake_ = at;
    return step(at, WokeUp{});
  }
  [[nodiscard]] Duration last_wake() const { return last_wake_; }

  void add_device(std::uint64_t id, Bytes memory, std::int32_t slots = 4) {
    DeviceSpec device;
    device.id = DeviceId{id};
    device.kind = DeviceKind::fake;
    device.memory = memory;
    device.slots = slots;
    device.node = NodeId{1};
    step({}, DeviceAdded{device});
  }
  static DeploymentSpec spec(std::uint64_t id, Bytes memory) {
    DeploymentSpec d;
    d.id = DeploymentId{id};
    d.estimate.private_bytes = memory;
    return d;
  }
  /// A request comes, its instance starts and is ready `load` later.   Gives: the order to start.
  StartInstance bring_up(Duration at, std::uint64_t request, std::uint64_t deployment,
                         Duration load = seconds(1)) {
    const Actions actions = arrive(at, request, deployment);
    const StartInstance start = std::get<StartInstance>(actions.at(0));
    const MemoryNeed need = start.reserved;
    step(at, InstanceUp{start.instance, start.generation});
    step(at + load, InstanceReady{start.instance, start.generation, need});
    return start;
  }
  Actions arrive(Duration at, std::uint64_t request, std::uint64_t deployment) {
    return step(
        at, RequestArrived{RequestId{request}, DeploymentId{deployment}, TenantId{1}, 0, {}, 1, 0});
  }

 private:
  Core core_{CoreConfig{Epoch{1}, 7, seconds(30)}};
  Duration last_wake_;
};

template <class A>
std::optional<A> first(const Actions& actions) {
  for (const Action& each : actions) {
    if (const auto* found = std::get_if<A>(&each)) return *found;
  }
  return std::nullopt;
}

TEST(Waiting, GetsWhatWasPromisedToSomebodyWhoLeft) {
  Driven driven;
  driven.add_device(1, mib(100));
  for (const auto& [id, need] : {std::pair{1U, 60}, {2U, 80}, {3U, 30}}) {
    driven.step({}, DeploymentAdded{Driven::spec(id, mib(need))});
  }
  driven.bring_up(seconds(1), 1, 1);
  driven.step(seconds(3), RequestEnded{RequestId{1}, 0});
  // The second needs what the first leaves; the third would fit now, but the room is promised.
  EXPECT_TRUE(first<StopInstance>(driven.arrive(seconds(10), 2, 2)));
  EXPECT_FALSE(first<StartInstance>(driven.arrive(seconds(10), 3, 3)));
  const auto start =
      first<StartInstance>(driven.step(seconds(10) + ms(5), RequestCancelled{RequestId{2}}));
  ASSERT_TRUE(start);
  EXPECT_EQ(start->deployment, DeploymentId{3});
}

TEST(Waiting, LearnsThatItsDeviceIsOfNoUseAnyMore) {
  Driven driven;
  driven.add_device(1, mib(100));
  driven.step({}, DeploymentAdded{Driven::spec(1, mib(60))});
  driven.step({}, DeploymentAdded{Driven::spec(2, mib(80))});
  const StartInstance held = driven.bring_up(seconds(1), 1, 1);
  driven.step(seconds(3), InstanceHung{held.instance, held.generation, HangKind::silent});
  EXPECT_FALSE(first<Refuse>(driven.arrive(seconds(4), 2, 2)));
  const auto refused =
      first<Refuse>(driven.step(seconds(8), InstanceUnkillable{held.instance, held.generation}));
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->request, RequestId{2});
  EXPECT_EQ(refused->reason, RefuseReason::no_capacity);
}

TEST(Waiting, AnIdleOneOfThePoolGivesWayOnceItHasHadItsStay) {
  Driven driven;
  driven.step({}, PoolAdded{{PoolId{1}, "pool", 1, {}}});
  for (const std::uint64_t id : {1U, 2U}) {
    DeploymentSpec d = Driven::spec(id, mib(1));
    d.pool = PoolId{1};
    driven.step({}, DeploymentAdded{d});
  }
  const StartInstance held = driven.bring_up(seconds(1), 1, 1, seconds(5));
  driven.step(seconds(6) + ms(10), RequestEnded{RequestId{1}, 0});
  // Ready since 6 s, idle, and too young to go for another.
  EXPECT_FALSE(first<StopInstance>(driven.arrive(seconds(6) + ms(20), 2, 2)));
  const auto stop = first<StopInstance>(driven.wake_next());
  ASSERT_TRUE(stop);
  EXPECT_EQ(stop->instance, held.instance);
  EXPECT_EQ(stop->reason, StopReason::make_room);
  EXPECT_EQ(driven.last_wake(), seconds(8));
}

/// When the second deployment's failed start is tried again, after `failures` of the first.
Duration retry_beside(int failures) {
  Driven driven;
  driven.add_device(1, gib(1));
  driven.step({}, DeploymentAdded{Driven::spec(1, mib(1))});
  driven.step({}, DeploymentAdded{Driven::spec(2, mib(1))});
  for (int i = 0; i < failures; ++i) {
    const Duration at = minutes(2) + seconds(100 * i);
    const auto start =
        first<StartInstance>(driven.arrive(at, 100 + static_cast<std::uint64_t>(i), 1));
    if (start) {
      driven.step(at + ms(1),
                  StartFailed{start->instance, start->generation, StartFailure::will_stay});
    }
  }
  const auto start = first<StartInstance>(driven.arrive(minutes(60), 1, 2));
  const Actions failed = driven.step(
      minutes(60), StartFailed{start->instance, start->generation, StartFailure::will_stay});
  return first<Refuse>(failed)->retry_after;
}

TEST(Backoff, IsTheSameWhateverFailsBesides) {
  const Duration alone = retry_beside(0);
  for (int failures = 1; failures < 5; ++failures) EXPECT_EQ(retry_beside(failures), alone);
}

}  // namespace
}  // namespace stoker::core
