// Our exponentials and logarithms: near the C library's, and always the same bits.
#include "base/real_math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "base/prng.h"

namespace stoker {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

double in_range(Prng& prng, double least, double most) {
  return least + (most - least) * static_cast<double>(prng.next() >> 11) * 0x1p-53;
}

double relative_error(double got, double want) {
  if (got == want) return 0.0;
  return std::abs(got - want) / std::abs(want);
}

TEST(RealMath, AgreesWithTheLibrary) {
  struct Case {
    const char* name;
    double (*ours)(double);
    double (*library)(double);
    double least, most, error;
  };
  const Case cases[] = {
      {"exp", real_math::exp, std::exp, -700, 700, 4e-16},
      {"exp small", real_math::exp, std::exp, -0.5, 0.5, 4e-16},
      {"exp2", real_math::exp2, std::exp2, -1000, 1000, 4e-16},
      {"log", real_math::log, std::log, 1e-6, 1e6, 5e-16},
      {"log near 1", real_math::log, std::log, 0.9, 1.1, 7e-16},
      {"log2", real_math::log2, std::log2, 1e-6, 1e6, 5e-16},
      {"log2 near 1", real_math::log2, std::log2, 0.9, 1.1, 9e-16},
      {"sqrt", real_math::sqrt, std::sqrt, 0, 1e9, 0},
      {"gamma", real_math::gamma, std::tgamma, 0.01, 20, 1e-13},
      {"gamma of more", real_math::gamma, std::tgamma, 20, 170, 1e-12},
      {"log gamma", real_math::log_gamma, std::lgamma, 3, 1e6, 1e-14},
  };
  for (const Case& c : cases) {
    Prng prng(1);
    double worst = 0;
    for (int i = 0; i < 100'000; ++i) {
      const double x = in_range(prng, c.least, c.most);
      worst = std::max(worst, relative_error(c.ours(x), c.library(x)));
    }
    EXPECT_LE(worst, c.error) << c.name;
  }
}

TEST(RealMath, AgreesOverAllMagnitudes) {
  Prng prng(2);
  for (int i = 0; i < 100'000; ++i) {
    // Any positive double, those below the normal ones too.
    const auto x = std::bit_cast<double>(prng.below(0x7ff0000000000000ULL - 1) + 1);
    ASSERT_LE(relative_error(real_math::log(x), std::log(x)), 5e-16) << x;
    ASSERT_LE(relative_error(real_math::log2(x), std::log2(x)), 5e-16) << x;
    ASSERT_EQ(real_math::sqrt(x), std::sqrt(x)) << x;
    const double y = in_range(prng, -3, 3);
    const double want = std::pow(x, y);
    if (want < std::numeric_limits<double>::min() || want == infinity) continue;
    ASSERT_LE(relative_error(real_math::pow(x, y), want), 1e-12) << x << " ^ " << y;
  }
}

TEST(RealMath, BelowTheNormalNumbersTheLastBitCounts) {
  const double tiny = std::numeric_limits<double>::denorm_min();
  for (const double x : {-708.5, -720.0, -740.0, -745.0}) {
    EXPECT_NEAR(real_math::exp(x), std::exp(x), tiny) << x;
  }
  EXPECT_EQ(real_math::exp2(-1074), tiny);
  EXPECT_EQ(real_math::log2(tiny), -1074);
}

TEST(RealMath, PowersOfTwoAreExact) {
  for (int k = -1074; k < 1024; ++k) {
    ASSERT_EQ(real_math::exp2(k), std::ldexp(1.0, k)) << k;
    ASSERT_EQ(real_math::log2(std::ldexp(1.0, k)), k);
  }
  EXPECT_EQ(real_math::pow(2, 10), 1024);
  EXPECT_EQ(real_math::pow(4, 0.5), 2);
  EXPECT_EQ(real_math::exp(0), 1);
  EXPECT_EQ(real_math::log(1), 0);
}

TEST(RealMath, TheEndsOfTheRange) {
  EXPECT_EQ(real_math::exp(infinity), infinity);
  EXPECT_EQ(real_math::exp(710), infinity);
  EXPECT_EQ(real_math::exp(-infinity), 0);
  EXPECT_EQ(real_math::exp(-746), 0);
  EXPECT_LT(real_math::exp(709.78), infinity);
  EXPECT_EQ(real_math::exp2(1024), infinity);
  EXPECT_EQ(real_math::exp2(-1076), 0);
  EXPECT_EQ(real_math::log(0), -infinity);
  EXPECT_EQ(real_math::log2(0), -infinity);
  EXPECT_EQ(real_math::log(infinity), infinity);
  EXPECT_EQ(real_math::pow(0, 2), 0);
  EXPECT_EQ(real_math::pow(0, -1), infinity);
  EXPECT_EQ(real_math::pow(nan, 0), 1);
  EXPECT_EQ(real_math::pow(5, infinity), infinity);
  EXPECT_EQ(real_math::pow(0.5, infinity), 0);
  EXPECT_EQ(real_math::gamma(1000), infinity);
  for (const double x : {real_math::exp(nan), real_math::exp2(nan), real_math::log(nan),
                         real_math::log(-1), real_math::log2(-infinity), real_math::pow(-2, 2),
                         real_math::pow(nan, 1), real_math::sqrt(-1), real_math::sqrt(nan),
                         real_math::log_gamma(0), real_math::log_gamma(nan)}) {
    EXPECT_TRUE(std::isnan(x));
  }
}

TEST(RealMath, GammaOfWholeNumbersIsFactorial) {
  double factorial = 1;
  for (int n = 1; n < 20; ++n) {
    EXPECT_NEAR(real_math::gamma(n) / factorial, 1, 1e-14) << n;
    factorial *= n;
  }
  EXPECT_NEAR(real_math::log_gamma(1), 0, 1e-13);
  EXPECT_NEAR(real_math::log_gamma(2), 0, 1e-13);
}

// These bits must never change, whatever machine or compiler: recorded simulations hang on them.
TEST(RealMath, TheSameBitsEverywhere) {
  const auto bits = [](double x) { return std::bit_cast<std::uint64_t>(x); };
  EXPECT_EQ(bits(real_math::exp(1.0)), 0x4005bf0a8b14576aULL);
  EXPECT_EQ(bits(real_math::exp(-17.3)), 0x3e60772c096d61b7ULL);
  EXPECT_EQ(bits(real_math::exp2(0.1)), 0x3ff125fbee250664ULL);
  EXPECT_EQ(bits(real_math::log(10.0)), 0x40026bb1bbb55516ULL);
  EXPECT_EQ(bits(real_math::log(0.3)), 0xbff34378fcbda721ULL);
  EXPECT_EQ(bits(real_math::log2(3.0)), 0x3ff95c01a39fbd69ULL);
  EXPECT_EQ(bits(real_math::pow(1.7, 12.3)), 0x408559456f536895ULL);
  EXPECT_EQ(bits(real_math::gamma(0.4)), 0x4001beca6e4dff18ULL);
  // All of 100,000 answers in one number.
  Prng prng(3);
  std::uint64_t hash = 0;
  for (int i = 0; i < 100'000; ++i) {
    const double x = in_range(prng, 1e-3, 50);
    for (const double y : {real_math::exp(x), real_math::exp2(-x), real_math::log(x),
                           real_math::log2(x), real_math::pow(x, 1.5), real_math::log_gamma(x)}) {
      hash = (hash ^ bits(y)) * 0x100000001b3ULL;
    }
  }
  EXPECT_EQ(hash, 0x2750cb42ebf78b97ULL);
}

}  // namespace
}  // namespace stoker
