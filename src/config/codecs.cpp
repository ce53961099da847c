#include "config/codecs.h"

#include <algorithm>

namespace stoker::config {
namespace {

bool is_bare_number(std::string_view text) {
  return !text.empty() &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

/// "is 0, must be 1 or more", or nothing if `value` is in the range.
template <class Codec>
std::optional<Mistake> out_of_range(const Codec& codec, const typename Codec::Value& value) {
  if (value < codec.min) {
    return Mistake{
        fmt::format("is {}, must be {} or more", codec.print(value), codec.print(codec.min)), {}};
  }
  if constexpr (requires { codec.max; }) {
    if (value > codec.max) {
      return Mistake{
          fmt::format("is {}, must be at most {}", codec.print(value), codec.print(codec.max)), {}};
    }
  }
  return std::nullopt;
}

std::string range_text(std::string_view type, std::string_view min, std::string_view max) {
  return max.empty() ? fmt::format("{}, at least {}", type, min)
                     : fmt::format("{}, {} to {}", type, min, max);
}

}  // namespace

Parsed<std::int32_t> Count::parse(std::string_view text, Reading, std::string_view) const {
  const Parsed<std::int64_t> value = parse_count(text, noun);
  if (!value) return tl::unexpected(value.error());
  if (*value < min) return mistake(fmt::format("is {}, must be {} or more", *value, min));
  if (*value > max) return mistake(fmt::format("is {}, must be at most {}", *value, max));
  return static_cast<std::int32_t>(*value);
}

std::string Count::type() const {
  const bool open = max == std::numeric_limits<Value>::max();
  return range_text("whole number", print(min), open ? "" : print(max));
}

std::string Count::schema() const {
  const std::string number =
      fmt::format(R"({{"type":"integer","minimum":{},"maximum":{}}})", min, max);
  if (noun.empty()) return number;
  return fmt::format(R"({{"anyOf":[{},{{"type":"string","pattern":"^[0-9]+( [a-z]+)*$"}}]}})",
                     number);
}

Parsed<std::int32_t> Percent::parse(std::string_view text, Reading reading,
                                    std::string_view) const {
  const bool add_sign = reading == Reading::percent && is_bare_number(text);
  const Parsed<Value> value = parse_percent(add_sign ? std::string(text) + "%" : std::string(text));
  if (!value) return value;
  if (auto wrong = out_of_range(*this, *value)) return tl::unexpected(std::move(*wrong));
  return value;
}

std::string Percent::type() const {
  return range_text("percentage", print(min), print(max));
}

std::string Percent::schema() const {
  return R"({"type":"string","pattern":"^[0-9]+ ?%$"})";
}

Parsed<Duration> Time::parse(std::string_view text, Reading reading, std::string_view) const {
  std::string with_unit(text);
  if (reading == Reading::keep_alive && text.starts_with('-')) {
    with_unit = "never";
  } else if (reading == Reading::ttl && text == "0") {
    with_unit = "never";
  } else if (reading != Reading::as_written && is_bare_number(text)) {
    with_unit += reading == Reading::milliseconds ? "ms" : "s";
  }
  const Parsed<Duration> value = parse_duration(with_unit);
  if (!value) return value;
  if (*value == never) {
    if (!may_be_never) return mistake("cannot be never", "write how long, for example 10m");
    return value;
  }
  if (auto wrong = out_of_range(*this, *value)) return tl::unexpected(std::move(*wrong));
  return value;
}

std::string Time::type() const {
  std::string text = "duration";
  if (min.ns > 0) text += fmt::format(", at least {}", print(min));
  if (may_be_never) text += ", or never";
  return text;
}

std::string Time::schema() const {
  return R"({"anyOf":[{"type":"string","pattern":"^([0-9.]+ *[A-Za-z]+ *)+$|^never$"},{"const":0}]})";
}

Parsed<Bytes> Size::parse(std::string_view text, Reading, std::string_view) const {
  const Parsed<Bytes> value = parse_bytes(text);
  if (!value) return value;
  if (auto wrong = out_of_range(*this, *value)) return tl::unexpected(std::move(*wrong));
  return value;
}

std::string Size::type() const {
  return min.value > 0 ? fmt::format("size, at least {}", print(min)) : "size";
}

std::string Size::schema() const {
  return R"({"anyOf":[{"type":"string","pattern":"^[0-9.]+ *([KMGTkmgt][Ii]?)?[Bb]?$"},{"const":0}]})";
}

Parsed<NanoPrice> Price::parse(std::string_view text, Reading reading,
                               std::string_view currency) const {
  constexpr std::int64_t most = std::int64_t{1'000'000} * 1'000'000'000;
  const Parsed<WrittenPrice> written = parse_price(text);
  if (!written) return tl::unexpected(written.error());
  if (!currency_matches(written->currency, currency)) {
    return mistake(fmt::format("is in {}, but currency is {}", written->currency, currency),
                   "one file has one currency");
  }
  NanoPrice price = written->price;
  if (price.value > most) return mistake("is above a million");
  if (reading == Reading::per_token) price.value *= 1000;
  if (reading == Reading::per_million) {
    if (price.value % 1000 != 0) return mistake("has more than six decimals per million tokens");
    price.value /= 1000;
  }
  return price;
}

std::string Price::schema() const {
  return R"({"anyOf":[{"type":"number","minimum":0},{"type":"string"}]})";
}

Parsed<std::int64_t> Rate::parse(std::string_view text, Reading, std::string_view) const {
  Parsed<std::int64_t> value = parse_milli(text);
  if (value && *value == 0) return mistake("is 0, must be above 0");
  return value;
}

std::string Rate::schema() const {
  return R"({"type":"number","exclusiveMinimum":0})";
}

}  // namespace stoker::config
