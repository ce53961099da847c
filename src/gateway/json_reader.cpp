#include "gateway/json_reader.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <vector>

#include "base/json_writer.h"
#include "gateway/session_affinity.h"

namespace stoker::gateway {
namespace {

using simdjson::dom::element;
using simdjson::dom::object;

constexpr std::size_t kept_buffer_bytes = std::size_t{1} << 20;

ApiError bad_request(std::string code, std::string message, std::string param = {}) {
  return {400, std::move(code), std::move(message), std::move(param), {}};
}

std::optional<bool> bool_or_null(const element& value) {
  if (value.is_null()) return false;
  bool b = false;
  if (value.get(b) != simdjson::SUCCESS) return std::nullopt;
  return b;
}

/// First of the integer members that is there and not negative.
std::int64_t count_of(const object& o, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    std::int64_t n = 0;
    if (o[name].get(n) == simdjson::SUCCESS && n >= 0) return n;
  }
  return 0;
}

std::int64_t cached_count(const object& usage) {
  for (const char* details : {"prompt_tokens_details", "input_tokens_details"}) {
    object inner;
    if (usage[details].get(inner) == simdjson::SUCCESS) return count_of(inner, {"cached_tokens"});
  }
  return count_of(usage, {"cache_read_input_tokens"});
}

/// `usage` at the top, or in the object that an event of responses or messages carries.
std::optional<object> usage_object(const object& top) {
  object usage;
  if (top["usage"].get(usage) == simdjson::SUCCESS) return usage;
  for (const char* wrapper : {"response", "message"}) {
    object inner;
    if (top[wrapper].get(inner) == simdjson::SUCCESS &&
        inner["usage"].get(usage) == simdjson::SUCCESS) {
      return usage;
    }
  }
  return std::nullopt;
}

/// Reads one member of a request into `facts`; gives an error if its type is wrong.
std::optional<ApiError> read_member(std::string_view key, const element& value, BodyFacts& facts) {
  if (key == "model") {
    std::string_view model;
    if (value.get(model) != simdjson::SUCCESS || model.empty()) {
      return bad_request("invalid_type", "'model' must be a string that is not empty", "model");
    }
    facts.model = model;
  } else if (key == "stream") {
    const std::optional<bool> stream = bool_or_null(value);
    if (!stream) return bad_request("invalid_type", "'stream' must be true or false", "stream");
    facts.stream = *stream;
  } else if (key == "n") {
    std::int64_t choices = 0;  // what is none is for the engine to refuse
    if (value.get(choices) == simdjson::SUCCESS) facts.choices = choices;
  } else if (key.starts_with("max_")) {
    std::int64_t most = 0;
    if (value.get(most) == simdjson::SUCCESS) facts.most_output = most;
  } else if (!value.is_null()) {
    object options;
    if (value.get(options) != simdjson::SUCCESS) {
      return bad_request("invalid_type", "'stream_options' must be an object", "stream_options");
    }
    bool include_usage = false;
    facts.wants_usage =
        options["include_usage"].get(include_usage) == simdjson::SUCCESS && include_usage;
  }
  return std::nullopt;
}

}  // namespace

struct JsonReader::Impl {
  simdjson::dom::parser parser;
  std::vector<char> padded;

  /// Parses a padded copy; the views of the result live until the next call.
  simdjson::error_code parse(std::string_view text, element& root) {
    const std::size_t needed = text.size() + simdjson::SIMDJSON_PADDING;
    if (padded.size() < needed) padded.resize(std::max(needed, std::size_t{16} << 10));
    std::memcpy(padded.data(), text.data(), text.size());
    std::memset(padded.data() + text.size(), 0, simdjson::SIMDJSON_PADDING);
    return parser.parse(padded.data(), text.size(), false).get(root);
  }
  /// The object in `text`; nullopt if it is anything else.
  std::optional<object> parse_object(std::string_view text) {
    element root;
    object top;
    if (parse(text, root) != simdjson::SUCCESS || root.get(top) != simdjson::SUCCESS) {
      return std::nullopt;
    }
    return top;
  }
  /// One huge body must not hold its memory for ever.
  void shrink() {
    if (padded.size() <= kept_buffer_bytes) return;
    padded = {};
    parser = simdjson::dom::parser{};
  }
};

JsonReader::JsonReader() : impl_(std::make_unique<Impl>()) {}
JsonReader::~JsonReader() = default;

std::optional<ApiError> JsonReader::check_object(std::string_view body) {
  impl_->shrink();
  element root;
  const simdjson::error_code error = impl_->parse(body, root);
  if (error != simdjson::SUCCESS) {
    return bad_request("invalid_json", fmt::format("the body is not valid JSON: {}",
                                                   simdjson::error_message(error)));
  }
  if (!root.is_object()) return bad_request("invalid_json", "the body must be a JSON object");
  return std::nullopt;
}

std::optional<ApiError> JsonReader::read_request(std::string_view body, BodyFacts& facts) {
  if (std::optional<ApiError> error = check_object(body)) return error;
  constexpr std::array<std::string_view, 7> known = {"model",
                                                     "stream",
                                                     "stream_options",
                                                     "n",
                                                     "max_tokens",
                                                     "max_completion_tokens",
                                                     "max_output_tokens"};
  std::array<bool, known.size()> seen{};
  for (const auto [key, value] : object(impl_->parser.doc.root())) {
    const auto* const found = std::find(known.begin(), known.end(), key);
    if (found == known.end()) continue;
    bool& was_seen = seen[static_cast<std::size_t>(found - known.begin())];
    if (was_seen) {
      return bad_request("duplicate_key", fmt::format("'{}' is given twice", key),
                         std::string(key));
    }
    was_seen = true;
    if (std::optional<ApiError> error = read_member(key, value, facts)) return error;
  }
  if (!seen[0]) return bad_request("missing_field", "the body must name its 'model'", "model");
  return std::nullopt;
}

std::uint64_t JsonReader::affinity(TenantId tenant) const {
  return body_affinity(tenant, object(impl_->parser.doc.root()));
}

std::string JsonReader::rewrite(std::string_view body, const BodyChange& change) {
  const std::optional<object> top = impl_->parse_object(body);
  JsonWriter json;
  if (!top) return json.take();
  json.object([&] {
    for (const auto [key, value] : *top) {
      if (change.add_include_usage && key == "stream_options") continue;
      if (!change.cache_salt.empty() && key == "cache_salt") continue;
      if (!change.model.empty() && key == "model") {
        json.field("model", change.model);
      } else {
        json.raw_field(key, simdjson::minify(value));
      }
    }
    if (!change.cache_salt.empty()) {
      std::string_view own;
      if ((*top)["cache_salt"].get(own) != simdjson::SUCCESS) own = {};
      json.field("cache_salt", fmt::format("{}:{}", change.cache_salt, own));
    }
    if (!change.add_include_usage) return;
    json.object("stream_options", [&] {
      object options;
      if ((*top)["stream_options"].get(options) == simdjson::SUCCESS) {
        for (const auto [key, value] : options) {
          if (key != "include_usage") json.raw_field(key, simdjson::minify(value));
        }
      }
      json.field("include_usage", true);
    });
  });
  return json.take();
}

std::optional<WorkerUsage> JsonReader::engine_usage(std::string_view json) {
  const std::optional<object> top = impl_->parse_object(json);
  if (!top) return std::nullopt;
  const std::optional<object> usage = usage_object(*top);
  if (!usage) return std::nullopt;
  return WorkerUsage{.input_tokens = count_of(*usage, {"prompt_tokens", "input_tokens"}),
                     .output_tokens = count_of(*usage, {"completion_tokens", "output_tokens"}),
                     .cached_tokens = cached_count(*usage),
                     .device_ms = 0,
                     .known = true};
}

bool JsonReader::is_usage_event(std::string_view json) {
  const std::optional<object> top = impl_->parse_object(json);
  if (!top) return false;
  object usage;
  simdjson::dom::array choices;
  return (*top)["usage"].get(usage) == simdjson::SUCCESS &&
         (*top)["choices"].get(choices) == simdjson::SUCCESS && choices.size() == 0;
}

std::string JsonReader::without_usage(std::string_view json) {
  const std::optional<object> top = impl_->parse_object(json);
  if (!top) return std::string(json);
  JsonWriter out;
  out.object([&] {
    for (const auto [key, value] : *top) {
      if (key != "usage") out.raw_field(key, simdjson::minify(value));
    }
  });
  return out.take();
}

std::string JsonReader::error_message(std::string_view json) {
  const std::optional<object> top = impl_->parse_object(json);
  std::string_view message;
  if (top && ((*top)["error"]["message"].get(message) == simdjson::SUCCESS ||
              (*top)["error"].get(message) == simdjson::SUCCESS ||
              (*top)["message"].get(message) == simdjson::SUCCESS)) {
    return std::string(message);
  }
  return {};
}

std::optional<WorkerUsage> parse_worker_usage(std::string_view text) {
  struct Named {
    std::string_view name;
    std::int64_t WorkerUsage::* member;
  };
  constexpr std::array<Named, 4> fields = {{{"input", &WorkerUsage::input_tokens},
                                            {"output", &WorkerUsage::output_tokens},
                                            {"cached", &WorkerUsage::cached_tokens},
                                            {"device_ms", &WorkerUsage::device_ms}}};
  WorkerUsage usage;
  unsigned seen = 0;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const std::size_t equals = item.find('=');
    if (equals == item.npos) return std::nullopt;
    const std::string_view digits = item.substr(equals + 1);
    std::int64_t n = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
    if (error != std::errc{} || end != digits.data() + digits.size() || n < 0) return std::nullopt;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      if (fields[i].name != item.substr(0, equals)) continue;
      if ((seen & (1U << i)) != 0) return std::nullopt;
      seen |= 1U << i;
      usage.*(fields[i].member) = n;
    }
  }
  if (seen != 0b1111U) return std::nullopt;
  usage.known = true;
  return usage;
}

void merge_usage(WorkerUsage& into, const WorkerUsage& more) {
  into.input_tokens = std::max(into.input_tokens, more.input_tokens);
  into.output_tokens = std::max(into.output_tokens, more.output_tokens);
  into.cached_tokens = std::max(into.cached_tokens, more.cached_tokens);
  into.device_ms = std::max(into.device_ms, more.device_ms);
  into.known = into.known || more.known;
}

}  // namespace stoker::gateway
