// Money as integers. Prices are nano-units of a currency, amounts are pico-units, so that
// price x milliseconds, price per 1,000 x count and price per request x 1,000 are exact.
// Rounded once, half to even, on the invoice line.   Source: DESIGN.md 4.7.
#pragma once

#include <compare>
#include <cstdint>

#include "base/int128.h"

namespace stoker {

struct NanoPrice {
  std::int64_t value = 0;
  auto operator<=>(const NanoPrice&) const = default;
};
struct Pico {
  Int128 value = 0;
  auto operator<=>(const Pico&) const = default;
};
constexpr Pico operator+(Pico a, Pico b) {
  return {a.value + b.value};
}
constexpr Pico operator-(Pico a, Pico b) {
  return {a.value - b.value};
}
constexpr Pico operator-(Pico a) {
  return {-a.value};
}

/// What a deployment's requests cost. The list in force at admission prices a request to its end.
struct Prices {
  NanoPrice per_request;
  NanoPrice per_device_second;
  NanoPrice per_1k_input_tokens;
  NanoPrice per_1k_output_tokens;
  auto operator<=>(const Prices&) const = default;
};

/// Units: price in nano per request; exact pico.
constexpr Pico charge_request(NanoPrice per_request) {
  return {Int128{per_request.value} * 1000};
}
/// Units: price in nano per device-second, use in device-milliseconds; exact pico.
constexpr Pico charge_device_time(NanoPrice per_second, std::int64_t device_ms) {
  return {Int128{per_second.value} * device_ms};
}
/// Units: price in nano per 1,000 tokens; exact pico.
constexpr Pico charge_tokens(NanoPrice per_1k, std::int64_t tokens) {
  return {Int128{per_1k.value} * tokens};
}
static_assert(charge_device_time({100'000}, 500) == Pico{50'000'000});  // $0.0001/s x 0.5 s

}  // namespace stoker
