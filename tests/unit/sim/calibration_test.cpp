// What receipts say about start, load and service times.
#include "sim/workload/calibration.h"

#include <gtest/gtest.h>

#include "base/prng.h"
#include "base/text.h"
#include "sim/workload/combine.h"

namespace stoker::sim {
namespace {

RequestId request_of(std::uint64_t life, std::uint64_t number) {
  return RequestId{life << 40U | number};
}

TraceRequest cold(std::uint64_t life, const char* instance, Duration start, Duration load,
                  Duration warmup = {}) {
  TraceRequest request;
  request.id = public_id(request_of(life, 1));
  request.receipt = TraceReceipt{.start = TraceStart::cold,
                                 .instance = instance,
                                 .starting = start,
                                 .load = load,
                                 .warmup = warmup};
  return request;
}

TraceRequest served(std::int64_t input, std::int64_t output, Duration service) {
  TraceRequest request;
  request.outcome = TraceOutcome::completed;
  request.input_tokens = input;
  request.output_tokens = output;
  request.service = service;
  request.receipt = TraceReceipt{.start = TraceStart::warm, .instance = "a/1"};
  return request;
}

TraceDeployment applied(const Calibration& calibration) {
  TraceDeployment deployment{.name = "a"};
  calibration.apply(deployment);
  return deployment;
}

TEST(Calibration, WhatHasNoReceiptSaysNothing) {
  Calibration calibration;
  TraceRequest request = served(10, 10, seconds(9));
  request.receipt.reset();
  calibration.observe("a", request);
  calibration.observe("a", {});
  calibration.observe("b", served(1, 1, seconds(1)));
  EXPECT_EQ(applied(calibration), TraceDeployment{.name = "a"});
  EXPECT_EQ(calibration.seen("a").requests, 0U);
}

TEST(Calibration, AStartIsTheLongestOfItsReceiptsAndTheMedianOverInstances) {
  Calibration calibration;
  calibration.observe("a", cold(1, "a/1", ms(40), ms(700), ms(100)));
  calibration.observe("a", cold(1, "a/1", ms(3), ms(700), ms(100)));  // came when it was starting
  calibration.observe("a", cold(1, "a/1", ms(0), ms(20), ms(100)));
  calibration.observe("a", cold(1, "a/2", ms(50), ms(900)));
  calibration.observe("a", cold(2, "a/1", ms(90), ms(5000)));  // another life, another instance
  EXPECT_EQ(calibration.seen("a").starts, 3U);
  EXPECT_EQ(applied(calibration).start, ms(50));
  EXPECT_EQ(applied(calibration).load, ms(900));
}

TEST(Calibration, OldStartsAreForgotten) {
  Calibration calibration;
  for (int i = 0; i < 100; ++i) {
    const std::string instance = "a/" + std::to_string(i);
    calibration.observe("a", cold(1, instance.c_str(), ms(i < 50 ? 1000 : 10), ms(1)));
  }
  EXPECT_EQ(calibration.seen("a").starts, 64U);
  EXPECT_EQ(applied(calibration).start, ms(10));
}

TEST(Calibration, ServiceTimesAreFixedTimesAndTokens) {
  struct Case {
    const char* name;
    Duration fixed;
    Duration per_input;
    Duration per_output;
  };
  for (const Case& c : {Case{"all", ms(30), us(200), ms(20)}, Case{"tokens out", {}, {}, ms(20)},
                        Case{"fixed", ms(80), {}, {}}, Case{"tokens in", {}, us(500), {}}}) {
    Calibration calibration;
    Prng prng(7);
    for (int i = 0; i < 200; ++i) {
      const auto input = static_cast<std::int64_t>(prng.below(900));
      const auto output = static_cast<std::int64_t>(1 + prng.below(300));
      calibration.observe(
          "a", served(input, output,
                      Duration{c.fixed.ns + c.per_input.ns * input + c.per_output.ns * output}));
    }
    // One that was stopped for a minute, and one that did not complete.
    calibration.observe("a", served(10, 10, seconds(60)));
    TraceRequest failed = served(10, 10, seconds(60));
    failed.outcome = TraceOutcome::failed;
    calibration.observe("a", failed);
    TraceRequest asked;
    asked.input_tokens = 400;
    asked.output_tokens = 100;
    const double want = static_cast<double>(c.fixed.ns + c.per_input.ns * asked.input_tokens +
                                            c.per_output.ns * asked.output_tokens);
    const double got = static_cast<double>(modelled_time(asked, applied(calibration)).ns);
    EXPECT_NEAR(got / want, 1.0, 1e-3) << c.name;
  }
}

TEST(Calibration, OneRequestIsTakenAsItWas) {
  Calibration calibration;
  calibration.observe("a", served(10, 20, ms(70)));
  TraceRequest asked;
  asked.input_tokens = 10;
  asked.output_tokens = 20;
  EXPECT_EQ(modelled_time(asked, applied(calibration)), ms(70));
}

TEST(Calibration, ReadsAWholeTrace) {
  const TraceWorld world{.deployments = {{.name = "b"}, {.name = "a"}}, .tenants = {"t"}};
  TraceRequest first = cold(1, "a/1", ms(40), ms(700));
  first.deployment = 1;
  const auto source = replay(world, {first, served(1, 1, ms(5))});
  const Result<Calibration> calibration = calibrate(*source);
  ASSERT_TRUE(calibration);
  EXPECT_EQ(calibration->seen("a").starts, 1U);
  EXPECT_EQ(calibration->seen("b").requests, 1U);
}

}  // namespace
}  // namespace stoker::sim
