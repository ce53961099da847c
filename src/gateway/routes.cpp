#include "gateway/routes.h"

#include <simdjson.h>

#include <algorithm>
#include <array>

#include "net/http.h"

namespace stoker::gateway {
namespace {

constexpr std::uint8_t any_method =
    method::get | method::post | method::put | method::patch | method::remove;

// The busiest come first: rows are tried in order.
constexpr std::array routes = {
    RouteSpec{Route::chat, "/v1/chat/completions", method::post, Scope::inference, Dialect::openai,
              "chat"},
    RouteSpec{Route::completions, "/v1/completions", method::post, Scope::inference,
              Dialect::openai, "completions"},
    RouteSpec{Route::embeddings, "/v1/embeddings", method::post, Scope::inference, Dialect::openai,
              "embeddings"},
    RouteSpec{Route::rerank, "/v1/rerank", method::post, Scope::inference, Dialect::openai,
              "rerank"},
    RouteSpec{Route::responses, "/v1/responses", method::post, Scope::inference, Dialect::responses,
              "responses"},
    RouteSpec{Route::messages, "/v1/messages", method::post, Scope::inference, Dialect::anthropic,
              "messages"},
    RouteSpec{Route::count_tokens, "/v1/messages/count_tokens", method::post, Scope::inference,
              Dialect::anthropic, "count_tokens"},
    RouteSpec{Route::transcriptions, "/v1/audio/transcriptions", method::post, Scope::inference,
              Dialect::plain, "transcriptions"},
    RouteSpec{Route::media, "/v1/audio/translations", method::post, Scope::inference,
              Dialect::plain, "translations"},
    RouteSpec{Route::media, "/v1/audio/speech", method::post, Scope::inference, Dialect::plain,
              "speech"},
    RouteSpec{Route::media, "/v1/images/generations", method::post, Scope::inference,
              Dialect::plain, "images"},
    RouteSpec{Route::media, "/v1/images/edits", method::post, Scope::inference, Dialect::plain,
              "images"},
    RouteSpec{Route::media, "/v1/images/variations", method::post, Scope::inference, Dialect::plain,
              "images"},
    RouteSpec{Route::ollama_chat, "/api/chat", method::post, Scope::inference, Dialect::ollama,
              "ollama_chat"},
    RouteSpec{Route::ollama_generate, "/api/generate", method::post, Scope::inference,
              Dialect::ollama, "ollama_generate"},
    RouteSpec{Route::ollama_embed, "/api/embed", method::post, Scope::inference, Dialect::ollama,
              "ollama_embed"},
    RouteSpec{Route::ollama_embeddings, "/api/embeddings", method::post, Scope::inference,
              Dialect::ollama, "ollama_embed"},
    RouteSpec{Route::infer, "/v2/models/{}/infer", method::post, Scope::inference,
              Dialect::open_inference, "infer"},
    RouteSpec{Route::infer, "/v2/models/{}/versions/{}/infer", method::post, Scope::inference,
              Dialect::open_inference, "infer"},
    RouteSpec{Route::model_metadata, "/v2/models/{}", method::get, Scope::inference,
              Dialect::open_inference, "metadata"},
    RouteSpec{Route::model_metadata, "/v2/models/{}/versions/{}", method::get, Scope::inference,
              Dialect::open_inference, "metadata"},
    RouteSpec{Route::model_ready, "/v2/models/{}/ready", method::get, Scope::inference,
              Dialect::open_inference, "ready"},
    RouteSpec{Route::model_ready, "/v2/models/{}/versions/{}/ready", method::get, Scope::inference,
              Dialect::open_inference, "ready"},
    RouteSpec{Route::invoke, "/invoke/{}/{*}", any_method, Scope::inference, Dialect::plain,
              "invoke"},
    RouteSpec{Route::models, "/v1/models", method::get, Scope::inference, Dialect::openai,
              "models"},
    RouteSpec{Route::model, "/v1/models/{*}", method::get, Scope::inference, Dialect::openai,
              "model"},
    RouteSpec{Route::stream, "/v1/streams/{}", method::get, Scope::inference, Dialect::openai,
              "stream"},
    RouteSpec{Route::ollama_tags, "/api/tags", method::get, Scope::inference, Dialect::ollama,
              "tags"},
    RouteSpec{Route::ollama_ps, "/api/ps", method::get, Scope::inference, Dialect::ollama, "ps"},
    RouteSpec{Route::ollama_show, "/api/show", method::post, Scope::inference, Dialect::ollama,
              "show"},
    RouteSpec{Route::ollama_version, "/api/version", method::get, Scope::inference, Dialect::ollama,
              "version"},
    RouteSpec{Route::server_metadata, "/v2", method::get, Scope::inference, Dialect::open_inference,
              "server"},
    RouteSpec{Route::live, "/v2/health/live", method::get, Scope::inference,
              Dialect::open_inference, "live"},
    RouteSpec{Route::server_ready, "/v2/health/ready", method::get, Scope::inference,
              Dialect::open_inference, "ready"},
    RouteSpec{Route::job_run, "/v2/{}/run", method::post, Scope::inference, Dialect::plain, "run"},
    RouteSpec{Route::job_run_sync, "/v2/{}/runsync", method::post, Scope::inference, Dialect::plain,
              "runsync"},
    RouteSpec{Route::job_status, "/v2/{}/status/{}", method::get | method::post, Scope::inference,
              Dialect::plain, "status"},
    RouteSpec{Route::job_status_sync, "/v2/{}/status-sync/{}", method::get | method::post,
              Scope::inference, Dialect::plain, "status-sync"},
    RouteSpec{Route::job_stream, "/v2/{}/stream/{}", method::get | method::post, Scope::inference,
              Dialect::plain, "stream"},
    RouteSpec{Route::job_cancel, "/v2/{}/cancel/{}", method::post, Scope::inference, Dialect::plain,
              "cancel"},
    RouteSpec{Route::job_retry, "/v2/{}/retry/{}", method::post, Scope::inference, Dialect::plain,
              "retry"},
    RouteSpec{Route::job_purge, "/v2/{}/purge-queue", method::post, Scope::inference,
              Dialect::plain, "purge-queue"},
    RouteSpec{Route::job_health, "/v2/{}/health", method::get, Scope::inference, Dialect::plain,
              "health"},
    RouteSpec{Route::job_list, "/v2/{}/requests", method::get, Scope::inference, Dialect::plain,
              "requests"},
    RouteSpec{Route::ps, "/api/v1/ps", method::get, Scope::read, Dialect::plain, "ps"},
    RouteSpec{Route::events, "/api/v1/events", method::get, Scope::read, Dialect::plain, "events"},
    RouteSpec{Route::decisions, "/api/v1/decisions", method::get, Scope::read, Dialect::plain,
              "decisions"},
    RouteSpec{Route::logs, "/api/v1/logs/{*}", method::get, Scope::read, Dialect::plain, "logs"},
    RouteSpec{Route::requests, "/api/v1/requests", method::get, Scope::read, Dialect::plain,
              "requests"},
    RouteSpec{Route::request, "/api/v1/requests/{}", method::get, Scope::read, Dialect::plain,
              "request"},
    RouteSpec{Route::usage, "/api/v1/usage", method::get, Scope::read, Dialect::plain, "usage"},
    RouteSpec{Route::warm, "/api/v1/warm/{*}", method::post, Scope::admin, Dialect::plain, "warm"},
    RouteSpec{Route::stop, "/api/v1/stop/{*}", method::post, Scope::admin, Dialect::plain, "stop"},
    RouteSpec{Route::reload, "/api/v1/reload", method::post, Scope::admin, Dialect::plain,
              "reload"},
    RouteSpec{Route::keys, "/api/v1/keys", method::get | method::post, Scope::admin, Dialect::plain,
              "keys"},
    RouteSpec{Route::key, "/api/v1/keys/{}", method::patch | method::remove, Scope::admin,
              Dialect::plain, "key"},
    RouteSpec{Route::webhook_secret, "/api/v1/webhooks/secret", method::get, Scope::admin,
              Dialect::plain, "webhook_secret"},
    RouteSpec{Route::metrics, "/metrics", method::get, Scope::read, Dialect::plain, "metrics"},
    RouteSpec{Route::healthz, "/healthz", method::get, Scope::open, Dialect::plain, "healthz"},
    RouteSpec{Route::readyz, "/readyz", method::get, Scope::open, Dialect::plain, "readyz"},
    RouteSpec{Route::openapi, "/openapi.json", method::get, Scope::open, Dialect::plain, "openapi"},
};

struct NamedMethod {
  std::string_view name;
  std::uint8_t bit;
};
constexpr std::array methods = {NamedMethod{"GET", method::get}, NamedMethod{"POST", method::post},
                                NamedMethod{"PUT", method::put},
                                NamedMethod{"PATCH", method::patch},
                                NamedMethod{"DELETE", method::remove}};

/// Decoded bytes of one segment; nullopt if it is not in its normal form.
std::optional<std::string> decode_segment(std::string_view raw) {
  std::optional<std::string> decoded = net::percent_decode(raw);
  if (!decoded || decoded->empty() || *decoded == ".") return std::nullopt;
  // "..;" is how some servers are made to climb; nobody means it.
  if (decoded->starts_with("..") && (decoded->size() == 2 || (*decoded)[2] == ';')) {
    return std::nullopt;
  }
  const auto forbidden = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f || c == '\\';
  };
  if (std::any_of(decoded->begin(), decoded->end(), forbidden)) return std::nullopt;
  // A decoded slash may separate the parts of an alias, but never make a dot segment.
  const std::string slashed = "/" + *decoded + "/";
  for (const std::string_view climb : {"//", "/./", "/../"}) {
    if (slashed.find(climb) != std::string::npos) return std::nullopt;
  }
  if (!simdjson::validate_utf8(*decoded)) return std::nullopt;
  return decoded;
}

/// Takes the first segment off `path`, which begins with '/'.
std::string_view take_segment(std::string_view& path) {
  path.remove_prefix(1);
  const std::string_view segment = path.substr(0, path.find('/'));
  path.remove_prefix(segment.size());
  return segment;
}

/// Reads "{*}": every segment must be in its normal form. As a name it may not be empty; as the
/// path of a pass-through it may be, and a slash may end it.
bool match_rest(std::string_view path, RouteMatch& match, bool is_name) {
  match.raw_rest = path.substr(1);
  std::string decoded;
  while (!path.empty()) {
    const std::string_view raw = take_segment(path);
    if (raw.empty() && path.empty() && !is_name) break;
    const std::optional<std::string> segment = decode_segment(raw);
    if (!segment) return false;
    if (!decoded.empty()) decoded += '/';
    decoded += *segment;
  }
  if (is_name) match.first = std::move(decoded);
  return true;
}

bool match_pattern(std::string_view pattern, std::string_view path, RouteMatch& match) {
  bool is_first_parameter = true;
  while (!pattern.empty()) {
    if (path.empty()) return false;
    if (pattern == "/{*}") return match_rest(path, match, is_first_parameter);
    const std::string_view wanted = take_segment(pattern);
    const std::string_view raw = take_segment(path);
    if (wanted != "{}") {
      if (wanted != raw) return false;
      continue;
    }
    std::optional<std::string> segment = decode_segment(raw);
    if (!segment) return false;
    (is_first_parameter ? match.first : match.second) = std::move(*segment);
    is_first_parameter = false;
  }
  return path.empty();
}

}  // namespace

std::span<const RouteSpec> all_routes() {
  return routes;
}

std::optional<RouteMatch> match_route(std::string_view path) {
  if (!path.starts_with('/')) return std::nullopt;
  for (const RouteSpec& spec : routes) {
    RouteMatch match{&spec, {}, {}, {}};
    const bool has_parameters =
        spec.pattern.back() == '}' || spec.pattern.find("{}") != spec.pattern.npos;
    if (has_parameters ? match_pattern(spec.pattern, path, match) : path == spec.pattern)
      return match;
  }
  return std::nullopt;
}

bool allows(const RouteSpec& spec, std::string_view name) {
  // A HEAD must never start an instance.
  if (name == "HEAD") return (spec.methods & method::get) != 0 && !runs_model(spec.route);
  for (const NamedMethod& known : methods) {
    if (known.name == name) return (spec.methods & known.bit) != 0;
  }
  return false;
}

std::string allowed_methods(const RouteSpec& spec) {
  std::string text;
  for (const NamedMethod& known : methods) {
    if ((spec.methods & known.bit) == 0) continue;
    if (!text.empty()) text += ", ";
    text += known.name;
  }
  return text;
}

bool runtime_offers(RuntimeKind runtime, Route route) {
  switch (runtime) {
    case RuntimeKind::llama_cpp:
      return route != Route::infer && route != Route::model_metadata && route != Route::media;
    case RuntimeKind::onnx:
      return route == Route::infer || route == Route::model_metadata || route == Route::invoke ||
             route == Route::embeddings || route == Route::rerank || route == Route::ollama_embed ||
             route == Route::ollama_embeddings;
    case RuntimeKind::command:
    case RuntimeKind::container:
    case RuntimeKind::echo:
      return true;
  }
  return true;
}

}  // namespace stoker::gateway
