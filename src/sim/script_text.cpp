// Scripts as text: a line "TIME WHAT NAME=VALUE ...". Times are seconds and sizes bytes, both
// exact.
#include <fmt/format.h>

#include <charconv>
#include <type_traits>

#include "base/money.h"
#include "base/overloaded.h"
#include "sim/script_fields.h"

namespace stoker::sim {
namespace {

constexpr std::string_view first_word = "stoker-sim-script";
constexpr std::string_view nothing = "none";

constexpr const char* input_names[] = {
    "device",     "pool",          "weight",    "deployment",  "change", "bounds",
    "remove",     "behaviour",     "request",   "warm",        "stop",   "strike",
    "end_faults", "check_settled", "shut_down", "check_ended", "node",   "store"};
static_assert(std::size(input_names) == std::variant_size_v<Input>);

std::string seconds_text(std::int64_t ns) {
  std::string text = fmt::format("{}.{:09}", ns / 1'000'000'000, ns % 1'000'000'000);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text + "s";
}

template <class T>
struct IsId : std::false_type {};
template <class Tag>
struct IsId<Id<Tag>> : std::true_type {};
template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};

template <class T>
std::string value_text(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "yes" : "no";
  } else if constexpr (std::is_same_v<T, std::string>) {
    return value;
  } else if constexpr (std::is_same_v<T, Fault>) {
    return to_text(value);
  } else if constexpr (std::is_same_v<T, Subject>) {
    if (value.is_request()) return fmt::format("request{}", value.number());
    if (value.is_strike()) return fmt::format("strike{}", value.number());
    if (value.is_copy()) return fmt::format("copy{}", value.number());
    return fmt::format("{}#{}", value.deployment().value, value.number());
  } else if constexpr (std::is_enum_v<T>) {
    return std::to_string(static_cast<int>(value));
  } else if constexpr (std::is_integral_v<T>) {
    return std::to_string(value);
  } else if constexpr (IsId<T>::value) {
    return std::to_string(value.value);
  } else if constexpr (std::is_same_v<T, Bytes> || std::is_same_v<T, NanoPrice>) {
    return std::to_string(value.value);
  } else if constexpr (std::is_same_v<T, Duration> || std::is_same_v<T, Instant>) {
    return seconds_text(value.ns);
  } else if constexpr (IsOptional<T>::value) {
    return value ? value_text(*value) : std::string(nothing);
  } else {
    static_assert(IsVector<T>::value);
    std::string text;
    for (const auto& each : value) text += (text.empty() ? "" : ",") + value_text(each);
    return text;
  }
}

bool read_number(std::string_view text, auto& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size();
}

bool read_seconds(std::string_view text, std::int64_t& ns) {
  if (!text.ends_with('s')) return false;
  text.remove_suffix(1);
  const std::size_t point = std::min(text.find('.'), text.size());
  std::int64_t whole = 0;
  if (!read_number(text.substr(0, point), whole) || whole < 0 || whole > 9'000'000'000)
    return false;
  std::string part(text.substr(std::min(point + 1, text.size())));
  if (part.size() > 9) return false;
  part.resize(9, '0');
  std::int64_t rest = 0;
  if (!read_number(part, rest) || rest < 0) return false;
  ns = whole * 1'000'000'000 + rest;
  return true;
}

bool read_subject(std::string_view text, Subject& subject) {
  std::uint64_t number = 0;
  for (const auto& [word, make] :
       {std::pair{std::string_view("request"),
                  +[](std::uint64_t n) { return Subject::request(RequestId{n}); }},
        std::pair{std::string_view("strike"), +[](std::uint64_t n) { return Subject::strike(n); }},
        std::pair{std::string_view("copy"), +[](std::uint64_t n) { return Subject::copy(n); }}}) {
    if (!text.starts_with(word)) continue;
    if (!read_number(text.substr(word.size()), number) || number >> 61U != 0) return false;
    subject = make(number);
    return true;
  }
  const std::size_t hash = text.find('#');
  std::uint32_t deployment = 0;
  std::uint32_t of_deployment = 0;
  if (hash == std::string_view::npos || !read_number(text.substr(0, hash), deployment) ||
      !read_number(text.substr(hash + 1), of_deployment) || deployment >> 30U != 0) {
    return false;
  }
  subject = Subject::instance(DeploymentId{deployment}, of_deployment);
  return true;
}

bool read_fault(std::string_view text, Fault& fault) {
  for (std::size_t i = 0; i < fault_count; ++i) {
    if (text != to_text(static_cast<Fault>(i))) continue;
    fault = static_cast<Fault>(i);
    return true;
  }
  return false;
}

constexpr int values_of(core::DeviceKind) {
  return core::device_kinds;
}
constexpr int values_of(core::Tier) {
  return core::tiers;
}
constexpr int values_of(core::KeepWarmPolicy) {
  return 3;
}

template <class T>
bool read_value(std::string_view text, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    value = text == "yes";
    return text == "yes" || text == "no";
  } else if constexpr (std::is_same_v<T, std::string>) {
    value = text;
    return true;
  } else if constexpr (std::is_same_v<T, Fault>) {
    return read_fault(text, value);
  } else if constexpr (std::is_same_v<T, Subject>) {
    return read_subject(text, value);
  } else if constexpr (std::is_enum_v<T>) {
    int number = 0;
    if (!read_number(text, number) || number < 0 || number >= values_of(value)) return false;
    value = static_cast<T>(number);
    return true;
  } else if constexpr (std::is_integral_v<T>) {
    return read_number(text, value);
  } else if constexpr (IsId<T>::value) {
    return read_number(text, value.value);
  } else if constexpr (std::is_same_v<T, Bytes> || std::is_same_v<T, NanoPrice>) {
    return read_number(text, value.value);
  } else if constexpr (std::is_same_v<T, Duration> || std::is_same_v<T, Instant>) {
    return read_seconds(text, value.ns);
  } else if constexpr (IsOptional<T>::value) {
    value.reset();
    return text == nothing || read_value(text, value.emplace());
  } else {
    static_assert(IsVector<T>::value);
    value.clear();
    while (!text.empty()) {
      const std::size_t comma = std::min(text.find(','), text.size());
      if (!read_value(text.substr(0, comma), value.emplace_back())) return false;
      text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return true;
  }
}

template <class T>
void write_fields(std::string& line, const T& thing) {
  T value = thing;
  T usual{};
  std::vector<std::string> defaults;
  fields(usual, [&](const char*, const auto& each) { defaults.push_back(value_text(each)); });
  std::size_t i = 0;
  fields(value, [&](const char* name, const auto& each) {
    const std::string text = value_text(each);
    if (text != defaults[i++]) line += fmt::format(" {}={}", name, text);
  });
}

std::string_view next_word(std::string_view& line) {
  const std::size_t from = std::min(line.find_first_not_of(" \t\r"), line.size());
  const std::size_t to = std::min(line.find_first_of(" \t\r", from), line.size());
  const std::string_view word = line.substr(from, to - from);
  line.remove_prefix(to);
  return word;
}

/// Gives: what is wrong; empty: nothing.
template <class T>
std::string read_fields(std::string_view line, T& thing) {
  for (std::string_view word = next_word(line); !word.empty(); word = next_word(line)) {
    const std::size_t equals = word.find('=');
    if (equals == std::string_view::npos) return fmt::format("'{}' has no value", word);
    bool known = false;
    bool read = false;
    fields(thing, [&](std::string_view name, auto& value) {
      if (known || word.substr(0, equals) != name) return;
      known = true;
      read = read_value(word.substr(equals + 1), value);
    });
    if (!known) return fmt::format("there is no '{}' here", word.substr(0, equals));
    if (!read) return fmt::format("'{}' cannot be read", word);
  }
  return {};
}

/// The input of that name with all its fields as usual.
template <std::size_t I = 0>
std::optional<Input> named_input(std::string_view name) {
  if constexpr (I == std::variant_size_v<Input>) {
    return std::nullopt;
  } else {
    if (name == input_names[I]) return Input(std::in_place_index<I>);
    return named_input<I + 1>(name);
  }
}

std::string read_line(std::string_view line, Script& script) {
  const std::string_view first = next_word(line);
  if (first == "hit") return read_fields(line, script.hits.emplace_back());
  Step step;
  if (!read_seconds(first, step.at.ns)) return fmt::format("'{}' is no time", first);
  if (!script.steps.empty() && step.at < script.steps.back().at) return "time goes back";
  const std::string_view name = next_word(line);
  std::optional<Input> input = named_input(name);
  if (!input) return fmt::format("nothing is called '{}'", name);
  step.what = std::move(*input);
  std::string problem = std::visit([&](auto& what) { return read_fields(line, what); }, step.what);
  script.steps.push_back(std::move(step));
  return problem;
}

}  // namespace

std::string to_text(const Step& step) {
  std::string line = seconds_text(step.at.ns) + " " + input_names[step.what.index()];
  std::visit([&](const auto& what) { write_fields(line, what); }, step.what);
  return line;
}

std::string to_text(const Hit& hit) {
  std::string line = "hit";
  write_fields(line, hit);
  return line;
}

std::string to_text(const Script& script) {
  std::string text = std::string(first_word) + " 1";
  Script header = script;
  header.steps.clear();
  header.hits.clear();
  write_fields(text, header);
  text += '\n';
  for (const Step& each : script.steps) text += to_text(each) + '\n';
  for (const Hit& each : script.hits) text += to_text(each) + '\n';
  return text;
}

Result<Script> parse_script(std::string_view text) {
  Script script;
  int number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    std::string problem;
    if (number == 1) {
      if (next_word(line) != first_word || next_word(line) != "1") {
        problem = "this is no script of the simulator";
      } else {
        problem = read_fields(line, script);
      }
    } else if (!line.empty() && !line.starts_with('#')) {
      problem = read_line(line, script);
    }
    if (!problem.empty()) {
      return failure(ErrorCode::invalid, fmt::format("line {}: {}", number, problem),
                     "stoker sim --save-script FILE writes one");
    }
  }
  if (number == 0) return failure(ErrorCode::invalid, "the script is empty");
  return script;
}

}  // namespace stoker::sim
