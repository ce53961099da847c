// What the core answers: whether it would take a request, whether it is quiet, what people see.
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "core/core.h"
#include "core_rig.h"

namespace stoker::core {
namespace {

constexpr DeploymentId job{1};

TEST(WouldAdmit, SaysWhatARequestWouldMeet) {
  CoreRig rig;
  rig.step(DeviceAdded{device(1)});
  rig.step(PoolAdded{{PoolId{1}, "slurm", 1, {}}});
  const auto admits = [&](std::uint64_t id) {
    return rig.core.would_admit(rig.now, DeploymentId{id});
  };
  EXPECT_FALSE(admits(1)) << "there is none";

  rig.step(DeploymentAdded{deployment(1)});
  EXPECT_TRUE(admits(1)) << "it fits";
  rig.step(DeploymentAdded{deployment(2, 101)});
  EXPECT_FALSE(admits(2)) << "no device could ever hold it";
  DeploymentSpec pooled = deployment(3);
  pooled.pool = PoolId{1};
  rig.step(DeploymentAdded{pooled});
  EXPECT_TRUE(admits(3)) << "a pool is asked, not known";

  rig.step(request(1, DeploymentId{1}));
  rig.bring_up(rig.take_all<StartInstance>().at(0));
  EXPECT_TRUE(admits(1)) << "an instance is ready";
  rig.step(DeviceLost{DeviceId{1}});
  EXPECT_FALSE(admits(1)) << "the only device is lost";
  rig.step(DeviceReturned{DeviceId{1}});
  EXPECT_TRUE(admits(1));

  rig.step(DeploymentRemoved{DeploymentId{1}});
  EXPECT_FALSE(admits(1)) << "it is removed, its request still runs";
  rig.step(ShutdownRequested{});
  EXPECT_FALSE(admits(3)) << "the server ends";
}

TEST(WouldAdmit, ADistrustedDeviceIsBetterThanNone) {
  CoreRig rig;
  rig.step(DeviceAdded{device(1)});
  rig.step(DeviceAdded{device(2)});
  for (std::uint64_t id : {1U, 2U}) rig.step(DeploymentAdded{deployment(id, 40)});
  std::uint64_t next = 1;
  for (int i = 0; i < 3; ++i) {  // three starts of two models fail on device 1
    rig.at(at(10 * i), request(next++, DeploymentId{1}));
    rig.step(request(next++, DeploymentId{2}));
    for (const StartInstance& each : rig.take_all<StartInstance>()) {
      rig.step(InstanceExited{each.instance, each.generation, ExitKind::crashed});
    }
  }
  rig.step(DeviceLost{DeviceId{2}});
  EXPECT_TRUE(rig.core.would_admit(rig.now, DeploymentId{1}));
}

TEST(WouldAdmit, NotWhileWaitingWouldNotHelp) {
  CoreRig rig;
  rig.step(DeviceAdded{device(1)});
  rig.step(DeploymentAdded{deployment(1)});
  const auto fail_start = [&](StartFailure failure) {
    rig.step(request(static_cast<std::uint64_t>(rig.now.ns) + 1, job));
    for (const StartInstance& each : rig.take_all<StartInstance>()) {
      rig.step(StartFailed{each.instance, each.generation, failure});
    }
  };
  fail_start(StartFailure::may_pass);
  EXPECT_TRUE(rig.core.would_admit(rig.now, job)) << "it may pass: the request waits";
  rig.pass_until(at(5));
  fail_start(StartFailure::will_stay);
  EXPECT_FALSE(rig.core.would_admit(rig.now, job)) << "there is no such program";
  EXPECT_TRUE(rig.core.would_admit(rig.now + seconds(10), job)) << "after its backoff it is tried";
}

TEST(WouldAdmit, NotInACrashLoop) {
  CoreRig rig;
  rig.step(DeviceAdded{device(1)});
  DeploymentSpec spec = deployment(1);
  spec.scale.min_instances = 1;
  rig.step(DeploymentAdded{spec});
  for (int i = 0; i < 5; ++i) {
    rig.pass_until(rig.now + seconds(10));  // its backoff is over
    for (const StartInstance& each : rig.take_all<StartInstance>()) {
      rig.step(InstanceExited{each.instance, each.generation, ExitKind::crashed});
    }
  }
  EXPECT_TRUE(rig.core.summary().deployments.at(0).crash_loop);
  EXPECT_FALSE(rig.core.would_admit(rig.now, job));
}

TEST(Quiet, OnceNothingWaitsRunsOrLivesAfterShutdown) {
  CoreRig rig;
  rig.step(DeviceAdded{device(1)});
  rig.step(DeploymentAdded{deployment(1)});
  EXPECT_FALSE(rig.core.quiet()) << "nobody asked for the end";
  rig.step(request(1, job));
  rig.step(ShutdownRequested{});
  EXPECT_FALSE(rig.core.quiet()) << "one waits";
  const StartInstance start = rig.take_all<StartInstance>().at(0);
  rig.bring_up(start);
  EXPECT_FALSE(rig.core.quiet()) << "one runs";
  rig.step(RequestEnded{RequestId{1}, 0});
  EXPECT_FALSE(rig.core.quiet()) << "its instance stops";
  rig.step(InstanceExited{start.instance, start.generation, ExitKind::clean});
  EXPECT_TRUE(rig.core.quiet());
}

TEST(Summary, SaysWhatPeopleSee) {
  CoreRig rig;
  DeviceSpec gpu = device(1);
  gpu.name = "gpu0";
  rig.step(DeviceAdded{gpu});
  DeploymentSpec spec = deployment(1, 30);
  spec.estimate.shared_bytes = mib(20);
  spec.weights = WeightsId{5};
  spec.expected_start = seconds(9);
  rig.step(DeploymentAdded{spec});
  rig.at(at(1), request(1, job));
  rig.step(request(2, job));
  const StartInstance start = rig.take_all<StartInstance>().at(0);
  rig.at(at(4), InstanceUp{start.instance, start.generation});
  rig.at(at(5), InstanceReady{start.instance, start.generation, {mib(30), mib(25)}});
  const Summary summary = rig.core.summary();
  const DeploymentSummary& d = summary.deployments.at(0);
  EXPECT_EQ(d.running, 1);
  EXPECT_EQ(d.queued, 1);
  EXPECT_EQ(d.ready_instances, 1);
  EXPECT_EQ(d.live_instances, 1);
  EXPECT_EQ(d.expected_start, seconds(4)) << "learned from the one start";
  EXPECT_EQ(d.failures, 0);
  const InstanceSummary& i = summary.instances.at(0);
  EXPECT_EQ(i.state, InstanceState::ready);
  EXPECT_EQ(i.in_flight, 1);
  EXPECT_EQ(i.private_bytes, mib(30));
  EXPECT_EQ(i.shared_bytes, mib(25)) << "as measured";
  EXPECT_EQ(i.since, at(5));
  EXPECT_EQ(i.devices, std::vector{DeviceId{1}});
  const DeviceSummary& g = summary.devices.at(0);
  EXPECT_EQ(g.name, "gpu0");
  EXPECT_EQ(g.reserved, mib(55));
  EXPECT_EQ(g.residents, 1);
  EXPECT_FALSE(g.lost);
  rig.step(DeviceLost{DeviceId{1}});
  EXPECT_TRUE(rig.core.summary().devices.at(0).lost);
}

TEST(Core, TimeNeverGoesBack) {  // V21
  CoreRig rig;
  rig.at(at(5), WokeUp{});
  EXPECT_DEATH(
      {
        rig.now = at(4);
        rig.step(WokeUp{});
      },
      "V21");
}

}  // namespace
}  // namespace stoker::core
