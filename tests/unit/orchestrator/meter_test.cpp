#include "orchestrator/meter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace stoker::orchestrator {
namespace {

using ::testing::HasSubstr;

access::Key key_with(std::uint64_t id, access::Limits limits, access::Limits tenant = {}) {
  access::Key key;
  key.id = KeyId{id};
  key.public_id = "key-" + std::to_string(id);
  key.tenant = TenantId{id < 10 ? 1U : 2U};
  key.limits = limits;
  key.tenant_limits = tenant;
  key.digest = access::Digest("secret " + std::to_string(id));
  return key;
}

/// A meter with one deployment and the given keys.
class MeterTest : public ::testing::Test {
 protected:
  void set(std::vector<access::Key> keys) { meter.set_keys(access::KeyRing(std::move(keys))); }
  gateway::Arrival arrival(std::uint64_t key, gateway::TokenCounts estimate = {}) {
    gateway::Arrival a;
    a.request = RequestId{++last_request};
    a.deployment = chat;
    a.key = KeyId{key};
    a.estimate = estimate;
    return a;
  }
  /// Reserves; gives the request or nothing.
  std::optional<RequestId> reserve(std::uint64_t key, gateway::TokenCounts estimate = {}) {
    const gateway::Arrival a = arrival(key, estimate);
    refusal = meter.reserve(a);
    return refusal ? std::nullopt : std::optional(a.request);
  }

  MeterTest() { meter.set_prices(chat, {}); }
  const DeploymentId chat{1};
  Meter meter;
  std::optional<gateway::Rejection> refusal;
  std::uint64_t last_request = 0;
};

TEST_F(MeterTest, CountsRequestsOfAKeyAndOfAllKeysOfItsTenant) {
  set({key_with(1, {.requests_per_minute = 2}, {.requests_per_minute = 3}),
       key_with(2, {}, {.requests_per_minute = 3})});
  EXPECT_TRUE(reserve(1));
  EXPECT_TRUE(reserve(1));
  EXPECT_FALSE(reserve(1));
  EXPECT_THAT(refusal->message, HasSubstr("this key may make 2 requests a minute"));
  EXPECT_EQ(refusal->reason, gateway::RejectReason::rate_limited);
  EXPECT_GT(refusal->retry_after.ns, 0);
  EXPECT_TRUE(reserve(2));
  EXPECT_FALSE(reserve(2));
  EXPECT_THAT(refusal->message, HasSubstr("this tenant may make 3 requests a minute"));
}

TEST_F(MeterTest, WhatWasReservedAndNotUsedIsGivenBack) {
  set({key_with(1, {.output_tokens_per_minute = 100})});
  const std::optional<RequestId> first = reserve(1, {.output = 100});
  ASSERT_TRUE(first);
  EXPECT_FALSE(reserve(1, {.output = 1}));
  meter.dispatched(*first, InstanceId{1}, 1);
  meter.settle(*first, {.output = 40});
  EXPECT_TRUE(reserve(1, {.output = 60}));
  EXPECT_FALSE(reserve(1, {.output = 1}));
}

TEST_F(MeterTest, AWishBeyondTheLimitIsToldThatWaitingDoesNotHelp) {
  set({key_with(1, {.input_tokens_per_minute = 100})});
  EXPECT_FALSE(reserve(1, {.input = 101}));
  EXPECT_EQ(refusal->retry_after.ns, 0);
  EXPECT_THAT(refusal->message, HasSubstr("larger than that"));
}

TEST_F(MeterTest, MoreThanWasReservedIsAllowedAsFarAsTheLimitGoes) {
  set({key_with(1, {.output_tokens_per_minute = 100})});
  const std::optional<RequestId> request = reserve(1, {.output = 10});
  ASSERT_TRUE(request);
  meter.dispatched(*request, InstanceId{1}, 1);
  EXPECT_TRUE(meter.within_limits(*request, {.output = 50}));
  EXPECT_TRUE(meter.within_limits(*request, {.output = 100}));
  EXPECT_FALSE(meter.within_limits(*request, {.output = 101}));
  meter.settle(*request, {.output = 101});
  EXPECT_FALSE(reserve(1, {.output = 1})) << "what was used was used";
}

TEST_F(MeterTest, RequestsAtATimeAreFreedByEachWayToEnd) {
  set({key_with(1, {.concurrent_requests = 1})});
  const auto released = reserve(1);
  ASSERT_TRUE(released);
  EXPECT_FALSE(reserve(1));
  EXPECT_EQ(refusal->retry_after, seconds(1));
  meter.release(*released);
  const auto settled = reserve(1);
  ASSERT_TRUE(settled);
  meter.dispatched(*settled, InstanceId{1}, 1);
  meter.settle(*settled, {});
  const auto came_back = reserve(1);
  ASSERT_TRUE(came_back);
  meter.dispatched(*came_back, InstanceId{1}, 1);
  meter.undelivered(*came_back);
  meter.release(*came_back);
  EXPECT_TRUE(reserve(1));
}

TEST_F(MeterTest, ARevokedKeyIsUnknownAndWhatItHasOpenGoesOn) {
  set({key_with(1, {}), key_with(2, {})});
  const auto open = reserve(2);
  ASSERT_TRUE(open);
  set({key_with(1, {})});
  EXPECT_FALSE(reserve(2));
  EXPECT_EQ(refusal->reason, gateway::RejectReason::unknown_key);
  meter.dispatched(*open, InstanceId{1}, 1);
  meter.instance_gone(InstanceId{1});
  meter.settle(*open, {.output = 3});
  set({key_with(1, {}), key_with(2, {})});
  EXPECT_TRUE(reserve(2)) << "enabled again";
}

TEST_F(MeterTest, WhatAnEarlierLifeUsedStillCounts) {
  set({key_with(1, {.requests_per_minute = 2, .gpu_seconds_per_day = 10})});
  meter.count_again(KeyId{1}, seconds(3600), {}, 4'000);
  meter.count_again(KeyId{1}, seconds(10), {}, 0);
  EXPECT_TRUE(reserve(1));
  EXPECT_FALSE(reserve(1)) << "one of the last minute was counted";
  const gateway::Standings standings = meter.standings(KeyId{1});
  ASSERT_TRUE(standings.requests);
  EXPECT_EQ(standings.requests->most, 2);
  EXPECT_EQ(standings.requests->remaining, 0);
  EXPECT_FALSE(standings.output_tokens);
}

TEST_F(MeterTest, UnknownRequestsChangeNothing) {
  set({key_with(1, {.concurrent_requests = 1})});
  meter.dispatched(RequestId{77}, InstanceId{1}, 1);
  meter.undelivered(RequestId{77});
  meter.release(RequestId{77});
  EXPECT_EQ(meter.settle(RequestId{77}, {.output = 5}), 0);
  EXPECT_TRUE(meter.within_limits(RequestId{77}, {.output = 5}));
  EXPECT_TRUE(reserve(1));
}

TEST_F(MeterTest, ManyThreadsNeverPassALimit) {
  set({key_with(1, {.requests_per_minute = 500})});
  std::atomic<int> accepted = 0;
  std::atomic<std::uint64_t> next = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 500; ++n) {
        gateway::Arrival a;
        a.request = RequestId{++next};
        a.deployment = chat;
        a.key = KeyId{1};
        if (meter.reserve(a)) continue;
        ++accepted;
        meter.dispatched(a.request, InstanceId{1}, 1);
        meter.settle(a.request, {});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(accepted, 500);
}

}  // namespace
}  // namespace stoker::orchestrator
