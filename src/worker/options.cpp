#include "worker/options.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "base/text.h"

namespace stoker::worker {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t factor;
};
constexpr std::array<Unit, 13> duration_units = {{{"ns", 1},
                                                  {"us", 1'000},
                                                  {"ms", 1'000'000},
                                                  {"s", 1'000'000'000},
                                                  {"second", 1'000'000'000},
                                                  {"seconds", 1'000'000'000},
                                                  {"m", 60'000'000'000},
                                                  {"min", 60'000'000'000},
                                                  {"minute", 60'000'000'000},
                                                  {"minutes", 60'000'000'000},
                                                  {"h", 3'600'000'000'000},
                                                  {"hour", 3'600'000'000'000},
                                                  {"hours", 3'600'000'000'000}}};
constexpr std::array<Unit, 8> byte_units = {{{"B", 1},
                                             {"KiB", 1 << 10},
                                             {"MiB", 1 << 20},
                                             {"GiB", 1 << 30},
                                             {"TiB", std::int64_t{1} << 40},
                                             {"KB", 1'000},
                                             {"MB", 1'000'000},
                                             {"GB", 1'000'000'000}}};

/// "2 minutes" -> 2 x factor. A whole number only: what cannot be kept exactly is refused.
template <std::size_t count>
std::optional<std::int64_t> parse_quantity(std::string_view text,
                                           const std::array<Unit, count>& units) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || number < 0) return std::nullopt;
  std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  for (const Unit& known : units) {
    std::int64_t product = 0;
    if (unit != known.name) continue;
    if (__builtin_mul_overflow(number, known.factor, &product)) return std::nullopt;
    return product;
  }
  return std::nullopt;
}

}  // namespace

struct OptionReader::Impl {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  bool is_object = false;
  std::set<std::string, std::less<>> known;
  std::vector<std::string> problems;

  /// Marks `key` as known. Gives: its value unless it is absent or null.
  std::optional<simdjson::dom::element> find(std::string_view key) {
    known.emplace(key);
    simdjson::dom::element value;
    if (!is_object || object.at_key(key).get(value) != simdjson::SUCCESS || value.is_null()) {
      return std::nullopt;
    }
    return value;
  }

  template <class Value>
  Value read(std::string_view key, Value fallback, std::string_view wanted) {
    const std::optional<simdjson::dom::element> found = find(key);
    if (!found) return fallback;
    Value value{};
    if (found->get(value) == simdjson::SUCCESS) return value;
    problems.push_back(fmt::format("option `{}` must be {}", key, wanted));
    return fallback;
  }

  /// A text with a unit, or a whole number of `bare_factor`.
  template <std::size_t count>
  std::optional<std::int64_t> quantity(std::string_view key, const std::array<Unit, count>& units,
                                       std::int64_t bare_factor, std::string_view wanted) {
    const std::optional<simdjson::dom::element> found = find(key);
    if (!found) return std::nullopt;
    std::string_view text;
    std::int64_t number = 0;
    if (found->get(text) == simdjson::SUCCESS) {
      if (const auto value = parse_quantity(text, units)) return value;
    } else if (found->get(number) == simdjson::SUCCESS && number >= 0) {
      std::int64_t product = 0;
      if (!__builtin_mul_overflow(number, bare_factor, &product)) return product;
    }
    problems.push_back(fmt::format("option `{}` must be {}", key, wanted));
    return std::nullopt;
  }
};

OptionReader::OptionReader(std::string json) : impl_(std::make_unique<Impl>()) {
  impl_->is_object = impl_->parser.parse(json).get(impl_->object) == simdjson::SUCCESS;
  if (!impl_->is_object) impl_->problems.emplace_back("options are not a JSON object");
}

OptionReader::~OptionReader() = default;

std::int64_t OptionReader::integer(std::string_view key, std::int64_t fallback,
                                   IntegerRange range) {
  const std::int64_t value = impl_->read<std::int64_t>(key, fallback, "a whole number");
  if (value >= range.min && value <= range.max) return value;
  problem(fmt::format("option `{}` is {}, but must be {} to {}", key, value, range.min, range.max));
  return fallback;
}

double OptionReader::number(std::string_view key, double fallback, NumberRange range) {
  const double value = impl_->read<double>(key, fallback, "a number");
  if (value >= range.min && value <= range.max) return value;
  problem(fmt::format("option `{}` is {}, but must be {} to {}", key, value, range.min, range.max));
  return fallback;
}

bool OptionReader::boolean(std::string_view key, bool fallback) {
  return impl_->read<bool>(key, fallback, "true or false");
}

std::string OptionReader::text(std::string_view key, std::string_view fallback) {
  return std::string(impl_->read<std::string_view>(key, fallback, "a text"));
}

std::vector<std::string> OptionReader::texts(std::string_view key) {
  const std::optional<simdjson::dom::element> found = impl_->find(key);
  if (!found) return {};
  std::vector<std::string> all;
  simdjson::dom::array list;
  bool good = found->get(list) == simdjson::SUCCESS;
  if (good) {
    for (const simdjson::dom::element element : list) {
      std::string_view text;
      good = good && element.get(text) == simdjson::SUCCESS;
      all.emplace_back(text);
    }
  }
  if (good) return all;
  problem(fmt::format("option `{}` must be a list of texts", key));
  return {};
}

Duration OptionReader::duration(std::string_view key, Duration fallback) {
  const auto ns = impl_->quantity(key, duration_units, 1'000'000,
                                  R"(a time such as "200ms" or "5 minutes", or milliseconds)");
  return ns ? Duration{*ns} : fallback;
}

Bytes OptionReader::bytes(std::string_view key, Bytes fallback) {
  const auto bytes =
      impl_->quantity(key, byte_units, 1, R"(a size such as "64MiB", or a number of bytes)");
  return bytes ? Bytes{*bytes} : fallback;
}

std::optional<std::string> OptionReader::raw(std::string_view key) {
  const std::optional<simdjson::dom::element> found = impl_->find(key);
  if (!found) return std::nullopt;
  return simdjson::minify(*found);
}

std::vector<std::string> OptionReader::keys() const {
  std::vector<std::string> all;
  if (!impl_->is_object) return all;
  for (const auto field : impl_->object) all.emplace_back(field.key);
  return all;
}

void OptionReader::problem(std::string text) {
  impl_->problems.push_back(std::move(text));
}

std::optional<std::string> OptionReader::finish() {
  for (const std::string& key : keys()) {
    if (impl_->known.contains(key)) continue;
    const std::vector<std::string_view> known(impl_->known.begin(), impl_->known.end());
    const auto guess = closest(key, known);
    problem(fmt::format("unknown option `{}`{}", key,
                        guess ? fmt::format("; did you mean `{}`?", *guess)
                              : fmt::format("; there are {}", fmt::join(known, ", "))));
  }
  if (impl_->problems.empty()) return std::nullopt;
  return fmt::format("{}", fmt::join(impl_->problems, "; "));
}

}  // namespace stoker::worker
