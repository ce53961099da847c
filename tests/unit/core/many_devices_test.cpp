// Room for an instance among many devices.
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "core/core.h"
#include "core_rig.h"

namespace stoker::core {
namespace {

DeviceId device_of(const CoreRig& rig, InstanceId instance) {
  for (const InstanceSummary& each : rig.core.summary().instances) {
    if (each.id == instance) return each.devices.at(0);
  }
  return {};
}

/// `count` devices, on each an idle instance of a deployment of its own; number i idles since i s.
void fill_with_idle(CoreRig& rig, std::uint64_t count) {
  for (std::uint64_t i = 1; i <= count; ++i) rig.step(DeviceAdded{device(i)});
  for (std::uint64_t i = 1; i <= count; ++i) {
    rig.step(DeploymentAdded{deployment(i)});
    rig.at(at(static_cast<std::int64_t>(i)), request(i, DeploymentId{i}));
    rig.bring_up(rig.take_all<StartInstance>().at(0));
    rig.step(RequestEnded{RequestId{i}, 0});
  }
  (void)rig.take();
}

TEST(ManyDevices, RoomIsMadeWhereInstancesHaveBeenIdleLongest) {
  CoreRig rig;
  fill_with_idle(rig, 40);
  rig.pass_until(at(60));
  std::vector<InstanceId> victims;
  for (const std::uint64_t id : {98U, 99U}) {  // the second sees that room there is promised
    rig.step(DeploymentAdded{deployment(id)});
    rig.step(request(id, DeploymentId{id}));
    const auto stopped = rig.take_all<StopInstance>();
    ASSERT_EQ(stopped.size(), 1U);
    EXPECT_EQ(stopped[0].reason, StopReason::make_room);
    EXPECT_LE(device_of(rig, stopped[0].instance).value, 9U) << "one of those that idled longest";
    victims.push_back(stopped[0].instance);
  }
  EXPECT_NE(victims[0], victims[1]);
}

TEST(ManyDevices, OnesThatCouldNotHoldItAreNotLookedAt) {
  CoreRig rig;
  fill_with_idle(rig, 40);
  for (std::uint64_t i = 1; i <= 36; ++i) rig.at(at(60), DeviceLost{DeviceId{i}});
  (void)rig.take();
  rig.at(at(61), DeploymentAdded{deployment(99)});
  rig.step(request(99, DeploymentId{99}));
  const auto stopped = rig.take_all<StopInstance>();
  ASSERT_EQ(stopped.size(), 1U);
  EXPECT_GT(device_of(rig, stopped[0].instance).value, 36U);
}

TEST(ManyDevices, SeveralAtOnceAreLookedForOnAll) {
  CoreRig rig;
  fill_with_idle(rig, 40);
  DeploymentSpec wide = deployment(99);
  wide.needs.devices = 10;
  rig.at(at(60), DeploymentAdded{wide});
  rig.step(request(99, DeploymentId{99}));
  const auto stopped = rig.take_all<StopInstance>();
  EXPECT_EQ(stopped.size(), 10U) << "one on each of ten devices";
  for (const StopInstance& each : stopped) {
    rig.step(InstanceExited{each.instance, each.generation, ExitKind::clean});
  }
  const auto started = rig.take_all<StartInstance>();
  ASSERT_EQ(started.size(), 1U);
  EXPECT_EQ(started[0].devices.size(), 10U);
}

TEST(ManyDevices, WhereNobodyIdlesABusyOneGivesWayAfterItsStay) {
  CoreRig rig;
  fill_with_idle(rig, 80);  // more than are looked at, none where it could run
  rig.step(DeviceAdded{device(100, DeviceKind::cuda)});
  for (const std::uint64_t id : {101U, 102U}) {
    DeploymentSpec spec = deployment(id);
    spec.needs.kinds = {DeviceKind::cuda};
    spec.expected_start = seconds(2);
    rig.step(DeploymentAdded{spec});
  }
  const Instant began = at(100);
  rig.at(began, request(101, DeploymentId{101}));
  const StartInstance first = rig.take_all<StartInstance>().at(0);
  rig.at(began + seconds(2), InstanceUp{first.instance, first.generation});
  rig.step(InstanceReady{first.instance, first.generation, first.reserved});
  rig.at(began + seconds(3), request(102, DeploymentId{102}));
  const auto waits = rig.take_all<AwaitRoom>();
  ASSERT_EQ(waits.size(), 1U);
  EXPECT_EQ(waits[0].reason, WaitReason::all_busy);
  EXPECT_EQ(waits[0].unfit[static_cast<std::size_t>(Unfit::wrong_kind)], 80);
  // Four times its start of 2 s, then it drains; its request ends in peace.
  rig.at(began + seconds(2) + seconds(8), RequestEnded{RequestId{101}, 0});
  const auto stopped = rig.take_all<StopInstance>();
  ASSERT_EQ(stopped.size(), 1U);
  EXPECT_EQ(stopped[0].reason, StopReason::swap);
  EXPECT_EQ(stopped[0].mode, StopMode::graceful);
  rig.step(InstanceExited{first.instance, first.generation, ExitKind::clean});
  EXPECT_EQ(rig.take_all<StartInstance>().size(), 1U);
}

}  // namespace
}  // namespace stoker::core
