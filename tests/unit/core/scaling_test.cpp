// Tables and properties of what scales: averages, the wait that is to come, what a level is kept
// for.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "core/autoscaler.h"
#include "core/level_keep.h"
#include "core/load_windows.h"

namespace stoker::core {
namespace {

TEST(DecideScale, TheLargestDemandWins) {
  struct Case {
    const char* name;
    ScalePolicy policy;
    Demand demand;
    ScaleDecision want;
  };
  ScalePolicy used{.max_instances = 10, .concurrency = 4, .target_utilization_percent = 50};
  used.on.utilization = true;
  ScalePolicy rated{.max_instances = 10, .concurrency = 4};
  rated.on.rate_milli = 2500;
  ScalePolicy both = used;
  both.on.rate_milli = 2500;
  ScalePolicy spare{.max_instances = 10, .concurrency = 4, .spare_instances = 2};
  ScalePolicy by_wait{.max_instances = 10, .scale_up_threshold = 0};
  ScalePolicy token{.max_instances = 10, .concurrency = 4};
  token.on.first_token = seconds(1);
  const auto busy = [](std::int32_t ready, LoadAverages load) {
    return Demand{.live_instances = ready,
                  .free_slots = 4 * ready,
                  .ready_instances = ready,
                  .in_flight = 1,
                  .load = load};
  };
  const Case cases[] = {
      {"below the target",
       used,
       busy(1, {.slots_stable_milli = 2000}),
       {1, StartReason::from_zero}},
      {"above it: ceil(2.1 / 2)",
       used,
       busy(1, {.slots_stable_milli = 2100}),
       {2, StartReason::utilization}},
      {"the short window sees it first",
       used,
       busy(1, {.slots_stable_milli = 100, .slots_panic_milli = 9000}),
       {5, StartReason::utilization}},
      {"requests per second of an instance",
       rated,
       busy(1, {.rate_stable_milli = 7600}),
       {4, StartReason::request_rate}},
      {"the larger of two",
       both,
       busy(1, {.slots_stable_milli = 2100, .rate_stable_milli = 7600}),
       {4, StartReason::request_rate}},
      {"no average starts the first one",
       used,
       {.load = {.slots_stable_milli = 9000}},
       {0, StartReason::from_zero}},
      {"nor another right after one was stopped",
       used,
       {.live_instances = 1,
        .ready_instances = 1,
        .load = {.slots_stable_milli = 9000},
        .cooling_down = true},
       {1, StartReason::from_zero}},
      {"never above the maximum",
       used,
       busy(1, {.slots_panic_milli = 900'000}),
       {10, StartReason::utilization}},
      {"spares beyond those that requests fill",
       spare,
       {.live_instances = 2, .ready_instances = 2, .in_flight = 5},
       {4, StartReason::spare}},
      {"no spares without requests", spare, busy(0, {}), {0, StartReason::from_zero}},
      {"from zero one, and the spares when it is ready",
       spare,
       {.queued = 5},
       {1, StartReason::from_zero}},
      {"the wait alone",
       by_wait,
       {.queued = 9, .live_instances = 1, .wait_shortfall = 2},
       {3, StartReason::queue_wait}},
      {"no depth, no wait",
       by_wait,
       {.queued = 9, .live_instances = 1},
       {1, StartReason::from_zero}},
      {"first token twice as late as it should be",
       token,
       busy(2, {.slots_panic_milli = 8000, .first_token = seconds(2)}),
       {4, StartReason::first_token}},
      {"four times as late: twice as many at most",
       token,
       busy(2, {.slots_panic_milli = 8000, .first_token = seconds(4)}),
       {4, StartReason::first_token}},
      {"a request that is alone gains nothing from another instance",
       token,
       busy(2, {.slots_panic_milli = 2000, .first_token = seconds(4)}),
       {2, StartReason::from_zero}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const ScaleDecision got = decide_scale(c.policy, c.demand);
    EXPECT_EQ(got.desired_instances, c.want.desired_instances);
    EXPECT_EQ(got.reason, c.want.reason);
  }
}

TEST(DemandOfLoad, TwiceOfWhatIsReadyIsAPanic) {
  ScalePolicy policy{.max_instances = 10, .concurrency = 1, .target_utilization_percent = 100};
  policy.on.utilization = true;
  EXPECT_FALSE(demand_of_load(policy, {.slots_panic_milli = 3000}, 2).starts_panic);
  EXPECT_TRUE(demand_of_load(policy, {.slots_panic_milli = 4000}, 2).starts_panic);
  EXPECT_FALSE(demand_of_load(policy, {}, 0).starts_panic);
}

TEST(ShortfallForWait, Table) {
  const std::array<Duration, 1> one_in_5s = {seconds(5)};
  const std::array<Duration, 1> one_in_1s = {seconds(1)};
  struct Case {
    const char* name;
    WaitForecast forecast;
    std::int32_t want;
  };
  const WaitForecast base{.objective = seconds(10),
                          .start_time = seconds(5),
                          .service_time = seconds(2),
                          .queued = 5,
                          .concurrency = 1,
                          .ready_instances = 1};
  const auto with = [&](auto change) {
    WaitForecast f = base;
    change(f);
    return f;
  };
  const Case cases[] = {
      {"one instance serves five in ten seconds", base, 0},
      {"the sixth is late: one more serves 3.5 by then",
       with([](WaitForecast& f) { f.queued = 6; }), 1},
      {"ten wait: five are late", with([](WaitForecast& f) { f.queued = 10; }), 2},
      {"what is starting already is not started again", with([&](WaitForecast& f) {
         f.queued = 8;
         f.starting = one_in_5s;
       }),
       0},
      {"none can come in time: by the backlog of then, and by the rate", with([](WaitForecast& f) {
         f.objective = seconds(1);
         f.queued = 12;
         f.arrivals_per_second_milli = 2000;
       }),
       3},
      {"what will have been served by then needs nobody", with([&](WaitForecast& f) {
         f.objective = seconds(2);
         f.queued = 4;
         f.ready_instances = 2;
         f.starting = one_in_1s;
       }),
       0},
      {"at least one if some will be late", with([](WaitForecast& f) {
         f.objective = seconds(1);
         f.queued = 12;
       }),
       1},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(shortfall_for_wait(c.forecast), c.want);
  }
}

TEST(ShortfallForWait, IsACountHoweverManyWait) {
  EXPECT_EQ(shortfall_for_wait({.objective = seconds(10),
                                .start_time = seconds(5),
                                .service_time = minutes(600),
                                .queued = 2'000'000'000,
                                .starting = {}}),
            1'000'000);
}

TEST(LoadWindows, AverageOverALongAndAShortTime) {
  LoadWindows load{Instant{}};
  load.advance(Instant{} + seconds(60), 0);
  load.advance(Instant{} + seconds(66), 10);
  EXPECT_EQ(load.averages().slots_stable_milli, 1000);
  EXPECT_EQ(load.averages().slots_panic_milli, 10'000);
  for (int i = 0; i < 30; ++i) load.request_arrived();
  load.advance(Instant{} + seconds(66) + ms(500), 10);
  EXPECT_EQ(load.averages().rate_panic_milli, 30'000 * 10 / 65);
  EXPECT_EQ(load.rate_milli(seconds(1)), 20'000);
  load.advance(Instant{} + seconds(400), 2);  // after a long time it has been like that all along
  EXPECT_EQ(load.averages().slots_stable_milli, 2000);
  EXPECT_EQ(load.averages().rate_stable_milli, 0);
  load.first_token(seconds(4));
  load.first_token(seconds(8));
  EXPECT_EQ(load.averages().first_token, seconds(5));
}

TEST(LoadWindows, NeverAverageMoreThanWasInUse) {
  rc::check("an average lies between the least and the most that was in use", [] {
    LoadWindows load{Instant{}};
    Instant now;
    std::int32_t most = 0;
    for (const auto& [pause, slots] :
         *rc::gen::container<std::vector<std::pair<std::uint16_t, std::uint8_t>>>(
             rc::gen::arbitrary<std::pair<std::uint16_t, std::uint8_t>>())) {
      now = now + ms(pause);
      most = std::max<std::int32_t>(most, slots);
      load.advance(now, slots);
      const LoadAverages averages = load.averages();
      RC_ASSERT(averages.slots_stable_milli >= 0 && averages.slots_stable_milli <= most * 1001);
      RC_ASSERT(averages.slots_panic_milli >= 0 && averages.slots_panic_milli <= most * 1001);
    }
  });
}

/// Level 2 is needed for a second, then not for `gap`, and so on.
LevelKeep with_gaps(const std::vector<Duration>& gaps, Instant& now) {
  LevelKeep levels;
  for (const Duration gap : gaps) {
    levels.demand(now, 2);
    now = now + seconds(1);
    levels.demand(now, 1);
    now = now + gap;
  }
  levels.demand(now, 2);
  now = now + seconds(1);
  return levels;
}

TEST(LevelKeep, StaysThroughGapsThatEndSoonAndNotThroughThoseThatDoNot) {
  const Duration start_cost = seconds(20);
  Instant now;
  LevelKeep soon = with_gaps(std::vector<Duration>(50, seconds(15)), now);
  EXPECT_FALSE(soon.keep_until(2, start_cost)) << "it is needed";
  soon.demand(now, 1);
  EXPECT_GE(*soon.keep_until(2, start_cost) - now, seconds(15));
  EXPECT_LE(*soon.keep_until(2, start_cost) - now, seconds(23));
  LevelKeep late = with_gaps(std::vector<Duration>(50, seconds(300)), now);
  late.demand(now, 1);
  EXPECT_EQ(*late.keep_until(2, start_cost) - now, seconds(5)) << "a quarter of a start's cost";
  EXPECT_EQ(late.keep_until(3, start_cost), Instant{}) << "never needed";
}

TEST(LevelKeep, WithoutGapsItIsSkiRental) {
  LevelKeep levels;
  const Instant now = Instant{} + seconds(100);
  levels.demand(now, 3);
  levels.demand(now + seconds(1), 1);
  EXPECT_EQ(levels.keep_until(2, seconds(20)), now + seconds(21));
  EXPECT_EQ(levels.keep_until(3, seconds(20)), now + seconds(21));
}

TEST(LevelKeep, ForgetsWhatIsLongPast) {
  const Duration start_cost = seconds(20);
  std::vector<Duration> gaps(2000, seconds(300));
  gaps.insert(gaps.end(), 2000, seconds(10));
  Instant now;
  LevelKeep levels = with_gaps(gaps, now);
  levels.demand(now, 1);
  EXPECT_GE(*levels.keep_until(2, start_cost) - now, seconds(10));
}

TEST(LevelKeep, KeepsWithinItsBounds) {
  rc::check("a quarter of a start's cost at least, twice at most", [] {
    Instant now = Instant{} + seconds(1);
    LevelKeep levels;
    for (const auto& [level, pause] :
         *rc::gen::container<std::vector<std::pair<std::uint8_t, std::uint16_t>>>(
             rc::gen::arbitrary<std::pair<std::uint8_t, std::uint16_t>>())) {
      levels.demand(now, level % 40);
      now = now + ms(pause);
    }
    levels.demand(now, 0);
    for (std::int32_t level = 2; level <= 40; ++level) {
      const std::optional<Instant> until = levels.keep_until(level, seconds(10));
      RC_ASSERT(until.has_value());
      if (*until == Instant{}) continue;
      RC_ASSERT(*until <= now + seconds(20));
    }
  });
}

}  // namespace
}  // namespace stoker::core
