#include "sim/workload/json_fields.h"

#include <fmt/format.h>

#include "sim/workload/decimal.h"

namespace stoker::sim {
namespace {

constexpr int ns_per_ms_decimals = 6;
constexpr int nano_decimals = 9;
constexpr std::int64_t most_ns = std::int64_t{100} * 365 * 24 * 3600 * 1'000'000'000;

/// The value's digits or quotes, for messages and for exact reading.
std::string_view token_of(JsonValue& value) {
  std::string_view token = value.raw_json_token();
  while (!token.empty() && static_cast<unsigned char>(token.back()) <= ' ') token.remove_suffix(1);
  return token;
}

std::string must_be(std::string_view name, std::string_view what, std::string_view token) {
  constexpr std::size_t most = 60;
  return fmt::format("{} must be {}, not {}{}", name, what, token.substr(0, most),
                     token.size() > most ? ".." : "");
}

}  // namespace

std::string broken_json(simdjson::error_code error) {
  if (error == simdjson::INCORRECT_TYPE) return "this is not a JSON object: {\"field\": value, ..}";
  return fmt::format("this is not JSON: {}", simdjson::error_message(error));
}

Problem read_ms(std::string_view name, JsonValue value, Duration& out) {
  const std::string_view token = token_of(value);
  const auto ns = parse_decimal(token, ns_per_ms_decimals);
  if (!ns || *ns < 0 || *ns > most_ns) {
    return must_be(name, "a number of milliseconds from 0 to 100 years", token);
  }
  out.ns = *ns;
  return std::nullopt;
}

Problem read_count(std::string_view name, JsonValue value, std::int64_t most, std::int64_t& out) {
  const std::string_view token = token_of(value);
  const auto number = parse_decimal(token, 0);
  if (!number || *number < 0 || *number > most) {
    return must_be(name, fmt::format("a number from 0 to {}", most), token);
  }
  out = *number;
  return std::nullopt;
}

Problem read_whole(std::string_view name, JsonValue value, std::int32_t& out) {
  const std::string_view token = token_of(value);
  const auto number = parse_decimal(token, 0);
  if (!number || *number < INT32_MIN || *number > INT32_MAX) {
    return must_be(name, "a whole number", token);
  }
  out = static_cast<std::int32_t>(*number);
  return std::nullopt;
}

Problem read_real(std::string_view name, JsonValue value, double& out) {
  const std::string_view token = token_of(value);
  double number = 0;
  if (value.get_double().get(number) != simdjson::SUCCESS || !(number >= 0) || number > 1e12) {
    return must_be(name, "a number from 0", token);
  }
  out = number;
  return std::nullopt;
}

Problem read_price(std::string_view name, JsonValue value, NanoPrice& out) {
  std::string_view text;
  if (Problem problem = read_token(name, value, text)) return problem;
  const auto nano = parse_decimal(text, nano_decimals);
  if (!nano || *nano < 0) return must_be(name, "a price such as \"1.20\"", text);
  out.value = *nano;
  return std::nullopt;
}

Problem read_bool(std::string_view name, JsonValue value, bool& out) {
  const std::string_view token = token_of(value);
  if (token != "true" && token != "false") return must_be(name, "true or false", token);
  out = token == "true";
  return std::nullopt;
}

Problem read_text(std::string_view name, JsonValue value, std::string_view& out) {
  const std::string_view token = token_of(value);
  if (token.empty() || token.front() != '"') return must_be(name, "a text in quotes", token);
  if (const auto error = value.get_string().get(out)) return broken_json(error);
  return std::nullopt;
}

Problem read_token(std::string_view name, JsonValue value, std::string_view& out) {
  const std::string_view token = token_of(value);
  if (!token.empty() && token.front() == '"') return read_text(name, value, out);
  if (token.empty() || token.front() == '{' || token.front() == '[') {
    return must_be(name, "a number or a text in quotes", token);
  }
  out = token;
  return std::nullopt;
}

Problem read_ids(std::string_view name, JsonValue value, std::vector<std::uint64_t>& out) {
  simdjson::ondemand::array array;
  if (value.get_array().get(array) != simdjson::SUCCESS) {
    return must_be(name, "a list of numbers", token_of(value));
  }
  for (auto entry : array) {
    JsonValue element;
    if (const auto error = std::move(entry).get(element)) return broken_json(error);
    const std::string_view token = token_of(element);
    std::uint64_t id = 0;
    if (element.get_uint64().get(id) != simdjson::SUCCESS) {
      return must_be(name, "a list of whole numbers from 0", token);
    }
    out.push_back(id);
  }
  return std::nullopt;
}

}  // namespace stoker::sim
