#include "base/real_math.h"

#include <bit>
#include <cstdint>
#include <limits>

namespace stoker::real_math {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double log2_of_e = 0x1.71547652b82fep+0;
constexpr double half_log_two_pi = 0x1.d67f1c864beb5p-1;
// ln 2 in two parts. The upper has 21 zero bits at its end, so that a whole number times it is
// exact.
constexpr double ln2_upper = 0x1.62e42fee00000p-1;
constexpr double ln2_lower = 0x1.a39ef35793c76p-33;
constexpr double ln2 = 0x1.62e42fefa39efp-1;
// Adding and taking away 1.5 x 2^52 rounds to a whole number, which stands in the low bits.
constexpr double round_magic = 0x1.8p52;

/// x = mantissa x 2^exponent, mantissa in [sqrt(1/2), sqrt(2)): round 1, so that log(1 + tiny)
/// keeps its digits.
struct Split {
  double mantissa;
  double exponent;
};
/// Needs: x positive and finite.
Split split(double x) {
  std::int64_t below_normal = 0;
  if (x < std::numeric_limits<double>::min()) {
    x *= 0x1p54;
    below_normal = 54;
  }
  constexpr std::int64_t root_half = 0x3fe6a09e667f3bcd;  // the bits of sqrt(1/2)
  const auto bits = std::bit_cast<std::int64_t>(x);
  const std::int64_t exponent = (bits - root_half) >> 52;
  return {std::bit_cast<double>(bits - exponent * (std::int64_t{1} << 52)),
          static_cast<double>(exponent - below_normal)};
}

/// log(m) for m of a Split = 2 artanh(s), s = (m - 1) / (m + 1), |s| < 0.172: nine terms leave
/// 1e-17. The terms are added in pairs (Estrin), so that the CPU can do several at once.
struct LogOfMantissa {
  double first;  // 2 s
  double rest;
};
LogOfMantissa log_of_mantissa(double m) {
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  const double z2 = z * z;
  const double z4 = z2 * z2;
  const double low = (1.0 / 3 + z * (1.0 / 5)) + z2 * (1.0 / 7 + z * (1.0 / 9));
  const double high = (1.0 / 11 + z * (1.0 / 13)) + z2 * (1.0 / 15 + z * (1.0 / 17));
  const double series = low + z4 * (high + z4 * (1.0 / 19));
  return {2.0 * s, 2.0 * s * (z * series)};
}

/// The answer for an x that has no ordinary logarithm.
double log_of_odd(double x) {
  if (x == 0.0) return -infinity;
  return x > 0.0 ? x : not_a_number;  // +infinity stays
}
bool has_ordinary_log(double x) {
  return x > 0.0 && x < infinity;
}

double power_of_two(std::int64_t exponent) {  // -1022 .. 1023
  return std::bit_cast<double>((exponent + 1023) << 52);
}

/// e^r x 2^k for |r| < 0.35.
double scaled_exp(double r, std::int64_t k) {
  const double r2 = r * r;
  const double r4 = r2 * r2;
  const double r8 = r4 * r4;
  const double a = (1.0 / 2 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120));
  const double b = (1.0 / 720 + r * (1.0 / 5040)) + r2 * (1.0 / 40320 + r * (1.0 / 362880));
  const double c =
      (1.0 / 3628800 + r * (1.0 / 39916800)) + r2 * (1.0 / 479001600 + r * (1.0 / 6227020800));
  const double e = 1.0 + (r + r2 * (a + (r4 * b + r8 * c)));
  if (k >= -1022 && k <= 1023) return e * power_of_two(k);
  const std::int64_t half = k / 2;  // the result is huge, or below the normal numbers
  return e * power_of_two(half) * power_of_two(k - half);
}

struct Whole {
  double value;
  std::int64_t number;
};
/// Nearest whole number.  Needs: |x| < 2^31.
Whole nearest(double x) {
  const double shifted = x + round_magic;
  return {shifted - round_magic,
          std::bit_cast<std::int64_t>(shifted) - std::bit_cast<std::int64_t>(round_magic)};
}

}  // namespace

double exp(double x) {
  if (!(x < 709.79)) return x > 0.0 ? infinity : x;  // the second is NaN
  if (x < -745.2) return 0.0;
  const Whole k = nearest(x * log2_of_e);
  return scaled_exp((x - k.value * ln2_upper) - k.value * ln2_lower, k.number);
}

double exp2(double x) {
  if (!(x < 1024.0)) return x > 0.0 ? infinity : x;
  if (x < -1075.0) return 0.0;
  const Whole k = nearest(x);
  return scaled_exp((x - k.value) * ln2, k.number);
}

double log(double x) {
  if (!has_ordinary_log(x)) return log_of_odd(x);
  const Split parts = split(x);
  const LogOfMantissa m = log_of_mantissa(parts.mantissa);
  return parts.exponent * ln2_upper + (m.first + (m.rest + parts.exponent * ln2_lower));
}

double log2(double x) {
  if (!has_ordinary_log(x)) return log_of_odd(x);
  const Split parts = split(x);
  const LogOfMantissa m = log_of_mantissa(parts.mantissa);
  return parts.exponent + (m.first + m.rest) * log2_of_e;
}

double pow(double x, double y) {
  if (y == 0.0 || x == 1.0) return 1.0;
  if (x == 0.0) return y > 0.0 ? 0.0 : y < 0.0 ? infinity : not_a_number;
  return exp2(y * log2(x));
}

double sqrt(double x) {
  // Without -fno-math-errno the compiler would call the C library for a negative number.
  return x >= 0.0 ? __builtin_sqrt(x) : not_a_number;
}

double log_gamma(double x) {
  if (!(x > 0.0)) return not_a_number;
  if (!(x < 1e300)) return infinity;
  // gamma(x) = gamma(x + n) / (x (x + 1) .. (x + n - 1)); from 12 on Stirling's series is exact
  // enough.
  double product = 1.0;
  while (x < 12.0) {
    product *= x;
    x += 1.0;
  }
  const double inverse = 1.0 / x;
  const double z = inverse * inverse;
  const double series =
      inverse *
      (1.0 / 12 - z * (1.0 / 360 - z * (1.0 / 1260 - z * (1.0 / 1680 - z * (1.0 / 1188)))));
  return ((x - 0.5) * log(x) - x) + (half_log_two_pi + series) - log(product);
}

double gamma(double x) {
  return exp(log_gamma(x));
}

}  // namespace stoker::real_math
