#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <numeric>
#include <vector>

namespace stoker {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> above2(b.size() + 1);  // two rows up
  std::vector<std::size_t> above(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(above.begin(), above.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = above[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], above2[j - 2] + 1);
      }
    }
    above2.swap(above);
    above.swap(row);
  }
  return above[b.size()];
}

}  // namespace

std::string to_text(Bytes bytes) {
  constexpr std::array<const char*, 5> units = {"B", "KiB", "MiB", "GiB", "TiB"};
  double amount = static_cast<double>(bytes.value);
  std::size_t unit = 0;
  while (unit + 1 < units.size() && (amount >= 1024.0 || amount <= -1024.0)) {
    amount /= 1024.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes.value)
                   : fmt::format("{:.1f} {}", amount, units[unit]);
}

std::string to_text(Duration d) {
  if (d.ns < 1'000'000 && d.ns > -1'000'000) return fmt::format("{:.3g} ms", as_ms(d));
  if (d.ns < 1'000'000'000) return fmt::format("{:.0f} ms", as_ms(d));
  if (d.ns < 120'000'000'000) return fmt::format("{:.4g} s", as_ms(d) / 1e3);
  const std::int64_t s = d.ns / 1'000'000'000;
  if (s < 7200) return fmt::format("{} min {} s", s / 60, s % 60);
  return fmt::format("{} h {} min", s / 3600, s % 3600 / 60);
}

std::string to_text(Pico amount) {
  const bool negative = amount.value < 0;
  Int128 rest = negative ? -amount.value : amount.value;
  constexpr std::int64_t one = 1'000'000'000'000;
  std::string text = fmt::format("{:012d}", static_cast<std::int64_t>(rest % one));
  while (!text.empty() && text.back() == '0') text.pop_back();
  std::string whole;
  rest /= one;
  do {
    whole.insert(whole.begin(), static_cast<char>('0' + static_cast<int>(rest % 10)));
    rest /= 10;
  } while (rest > 0);
  return fmt::format("{}{}{}{}", negative ? "-" : "", whole, text.empty() ? "" : ".", text);
}

std::optional<std::string_view> closest(std::string_view word,
                                        std::span<const std::string_view> known) {
  std::optional<std::string_view> best;
  std::size_t best_distance = 3;  // more than two edits is another word, not a slip
  for (const std::string_view candidate : known) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string public_id(RequestId id) {
  std::string text;
  append_public_id(text, id);
  return text;
}

void append_public_id(std::string& text, RequestId id) {
  constexpr std::string_view hex = "0123456789abcdef";
  std::array<char, 20> digits = {'r', 'e', 'q', '-'};
  std::uint64_t rest = id.value;
  for (std::size_t i = digits.size(); i > 4; rest >>= 4) digits[--i] = hex[rest & 15];
  text.append(digits.data(), digits.size());
}

std::optional<RequestId> parse_request_id(std::string_view text) {
  constexpr std::string_view prefix = "req-";
  if (!text.starts_with(prefix) || text.size() != prefix.size() + 16) return std::nullopt;
  text.remove_prefix(prefix.size());
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return RequestId{value};
}

std::string to_text(WallTime time) {
  const std::time_t s = static_cast<std::time_t>(time.ns / 1'000'000'000);
  std::tm parts{};
  ::gmtime_r(&s, &parts);
  return fmt::format("{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}.{:03d}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     time.ns / 1'000'000 % 1000);
}

}  // namespace stoker
