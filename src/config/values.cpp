#include "config/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>

#include "base/int128.h"
#include "base/lower_case.h"
#include "config/config.h"

namespace stoker::config {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

std::string_view without_spaces(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

/// An unsigned decimal number, exactly: digits / 10^scale.
struct Decimal {
  std::int64_t digits = 0;
  int scale = 0;
};

/// Takes a decimal off the front of `text`; nullopt if there is none that 64 bits hold.
std::optional<Decimal> take_decimal(std::string_view& text) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  Decimal decimal;
  std::size_t used = 0;
  bool after_point = false;
  for (; used < text.size(); ++used) {
    const char c = text[used];
    if (c == '.' && !after_point && used > 0) {
      after_point = true;
      continue;
    }
    if (!is_digit(c)) break;
    const int digit = c - '0';
    if (decimal.digits > (most - digit) / 10 || decimal.scale == 18) return std::nullopt;
    decimal.digits = decimal.digits * 10 + digit;
    if (after_point) ++decimal.scale;
  }
  if (used == 0 || text[used - 1] == '.') return std::nullopt;
  text.remove_prefix(used);
  return decimal;
}

/// decimal x unit where that is whole and fits, else nullopt.
std::optional<std::int64_t> scaled(const Decimal& decimal, std::int64_t unit) {
  Int128 value = Int128{decimal.digits} * unit;
  for (int i = 0; i < decimal.scale; ++i) {
    if (value % 10 != 0) return std::nullopt;
    value /= 10;
  }
  if (value > std::numeric_limits<std::int64_t>::max()) return std::nullopt;
  return static_cast<std::int64_t>(value);
}

std::string_view take_word(std::string_view& text) {
  std::size_t used = 0;
  while (used < text.size() && is_letter(text[used])) ++used;
  const std::string_view word = text.substr(0, used);
  text.remove_prefix(used);
  return word;
}

struct TimeUnit {
  std::string_view name;
  std::int64_t ns;
};
constexpr std::array time_units = {
    TimeUnit{"ns", 1},
    TimeUnit{"us", us(1).ns},
    TimeUnit{"ms", ms(1).ns},
    TimeUnit{"millisecond", ms(1).ns},
    TimeUnit{"milliseconds", ms(1).ns},
    TimeUnit{"s", seconds(1).ns},
    TimeUnit{"sec", seconds(1).ns},
    TimeUnit{"secs", seconds(1).ns},
    TimeUnit{"second", seconds(1).ns},
    TimeUnit{"seconds", seconds(1).ns},
    TimeUnit{"m", minutes(1).ns},
    TimeUnit{"min", minutes(1).ns},
    TimeUnit{"mins", minutes(1).ns},
    TimeUnit{"minute", minutes(1).ns},
    TimeUnit{"minutes", minutes(1).ns},
    TimeUnit{"h", minutes(60).ns},
    TimeUnit{"hr", minutes(60).ns},
    TimeUnit{"hrs", minutes(60).ns},
    TimeUnit{"hour", minutes(60).ns},
    TimeUnit{"hours", minutes(60).ns},
    TimeUnit{"d", minutes(1440).ns},
    TimeUnit{"day", minutes(1440).ns},
    TimeUnit{"days", minutes(1440).ns},
};

std::optional<std::int64_t> time_unit(std::string_view word) {
  // "5M" could be months, so single letters keep their case.
  const std::string name = word.size() > 1 ? lower_case(word) : std::string(word);
  const auto found = std::ranges::find(time_units, name, &TimeUnit::name);
  if (found == time_units.end()) return std::nullopt;
  return found->ns;
}

struct SizeUnit {
  std::string_view name;  // lower case
  std::string_view canonical;
  std::int64_t bytes;
};
constexpr std::int64_t ki = 1024;
constexpr std::array size_units = {
    SizeUnit{"tib", "TiB", ki* ki* ki* ki},
    SizeUnit{"gib", "GiB", ki* ki* ki},
    SizeUnit{"mib", "MiB", ki* ki},
    SizeUnit{"kib", "KiB", ki},
    SizeUnit{"tb", "TB", 1'000'000'000'000},
    SizeUnit{"gb", "GB", 1'000'000'000},
    SizeUnit{"mb", "MB", 1'000'000},
    SizeUnit{"kb", "kB", 1'000},
    SizeUnit{"b", "B", 1},
};

constexpr std::array<std::string_view, 7> day_names = {"mon", "tue", "wed", "thu",
                                                       "fri", "sat", "sun"};

std::optional<std::size_t> day_index(std::string_view name) {
  const auto found = std::ranges::find(day_names, lower_case(name));
  if (found == day_names.end()) return std::nullopt;
  return static_cast<std::size_t>(found - day_names.begin());
}

std::string with_point(std::int64_t value, int scale, std::int64_t one) {
  std::string text = fmt::format("{}.{:0{}}", value / one, value % one, scale);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text;
}

}  // namespace

Parsed<Duration> parse_duration(std::string_view text) {
  constexpr std::string_view example = "write for example 300s, 5m or '5 minutes'";
  const std::string written = fmt::format("'{}' is not a duration", text);
  std::string_view rest = without_spaces(text);
  if (rest == "never") return never;
  if (rest == "0") return Duration{0};
  Int128 total = 0;
  std::int64_t last_unit = std::numeric_limits<std::int64_t>::max();
  if (rest.empty()) return mistake(written, std::string(example));
  if (rest.front() == '-')
    return mistake(fmt::format("'{}' is negative", text), std::string(example));
  while (!rest.empty()) {
    const std::optional<Decimal> number = take_decimal(rest);
    if (!number) return mistake(written, std::string(example));
    rest = without_spaces(rest);
    const std::string_view word = take_word(rest);
    if (word.empty() && rest.empty()) {
      return mistake(fmt::format("'{}' has no unit", text),
                     fmt::format("write {0}s, {0}m or {0}h", without_spaces(text)));
    }
    const std::optional<std::int64_t> unit = time_unit(word);
    if (!unit)
      return mistake(fmt::format("{}: unknown unit '{}'", written, word), "use ms, s, m, h or d");
    if (*unit >= last_unit) return mistake(written, "write larger units first: 1h30m");
    const std::optional<std::int64_t> ns = scaled(*number, *unit);
    if (!ns)
      return mistake(fmt::format("'{}' is too long, or not a whole number of nanoseconds", text));
    total += *ns;
    last_unit = *unit;
    rest = without_spaces(rest);
  }
  if (total > never.ns) return mistake(fmt::format("'{}' is over 100 years", text), "write never");
  return Duration{static_cast<std::int64_t>(total)};
}

std::string duration_text(Duration duration) {
  if (duration == never) return "never";
  if (duration.ns == 0) return "0s";
  constexpr std::array units = {TimeUnit{"h", minutes(60).ns}, TimeUnit{"m", minutes(1).ns},
                                TimeUnit{"s", seconds(1).ns}, TimeUnit{"ms", ms(1).ns},
                                TimeUnit{"us", us(1).ns}};
  for (const TimeUnit& unit : units) {
    if (duration.ns % unit.ns == 0) return fmt::format("{}{}", duration.ns / unit.ns, unit.name);
  }
  return fmt::format("{}ns", duration.ns);
}

Parsed<Bytes> parse_bytes(std::string_view text) {
  const std::string written = fmt::format("'{}' is not a size", text);
  std::string_view rest = without_spaces(text);
  if (rest == "0") return Bytes{0};
  const std::string_view whole = rest;
  const std::optional<Decimal> number = take_decimal(rest);
  if (!number) return mistake(written, "write for example 40GiB or 40GB");
  const std::string_view digits = whole.substr(0, whole.size() - rest.size());
  rest = without_spaces(rest);
  std::string name = lower_case(take_word(rest));
  if (!rest.empty()) return mistake(written, "write for example 40GiB or 40GB");
  if (name.empty()) {
    return mistake(fmt::format("'{}' has no unit", text),
                   fmt::format("write {0}B or {0}GiB", digits));
  }
  if (name.size() == 1 && name != "b") {
    const char letter = static_cast<char>(name.front() - 'a' + 'A');
    return mistake(
        fmt::format("'{}' may mean {}{}iB or {}{}B", text, digits, letter, digits, letter),
        "write which");
  }
  if (name.size() == 2 && name.back() == 'i') name += 'b';  // Kubernetes: Gi
  const auto unit = std::ranges::find(size_units, name, &SizeUnit::name);
  if (unit == size_units.end()) return mistake(written, "use KiB, MiB, GiB, TiB, kB, MB, GB or TB");
  const std::optional<std::int64_t> bytes = scaled(*number, unit->bytes);
  if (!bytes)
    return mistake(fmt::format("'{}' is too large, or not a whole number of bytes", text));
  return Bytes{*bytes};
}

std::string bytes_text(Bytes bytes) {
  const SizeUnit* best = &size_units.back();
  for (const SizeUnit& unit : size_units) {
    if (bytes.value % unit.bytes == 0 && unit.bytes > best->bytes) best = &unit;
  }
  return fmt::format("{}{}", bytes.value / best->bytes, bytes.value == 0 ? "B" : best->canonical);
}

Parsed<std::int32_t> parse_percent(std::string_view text) {
  std::string_view rest = without_spaces(text);
  const std::string_view whole = rest;
  const std::optional<Decimal> number = take_decimal(rest);
  if (!number)
    return mistake(fmt::format("'{}' is not a percentage", text), "write for example 70%");
  const std::string_view digits = whole.substr(0, whole.size() - rest.size());
  rest = without_spaces(rest);
  if (rest.empty()) {
    const std::optional<std::int64_t> hundred_fold = scaled(*number, 100);
    const bool fraction = number->scale > 0 && hundred_fold && *hundred_fold <= 100;
    return mistake(
        fmt::format("'{}' has no percent sign", text),
        fraction ? fmt::format("write {}%", *hundred_fold) : fmt::format("write {}%", digits));
  }
  if (rest != "%")
    return mistake(fmt::format("'{}' is not a percentage", text), "write for example 70%");
  const std::optional<std::int64_t> percent = scaled(*number, 1);
  if (!percent || *percent > std::numeric_limits<std::int32_t>::max()) {
    return mistake(fmt::format("'{}' is not a whole percentage", text));
  }
  return static_cast<std::int32_t>(*percent);
}

std::string percent_text(std::int32_t percent) {
  return fmt::format("{}%", percent);
}

Parsed<WrittenPrice> parse_price(std::string_view text) {
  constexpr std::string_view example = "write for example $0.001 or '0.001 EUR'";
  const auto take_mark = [](std::string_view& rest) {
    for (const std::string_view sign : {"$", "€", "£", "¥"}) {
      if (rest.starts_with(sign)) {
        rest.remove_prefix(sign.size());
        return sign;
      }
    }
    std::string_view tail = rest;
    const std::string_view word = take_word(tail);
    if (word.size() != 3) return std::string_view{};
    rest = tail;
    return word;
  };
  WrittenPrice written;
  std::string_view rest = without_spaces(text);
  written.currency = take_mark(rest);
  rest = without_spaces(rest);
  if (rest.starts_with('-'))
    return mistake(fmt::format("'{}' is negative", text), std::string(example));
  const std::optional<Decimal> number = take_decimal(rest);
  if (!number) return mistake(fmt::format("'{}' is not a price", text), std::string(example));
  rest = without_spaces(rest);
  if (written.currency.empty()) written.currency = take_mark(rest);
  if (!rest.empty()) return mistake(fmt::format("'{}' is not a price", text), std::string(example));
  const std::optional<std::int64_t> nano = scaled(*number, 1'000'000'000);
  if (!nano) {
    return mistake(fmt::format("'{}' has more than nine decimals, or is too large", text),
                   "prices are kept in billionths");
  }
  written.price = NanoPrice{*nano};
  return written;
}

std::string price_text(NanoPrice price) {
  return with_point(price.value, 9, 1'000'000'000);
}

bool currency_matches(std::string_view mark, std::string_view code) {
  if (mark.empty() || mark == code) return true;
  if (mark == "$") return code.ends_with('D');  // USD, CAD, AUD, SGD, ...
  if (mark == "€") return code == "EUR";
  if (mark == "£") return code == "GBP";
  if (mark == "¥") return code == "JPY" || code == "CNY";
  return false;
}

Parsed<std::int64_t> parse_count(std::string_view text, std::string_view noun) {
  std::string_view rest = without_spaces(text);
  const bool negative = rest.starts_with('-');
  if (rest.starts_with('-') || rest.starts_with('+')) rest.remove_prefix(1);
  const std::string not_a_number = fmt::format("'{}' is not a whole number", text);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (error != std::errc{} || rest.empty() || !is_digit(rest.front())) return mistake(not_a_number);
  rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
  rest = without_spaces(rest);
  while (!rest.empty()) {
    const std::string word = lower_case(take_word(rest));
    const std::string_view expected = take_word(noun);
    const bool singular =
        expected.ends_with('s') && word == expected.substr(0, expected.size() - 1);
    if (word.empty() || (word != expected && !singular)) return mistake(not_a_number);
    rest = without_spaces(rest);
    noun = without_spaces(noun);
  }
  return negative ? -value : value;
}

Parsed<std::int64_t> parse_milli(std::string_view text) {
  std::string_view rest = without_spaces(text);
  const std::optional<Decimal> number = take_decimal(rest);
  if (!number || !rest.empty())
    return mistake(fmt::format("'{}' is not a number", text), "try 2.5");
  const std::optional<std::int64_t> milli = scaled(*number, 1000);
  if (!milli)
    return mistake(fmt::format("'{}' has more than three decimals, or is too large", text));
  return *milli;
}

std::string milli_text(std::int64_t milli) {
  return with_point(milli, 3, 1000);
}

Parsed<bool> parse_bool(std::string_view text) {
  const std::string word = lower_case(text);
  if (word == "true") return true;
  if (word == "false") return false;
  if (word == "yes" || word == "on")
    return mistake(fmt::format("'{}' is not true or false", text), "write true");
  if (word == "no" || word == "off")
    return mistake(fmt::format("'{}' is not true or false", text), "write false");
  return mistake(fmt::format("'{}' is not true or false", text));
}

Parsed<std::int32_t> parse_time_of_day(std::string_view text) {
  const bool shaped = text.size() == 5 && text[2] == ':' && is_digit(text[0]) &&
                      is_digit(text[1]) && is_digit(text[3]) && is_digit(text[4]);
  if (!shaped)
    return mistake(fmt::format("'{}' is not a time of day", text), "write for example \"08:30\"");
  const int hour = (text[0] - '0') * 10 + (text[1] - '0');
  const int minute = (text[3] - '0') * 10 + (text[4] - '0');
  if (minute > 59 || hour * 60 + minute > 24 * 60) {
    return mistake(fmt::format("'{}' is not a time of day", text), "\"00:00\" to \"24:00\"");
  }
  return hour * 60 + minute;
}

std::string time_of_day_text(std::int32_t minute) {
  return fmt::format("{:02}:{:02}", minute / 60, minute % 60);
}

Parsed<std::int32_t> parse_utc_offset(std::string_view text) {
  constexpr std::int32_t most = 14 * 60;
  if (text == "UTC" || text == "Z" || text == "Etc/UTC" || text == "Etc/GMT") return 0;
  const auto wrong = [&](std::string_view hint) {
    return mistake(fmt::format("'{}' is not an offset from UTC", text), std::string(hint));
  };
  constexpr std::string_view example =
      "write for example UTC or +02:00; daylight saving is not followed";
  constexpr std::string_view etc = "Etc/GMT";
  if (text.starts_with(etc)) {  // POSIX counts west of Greenwich as positive
    const std::string_view hours = text.substr(etc.size());
    const bool shaped = (hours.size() == 2 || hours.size() == 3) &&
                        (hours[0] == '+' || hours[0] == '-') &&
                        std::all_of(hours.begin() + 1, hours.end(), is_digit);
    if (!shaped) return wrong(example);
    std::int32_t amount = 0;
    for (const char c : hours.substr(1)) amount = amount * 10 + (c - '0');
    if (amount * 60 > most) return wrong("at most 14 hours");
    return hours[0] == '-' ? amount * 60 : -amount * 60;
  }
  const bool shaped = text.size() == 6 && (text[0] == '+' || text[0] == '-') && text[3] == ':' &&
                      is_digit(text[1]) && is_digit(text[2]) && is_digit(text[4]) &&
                      is_digit(text[5]);
  if (!shaped) return wrong(example);
  const std::int32_t hour = (text[1] - '0') * 10 + (text[2] - '0');
  const std::int32_t minute = (text[4] - '0') * 10 + (text[5] - '0');
  if (minute > 59 || hour * 60 + minute > most) return wrong("-14:00 to +14:00");
  return (text[0] == '-' ? -1 : 1) * (hour * 60 + minute);
}

std::string utc_offset_text(std::int32_t minutes) {
  if (minutes == 0) return "UTC";
  const std::int32_t amount = minutes < 0 ? -minutes : minutes;
  return fmt::format("{}{:02}:{:02}", minutes < 0 ? '-' : '+', amount / 60, amount % 60);
}

Parsed<std::uint8_t> parse_days(std::string_view text) {
  constexpr std::string_view example = "write for example mon-fri, sat,sun or daily";
  if (lower_case(without_spaces(text)) == "daily") return std::uint8_t{0x7f};
  unsigned days = 0;
  std::string_view rest = text;
  while (true) {
    const std::size_t comma = rest.find(',');
    const std::string_view part = without_spaces(rest.substr(0, comma));
    const std::size_t dash = part.find('-');
    const auto first = day_index(without_spaces(part.substr(0, dash)));
    const auto last =
        dash == std::string_view::npos ? first : day_index(without_spaces(part.substr(dash + 1)));
    if (!first || !last) {
      return mistake(fmt::format("'{}' does not name days", text), std::string(example));
    }
    for (std::size_t day = *first;; day = (day + 1) % 7) {
      days |= 1U << day;
      if (day == *last) break;
    }
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  return static_cast<std::uint8_t>(days);
}

std::string days_text(std::uint8_t days) {
  if (days == 0x7f) return "daily";
  std::string text;
  for (std::size_t day = 0; day < day_names.size(); ++day) {
    if ((std::uint32_t{days} >> day & 1U) == 0) continue;
    if (!text.empty()) text += ',';
    text += day_names[day];
  }
  return text;
}

}  // namespace stoker::config
