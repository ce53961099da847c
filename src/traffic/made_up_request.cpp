#include "traffic/made_up_request.h"

#include <algorithm>
#include <array>

#include "base/json_writer.h"
#include "base/prng.h"

namespace stoker::traffic {
namespace {

constexpr auto words = std::to_array<std::string_view>(
    {"the", "and", "for", "with", "that", "this", "from", "have", "not",  "are",  "was",
     "but", "all", "one", "out",  "our",  "can",  "time", "day",  "good", "work", "long",
     "new", "old", "big", "man",  "home", "life", "hand", "part", "year", "way"});
/// Larger bodies than 16 MiB no server takes.
constexpr std::int64_t most_tokens = 2'000'000;

/// Appends so many words with a space in front of each but the first of all.
void append_words(std::string& out, std::int64_t count, std::uint64_t seed) {
  Prng prng(seed);
  for (std::int64_t i = 0; i < count; ++i) {
    if (!out.empty()) out += ' ';
    out += words[prng.below(words.size())];
  }
}

std::string prompt_of(const sim::TraceRequest& request, std::uint64_t number) {
  std::string text;
  std::int64_t left = std::min(request.input_tokens, most_tokens);
  for (const std::uint64_t block : request.prefix) {
    const std::int64_t now = std::min(left, sim::prefix_block_tokens);
    append_words(text, now, block);
    left -= now;
  }
  append_words(text, left, ~number);
  return text;
}

std::int64_t tokens_to_ask_for(const sim::TraceRequest& request) {
  const sim::TraceRequest usual;
  const bool completed = request.outcome == sim::TraceOutcome::completed ||
                         request.outcome == sim::TraceOutcome::unknown;
  return std::max<std::int64_t>(request.output_tokens, completed ? 1 : usual.output_tokens);
}

void message(JsonWriter& json, const std::string& prompt) {
  json.array("messages", [&] {
    json.object([&] {
      json.field("role", "user");
      json.field("content", prompt);
    });
  });
}

}  // namespace

std::optional<MadeUpRequest> made_up_request(const sim::TraceRequest& request,
                                             std::string_view deployment, std::uint64_t number) {
  const std::string prompt = prompt_of(request, number);
  const std::int64_t output = tokens_to_ask_for(request);
  std::string_view target;
  bool known = true;
  bool may_stream = true;
  JsonWriter json;
  json.object([&] {
    json.field("model", deployment);
    switch (request.route) {
      case sim::TraceRoute::chat:
        target = "/v1/chat/completions";
        message(json, prompt);
        json.field("max_tokens", output);
        break;
      case sim::TraceRoute::completions:
        target = "/v1/completions";
        json.field("prompt", prompt);
        json.field("max_tokens", output);
        break;
      case sim::TraceRoute::responses:
        target = "/v1/responses";
        json.field("input", prompt);
        json.field("max_output_tokens", output);
        break;
      case sim::TraceRoute::messages:
        target = "/v1/messages";
        message(json, prompt);
        json.field("max_tokens", output);
        break;
      case sim::TraceRoute::count_tokens:
        target = "/v1/messages/count_tokens";
        message(json, prompt);
        may_stream = false;
        break;
      case sim::TraceRoute::embeddings:
        target = "/v1/embeddings";
        json.field("input", prompt);
        may_stream = false;
        break;
      case sim::TraceRoute::rerank:
        target = "/v1/rerank";
        json.field("query", words.front());
        json.array("documents", [&] { json.value(prompt); });
        may_stream = false;
        break;
      case sim::TraceRoute::infer:
      case sim::TraceRoute::invoke:
      case sim::TraceRoute::other:
        known = false;
        break;
    }
    if (may_stream && request.stream) json.field("stream", true);
  });
  if (!known) return std::nullopt;
  return MadeUpRequest{target, json.take()};
}

}  // namespace stoker::traffic
