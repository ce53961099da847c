// Values as people write them, and back: "5 minutes", "40GiB", "70%", "$0.001", "10 requests
// queued". Pure functions. Parsing is exact: a value that integers cannot hold exactly is refused,
// and so is a number whose unit would have to be guessed. Each to_* function gives the canonical
// text, which parses to the same value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "base/money.h"
#include "base/units.h"

namespace stoker::config {

/// Why a text is not a value, in the words of a Problem.
struct Mistake {
  std::string message;
  std::string hint;
};
template <class T>
using Parsed = tl::expected<T, Mistake>;

inline tl::unexpected<Mistake> mistake(std::string message, std::string hint = {}) {
  return tl::unexpected(Mistake{std::move(message), std::move(hint)});
}

/// "300s", "5 minutes", "1.5h", "1h30m", "0", "never". Gives: 0 .. 100 years, or `never`.
[[nodiscard]] Parsed<Duration> parse_duration(std::string_view text);
[[nodiscard]] std::string duration_text(Duration duration);  // "5m", "1500ms", "never"

/// "40GiB" and "40Gi" are powers of 1024, "40GB" of 1000; "40G" is refused, since people mean both.
[[nodiscard]] Parsed<Bytes> parse_bytes(std::string_view text);
[[nodiscard]] std::string bytes_text(Bytes bytes);  // the unit that needs the fewest digits

/// "70%". A bare 70 or 0.7 is refused: one of them is always somebody's mistake.
[[nodiscard]] Parsed<std::int32_t> parse_percent(std::string_view text);
[[nodiscard]] std::string percent_text(std::int32_t percent);

struct WrittenPrice {
  NanoPrice price;
  std::string_view currency;  // "$", "EUR" as it stands in the text; empty if none
};
/// "$0.001", "0.001", "0.001 USD", "EUR 2". At most nine decimals.
[[nodiscard]] Parsed<WrittenPrice> parse_price(std::string_view text);
[[nodiscard]] std::string price_text(NanoPrice price);  // without a currency
/// May a price marked so stand in a file whose currency is `code`? "$" is any dollar.
[[nodiscard]] bool currency_matches(std::string_view mark, std::string_view code);

/// Digits, then at most the words of `noun` from its front, singular or plural: with
/// noun "requests queued" these are the same: "10", "10 requests", "10 requests queued".
[[nodiscard]] Parsed<std::int64_t> parse_count(std::string_view text, std::string_view noun = {});

/// A decimal with at most three decimals, in thousandths: "2.5" is 2500.
[[nodiscard]] Parsed<std::int64_t> parse_milli(std::string_view text);
[[nodiscard]] std::string milli_text(std::int64_t milli);

/// true or false, nothing else: what `yes` and `on` are depends on the YAML version.
[[nodiscard]] Parsed<bool> parse_bool(std::string_view text);

/// "00:00" .. "24:00", in minutes.
[[nodiscard]] Parsed<std::int32_t> parse_time_of_day(std::string_view text);
[[nodiscard]] std::string time_of_day_text(std::int32_t minute);

/// "UTC", "+02:00", "-05:30", and "Etc/GMT-2", which is +02:00. Minutes ahead of UTC, within 14 h.
[[nodiscard]] Parsed<std::int32_t> parse_utc_offset(std::string_view text);
[[nodiscard]] std::string utc_offset_text(std::int32_t minutes);

/// "mon-fri", "sat,sun", "daily". Bit 0 is Monday; "fri-mon" goes over the week's end.
[[nodiscard]] Parsed<std::uint8_t> parse_days(std::string_view text);
[[nodiscard]] std::string days_text(std::uint8_t days);

}  // namespace stoker::config
