// Traces through the production core in the simulated world: every figure can be told by hand.
#include "sim/trace_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/workload/combine.h"

namespace stoker::sim {
namespace {

using ::testing::HasSubstr;

TraceWorld world() {
  return {.devices = {{.name = "gpu", .kind = "cuda", .memory = gib(8), .slots = 1}},
          .deployments = {{.name = "chat",
                           .memory = gib(1),
                           .weights = gib(1),
                           .start = ms(100),
                           .load = ms(900),
                           .concurrency = 1,
                           .request = ms(500)}},
          .tenants = {"t"}};
}

TraceRequest at(Duration when) {
  TraceRequest request;
  request.at = when;
  request.input_tokens = 0;
  request.output_tokens = 0;
  return request;
}

TraceServer server(Duration delay) {
  TraceServer made = server_of(world());
  made.deployments[0].scale.scale_down_delay = delay;
  made.deployments[0].scale.scale_to_zero_delay = delay;
  return made;
}

TraceRunResult run(std::vector<TraceRequest> requests, const TraceServer& with,
                   const TraceRunOptions& options = {}) {
  const auto source = replay(world(), std::move(requests));
  Result<TraceRunResult> result = run_trace(*source, with, options);
  EXPECT_TRUE(result) << result.error().message;
  return result ? std::move(*result) : TraceRunResult{};
}

TEST(TraceRun, AColdStartThenAQueueThenAWarmOne) {
  const TraceRunResult result = run({at({}), at({}), at(seconds(3))}, server(seconds(10)));
  EXPECT_EQ(result.requests, 3U);
  EXPECT_EQ(result.simulated.completed, 3U);
  EXPECT_EQ(result.simulated.cold_starts, 1U);
  EXPECT_EQ(result.simulated.cold_requests, 2U);
  EXPECT_EQ(result.simulated.wait.at(0), Duration{});
  EXPECT_EQ(result.simulated.wait.at(50), seconds(1));
  EXPECT_EQ(result.simulated.wait.at(100), ms(1500));
  EXPECT_EQ(result.length, ms(3500));
  EXPECT_EQ(result.busy_time, ms(1500));
  // From the order to 10 s after the last answer, and the 20 ms of a stop.
  EXPECT_EQ(result.device_time, ms(13'520));
}

TEST(TraceRun, ScalesToZeroAndComesBack) {
  const TraceRunResult result = run({at({}), at(seconds(60))}, server(seconds(1)));
  EXPECT_EQ(result.simulated.cold_starts, 2U);
  EXPECT_EQ(result.simulated.wait.at(50), seconds(1));
  EXPECT_EQ(result.device_time, ms(2 * (1000 + 500 + 1000 + 20)));
}

/// What lies in host memory is on no device, and comes back without a start.
TEST(TraceRun, SuspendsWhereHostMemoryIsLent) {
  TraceServer with = server(seconds(1));
  with.devices[0].node = NodeId{1};
  with.host_memory = gib(2);
  with.deployments[0].can_suspend = true;
  with.deployments[0].expected_resume = ms(200);
  const TraceRunResult result = run({at({}), at(seconds(60))}, with);
  EXPECT_EQ(result.simulated.completed, 2U);
  EXPECT_EQ(result.simulated.cold_starts, 1U);
  EXPECT_EQ(result.simulated.cold_requests, 1U);
  EXPECT_EQ(result.simulated.wait.at(0), ms(200));
  EXPECT_EQ(result.simulated.wait.at(100), seconds(1));
  // Twice a request, a second of idling and the 100 ms of a suspend.
  EXPECT_EQ(result.device_time, ms(1000 + 500 + 1000 + 100 + 200 + 500 + 1000 + 100));
  // What cannot is stopped.
  with.deployments[0].can_suspend = false;
  EXPECT_EQ(run({at({}), at(seconds(60))}, with).simulated.cold_starts, 2U);
}

TEST(TraceRun, MinimumInstancesAreThereAndTheRunEnds) {
  TraceServer with = server(seconds(1));
  with.deployments[0].scale.min_instances = 1;
  const TraceRunResult result = run({at(seconds(5))}, with);
  EXPECT_EQ(result.simulated.wait.at(99), Duration{});
  EXPECT_EQ(result.simulated.cold_requests, 0U);
  EXPECT_EQ(result.length, ms(5500));
  EXPECT_EQ(result.device_time, ms(5500));
  EXPECT_EQ(run({at({})}, with).simulated.wait.at(99), Duration{});  // ready before the first
}

TEST(TraceRun, FasterIsMoreAtOnce) {
  const std::vector<TraceRequest> requests = {at({}), at(seconds(10))};
  EXPECT_EQ(run(requests, server(seconds(1))).simulated.cold_starts, 2U);
  EXPECT_EQ(run(requests, server(seconds(1)), {.speed = 10}).simulated.cold_starts, 1U);
}

TEST(TraceRun, ClientsThatLeaveAndQueuesThatRefuse) {
  TraceServer with = server(seconds(1));
  with.deployments[0].limits.max_queued = 1;
  TraceRequest leaves = at({});
  leaves.gone_after = ms(200);
  const TraceRunResult result = run({leaves, at(ms(100)), at(ms(300)), at(ms(400))}, with);
  EXPECT_EQ(result.simulated.cancelled, 1U);
  EXPECT_EQ(result.simulated.refused, 2U);
  EXPECT_EQ(result.simulated.completed, 1U);
  EXPECT_EQ(result.simulated.wait.count(), 1U);
}

TEST(TraceRun, ServiceAsRecordedOrAsCalibrated) {
  TraceRequest request = at({});
  request.service = seconds(2);
  request.outcome = TraceOutcome::completed;
  request.receipt = TraceReceipt{.start = TraceStart::warm, .instance = "chat/1"};
  Calibration calibration;
  TraceRequest earlier = request;
  earlier.service = ms(700);
  calibration.observe("chat", earlier);
  EXPECT_EQ(run({request}, server({}), {.calibration = &calibration}).busy_time, seconds(2));
  EXPECT_EQ(run({request}, server({}), {.calibration = &calibration, .recorded_service = false})
                .busy_time,
            ms(700));
  // One that was cut short would have taken longer.
  request.outcome = TraceOutcome::cancelled;
  EXPECT_EQ(run({request}, server({}), {.calibration = &calibration}).busy_time, ms(700));
}

TEST(TraceRun, WhatWasRecordedStandsBeside) {
  TraceRequest first = at({});
  first.id = "req-0000010000000001";
  first.outcome = TraceOutcome::completed;
  first.receipt = TraceReceipt{
      .start = TraceStart::cold, .instance = "chat/1", .queue = ms(1), .load = ms(800)};
  TraceRequest second = first;
  second.id = "req-0000020000000001";  // another life: another chat/1
  second.outcome = TraceOutcome::failed;
  TraceRequest third = at(seconds(1));
  third.outcome = TraceOutcome::refused;
  third.receipt = TraceReceipt{.queue = seconds(9)};
  const TraceRunResult result = run({first, second, third, at(seconds(2))}, server({}));
  EXPECT_EQ(result.receipts, 3U);
  EXPECT_EQ(result.recorded.cold_starts, 2U);
  EXPECT_EQ(result.recorded.cold_requests, 2U);
  EXPECT_EQ(result.recorded.completed, 1U);
  EXPECT_EQ(result.recorded.failed, 1U);
  EXPECT_EQ(result.recorded.refused, 1U);
  EXPECT_EQ(result.recorded.wait.count(), 2U);
  EXPECT_EQ(result.recorded.wait.at(50), ms(801));
}

TEST(TraceRun, AnotherDeploymentStandsForIt) {
  TraceServer with = server({});
  with.deployments[0].name = "small";
  const auto source = replay(world(), {at({})});
  const Result<TraceRunResult> missing = run_trace(*source, with);
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("'chat'"));
  EXPECT_THAT(missing.error().hint, HasSubstr("--map chat=NAME"));
  EXPECT_THAT(missing.error().hint, HasSubstr("there are: small"));
  const TraceRunResult result =
      run({at({})}, with, {.deployment_for = [](const std::string&) { return "small"; }});
  // Its load time is that of the deployment that it stands for.
  EXPECT_EQ(result.simulated.wait.at(50), seconds(1));
}

TEST(TraceRun, ATraceWithoutAWorldHasADeviceOfOurs) {
  const TraceServer made = server_of({.deployments = {{.name = "a"}}});
  ASSERT_EQ(made.devices.size(), 1U);
  EXPECT_EQ(made.devices[0].memory, gib(16));
  EXPECT_EQ(made.deployments[0].estimate.shared_bytes, Bytes{1'800'000'000});
}

}  // namespace
}  // namespace stoker::sim
