// What a request uses: the units that limits count and prices price.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/money.h"

namespace stoker::core::metering {

struct Units {
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  std::int64_t device_ms = 0;
  std::int64_t cached_tokens = 0;  // of the input; neither limited nor priced
  bool operator==(const Units&) const = default;
};

/// Beyond this a count is nonsense, not use: sums of many stay far from 2^63.
inline constexpr std::int64_t most_units = std::int64_t{1} << 40;

/// The units that limits know, in the order of their LimitKinds.
inline constexpr std::array<std::int64_t Units::*, 3> limited_units{
    &Units::input_tokens, &Units::output_tokens, &Units::device_ms};

constexpr bool plausible(const Units& u) {
  const auto sound = [](std::int64_t n) { return n >= 0 && n <= most_units; };
  return sound(u.input_tokens) && sound(u.output_tokens) && sound(u.device_ms) &&
         sound(u.cached_tokens);
}

/// The larger of each: how cumulative reports add up in any order and however often.
constexpr Units joined(const Units& a, const Units& b) {
  return {std::max(a.input_tokens, b.input_tokens), std::max(a.output_tokens, b.output_tokens),
          std::max(a.device_ms, b.device_ms), std::max(a.cached_tokens, b.cached_tokens)};
}

/// The parts of a price. Units: exact pico.
struct Charge {
  Pico request;
  Pico device_time;
  Pico input_tokens;
  Pico output_tokens;
  [[nodiscard]] constexpr Pico total() const {
    return request + device_time + input_tokens + output_tokens;
  }
};

/// Of one request that ran.
/// Needs: plausible(units), so that nothing can overflow.   Source: DESIGN.md 4.7.
constexpr Charge charge(const Prices& prices, const Units& units) {
  return {charge_request(prices.per_request),
          charge_device_time(prices.per_device_second, units.device_ms),
          charge_tokens(prices.per_1k_input_tokens, units.input_tokens),
          charge_tokens(prices.per_1k_output_tokens, units.output_tokens)};
}

}  // namespace stoker::core::metering
