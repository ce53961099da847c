#include "worker/echo/echo_request.h"

#include <fmt/format.h>

#include "base/json_writer.h"
#include "worker/echo/echo_dialects.h"

namespace stoker::worker {
namespace {

using simdjson::dom::element;
using simdjson::dom::object;

constexpr std::string_view white_space = " \t\r\n";

std::int64_t count_words(std::string_view text) {
  std::int64_t count = 0;
  std::size_t at = text.find_first_not_of(white_space);
  while (at != std::string_view::npos) {
    ++count;
    const std::size_t end = text.find_first_of(white_space, at);
    at = end == std::string_view::npos ? end : text.find_first_not_of(white_space, end);
  }
  return count;
}

std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  std::size_t at = text.find_first_not_of(white_space);
  while (at != std::string_view::npos) {
    const std::size_t end = text.find_first_of(white_space, at);
    words.emplace_back(text.substr(at, end - at));
    at = end == std::string_view::npos ? end : text.find_first_not_of(white_space, end);
  }
  return words;
}

/// Text of a message's content: a string, or the text parts of a list.
std::string content_text(element content) {
  std::string_view text;
  if (content.get(text) == simdjson::SUCCESS) return std::string(text);
  std::string joined;
  simdjson::dom::array parts;
  if (content.get(parts) != simdjson::SUCCESS) return joined;
  for (const element part : parts) {
    if (part["text"].get(text) == simdjson::SUCCESS) joined.append(text).push_back(' ');
  }
  return joined;
}

/// `name`: where the messages are; `instructions`: where text is that goes before them.
bool read_messages(const object& body, std::string_view name, std::string_view instructions,
                   EchoRequest& request) {
  simdjson::dom::array messages;
  if (body[name].get(messages) != simdjson::SUCCESS) return false;
  std::string last;
  element before;
  if (body[instructions].get(before) == simdjson::SUCCESS) {
    request.input_tokens += count_words(content_text(before));
  }
  for (const element message : messages) {
    element content;
    if (message["content"].get(content) != simdjson::SUCCESS) continue;
    last = content_text(content);
    request.input_tokens += count_words(last);
  }
  request.words = split_words(last);
  return true;
}

bool read_prompt(const object& body, EchoRequest& request) {
  element prompt;
  if (body["prompt"].get(prompt) != simdjson::SUCCESS) return false;
  std::string_view text;
  simdjson::dom::array list;
  if (prompt.get(list) == simdjson::SUCCESS) {
    if (list.size() == 0 || list.at(0).get(text) != simdjson::SUCCESS) return false;
  } else if (prompt.get(text) != simdjson::SUCCESS) {
    return false;
  }
  request.input_tokens = count_words(text);
  request.words = split_words(text);
  return true;
}

bool read_input(const object& body, EchoRequest& request) {
  element input;
  if (body["input"].get(input) != simdjson::SUCCESS) return false;
  std::string_view text;
  if (input.get(text) == simdjson::SUCCESS) {
    request.input_tokens = count_words(text);
    return true;
  }
  simdjson::dom::array list;
  if (input.get(list) != simdjson::SUCCESS) return false;
  request.inputs = 0;
  for (const element one : list) {
    if (one.get(text) != simdjson::SUCCESS) return false;
    request.input_tokens += count_words(text);
    ++request.inputs;
  }
  return true;
}

/// Of responses: one text, or messages.
bool read_response_input(const object& body, EchoRequest& request) {
  if (read_messages(body, "input", "instructions", request)) return true;
  std::string_view text;
  if (body["input"].get(text) != simdjson::SUCCESS) return false;
  request.input_tokens += count_words(text);
  request.words = split_words(text);
  return true;
}

bool read_documents(const object& body, EchoRequest& request) {
  std::string_view query;
  simdjson::dom::array documents;
  if (body["query"].get(query) != simdjson::SUCCESS) return false;
  if (body["documents"].get(documents) != simdjson::SUCCESS) return false;
  request.inputs = 0;
  for (const element document : documents) {
    request.input_tokens += count_words(query) + count_words(content_text(document));
    ++request.inputs;
  }
  return true;
}

bool read_body(EchoRoute route, const object& body, EchoRequest& request) {
  switch (route) {
    case EchoRoute::chat:
      return read_messages(body, "messages", "", request);
    case EchoRoute::messages:
    case EchoRoute::count_tokens:
      return read_messages(body, "messages", "system", request);
    case EchoRoute::responses:
      return read_response_input(body, request);
    case EchoRoute::completions:
      return read_prompt(body, request);
    case EchoRoute::rerank:
      return read_documents(body, request);
    default:
      return read_input(body, request);
  }
}

void write_usage(JsonWriter& json, std::int64_t input_tokens, std::int64_t output_tokens) {
  json.object("usage", [&] {
    json.field("prompt_tokens", input_tokens);
    json.field("completion_tokens", output_tokens);
    json.field("total_tokens", input_tokens + output_tokens);
  });
}

/// The fields with which every object of an answer begins.
void write_head(JsonWriter& json, const EchoAnswer& answer, bool chunk) {
  const bool chat = answer.route == EchoRoute::chat;
  json.field("id", answer.id);
  json.field("object", !chat   ? "text_completion"
                       : chunk ? "chat.completion.chunk"
                               : "chat.completion");
  json.field("created", answer.created_s);
  json.field("model", answer.model);
}

/// `data: {... "choices": [{"index": 0, <body> "finish_reason": <reason>}]}` and an empty line.
template <class Body>
void append_event(std::string& out, const EchoAnswer& answer, std::string_view finish_reason,
                  Body&& body) {
  JsonWriter json;
  json.object([&] {
    write_head(json, answer, /*chunk=*/true);
    json.array("choices", [&] {
      json.object([&] {
        json.field("index", 0);
        body(json);
        if (finish_reason.empty()) {
          json.null_field("finish_reason");
        } else {
          json.field("finish_reason", finish_reason);
        }
      });
    });
    if (answer.include_usage) json.null_field("usage");
  });
  out.append("data: ").append(json.text()).append("\n\n");
}

}  // namespace

EchoRoute route_of(std::string_view path) {
  if (path == "/v1/chat/completions") return EchoRoute::chat;
  if (path == "/v1/completions") return EchoRoute::completions;
  if (path == "/v1/messages") return EchoRoute::messages;
  if (path == "/v1/messages/count_tokens") return EchoRoute::count_tokens;
  if (path == "/v1/responses") return EchoRoute::responses;
  if (path == "/v1/rerank") return EchoRoute::rerank;
  if (path == "/v1/embeddings") return EchoRoute::embeddings;
  if (path == "/v1/models") return EchoRoute::models;
  return EchoRoute::plain;
}

std::optional<EchoRequest> parse_echo_request(EchoRoute route, std::string_view body,
                                              simdjson::dom::parser& parser) {
  object fields;
  if (parser.parse(body.data(), body.size()).get(fields) != simdjson::SUCCESS) return std::nullopt;
  EchoRequest request;
  request.route = route;
  std::string_view model;
  if (fields["model"].get(model) == simdjson::SUCCESS) request.model = model;
  if (!read_body(route, fields, request)) return std::nullopt;
  std::int64_t limit = 0;
  if (fields["max_completion_tokens"].get(limit) == simdjson::SUCCESS ||
      fields["max_output_tokens"].get(limit) == simdjson::SUCCESS ||
      fields["max_tokens"].get(limit) == simdjson::SUCCESS) {
    if (limit < 0) return std::nullopt;
    request.max_tokens = limit;
  }
  bool flag = false;
  if (fields["stream"].get(flag) == simdjson::SUCCESS) request.stream = flag;
  object stream_options;
  if (fields["stream_options"].get(stream_options) == simdjson::SUCCESS &&
      stream_options["include_usage"].get(flag) == simdjson::SUCCESS) {
    request.include_usage = flag;
  }
  return request;
}

std::string unary_answer(const EchoAnswer& answer, std::string_view text,
                         std::int64_t output_tokens, bool cut_off) {
  if (answer.route == EchoRoute::messages) {
    return message_answer(answer, text, output_tokens, cut_off);
  }
  if (answer.route == EchoRoute::responses) {
    return response_answer(answer, text, output_tokens, cut_off);
  }
  JsonWriter json;
  json.object([&] {
    write_head(json, answer, /*chunk=*/false);
    json.array("choices", [&] {
      json.object([&] {
        json.field("index", 0);
        if (answer.route == EchoRoute::chat) {
          json.object("message", [&] {
            json.field("role", "assistant");
            json.field("content", text);
          });
        } else {
          json.field("text", text);
        }
        json.field("finish_reason", cut_off ? "length" : "stop");
      });
    });
    write_usage(json, answer.input_tokens, output_tokens);
  });
  return json.take();
}

std::string opening_event(const EchoAnswer& answer) {
  if (answer.route == EchoRoute::messages) return message_opening(answer);
  if (answer.route == EchoRoute::responses) return response_opening(answer);
  std::string out;
  if (answer.route != EchoRoute::chat) return out;
  append_event(out, answer, "", [](JsonWriter& json) {
    json.object("delta", [&] {
      json.field("role", "assistant");
      json.field("content", "");
    });
  });
  return out;
}

void append_token_event(std::string& out, const EchoAnswer& answer, std::string_view token) {
  if (answer.route == EchoRoute::messages) return append_message_token(out, token);
  if (answer.route == EchoRoute::responses) return append_response_token(out, answer, token);
  append_event(out, answer, "", [&](JsonWriter& json) {
    if (answer.route == EchoRoute::chat) {
      json.object("delta", [&] { json.field("content", token); });
    } else {
      json.field("text", token);
    }
  });
}

std::string closing_events(const EchoAnswer& answer, std::string_view text,
                           std::int64_t output_tokens, bool cut_off) {
  if (answer.route == EchoRoute::messages) return message_closing(output_tokens, cut_off);
  if (answer.route == EchoRoute::responses) {
    return response_closing(answer, text, output_tokens, cut_off);
  }
  std::string out;
  append_event(out, answer, cut_off ? "length" : "stop", [&](JsonWriter& json) {
    if (answer.route == EchoRoute::chat) {
      json.object("delta", [] {});
    } else {
      json.field("text", "");
    }
  });
  if (answer.include_usage) {
    JsonWriter json;
    json.object([&] {
      write_head(json, answer, /*chunk=*/true);
      json.array("choices", [] {});
      write_usage(json, answer.input_tokens, output_tokens);
    });
    out.append("data: ").append(json.text()).append("\n\n");
  }
  out += "data: [DONE]\n\n";
  return out;
}

std::string embeddings_answer(const EchoRequest& request) {
  // A unit vector per input: enough for a client that checks shapes.
  constexpr std::string_view unit_vector = "[1,0,0,0,0,0,0,0]";
  JsonWriter json;
  json.object([&] {
    json.field("object", "list");
    json.array("data", [&] {
      for (std::int64_t i = 0; i < request.inputs; ++i) {
        json.object([&] {
          json.field("object", "embedding");
          json.field("index", i);
          json.raw_field("embedding", unit_vector);
        });
      }
    });
    json.field("model", request.model);
    json.object("usage", [&] {
      json.field("prompt_tokens", request.input_tokens);
      json.field("total_tokens", request.input_tokens);
    });
  });
  return json.take();
}

std::string rerank_answer(const EchoRequest& request) {
  JsonWriter json;
  json.object([&] {
    json.field("model", request.model);
    json.field("object", "list");
    json.array("results", [&] {
      for (std::int64_t i = 0; i < request.inputs; ++i) {
        json.object([&] {
          json.field("index", i);
          json.field("relevance_score", 1.0 / static_cast<double>(i + 1));
        });
      }
    });
    json.object("usage", [&] {
      json.field("prompt_tokens", request.input_tokens);
      json.field("total_tokens", request.input_tokens);
    });
  });
  return json.take();
}

std::string count_answer(const EchoRequest& request) {
  JsonWriter json;
  json.object([&] { json.field("input_tokens", request.input_tokens); });
  return json.take();
}

std::string models_answer(std::string_view model) {
  JsonWriter json;
  json.object([&] {
    json.field("object", "list");
    json.array("data", [&] {
      json.object([&] {
        json.field("id", model);
        json.field("object", "model");
        json.field("created", 0);
        json.field("owned_by", "stoker");
      });
    });
  });
  return json.take();
}

}  // namespace stoker::worker
