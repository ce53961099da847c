#include "gateway/go_duration.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace stoker::gateway {
namespace {

constexpr double ns_per_second = 1e9;

}  // namespace

Duration duration_of_ns(double ns) {
  constexpr double largest = 9e18;
  if (ns < 0 || ns > largest) return for_ever;
  return {static_cast<std::int64_t>(ns)};
}

std::optional<Duration> parse_go_duration(std::string_view text) {
  struct Unit {
    std::string_view name;
    double ns;
  };
  constexpr std::array units = {Unit{"ns", 1},
                                Unit{"us", 1e3},
                                Unit{"\u00b5s", 1e3},
                                Unit{"ms", 1e6},
                                Unit{"s", ns_per_second},
                                Unit{"m", 60 * ns_per_second},
                                Unit{"h", 3600 * ns_per_second}};
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty()) return std::nullopt;
  double ns = 0;
  while (!text.empty()) {
    double number = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc{} || text.starts_with('-')) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    const std::size_t name_bytes = std::min(text.find_first_of("0123456789."), text.size());
    const std::string_view name = text.substr(0, name_bytes);
    text.remove_prefix(name_bytes);
    // Without a unit it is seconds, as where it is a number.
    const auto* const unit = std::find_if(units.begin(), units.end(),
                                          [&](const Unit& each) { return each.name == name; });
    if (unit == units.end() && !name.empty()) return std::nullopt;
    ns += number * (name.empty() ? ns_per_second : unit->ns);
  }
  if (!std::isfinite(ns)) return std::nullopt;
  return duration_of_ns(negative && ns > 0 ? -1 : ns);
}

}  // namespace stoker::gateway
