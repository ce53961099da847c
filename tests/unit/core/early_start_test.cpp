// Starts ahead of a request that is expected, and the keep-warm policies beside it.
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "core/core.h"
#include "core_rig.h"

namespace stoker::core {
namespace {

constexpr DeploymentId job{1};

/// A model that takes 30 s to start and is asked once an hour: too seldom to be kept warm.
class HourlyJob : public testing::Test {
 protected:
  static constexpr Duration start_time = seconds(30);

  void SetUp() override {
    rig.step(DeviceAdded{device(1)});
    DeploymentSpec spec = deployment(1);
    spec.expected_start = start_time;
    spec.scale.scale_down_delay.reset();
    spec.scale.scale_to_zero_delay.reset();
    spec.scale.keep_warm.policy = KeepWarmPolicy::adaptive;
    rig.step(DeploymentAdded{spec});
  }

  /// Lets time pass; what is started is ready in time, what is stopped is gone at once.
  void live_until(Instant when) {
    while (true) {
      for (const Action& each : rig.take()) obey(each);
      std::optional<Instant> next = rig.core.next_wakeup();
      if (ready_at && (!next || *ready_at < *next)) next = ready_at;
      if (!next || *next > when) break;
      rig.pass_until(*next);
      if (ready_at == next) {
        ready_at.reset();
        rig.bring_up(last_start);
      }
    }
    rig.pass_until(when);
    for (const Action& each : rig.take()) obey(each);
  }
  void obey(const Action& action) {
    if (const auto* start = std::get_if<StartInstance>(&action)) {
      last_start = *start;
      starts.push_back(*start);
      ready_at = rig.now + start_time;
    } else if (const auto* stop = std::get_if<StopInstance>(&action)) {
      ready_at.reset();
      if (clings) return;
      rig.step(InstanceExited{stop->instance, stop->generation, ExitKind::clean});
    } else if (const auto* dispatch = std::get_if<Dispatch>(&action)) {
      dispatched_at = rig.now;
      rig.step(RequestEnded{dispatch->request, 0});
    }
  }
  void ask_hourly(int times) {
    for (int i = 0; i < times; ++i) {
      live_until(next_request);
      rig.step(request(next_id++, job));
      next_request = next_request + minutes(60);
    }
    live_until(rig.now + minutes(15));  // long enough for it to be idle and to stop
  }

  CoreRig rig;
  std::vector<StartInstance> starts;
  StartInstance last_start;
  std::optional<Instant> ready_at;
  bool clings = false;  // its process does not end
  Instant dispatched_at;
  Instant next_request = at(3600);
  std::uint64_t next_id = 1;
};

TEST_F(HourlyJob, IsStartedBeforeItIsAskedAndNotKeptInBetween) {
  ask_hourly(40);
  ASSERT_TRUE(rig.core.summary().instances.empty()) << "it is not kept for an hour";
  starts.clear();
  const Instant asked = next_request;
  ask_hourly(1);
  ASSERT_EQ(starts.size(), 1U);
  EXPECT_EQ(starts[0].reason, StartReason::expected);
  EXPECT_LE(starts[0].wanted_at, asked - start_time);
  EXPECT_GE(starts[0].wanted_at, asked - minutes(10));
  EXPECT_EQ(dispatched_at, asked) << "it waited for nothing";
}

TEST_F(HourlyJob, IsNotStartedTwice) {
  ask_hourly(40);
  starts.clear();
  live_until(next_request - seconds(60));
  rig.step(WarmRequested{job});
  live_until(next_request - seconds(1));
  ASSERT_EQ(starts.size(), 1U) << "somebody had it warmed already";
  EXPECT_EQ(starts[0].reason, StartReason::warm_request);
}

TEST_F(HourlyJob, IsNotStartedAheadAfterAFailure) {
  ask_hourly(40);
  live_until(next_request - minutes(15));
  rig.step(WarmRequested{job});
  const StartInstance start = rig.take_all<StartInstance>().at(0);
  rig.step(StartFailed{start.instance, start.generation, StartFailure::may_pass});
  starts.clear();
  live_until(next_request - seconds(1));
  EXPECT_TRUE(starts.empty()) << "nobody waits: it is tried again when somebody does";
}

TEST_F(HourlyJob, IsNotStartedAheadWhileTheServerEnds) {
  ask_hourly(40);
  rig.step(ShutdownRequested{});
  starts.clear();
  live_until(next_request);
  EXPECT_TRUE(starts.empty());
}

TEST_F(HourlyJob, IsNotStartedAheadOnceItIsRemovedAlthoughItsLastProcessLives) {
  ask_hourly(40);
  clings = true;
  ask_hourly(1);
  rig.step(DeploymentRemoved{job});
  ASSERT_EQ(rig.core.summary().instances.size(), 1U);
  starts.clear();
  live_until(next_request);
  EXPECT_TRUE(starts.empty());
}

TEST_F(HourlyJob, WaitsForRoomAheadOfItsRequestAsOthersDo) {
  ask_hourly(40);
  DeploymentSpec other = deployment(2);
  other.scale.min_instances = 1;
  rig.step(DeploymentAdded{other});
  const StartInstance held = rig.take_all<StartInstance>().at(0);
  rig.bring_up(held);
  starts.clear();
  rig.pass_until(next_request - seconds(1));
  const auto waits = rig.take_all<AwaitRoom>();
  ASSERT_EQ(waits.size(), 1U) << "the minimum of the other needs the device";
  EXPECT_EQ(waits[0].deployment, job);
  rig.step(DeploymentRemoved{DeploymentId{2}});
  rig.step(InstanceExited{held.instance, held.generation, ExitKind::clean});
  const auto started = rig.take_all<StartInstance>();
  ASSERT_EQ(started.size(), 1U);
  EXPECT_EQ(started[0].reason, StartReason::expected);
}

TEST_F(HourlyJob, IsNotStartedAheadOfAWrittenDelay) {
  DeploymentSpec spec = deployment(1);
  spec.expected_start = start_time;
  spec.scale.scale_to_zero_delay = minutes(1);
  spec.scale.keep_warm.policy = KeepWarmPolicy::adaptive;
  rig.step(DeploymentChanged{spec});
  ask_hourly(40);
  for (const StartInstance& each : starts) EXPECT_EQ(each.reason, StartReason::from_zero);
}

TEST_F(HourlyJob, IsKeptForAFixedTimeIfSoWritten) {
  DeploymentSpec spec = deployment(1);
  spec.scale.scale_down_delay.reset();
  spec.scale.scale_to_zero_delay.reset();
  spec.scale.keep_warm = {KeepWarmPolicy::fixed, {}, minutes(2), 30};
  rig.step(DeploymentChanged{spec});
  rig.at(at(3600), request(1, job));
  live_until(at(3630) + minutes(2) - ms(1));
  EXPECT_EQ(rig.core.summary().instances.size(), 1U);
  live_until(at(3630) + minutes(2));
  EXPECT_TRUE(rig.core.summary().instances.empty());
}

}  // namespace
}  // namespace stoker::core
