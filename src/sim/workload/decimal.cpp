#include "sim/workload/decimal.h"

#include <fmt/format.h>

#include <charconv>

#include "base/int128.h"

namespace stoker::sim {
namespace {

constexpr Int128 largest = INT64_MAX;

bool digit(std::string_view text, std::size_t at) {
  return at < text.size() && text[at] >= '0' && text[at] <= '9';
}

}  // namespace

std::optional<std::int64_t> parse_decimal(std::string_view text, int decimals) {
  const bool negative = !text.empty() && text.front() == '-';
  if (negative) text.remove_prefix(1);
  // An exponent moves the point. Read it first: it stands last.
  int wanted = decimals;
  if (const std::size_t e = text.find_first_of("eE"); e != std::string_view::npos) {
    std::string_view exponent = text.substr(e + 1);
    if (!exponent.empty() && exponent.front() == '+') exponent.remove_prefix(1);
    int shift = 0;
    const auto [end, error] =
        std::from_chars(exponent.data(), exponent.data() + exponent.size(), shift);
    if (error != std::errc{} || end != exponent.data() + exponent.size()) return std::nullopt;
    if (shift < -400 || shift > 400) return std::nullopt;
    wanted += shift;
    text = text.substr(0, e);
  }
  if (!digit(text, 0)) return std::nullopt;
  Int128 value = 0;
  std::size_t at = 0;
  int places = 0;  // digits of the fraction that stand in `value`
  bool round_up = false;
  bool fraction = false;
  for (; at < text.size() && value <= largest * 1000; ++at) {
    if (text[at] == '.' && !fraction && digit(text, at + 1)) {
      fraction = true;
      continue;
    }
    if (!digit(text, at)) return std::nullopt;
    if (fraction && places >= wanted) {
      if (places == wanted) round_up = text[at] >= '5';
      ++places;
      continue;
    }
    value = value * 10 + (text[at] - '0');
    places += fraction ? 1 : 0;
  }
  if (at < text.size()) return std::nullopt;
  // Fewer digits than wanted: zeros. Less than no decimals (1e-9 in whole ms): divide.
  for (; places < wanted && value <= largest; ++places) value *= 10;
  if (wanted < 0) {
    int drop = -wanted;
    for (; drop > 1 && value > 0; --drop) value /= 10;
    if (drop >= 1) {
      round_up = drop == 1 && value % 10 >= 5;
      value /= 10;
    }
  }
  value += round_up ? 1 : 0;
  if (value > largest) return std::nullopt;
  const auto magnitude = static_cast<std::int64_t>(value);
  return negative ? -magnitude : magnitude;
}

void append_decimal(std::string& out, std::int64_t value, int decimals) {
  if (value < 0) out += '-';
  const auto magnitude = static_cast<std::uint64_t>(value);
  const fmt::format_int text(value < 0 ? 0 - magnitude : magnitude);
  std::string_view digits(text.data(), text.size());
  const auto places = static_cast<std::size_t>(decimals);
  const std::size_t whole = digits.size() > places ? digits.size() - places : 0;
  if (whole == 0) {
    out += '0';
  } else {
    out.append(digits, 0, whole);
  }
  const std::size_t last = digits.find_last_not_of('0');
  if (last == std::string_view::npos || last < whole) return;  // no fraction
  out += '.';
  if (whole == 0) out.append(places - digits.size(), '0');
  out.append(digits, whole, last + 1 - whole);
}

}  // namespace stoker::sim
