// Errors as clients see them: one value inside, the shape of the client's dialect outside, as a
// body before the answer began and as an event of the stream after that.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/units.h"
#include "gateway/dispatcher.h"

namespace stoker::gateway {

enum class Dialect : std::uint8_t {
  openai,          // chat, completions, embeddings, rerank, models
  responses,       // OpenAI's responses: errors as openai, its own stream events
  anthropic,       // messages
  ollama,          // {"error": "..."}; streams are JSON objects, one a line
  open_inference,  // /v2: {"error": "..."}
  plain,           // admin, media and pass-through: errors as openai, streams of any kind
};

struct ApiError {
  int status = 500;
  std::string code;      // stable word for programs: "model_not_found"
  std::string message;   // for people: what happened and what to do
  std::string param;     // the field of the request that is wrong; empty if none
  Duration retry_after;  // 0: no Retry-After
};

[[nodiscard]] ApiError to_error(const Rejection& rejection);

/// Whole JSON body of an error answer.
[[nodiscard]] std::string error_body(Dialect dialect, const ApiError& error);
/// The same as one event of a stream: server-sent with its closing empty line, or one line. It ends
/// the stream.
[[nodiscard]] std::string error_event(Dialect dialect, const ApiError& error);
/// "Retry-After: 3\r\n" (whole seconds, rounded up, at least 1), or nothing.
[[nodiscard]] std::string retry_after_field(const ApiError& error);

}  // namespace stoker::gateway
