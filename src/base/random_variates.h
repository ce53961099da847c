// Random numbers of the usual distributions, drawn from a seeded Prng.
//
// The standard library's distributions differ between implementations; here the same seed gives the
// same draws everywhere, as real_math.h explains. For workloads, faults and back-off in tests and
// simulation. Must never seed itself.
//
// A distribution that is drawn from often is a small class: what depends on its parameters alone is
// worked out once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/invariant.h"
#include "base/prng.h"
#include "base/real_math.h"
#include "base/units.h"

namespace stoker {

/// Uniform in (0, 1): never 0, so that its logarithm is finite, and never 1.
inline double uniform_unit(Prng& prng) {
  return (static_cast<double>(prng.next() >> 12) + 0.5) * 0x1p-52;
}

/// True with this probability; 0 or less is never, 1 or more is always.
inline bool bernoulli(Prng& prng, double probability) {
  return uniform_unit(prng) < probability;
}

/// Uniform in [least, most], both included.  Needs: least <= most.
inline Duration uniform_duration(Prng& prng, Duration least, Duration most) {
  STOKER_INVARIANT(least <= most, "from {} ns to {} ns", least.ns, most.ns);
  return {least.ns + static_cast<std::int64_t>(
                         prng.below(static_cast<std::uint64_t>(most.ns - least.ns) + 1))};
}

inline double exponential(Prng& prng, double mean) {
  return -mean * real_math::log(uniform_unit(prng));
}

/// Mean 0, deviation 1.   Source: Marsaglia, Bray, "A Convenient Method for Generating Normal
/// Variables", 1964. The second number of the pair is dropped, so that nothing is kept between
/// draws.
inline double normal(Prng& prng) {
  for (;;) {
    const double x = 2.0 * uniform_unit(prng) - 1.0;
    const double y = 2.0 * uniform_unit(prng) - 1.0;
    const double s = x * x + y * y;
    if (s < 1.0 && s > 0.0) return x * real_math::sqrt(-2.0 * real_math::log(s) / s);
  }
}

/// exp(normal x sigma) x median: half of the draws are below the median.
inline double lognormal(Prng& prng, double median, double sigma) {
  return median * real_math::exp(sigma * normal(prng));
}

/// Mean shape x scale, CV 1 / sqrt(shape).   Source: Marsaglia, Tsang, "A Simple Method for
/// Generating Gamma Variables", ACM TOMS 26, 2000; below shape 1 its section 6.
class Gamma {
 public:
  /// Needs: both above 0.
  Gamma(double shape, double scale)
      : d_((shape < 1.0 ? shape + 1.0 : shape) - 1.0 / 3),
        c_(1.0 / real_math::sqrt(9.0 * d_)),
        scale_(scale),
        boost_(shape < 1.0 ? 1.0 / shape : 0.0) {
    STOKER_INVARIANT(shape > 0.0 && scale > 0.0, "shape {}, scale {}", shape, scale);
  }
  [[nodiscard]] double draw(Prng& prng) const {
    const double boost = boost_ > 0.0 ? real_math::pow(uniform_unit(prng), boost_) : 1.0;
    for (;;) {
      const double x = normal(prng);
      const double root = 1.0 + c_ * x;
      if (root <= 0.0) continue;
      const double v = root * root * root;
      const double u = uniform_unit(prng);
      const double x2 = x * x;
      const bool accepted = u < 1.0 - 0.0331 * x2 * x2 ||
                            real_math::log(u) < 0.5 * x2 + d_ * (1.0 - v + real_math::log(v));
      if (accepted) return d_ * v * boost * scale_;
    }
  }

 private:
  double d_;
  double c_;
  double scale_;
  double boost_;  // 1 / shape below shape 1, else 0
};

/// Mean scale x gamma(1 + 1/shape).
class Weibull {
 public:
  /// Needs: both above 0.
  Weibull(double shape, double scale) : inverse_shape_(1.0 / shape), scale_(scale) {
    STOKER_INVARIANT(shape > 0.0 && scale > 0.0, "shape {}, scale {}", shape, scale);
  }
  [[nodiscard]] double draw(Prng& prng) const {
    return scale_ * real_math::pow(exponential(prng, 1.0), inverse_shape_);
  }

 private:
  double inverse_shape_;
  double scale_;
};

/// An index, each with the chance that its weight has in the sum.   Cost: O(log n) a draw.
class WeightedChoice {
 public:
  /// Needs: at least one weight, none negative or NaN, not all zero.
  explicit WeightedChoice(std::span<const double> weights) {
    double total = 0.0;
    for (const double weight : weights) {
      STOKER_INVARIANT(weight >= 0.0, "weight {}", weight);
      total += weight;
    }
    STOKER_INVARIANT(total > 0.0 && total < 1e300, "{} weights, sum {}", weights.size(), total);
    limits_.reserve(weights.size());
    double sum = 0.0;
    for (const double weight : weights) {
      sum += weight;
      limits_.push_back(static_cast<std::uint64_t>(sum / total * 0x1p53));
    }
  }
  /// Gives: the first index whose limit is above the draw; an index of weight 0 never is.
  [[nodiscard]] std::size_t draw(Prng& prng) const {
    const std::uint64_t at = prng.next() >> 11;
    std::size_t first = 0;
    for (std::size_t left = limits_.size(); left > 1;) {  // a binary search without branches
      const std::size_t half = left / 2;
      first += limits_[first + half - 1] <= at ? half : 0;
      left -= half;
    }
    return first;
  }
  [[nodiscard]] std::size_t size() const { return limits_.size(); }

 private:
  std::vector<std::uint64_t> limits_;  // 53 bits, rising; the last is 2^53
};

/// Weight of rank r (from 0) is 1 / (r + 1)^exponent: few are popular, many are rare.
inline std::vector<double> zipf_weights(std::size_t count, double exponent) {
  std::vector<double> weights(count);
  for (std::size_t rank = 0; rank < count; ++rank) {
    weights[rank] = real_math::pow(static_cast<double>(rank + 1), -exponent);
  }
  return weights;
}

}  // namespace stoker
