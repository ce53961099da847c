// What is learned of the next request, and the two decisions that use it.
#include "core/next_use.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/prng.h"
#include "core/next_use_ages.h"
#include "core/next_use_table.h"

namespace stoker::core {
namespace {

constexpr Instant at(std::int64_t s) {
  return Instant{} + seconds(s);
}

double seconds_after(Instant later, Instant earlier) {
  return as_ms(later - earlier) / 1e3;
}

/// A request that takes no time.
void request(NextUse& use, NextUse::Model& model, Instant now) {
  use.arrived(model, now);
  use.idle(model, now);
}

/// `count` requests by `gap`, the first at 0. Gives: when the last one was.
Instant after_gaps(NextUse& use, NextUse::Model& model, int count,
                   const std::function<Duration()>& gap) {
  Instant now;
  request(use, model, now);
  for (int i = 1; i < count; ++i) {
    now = now + gap();
    request(use, model, now);
  }
  return now;
}

TEST(NextUseAges, EdgesAreQuarterOctavesAndPositionsFindThem) {
  EXPECT_EQ(next_use::ages[0], 0);
  EXPECT_EQ(next_use::ages[3], 1.75);
  EXPECT_EQ(next_use::ages[4], 2);
  EXPECT_EQ(next_use::ages[80], 1048576);
  EXPECT_EQ(next_use::at_position(-1), 0.875);
  EXPECT_EQ(next_use::at_position(-4), 0.5);
  for (int b = 1; b < next_use::age_buckets; ++b) {
    const double edge = next_use::ages[static_cast<std::size_t>(b)];
    EXPECT_EQ(next_use::position_of_age(edge), b);
    EXPECT_LT(next_use::position_of_age(std::nextafter(edge, 0)), b);
  }
  EXPECT_LT(next_use::position_of_age(1e18), next_use::age_buckets);
  EXPECT_EQ(next_use::position_of_age(-5), 0);
}

TEST(NextUseAges, PackedNumbersAreWithinAFewTenThousandthsAndKeepOrder) {
  EXPECT_EQ(next_use::Packed(0).get(), 0);
  EXPECT_EQ(next_use::Packed(1e-9).get(), 0);
  EXPECT_EQ(next_use::Packed(1).get(), 1);
  EXPECT_LT(next_use::Packed(1e9).get(), 128);
  double before = 0;
  for (double x = 4e-8; x < 127; x *= 1.0003) {
    const double got = next_use::Packed(x).get();
    EXPECT_NEAR(got, x, x * 0.00025);
    EXPECT_GE(got, before);
    before = got;
  }
}

TEST(GapTable, WithoutGapsIsThePrior) {
  // [1, 1.25) at 1 / (1 + age) per second: z = 0.25 / 2.125, and z / (1 + z / 2) = 1 / 9.
  const next_use::GapTable table(1);
  EXPECT_NEAR(table.hazard(0), 1.0 / 9, 1e-12);
  EXPECT_NEAR(table.hazard(8), 1.0 / 6, 1e-12);  // [4, 5): 1 / 5.5 -> 1 / 6
}

TEST(GapTable, TwelveEqualGaps) {
  next_use::GapTable table(1);
  for (int i = 0; i < 12; ++i) table.ended(8, std::nullopt);
  EXPECT_EQ(table.weight(), 12);
  // Smoothed 1-2-1: of 12 + 24 + 0 that came there 24 ended; the prior weighs 16 of these quarters.
  EXPECT_NEAR(table.hazard(8), (24 + 16.0 / 6) / (36 + 16), 1e-12);
  EXPECT_NEAR(table.hazard(7), (12 + 16.0 / 10) / (48 + 16), 1e-12);
  EXPECT_NEAR(table.hazard(0), (0 + 16.0 / 9) / (48 + 16), 1e-12);
  EXPECT_NEAR(table.hazard(7.5), (table.hazard(7) + table.hazard(8)) / 2, 1e-12);
}

TEST(GapTable, OpenGapsCountWhereTheyCame) {
  next_use::GapTable table(1);
  for (int i = 0; i < 12; ++i) table.silent(std::nullopt, 6);
  for (int i = 0; i < 12; ++i) table.silent(6, 20);
  for (int i = 0; i < 12; ++i) table.ended(8, std::nullopt);
  // 24 came to bins 7 and 8, the open 12 to bin 9.
  EXPECT_NEAR(table.hazard(8), (24 + 16.0 / 6) / (24 + 48 + 12 + 16), 1e-12);
  for (int i = 0; i < 12; ++i) table.ended(20, 20);  // they end: nothing is counted twice
  EXPECT_NEAR(table.hazard(8), (24 + 16.0 / 6) / (24 + 48 + 12 + 16), 1e-12);
}

TEST(NextUse, StateIsSmall) {
  EXPECT_LE(sizeof(NextUse::Model), 1024U);
}

TEST(NextUse, KnowsNothingBeforeTheFirstRequest) {
  NextUse use;
  NextUse::Model model;
  EXPECT_EQ(use.index(model, at(100)), 0);
  use.idle(model, at(100));
  use.silent(model, at(200));
  EXPECT_EQ(use.index(model, at(300)), 0);
}

TEST(NextUse, WithoutHistoryIdlesAsLongAsAColdStartIsWorth) {
  for (const std::int64_t worth : {0, 1, 17, 600, 100'000}) {
    NextUse use;
    NextUse::Model model;
    EXPECT_EQ(use.plan(model, at(5), seconds(worth)).stop_at, at(5 + worth));
    request(use, model, at(10));
    const KeepPlan plan = use.plan(model, at(10), seconds(worth));
    EXPECT_EQ(plan.stop_at, at(10 + worth));
    EXPECT_FALSE(plan.start_at);
    EXPECT_EQ(use.plan(model, at(200'000), seconds(worth)).stop_at, at(200'000));
  }
}

TEST(NextUse, APeriodicDeploymentStopsAndStartsBeforeItsNextRequest) {
  for (const std::int64_t period : {600, 3'600, 10'000, 86'400, 7 * 86'400}) {
    SCOPED_TRACE(period);
    NextUse use;
    NextUse::Model model;
    const Instant last = after_gaps(use, model, 40, [&] { return seconds(period); });
    const Duration break_even = seconds(period / 4);  // the more, the longer the buckets it spans
    const KeepPlan plan = use.plan(model, last, break_even);
    EXPECT_LE(plan.stop_at, last + seconds(period / 10));
    ASSERT_TRUE(plan.start_at);
    const double start_s = seconds_after(*plan.start_at, last);
    EXPECT_LE(start_s, static_cast<double>(period));
    EXPECT_GE(start_s, 0.75 * static_cast<double>(period));
    const KeepPlan next = use.plan(model, *plan.start_at, break_even);
    EXPECT_GT(seconds_after(next.stop_at, last), static_cast<double>(period));
  }
}

TEST(NextUse, ABusyDeploymentIsKept) {
  NextUse use;
  NextUse::Model model;
  Prng prng(1);
  const Instant last = after_gaps(
      use, model, 500, [&] { return ms(2'000 + static_cast<std::int64_t>(prng.below(20'000))); });
  const KeepPlan plan = use.plan(model, last, seconds(300));
  EXPECT_GE(plan.stop_at, last + seconds(20));   // its gaps are 2 to 22 s
  EXPECT_LE(plan.stop_at, last + seconds(300));  // after that it has never come
}

TEST(NextUse, RequestsWhileBusyTeachNothing) {
  NextUse use;
  NextUse::Model one;
  NextUse::Model two;
  for (int i = 0; i < 50; ++i) {
    const Instant start = at(1'000 * i);
    use.arrived(one, start);
    use.arrived(two, start);
    for (int k = 1; k < 20; ++k) use.arrived(two, start + seconds(k * 20));
    use.idle(one, start + seconds(400));
    use.idle(two, start + seconds(400));
    use.idle(two, start + seconds(700));  // it is idle already
  }
  const Instant now = at(50'000);
  EXPECT_EQ(use.index(one, now), use.index(two, now));
}

/// Three deployments with a mean gap of an hour each.
struct Three {
  NextUse use;
  NextUse::Model periodic;
  NextUse::Model poisson;
  NextUse::Model bursty;
  Instant last_periodic, last_poisson, last_bursty;

  Three() {
    Prng prng(7);
    last_periodic = after_gaps(use, periodic, 300, [] { return seconds(3'600); });
    last_poisson = after_gaps(use, poisson, 300, [&] {
      const double part = (static_cast<double>(prng.below(1'000'000)) + 0.5) * 1e-6;
      return ms(static_cast<std::int64_t>(-3'600e3 * std::log(part)));
    });
    int turn = 0;
    last_bursty = after_gaps(use, bursty, 297, [&] {  // ends within a session
      return ++turn % 6 == 0 ? seconds(6 * 3'600 - 100) : seconds(20);
    });
  }
  double of(NextUse::Model& model, Instant last, std::int64_t age_s) {
    return use.index(model, last + seconds(age_s));
  }
};

TEST(NextUse, TheIndexOrdersPeriodicPoissonAndBursty) {
  Three w;
  // Within a session the next request is seconds away; an hourly one is not due for an hour.
  EXPECT_GT(w.of(w.bursty, w.last_bursty, 2), 10 * w.of(w.poisson, w.last_poisson, 2));
  // The session is over: hours of silence follow.
  EXPECT_LT(w.of(w.bursty, w.last_bursty, 600), w.of(w.poisson, w.last_poisson, 600));
  EXPECT_LT(w.of(w.bursty, w.last_bursty, 600), w.of(w.periodic, w.last_periodic, 600));
  // A minute before it is due, the periodic one is worth the most.
  const double due = w.of(w.periodic, w.last_periodic, 3'540);
  EXPECT_GT(due, 3 * w.of(w.poisson, w.last_poisson, 3'540));
  EXPECT_GT(due, 3 * w.of(w.bursty, w.last_bursty, 3'540));
  EXPECT_GT(due, 3 * w.of(w.periodic, w.last_periodic, 600));
  // A memoryless one is worth the same at any age.
  const double young = w.of(w.poisson, w.last_poisson, 60);
  EXPECT_NEAR(w.of(w.poisson, w.last_poisson, 3'000) / young, 1, 0.5);
}

TEST(NextUse, FindsTheTimeOfDay) {
  // Every 10 to 30 minutes from 9 to 17 o'clock of some clock, silent otherwise, 20 days.
  NextUse use;
  NextUse::Model model;
  Prng prng(3);
  Instant last;
  for (int day = 0; day < 20; ++day) {
    for (Instant now = at(day * 86'400 + 9 * 3'600); now < at(day * 86'400 + 17 * 3'600);
         now = now + seconds(600 + static_cast<std::int64_t>(prng.below(1'200)))) {
      request(use, model, now);
      last = now;
    }
  }
  const double evening = use.index(model, last + seconds(3'600));
  const double morning = use.index(model, at(20 * 86'400 + 9 * 3'600));
  EXPECT_GT(morning, 3 * evening);
}

TEST(NextUse, ANewDeploymentIsJudgedByWhatNewOnesDid) {
  NextUse use;
  for (int i = 0; i < 200; ++i) {  // come twice, 40 s apart, and never again
    NextUse::Model other;
    request(use, other, at(i * 10'000));
    request(use, other, at(i * 10'000 + 40));
    use.silent(other, at(i * 10'000 + 9'000));
  }
  NextUse::Model model;
  const Instant now = at(3'000'000);
  request(use, model, now);
  EXPECT_GE(use.plan(model, now, seconds(600)).stop_at, now + seconds(40));
  EXPECT_LE(use.plan(model, now, seconds(600)).stop_at, now + seconds(80));
  request(use, model, now + seconds(40));
  const KeepPlan second = use.plan(model, now + seconds(40), seconds(600));
  EXPECT_LE(second.stop_at, now + seconds(40 + 60));
}

TEST(NextUse, AHundredThousandRequestsInOneInstant) {
  NextUse use;
  NextUse::Model model;
  for (int i = 0; i < 100'000; ++i) request(use, model, at(1));
  const double index = use.index(model, at(1));
  EXPECT_GT(index, 0.3);
  EXPECT_LT(index, 3);
  EXPECT_LT(use.index(model, at(1'000)), index);
}

/// What may happen to one of four deployments.
struct Happening {
  std::uint8_t who;
  std::uint8_t what;
  std::int64_t after_ns;
};

Happening draw(Prng& prng) {
  const auto who = static_cast<std::uint8_t>(prng.below(4));
  const auto what = static_cast<std::uint8_t>(prng.below(8));
  const std::uint64_t octave = prng.below(51);  // 1 ns to 26 days, mostly short
  return {who, what, octave == 0 ? 0 : static_cast<std::int64_t>(prng.below(1ULL << octave))};
}

/// Gives: a hash of every answer.
std::uint64_t play(std::uint64_t seed, int count,
                   const std::function<void(double, const KeepPlan&, Instant)>& check) {
  Prng prng(seed);
  NextUse use;
  std::vector<NextUse::Model> models(4);
  Instant now;
  std::uint64_t hash = 0;
  const auto add = [&](std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3ULL; };
  for (int i = 0; i < count; ++i) {
    const Happening h = draw(prng);
    now.ns += h.after_ns;
    NextUse::Model& model = models[h.who];
    if (h.what < 3) use.arrived(model, now);
    if (h.what >= 1 && h.what < 5) use.idle(model, now);
    if (h.what == 5) use.silent(model, now);
    const double index = use.index(model, now);
    const KeepPlan plan = use.plan(model, now, ms(static_cast<std::int64_t>(prng.below(1 << 22))));
    add(std::bit_cast<std::uint64_t>(index));
    add(static_cast<std::uint64_t>(plan.stop_at.ns));
    add(plan.start_at ? static_cast<std::uint64_t>(plan.start_at->ns) : 1);
    check(index, plan, now);
  }
  return hash;
}

TEST(NextUse, AnswersAreSaneWhateverHappens) {
  rc::check("sane", [](std::uint64_t seed) {
    play(seed, 300, [](double index, const KeepPlan& plan, Instant now) {
      RC_ASSERT(index >= 0 && index <= 1e4);  // false for NaN as well
      RC_ASSERT(plan.stop_at >= now);
      RC_ASSERT(plan.stop_at <= now + seconds(1 << 20));
      if (plan.start_at) RC_ASSERT(*plan.start_at > plan.stop_at);
    });
  });
}

TEST(NextUse, TheMoreAColdStartCostsTheLongerItKeeps) {
  rc::check("monotone", [](std::uint64_t seed) {
    Prng prng(seed);
    NextUse use;
    NextUse::Model model;
    const std::int64_t scale = std::int64_t{1} << (1 + prng.below(16));
    const bool periodic = prng.below(2) == 0;
    const Instant last = after_gaps(use, model, 1 + static_cast<int>(prng.below(100)), [&] {
      if (periodic) return ms(scale * 1'000 + static_cast<std::int64_t>(prng.below(1'000)));
      return ms(static_cast<std::int64_t>(prng.below(static_cast<std::uint64_t>(scale) * 2'000)));
    });
    const Instant now =
        last + ms(static_cast<std::int64_t>(prng.below(static_cast<std::uint64_t>(scale) * 1'000)));
    Instant before;
    for (std::int64_t worth = 1; worth < 1'000'000; worth = worth * 5 / 4 + 1) {
      const Instant stop_at = use.plan(model, now, seconds(worth)).stop_at;
      RC_ASSERT(stop_at >= before);
      before = stop_at;
    }
  });
}

TEST(NextUse, SameOnEveryCpuAndCompiler) {
  EXPECT_EQ(play(1, 20'000, [](double, const KeepPlan&, Instant) {}), 3740391483501444395ULL);
}

TEST(NextUse, TheRateIsThatOfItsGapsUntilItIsSilentForLonger) {
  NextUse use;
  NextUse::Model model;
  Instant now{seconds(100).ns};
  EXPECT_EQ(NextUse::rate(model, now), 0);
  for (int i = 0; i < 10; ++i) {
    use.arrived(model, now);
    EXPECT_EQ(NextUse::rate(model, now) > 0, i > 0) << "one use is no gap";
    use.idle(model, now);
    now = now + seconds(20);
  }
  EXPECT_NEAR(NextUse::rate(model, now), 1.0 / 20, 1e-9);
  EXPECT_NEAR(NextUse::rate(model, now + seconds(60)), 1.0 / 80, 1e-9);
}

}  // namespace
}  // namespace stoker::core
