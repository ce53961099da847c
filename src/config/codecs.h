// One small type per kind of value: it reads the text, checks the range, writes the canonical text,
// and says what it is to people (type) and to editors (schema). Whatever a key of the table is made
// of is one of these.
//
//   struct Codec {
//     using Value = ...;
//     Parsed<Value> parse(std::string_view text, Reading reading, std::string_view currency) const;
//     std::string print(const Value& value) const;   // canonical, not yet quoted for YAML
//     std::string type() const;                      // "duration, at least 1s"
//     std::string schema() const;                    // a JSON Schema object
//   };
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_writer.h"
#include "base/text.h"
#include "config/config.h"
#include "config/reader.h"
#include "config/values.h"

namespace stoker::config {

/// A whole number. `noun` may follow it in the file: "10 requests queued".
struct Count {
  using Value = std::int32_t;
  Value min = 0;
  Value max = std::numeric_limits<Value>::max();
  std::string_view noun = {};

  [[nodiscard]] Parsed<Value> parse(std::string_view text, Reading reading,
                                    std::string_view currency) const;
  [[nodiscard]] std::string print(Value value) const { return std::to_string(value); }
  [[nodiscard]] std::string type() const;
  [[nodiscard]] std::string schema() const;
};

struct Percent {
  using Value = std::int32_t;
  Value min = 1;
  Value max = 100;

  [[nodiscard]] Parsed<Value> parse(std::string_view text, Reading reading,
                                    std::string_view currency) const;
  [[nodiscard]] std::string print(Value value) const { return percent_text(value); }
  [[nodiscard]] std::string type() const;
  [[nodiscard]] std::string schema() const;
};

struct Time {
  using Value = Duration;
  Duration min = {0};
  Duration max = minutes(std::int64_t{366} * 24 * 60);
  bool may_be_never = false;

  [[nodiscard]] Parsed<Value> parse(std::string_view text, Reading reading,
                                    std::string_view currency) const;
  [[nodiscard]] std::string print(Value value) const { return duration_text(value); }
  [[nodiscard]] std::string type() const;
  [[nodiscard]] std::string schema() const;
};

struct Size {
  using Value = Bytes;
  Bytes min = {0};

  [[nodiscard]] Parsed<Value> parse(std::string_view text, Reading reading,
                                    std::string_view currency) const;
  [[nodiscard]] std::string print(Value value) const { return bytes_text(value); }
  [[nodiscard]] std::string type() const;
  [[nodiscard]] std::string schema() const;
};

struct Price {
  using Value = NanoPrice;

  [[nodiscard]] Parsed<Value> parse(std::string_view text, Reading reading,
                                    std::string_view currency) const;
  [[nodiscard]] std::string print(Value value) const { return price_text(value); }
  [[nodiscard]] std::string type() const { return "price"; }
  [[nodiscard]] std::string schema() const;
};

/// Thousandths, written as a decimal.
struct Rate {
  using Value = std::int64_t;

  [[nodiscard]] Parsed<Value> parse(std::string_view text, Reading reading,
                                    std::string_view currency) const;
  [[nodiscard]] std::string print(Value value) const { return milli_text(value); }
  [[nodiscard]] std::string type() const { return "number above 0"; }
  [[nodiscard]] std::string schema() const;
};

struct Flag {
  using Value = bool;

  [[nodiscard]] Parsed<Value> parse(std::string_view text, Reading, std::string_view) const {
    return parse_bool(text);
  }
  [[nodiscard]] std::string print(Value value) const { return value ? "true" : "false"; }
  [[nodiscard]] std::string type() const { return "true or false"; }
  [[nodiscard]] std::string schema() const { return R"({"type":"boolean"})"; }
};

/// Minutes of the day.
struct TimeOfDay {
  using Value = std::int32_t;

  [[nodiscard]] Parsed<Value> parse(std::string_view text, Reading, std::string_view) const {
    return parse_time_of_day(text);
  }
  [[nodiscard]] std::string print(Value value) const { return time_of_day_text(value); }
  [[nodiscard]] std::string type() const { return "time of day"; }
  [[nodiscard]] std::string schema() const {
    return R"({"type":"string","pattern":"^[0-2][0-9]:[0-5][0-9]$"})";
  }
};

/// Minutes that local time is ahead of UTC.
struct UtcOffset {
  using Value = std::int32_t;

  [[nodiscard]] Parsed<Value> parse(std::string_view text, Reading, std::string_view) const {
    return parse_utc_offset(text);
  }
  [[nodiscard]] std::string print(Value value) const { return utc_offset_text(value); }
  [[nodiscard]] std::string type() const { return "offset: UTC, +02:00, Etc/GMT-2"; }
  [[nodiscard]] std::string schema() const { return R"({"type":"string"})"; }
};

/// Bits of the week.
struct Days {
  using Value = std::uint8_t;

  [[nodiscard]] Parsed<Value> parse(std::string_view text, Reading, std::string_view) const {
    return parse_days(text);
  }
  [[nodiscard]] std::string print(Value value) const { return days_text(value); }
  [[nodiscard]] std::string type() const { return "days: daily, mon-fri, sat,sun"; }
  [[nodiscard]] std::string schema() const { return R"({"type":"string"})"; }
};

/// Text with a rule of its own.
struct Text {
  using Value = std::string;
  std::string_view kind = "text";
  std::optional<Mistake> (*check)(std::string_view text) = nullptr;

  [[nodiscard]] Parsed<Value> parse(std::string_view text, Reading, std::string_view) const {
    if (check != nullptr) {
      if (std::optional<Mistake> wrong = check(text)) return tl::unexpected(std::move(*wrong));
    }
    return std::string(text);
  }
  [[nodiscard]] std::string print(const Value& value) const { return value; }
  [[nodiscard]] std::string type() const { return std::string(kind); }
  [[nodiscard]] std::string schema() const { return R"({"type":["string","number"]})"; }
};

/// One of a few words.
template <class Enum>
struct Choice {
  using Value = Enum;
  struct Option {
    std::string_view name;
    Enum value;
  };
  std::vector<Option> options;

  [[nodiscard]] Parsed<Value> parse(std::string_view text, Reading, std::string_view) const {
    std::vector<std::string_view> names;
    for (const Option& option : options) {
      if (option.name == text) return option.value;
      names.push_back(option.name);
    }
    const std::optional<std::string_view> near = closest(text, names);
    return mistake(fmt::format("'{}' is not one of {}", text, fmt::join(names, ", ")),
                   near ? fmt::format("did you mean '{}'?", *near) : std::string());
  }
  [[nodiscard]] std::string print(Value value) const {
    for (const Option& option : options) {
      if (option.value == value) return std::string(option.name);
    }
    return {};
  }
  [[nodiscard]] std::string type() const {
    std::string text;
    for (const Option& option : options) {
      if (!text.empty()) text += &option == &options.back() ? " or " : ", ";
      text += option.name;
    }
    return text;
  }
  [[nodiscard]] std::string schema() const {
    JsonWriter json;
    json.object([&] {
      json.array("enum", [&] {
        for (const Option& option : options) json.value(option.name);
      });
    });
    return json.take();
  }
};

}  // namespace stoker::config
