// A request in the shape of OpenAI or Anthropic as the echo worker understands it, and the answers
// in that shape; those of messages and responses are in echo_dialects.
// Pure functions on text: no time, no I/O.
//
// A "token" is a white-space separated word. Input tokens are the words of all messages (of the
// prompt, of all inputs); the answer repeats the words of the last message over and over.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stoker::worker {

enum class EchoRoute : std::uint8_t {
  chat,
  completions,
  messages,
  responses,
  embeddings,
  rerank,
  count_tokens,
  models,
  plain,
};
[[nodiscard]] EchoRoute route_of(std::string_view path);

struct EchoRequest {
  EchoRoute route = EchoRoute::plain;
  std::string model;
  std::vector<std::string> words;  // what the answer repeats
  std::int64_t input_tokens = 0;
  std::int64_t inputs = 1;  // of an embeddings request, or documents to be ranked
  std::optional<std::int64_t> max_tokens;
  bool stream = false;
  bool include_usage = false;
};

/// Errors: nullopt: the body is not an object of that route's shape.
std::optional<EchoRequest> parse_echo_request(EchoRoute route, std::string_view body,
                                              simdjson::dom::parser& parser);

/// What is the same for all parts of one answer.
struct EchoAnswer {
  EchoRoute route = EchoRoute::chat;
  std::string id;
  std::string model;
  std::int64_t created_s = 0;  // seconds since 1970
  std::int64_t input_tokens = 0;
  bool include_usage = false;
};

[[nodiscard]] std::string unary_answer(const EchoAnswer& answer, std::string_view text,
                                       std::int64_t output_tokens, bool cut_off);
/// Events of a stream, each with its empty line. The opening event is empty for completions.
[[nodiscard]] std::string opening_event(const EchoAnswer& answer);
void append_token_event(std::string& out, const EchoAnswer& answer, std::string_view token);
/// The finish reason, the usage if it was asked for, and the terminal event.
/// `text`: all tokens together.
[[nodiscard]] std::string closing_events(const EchoAnswer& answer, std::string_view text,
                                         std::int64_t output_tokens, bool cut_off);
/// True if closing_events() repeats the text.
[[nodiscard]] constexpr bool closing_repeats_text(EchoRoute route) {
  return route == EchoRoute::responses;
}
[[nodiscard]] std::string embeddings_answer(const EchoRequest& request);
/// Documents in the order that they came, each less relevant than the one before.
[[nodiscard]] std::string rerank_answer(const EchoRequest& request);
[[nodiscard]] std::string count_answer(const EchoRequest& request);
[[nodiscard]] std::string models_answer(std::string_view model);

}  // namespace stoker::worker
