// Made-up traffic has the rates and the shapes that were asked for, and is the same for a seed.
#include "sim/workload/generators.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "sim/workload/combine.h"
#include "workload_support.h"

namespace stoker::sim {
namespace {

std::vector<TraceRequest> between(const std::vector<TraceRequest>& requests, Duration from,
                                  Duration to) {
  std::vector<TraceRequest> found;
  for (const TraceRequest& r : requests) {
    if (r.at >= from && r.at < to) found.push_back(r);
  }
  return found;
}

/// The expected count within four deviations of a Poisson count.
#define EXPECT_COUNT(count, want) \
  EXPECT_NEAR(static_cast<double>(count), want, 4 * std::sqrt(static_cast<double>(want)) + 1)

TEST(Poisson, RateAndIndependence) {
  const auto requests = all_of(*poisson(100, {.length = minutes(60)}));
  EXPECT_COUNT(requests.size(), 360'000);
  EXPECT_NEAR(gaps_of(requests).cv, 1, 0.02);
  EXPECT_LT(requests.back().at, minutes(60));
  // Counts of seconds scatter as much as their mean.
  std::vector<double> seconds_count(3600);
  for (const TraceRequest& r : requests)
    ++seconds_count[static_cast<std::size_t>(r.at.ns / 1'000'000'000)];
  double squares = 0;
  for (const double n : seconds_count) squares += (n - 100) * (n - 100);
  EXPECT_NEAR(squares / 3600 / 100, 1, 0.1);
  EXPECT_TRUE(all_of(*poisson(0, {})).empty());
}

TEST(DayCurve, TheMeanIsKeptAndTheHoursDiffer) {
  const auto requests =
      all_of(*day_curve({.mean_per_second = 5}, {.length = minutes(2 * 24 * 60)}));
  EXPECT_COUNT(requests.size(), 5.0 * 2 * 86'400);
  const auto hour = [&](std::int64_t h) {
    return between(requests, minutes(h * 60), minutes((h + 1) * 60)).size();
  };
  EXPECT_COUNT(hour(4), 5 * 3600 * 0.215);  // the mean of its two ends
  EXPECT_COUNT(hour(16), 5 * 3600 * 1.785);
  EXPECT_COUNT(hour(24 + 16), 5 * 3600 * 1.785);
  const auto fast =
      all_of(*day_curve({.mean_per_second = 5, .day = minutes(24)}, {.length = minutes(24)}));
  EXPECT_COUNT(between(fast, minutes(4), minutes(5)).size(), 5 * 60 * 0.215);
}

TEST(Burst, AHundredTimesForSomeSeconds) {
  const auto requests = all_of(*burst({.base_per_second = 20,
                                       .factor = 100,
                                       .first = minutes(1),
                                       .lasting = seconds(5),
                                       .every = minutes(5)},
                                      {.length = minutes(10)}));
  EXPECT_COUNT(between(requests, Duration{}, minutes(1)).size(), 1200);
  EXPECT_COUNT(between(requests, minutes(1), seconds(65)).size(), 10'000);
  EXPECT_COUNT(between(requests, seconds(65), minutes(6)).size(), 20 * 295);
  EXPECT_COUNT(between(requests, minutes(6), seconds(365)).size(), 10'000);
  EXPECT_COUNT(requests.size(), 20 * 590 + 20'000);
  // It may begin with the burst.
  EXPECT_COUNT(
      between(all_of(*burst({.base_per_second = 20, .first = {}}, {})), {}, seconds(5)).size(),
      10'000);
}

TEST(OnOff, TheMeanIsThatOfBothStatesAndItIsBursty) {
  const auto requests = all_of(*on_off(
      {.on_per_second = 5, .off_per_second = 0.01, .mean_on = seconds(10), .mean_off = seconds(40)},
      {.length = minutes(10'000)}));
  const double want = 600'000 * (5 * 0.2 + 0.01 * 0.8);
  EXPECT_NEAR(static_cast<double>(requests.size()) / want, 1, 0.05);
  EXPECT_GT(gaps_of(requests).cv, 4);
}

TEST(Herd, AllAtOneInstant) {
  const auto once = all_of(*herd({.requests = 500, .first = seconds(3)}, {}));
  ASSERT_EQ(once.size(), 500U);
  for (const TraceRequest& r : once) EXPECT_EQ(r.at, seconds(3));
  const auto again =
      all_of(*herd({.requests = 10, .first = {}, .every = seconds(60)}, {.length = minutes(3)}));
  ASSERT_EQ(again.size(), 30U);
  EXPECT_EQ(again[29].at, minutes(2));
  EXPECT_TRUE(all_of(*herd({.requests = 0, .every = seconds(1)}, {})).empty());
  EXPECT_TRUE(all_of(*herd({.first = minutes(10)}, {})).empty());
}

TEST(ManyModels, PopularityFalls) {
  const auto source =
      many_models({.models = 300, .exponent = 1, .per_second = 1000},
                  {.length = minutes(5),
                   .world = {.devices = {{}}, .deployments = {{.load = ms(7)}}, .tenants = {"t"}}});
  ASSERT_EQ(source->world().deployments.size(), 300U);
  EXPECT_EQ(source->world().deployments[299],
            (TraceDeployment{.name = "model-0299", .load = ms(7)}));
  EXPECT_EQ(source->world().devices.size(), 1U);
  std::vector<std::int64_t> count(300);
  for (const TraceRequest& r : all_of(*source)) ++count[r.deployment];
  const double first = static_cast<double>(count[0]);
  EXPECT_NEAR(first / static_cast<double>(count[1]), 2, 0.1);
  EXPECT_NEAR(first / static_cast<double>(count[9]), 10, 0.7);
  EXPECT_GT(count[299], 50);
}

TEST(HugeTenant, HasItsShare) {
  const auto source = huge_tenant({.huge_share = 0.9, .small_tenants = 4, .per_second = 500},
                                  {.length = minutes(5)});
  EXPECT_EQ(source->world().tenants,
            (std::vector<std::string>{"huge", "small-00", "small-01", "small-02", "small-03"}));
  std::vector<std::int64_t> count(5);
  for (const TraceRequest& r : all_of(*source)) ++count[r.tenant];
  EXPECT_COUNT(count[0], 135'000);
  for (std::size_t i = 1; i < 5; ++i) EXPECT_COUNT(count[i], 3'750);
}

TEST(ChatSessions, TurnsGrowAndShareTheirPrefix) {
  const ChatSessions sessions{
      .sessions_per_second = 2, .mean_turns = 4, .system_tokens = 1500, .most_input = 20'000};
  const auto source = chat_sessions(sessions, {.length = minutes(60)});
  std::map<std::uint64_t, std::vector<TraceRequest>> by_session;
  std::int64_t turns = 0;
  Duration last;
  for (TraceRequest& r : all_of(*source)) {
    ASSERT_GE(r.at, last);
    last = r.at;
    ASSERT_NE(r.session, 0U);
    ASSERT_EQ(r.prefix.size(), static_cast<std::size_t>(r.input_tokens / prefix_block_tokens));
    ++turns;
    by_session[r.session].push_back(std::move(r));
  }
  EXPECT_COUNT(by_session.size(), 7200);
  EXPECT_NEAR(static_cast<double>(turns) / static_cast<double>(by_session.size()), 4, 0.25);
  std::set<std::uint64_t> third_blocks;
  for (const auto& [session, requests] : by_session) {
    EXPECT_EQ(requests[0].prefix[1], by_session.begin()->second[0].prefix[1]);  // the system's text
    if (requests[0].prefix.size() > 2) third_blocks.insert(requests[0].prefix[2]);
    for (std::size_t i = 1; i < requests.size(); ++i) {
      const TraceRequest& before = requests[i - 1];
      const TraceRequest& now = requests[i];
      ASSERT_GE(now.input_tokens, before.input_tokens + before.output_tokens);
      ASSERT_LE(now.input_tokens, 20'000);
      ASSERT_EQ(now.tenant, before.tenant);
      ASSERT_EQ(now.deployment, before.deployment);
      ASSERT_TRUE(std::equal(before.prefix.begin(), before.prefix.end(), now.prefix.begin()));
      ASSERT_GE(now.at - before.at, service_time(before, source->world().deployments[0]));
    }
  }
  std::size_t with_three = 0;
  for (const auto& [session, requests] : by_session)
    with_three += requests[0].prefix.size() > 2 ? 1U : 0U;
  EXPECT_EQ(third_blocks.size(), with_three);  // what people say is their own
}

TEST(RequestMix, IsAsAsked) {
  const auto requests = all_of(*poisson(
      100, {.length = minutes(10),
            .world = {.devices = {}, .deployments = {{.name = "a"}, {.name = "b"}}, .tenants = {}},
            .deployment_weights = {3, 1},
            .mix = {.route = TraceRoute::infer,
                    .stream = false,
                    .priority = 7,
                    .input = {.median = 50, .sigma = 0},
                    .output = {.median = 1, .sigma = 0},
                    .deadline = seconds(30),
                    .gone_share = 0.25,
                    .gone_within = seconds(2)}}));
  std::size_t gone = 0;
  std::size_t second = 0;
  for (const TraceRequest& r : requests) {
    ASSERT_EQ(r.route, TraceRoute::infer);
    ASSERT_EQ(r.priority, 7);
    ASSERT_EQ(r.input_tokens, 50);
    ASSERT_EQ(r.output_tokens, 1);
    ASSERT_EQ(r.deadline, seconds(30));
    ASSERT_FALSE(r.stream);
    gone += r.gone_after ? 1U : 0U;
    second += r.deployment;
    ASSERT_TRUE(!r.gone_after || *r.gone_after <= seconds(2));
  }
  EXPECT_COUNT(gone, 15'000);
  EXPECT_COUNT(second, 15'000);
}

TEST(Generators, AChangeOfTheMixLeavesTheTimes) {
  GeneratorOptions options{.length = minutes(1)};
  const auto before = all_of(*poisson(50, options));
  options.mix.gone_share = 0.5;
  options.world.tenants = {"a", "b"};
  const auto after = all_of(*poisson(50, options));
  ASSERT_EQ(before.size(), after.size());
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_EQ(before[i].at, after[i].at);
}

std::vector<std::unique_ptr<RequestSource>> all_kinds(std::uint64_t seed) {
  GeneratorOptions options{.seed = seed, .length = minutes(30)};
  options.mix.gone_share = 0.1;
  std::vector<std::unique_ptr<RequestSource>> sources;
  sources.push_back(poisson(3, options));
  sources.push_back(day_curve({.mean_per_second = 2, .day = minutes(20)}, options));
  sources.push_back(burst({}, options));
  sources.push_back(on_off({}, options));
  sources.push_back(herd({.requests = 100, .every = minutes(7)}, options));
  sources.push_back(many_models({.models = 50}, options));
  sources.push_back(huge_tenant({}, options));
  sources.push_back(chat_sessions({}, options));
  return sources;
}

TEST(Generators, OneSeedOneSequence) {
  std::set<std::uint64_t> seen;
  const auto first = all_kinds(5);
  const auto second = all_kinds(5);
  const auto other = all_kinds(6);
  for (std::size_t i = 0; i < first.size(); ++i) {
    const std::uint64_t hash = hash_of(*first[i]);
    EXPECT_EQ(hash, hash_of(*second[i])) << i;
    EXPECT_NE(hash, hash_of(*other[i])) << i;
    EXPECT_TRUE(seen.insert(hash).second) << i;
  }
}

// Simulations are compared over machines and versions by their seeds: this number must not change
// without a word in the change log.
TEST(Generators, TheSameBitsEverywhere) {
  EXPECT_EQ(hash_of(*merge(all_kinds(5))), 0xa5e9ef4563b19ae4ULL);
}

}  // namespace
}  // namespace stoker::sim
