#include "gateway/prefer.h"

#include <algorithm>
#include <charconv>

#include "net/http.h"
#include "net/http_chars.h"

namespace stoker::gateway {
namespace {

constexpr std::int64_t longest_wait_s = 300;

}  // namespace

std::optional<Duration> preferred_wait(std::string_view prefer) {
  std::optional<Duration> wait;
  bool at_once = false;
  while (!prefer.empty()) {
    const std::size_t comma = std::min(prefer.find(','), prefer.size());
    std::string_view preference = prefer.substr(0, comma);
    prefer.remove_prefix(std::min(comma + 1, prefer.size()));
    preference = net::trim_blanks(
        preference.substr(0, preference.find(';')));  // what follows are parameters
    const std::size_t equals = std::min(preference.find('='), preference.size());
    const std::string_view name = net::trim_blanks(preference.substr(0, equals));
    if (net::equal_ignoring_case(name, "respond-async")) at_once = true;
    if (!net::equal_ignoring_case(name, "wait") || equals == preference.size()) continue;
    std::string_view digits = net::trim_blanks(preference.substr(equals + 1));
    if (digits.size() >= 2 && digits.starts_with('"') && digits.ends_with('"')) {
      digits = digits.substr(1, digits.size() - 2);
    }
    std::int64_t count = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
    if (error != std::errc{} || end != digits.data() + digits.size() || count < 0) continue;
    wait = seconds(std::min(count, longest_wait_s));
  }
  return wait ? wait : at_once ? std::optional(Duration{}) : std::nullopt;
}

}  // namespace stoker::gateway
