// The table of all routes, and how a request's path finds its row. A path is looked at once: the
// literal parts of a pattern match only their own bytes, never an encoding of them, so that no
// spelling of an admin route slips past the scope of its row (A25 in RELIABILITY.md).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "gateway/api_error.h"
#include "gateway/directory.h"

namespace stoker::gateway {

enum class Route : std::uint8_t {
  // Run a model that the body names.
  chat,
  completions,
  embeddings,
  rerank,
  responses,
  messages,
  count_tokens,
  transcriptions,  // of audio: the body is a form
  media,           // other audio and images, in and out: a form or JSON
  ollama_chat,
  ollama_generate,
  ollama_embed,
  ollama_embeddings,
  // Run a model that the path names.
  infer,
  model_metadata,  // only the worker knows the tensors, so this starts one: clients ask it right
                   // before they infer
  invoke,
  // Answered by the gateway.
  models,
  model,
  stream,  // of a request that asked to be resumable: what comes after the event last seen
  ollama_tags,
  ollama_show,
  ollama_version,
  server_metadata,
  live,
  server_ready,
  model_ready,  // "would it be served?", so true at zero instances, and starts nothing
  ollama_ps,    // asks the scheduler, so it goes with the admin routes
  // Jobs: of the deployment that the path names.
  job_run,
  job_run_sync,
  job_status,
  job_status_sync,
  job_stream,
  job_cancel,
  job_retry,
  job_purge,
  job_health,
  job_list,
  // Admin.
  ps,
  events,
  decisions,
  logs,
  requests,
  request,
  usage,
  warm,
  stop,
  reload,
  keys,
  key,
  webhook_secret,
  metrics,
  // Open to everybody.
  healthz,
  readyz,
  openapi,
};

/// What a key must allow for a route. A key with `admin` may read too.
enum class Scope : std::uint8_t { open, inference, read, admin };

/// Methods as bits, so that a row can allow several.
namespace method {
inline constexpr std::uint8_t get = 1;
inline constexpr std::uint8_t post = 2;
inline constexpr std::uint8_t put = 4;
inline constexpr std::uint8_t patch = 8;
inline constexpr std::uint8_t remove = 16;  // DELETE
}  // namespace method

struct RouteSpec {
  Route route;
  /// Segments: literal, "{}" (one, decoded) or a last "{*}" (the rest).
  std::string_view pattern;
  std::uint8_t methods;
  Scope scope;
  Dialect dialect;
  std::string_view name;  // in records, metrics and logs
};

struct RouteMatch {
  const RouteSpec* spec = nullptr;
  std::string first;          // decoded value of the first "{}", or of "{*}" if there is none
  std::string second;         // of the second "{}", if there is one
  std::string_view raw_rest;  // what "{*}" matched, as received; view into the path
};

/// Gives: nullopt for a path that matches no row or is not in its normal form: malformed escapes,
/// control bytes, backslashes, bytes that are not UTF-8, empty or dot segments.
[[nodiscard]] std::optional<RouteMatch> match_route(std::string_view path);
/// HEAD is allowed where GET is and the gateway answers itself.
[[nodiscard]] bool allows(const RouteSpec& spec, std::string_view name);
/// Value of the field Allow: "GET, POST".
[[nodiscard]] std::string allowed_methods(const RouteSpec& spec);
[[nodiscard]] std::span<const RouteSpec> all_routes();

/// True if the request runs on an instance, so that it is admitted, dispatched and recorded.
[[nodiscard]] constexpr bool runs_model(Route route) {
  return route <= Route::invoke;
}
[[nodiscard]] constexpr bool is_job_route(Route route) {
  return route >= Route::job_run && route <= Route::job_list;
}
/// True if the request's body names the model.
[[nodiscard]] constexpr bool names_model_in_body(Route route) {
  return route <= Route::ollama_embeddings;
}
/// True if that body may be a form, or bytes of a medium whose model stands beside them.
[[nodiscard]] constexpr bool takes_media(Route route) {
  return route == Route::transcriptions || route == Route::media;
}
/// True if the request is put into OpenAI's words for the engine, and its answer back.
[[nodiscard]] constexpr bool is_translated(Route route) {
  return route >= Route::ollama_chat && route <= Route::ollama_embeddings;
}
/// False where no worker of that runtime has the route, so that a request does not start an
/// instance only to be told 404. Foreign engines may have any.
[[nodiscard]] bool runtime_offers(RuntimeKind runtime, Route route);

}  // namespace stoker::gateway
