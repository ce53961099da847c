// Reading one line of JSON, field by field, straight into plain values. Exact where a double is
// not: times and prices are read from their digits.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/money.h"
#include "base/units.h"

namespace stoker::sim {

/// What is wrong, for the reader of the file; nullopt if nothing is.
using Problem = std::optional<std::string>;
using JsonValue = simdjson::ondemand::value;

/// Each sets `out`, or says that the field `name` must be something else.
[[nodiscard]] Problem read_ms(std::string_view name, JsonValue value, Duration& out);
[[nodiscard]] Problem read_count(std::string_view name, JsonValue value, std::int64_t most,
                                 std::int64_t& out);
[[nodiscard]] Problem read_whole(std::string_view name, JsonValue value, std::int32_t& out);
[[nodiscard]] Problem read_real(std::string_view name, JsonValue value, double& out);
[[nodiscard]] Problem read_price(std::string_view name, JsonValue value, NanoPrice& out);
[[nodiscard]] Problem read_bool(std::string_view name, JsonValue value, bool& out);
/// `out` is valid until the next line is parsed.
[[nodiscard]] Problem read_text(std::string_view name, JsonValue value, std::string_view& out);
/// Appends to `out`.
[[nodiscard]] Problem read_ids(std::string_view name, JsonValue value,
                               std::vector<std::uint64_t>& out);
/// Digits of a number, or the text of a string.
[[nodiscard]] Problem read_token(std::string_view name, JsonValue value, std::string_view& out);

[[nodiscard]] std::string broken_json(simdjson::error_code error);

/// Calls visit(key, value) -> Problem for each field that is not null, until one has a problem.
template <class Object, class Visit>
[[nodiscard]] Problem for_each_field(Object&& object, Visit&& visit) {
  for (auto entry : object) {
    simdjson::ondemand::field field;
    std::string_view key;
    simdjson::ondemand::json_type type{};
    if (const auto error = std::move(entry).get(field)) return broken_json(error);
    if (const auto error = field.unescaped_key().get(key)) return broken_json(error);
    JsonValue value = field.value();
    if (const auto error = value.type().get(type)) return broken_json(error);
    if (type == simdjson::ondemand::json_type::null) continue;
    if (Problem problem = visit(key, value)) return problem;
  }
  return std::nullopt;
}

/// Parses `line` as one JSON object and visits its fields.
/// Needs: SIMDJSON_PADDING readable bytes after the line (LineReader::padding).
template <class Visit>
[[nodiscard]] Problem for_each_field_of(simdjson::ondemand::parser& parser, std::string_view line,
                                        Visit&& visit) {
  simdjson::ondemand::document document;
  simdjson::ondemand::object object;
  const simdjson::padded_string_view padded(line.data(), line.size(),
                                            line.size() + simdjson::SIMDJSON_PADDING);
  if (const auto error = parser.iterate(padded).get(document)) return broken_json(error);
  if (const auto error = document.get_object().get(object)) return broken_json(error);
  if (Problem problem = for_each_field(object, visit)) return problem;
  const char* rest = nullptr;
  if (document.current_location().get(rest) != simdjson::OUT_OF_BOUNDS) {
    return "there is more after the closing brace";
  }
  return std::nullopt;
}

}  // namespace stoker::sim
