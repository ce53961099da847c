// Ollama's requests in OpenAI's words, which every engine understands. What a deployment fixes (the
// size of the context, threads, layers on a GPU) a request cannot change: such options are passed
// over. Pure.
// Source: Ollama's API reference (docs/api.md), 0.6.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "base/units.h"
#include "gateway/api_error.h"
#include "gateway/go_duration.h"
#include "gateway/json_reader.h"
#include "gateway/routes.h"

namespace stoker::gateway {

struct OllamaRequest {
  Route route = Route::chat;  // that the engine is asked: chat, completions or embeddings
  std::string body;           // for that route; empty: nothing is to be generated, see `wish`
  BodyFacts facts;
  /// How long the model is to stay once it idles; {0}: not at all. The largest Duration: for ever.
  std::optional<Duration> keep_alive;
  /// A request without messages or prompt: the model is to be loaded, or let go if keep_alive is 0.
  enum class Wish : std::uint8_t { generate, load, unload };
  Wish wish = Wish::generate;
};

/// Needs:   is_translated(route).
/// Errors:  400 with what is wrong, in the words of Ollama's fields.
[[nodiscard]] tl::expected<OllamaRequest, ApiError> translate_ollama(Route route,
                                                                     std::string_view body);

/// Value of `keep_alive`: JSON text of a number of seconds or of a duration as Go writes it
/// ("5m", "1h30m", "-1s"); negative is for ever.   Gives: nullopt if it is neither.
[[nodiscard]] std::optional<Duration> parse_keep_alive(std::string_view json);

}  // namespace stoker::gateway
