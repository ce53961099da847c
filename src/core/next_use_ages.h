// Ages since a deployment fell idle, on a scale of quarter octaves, and a small number for the many
// values that are kept per age. Everything here is exact or rounded once, so that it is the same on
// any CPU and compiler: logarithms are read off the bits of a double, never computed.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "base/units.h"

namespace stoker::core::next_use {

static_assert(std::numeric_limits<double>::is_iec559);

/// 4 log2(x), linear within an octave: its whole values are 1, 1.25, 1.5, 1.75, 2, 2.5, ...
/// Needs: x > 0 and not subnormal.
constexpr double position_of(double x) {
  const auto high = static_cast<std::int64_t>(std::bit_cast<std::uint64_t>(x) >> 32);
  return (static_cast<double>(high) / 1048576.0 - 1023.0) * 4;
}
/// The inverse, at whole positions.
constexpr double at_position(int position) {
  const int octave = position >= 0 ? position / 4 : -((3 - position) / 4);
  const double power = std::bit_cast<double>(static_cast<std::uint64_t>(octave + 1023) << 52);
  return power * (1 + 0.25 * (position - 4 * octave));
}
constexpr int floor_of(double x) {
  const int whole = static_cast<int>(x);
  return x < whole ? whole - 1 : whole;
}

/// A quarter octave is as fine as a cron job's jitter needs and as coarse as 64 gaps can fill.
/// The last edge is 2^20 s = 12 days: a weekly job is seen; what is longer counts as that long.
inline constexpr int age_buckets = 80;

/// Bucket b is [ages[b], ages[b + 1]) seconds. The first is all below 1.25 s: a deployment that
/// gets a request a second is kept by any policy.
inline constexpr std::array<double, age_buckets + 1> ages = [] {
  std::array<double, age_buckets + 1> edges{};
  for (int b = 1; b <= age_buckets; ++b) edges[static_cast<std::size_t>(b)] = at_position(b);
  return edges;
}();
inline constexpr Duration first_age = ms(1250);
static_assert(ages[1] == 1.25);

constexpr double position_of_age(double seconds) {
  if (!(seconds >= 1)) return 0;
  return seconds < ages[age_buckets] ? position_of(seconds) : age_buckets - 0.001;
}

/// A number in [0, 128) in two bytes: 5 bits of exponent and 11 of mantissa, so 0.02 % off.
/// What is below 2^-25 is 0. Doubles would make a deployment's state 2 KB instead of 0.8 KB and
/// were measured to decide the same; fixed point loses the small hazards of rare deployments.
class Packed {
 public:
  constexpr Packed() = default;
  constexpr explicit Packed(double value) : code_(code_of(value)) {}
  constexpr double get() const {
    if (code_ == 0) return 0;
    return std::bit_cast<double>((std::uint64_t{code_} << shift) + bits_of_least);
  }

 private:
  static constexpr int shift = 41;
  static constexpr std::uint64_t bits_of_least = std::uint64_t{1023 - 25} << 52;
  static constexpr std::uint16_t code_of(double value) {
    if (!(value > 0x1p-25)) return 0;
    if (value >= 127.9) return std::numeric_limits<std::uint16_t>::max();
    const std::uint64_t half = std::uint64_t{1} << (shift - 1);
    const std::uint64_t bits = std::bit_cast<std::uint64_t>(value) - bits_of_least + half;
    return static_cast<std::uint16_t>(bits >> shift);
  }
  std::uint16_t code_ = 0;
};

}  // namespace stoker::core::next_use
