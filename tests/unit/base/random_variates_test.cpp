// Draws have the mean and the spread of their distribution, and are the same for the same seed.
#include "base/random_variates.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <set>

namespace stoker {
namespace {

constexpr int sample = 400'000;

struct Moments {
  double mean = 0;
  double deviation = 0;
};
Moments moments_of(const std::function<double()>& draw) {
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < sample; ++i) {
    const double x = draw();
    sum += x;
    squares += x * x;
  }
  const double mean = sum / sample;
  return {mean, std::sqrt(squares / sample - mean * mean)};
}

TEST(RandomVariates, MeanAndDeviation) {
  Prng prng(1);
  struct Case {
    const char* name;
    std::function<double()> draw;
    double mean, deviation;
  };
  const auto gamma = [&](double shape, double scale) {
    return [&prng, g = Gamma(shape, scale)] { return g.draw(prng); };
  };
  const auto weibull = [&](double shape, double scale) {
    return [&prng, w = Weibull(shape, scale)] { return w.draw(prng); };
  };
  const double third = 1.0 / 3;
  const Case cases[] = {
      {"uniform", [&] { return uniform_unit(prng); }, 0.5, std::sqrt(1.0 / 12)},
      {"exponential", [&] { return exponential(prng, 3); }, 3, 3},
      {"normal", [&] { return normal(prng); }, 0, 1},
      {"lognormal", [&] { return lognormal(prng, 10, 0.5); }, 10 * std::exp(0.125),
       10 * std::exp(0.125) * std::sqrt(std::exp(0.25) - 1)},
      {"gamma, as exponential", gamma(1, 2), 2, 2},
      {"gamma, smooth", gamma(4, 0.5), 2, 1},
      {"gamma, bursty", gamma(0.25, 4), 1, 2},
      {"gamma, just below 1", gamma(0.99, 1), 0.99, std::sqrt(0.99)},
      {"weibull, as exponential", weibull(1, 2), 2, 2},
      {"weibull, smooth", weibull(2, 1), std::tgamma(1.5),
       std::sqrt(1 - std::tgamma(1.5) * std::tgamma(1.5))},
      {"weibull, bursty", weibull(0.5, third), 2 * third, third * std::sqrt(20)},
      {"bernoulli", [&] { return bernoulli(prng, 0.3) ? 1.0 : 0.0; }, 0.3, std::sqrt(0.21)},
      {"duration",
       [&] { return static_cast<double>(uniform_duration(prng, Duration{-5}, Duration{5}).ns); }, 0,
       std::sqrt(10.0)},
  };
  for (const Case& c : cases) {
    const Moments got = moments_of(c.draw);
    // Five standard errors of the mean; the deviation of a heavy tail is known less well.
    EXPECT_NEAR(got.mean, c.mean, 5 * c.deviation / std::sqrt(sample)) << c.name;
    EXPECT_NEAR(got.deviation / c.deviation, 1, 0.03) << c.name;
  }
}

TEST(RandomVariates, ShareBelowAPoint) {  // the shape, not only two moments
  Prng prng(2);
  struct Case {
    const char* name;
    std::function<double()> draw;
    double point, share;
  };
  const Case cases[] = {
      {"normal", [&] { return normal(prng); }, 1.0, 0.841345},
      {"normal tail", [&] { return normal(prng); }, -2.0, 0.022750},
      {"gamma 1/2 is half of a squared normal", [&, g = Gamma(0.5, 2)] { return g.draw(prng); },
       1.0, 0.682689},
      {"gamma 2", [&, g = Gamma(2, 1)] { return g.draw(prng); }, 1.0, 1 - 2 * std::exp(-1.0)},
      {"weibull", [&, w = Weibull(0.4, 1)] { return w.draw(prng); }, 1.0, 1 - std::exp(-1.0)},
      {"lognormal", [&] { return lognormal(prng, 7, 2); }, 7, 0.5},
  };
  for (const Case& c : cases) {
    int below = 0;
    for (int i = 0; i < sample; ++i) below += c.draw() < c.point ? 1 : 0;
    EXPECT_NEAR(below / static_cast<double>(sample), c.share, 0.004) << c.name;
  }
}

TEST(RandomVariates, UniformStaysInside) {
  Prng prng(3);
  for (int i = 0; i < sample; ++i) {
    const double u = uniform_unit(prng);
    ASSERT_GT(u, 0);
    ASSERT_LT(u, 1);
  }
}

TEST(RandomVariates, DurationsReachBothEnds) {
  Prng prng(4);
  std::set<std::int64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(uniform_duration(prng, {7}, {9}).ns);
  EXPECT_EQ(seen, (std::set<std::int64_t>{7, 8, 9}));
  EXPECT_EQ(uniform_duration(prng, ms(1), ms(1)), ms(1));
}

TEST(RandomVariates, ChanceOfZeroIsNeverAndOfOneAlways) {
  Prng prng(5);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_FALSE(bernoulli(prng, 0));
    ASSERT_TRUE(bernoulli(prng, 1));
  }
}

TEST(WeightedChoice, FollowsTheWeightsAndNeverDrawsAZero) {
  const std::vector<double> weights = {0, 1, 0, 0, 3, 4, 0};
  const WeightedChoice choice(weights);
  Prng prng(6);
  std::vector<int> count(weights.size());
  for (int i = 0; i < sample; ++i) ++count[choice.draw(prng)];
  for (std::size_t i = 0; i < weights.size(); ++i) {
    EXPECT_NEAR(count[i] / static_cast<double>(sample), weights[i] / 8, 0.004) << i;
    EXPECT_EQ(count[i] == 0, weights[i] == 0) << i;
  }
}

TEST(WeightedChoice, AnySizeDrawsOnlyWhatIsThere) {
  Prng prng(7);
  for (std::size_t size = 1; size < 70; ++size) {
    const WeightedChoice choice(std::vector<double>(size, 1));
    std::vector<int> count(size);
    for (std::size_t i = 0; i < size * 100; ++i) ++count.at(choice.draw(prng));
    for (const int n : count) EXPECT_GT(n, 40) << size;
  }
}

TEST(Zipf, RankTwoIsHalfAsPopular) {
  const std::vector<double> weights = zipf_weights(100, 1);
  const WeightedChoice choice(weights);
  Prng prng(8);
  std::vector<int> count(100);
  for (int i = 0; i < sample; ++i) ++count[choice.draw(prng)];
  EXPECT_NEAR(count[0] / static_cast<double>(count[1]), 2, 0.05);
  EXPECT_NEAR(count[0] / static_cast<double>(count[9]), 10, 0.6);
}

TEST(RandomVariates, TheSameBitsEverywhere) {
  Prng prng(9);
  std::uint64_t hash = 0;
  const Gamma bursty(0.3, 2);
  const Gamma smooth(5, 2);
  const Weibull weibull(0.4, 1);
  const WeightedChoice zipf(zipf_weights(1000, 0.9));
  for (int i = 0; i < 20'000; ++i) {
    for (const double x : {uniform_unit(prng), exponential(prng, 2), normal(prng),
                           lognormal(prng, 3, 1), bursty.draw(prng), smooth.draw(prng),
                           weibull.draw(prng), static_cast<double>(zipf.draw(prng))}) {
      hash = (hash ^ std::bit_cast<std::uint64_t>(x)) * 0x100000001b3ULL;
    }
  }
  EXPECT_EQ(hash, 0x279c99549797c078ULL);
}

}  // namespace
}  // namespace stoker
