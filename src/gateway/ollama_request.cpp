#include "gateway/ollama_request.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "base/json_writer.h"

namespace stoker::gateway {
namespace {

using simdjson::SUCCESS;
using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

tl::unexpected<ApiError> refuse(std::string message, std::string param = {}) {
  return tl::unexpected(ApiError{400, "invalid_request", std::move(message), std::move(param), {}});
}

/// A problem of the whole request, noticed somewhere inside; the first one counts.
class Problem {
 public:
  void note(std::string message) {
    if (message_.empty()) message_ = std::move(message);
  }
  [[nodiscard]] const std::string& message() const { return message_; }

 private:
  std::string message_;
};

bool is_given(const object& top, std::string_view name, element& value) {
  return top[name].get(value) == SUCCESS && !value.is_null();
}

std::string_view text_of(const object& top, std::string_view name, Problem& problem) {
  element value;
  std::string_view text;
  if (is_given(top, name, value) && value.get(text) != SUCCESS) {
    problem.note(fmt::format("'{}' must be a string", name));
  }
  return text;
}

struct Renamed {
  std::string_view ollama;
  std::string_view openai;
};
/// Options that say how one answer is drawn; the names that llama.cpp gives those that OpenAI
/// lacks.
constexpr std::array drawing_options = {Renamed{"temperature", "temperature"},
                                        Renamed{"top_p", "top_p"},
                                        Renamed{"top_k", "top_k"},
                                        Renamed{"min_p", "min_p"},
                                        Renamed{"typical_p", "typical_p"},
                                        Renamed{"seed", "seed"},
                                        Renamed{"stop", "stop"},
                                        Renamed{"presence_penalty", "presence_penalty"},
                                        Renamed{"frequency_penalty", "frequency_penalty"},
                                        Renamed{"repeat_penalty", "repeat_penalty"},
                                        Renamed{"repeat_last_n", "repeat_last_n"},
                                        Renamed{"mirostat", "mirostat"},
                                        Renamed{"mirostat_tau", "mirostat_tau"},
                                        Renamed{"mirostat_eta", "mirostat_eta"}};

void write_options(JsonWriter& json, const object& top, OllamaRequest& request, Problem& problem) {
  element given;
  object options;
  if (!is_given(top, "options", given)) return;
  if (given.get(options) != SUCCESS) return problem.note("'options' must be an object");
  element value;
  for (const Renamed& option : drawing_options) {
    if (is_given(options, option.ollama, value)) {
      json.raw_field(option.openai, simdjson::minify(value));
    }
  }
  if (!is_given(options, "num_predict", value)) return;
  double most = 0;  // as clients in JavaScript may write 1e3
  if (value.get(most) != SUCCESS) return problem.note("'options.num_predict' must be a number");
  if (most < 0) return;  // as long as it likes
  constexpr double largest = 1e9;
  request.facts.most_output = static_cast<std::int64_t>(std::min(most, largest));
  json.field("max_tokens", *request.facts.most_output);
}

void write_format(JsonWriter& json, const object& top, Problem& problem) {
  element format;
  if (!is_given(top, "format", format)) return;
  std::string_view name;
  if (format.get(name) == SUCCESS) {
    if (name.empty()) return;
    if (name != "json") return problem.note("'format' must be \"json\" or a JSON schema");
    json.object("response_format", [&] { json.field("type", "json_object"); });
  } else if (format.is_object()) {
    json.object("response_format", [&] {
      json.field("type", "json_schema");
      json.object("json_schema", [&] {
        json.field("name", "answer");
        json.raw_field("schema", simdjson::minify(format));
      });
    });
  } else {
    problem.note("'format' must be \"json\" or a JSON schema");
  }
}

/// Whether, or how much, the model is to think before it answers.
void write_think(JsonWriter& json, const object& top, Problem& problem) {
  element think;
  if (!is_given(top, "think", think)) return;
  bool wanted = false;
  std::string_view effort;
  if (think.get(wanted) == SUCCESS) {
    json.object("chat_template_kwargs", [&] { json.field("enable_thinking", wanted); });
  } else if (think.get(effort) == SUCCESS) {
    json.field("reasoning_effort", effort);
  } else {
    problem.note("'think' must be true, false or a level");
  }
}

/// Text, or text and pictures.
void write_content(JsonWriter& json, std::string_view text, const object& from, Problem& problem) {
  element given;
  array images;
  if (!is_given(from, "images", given)) return json.field("content", text);
  if (given.get(images) != SUCCESS) return problem.note("'images' must be a list");
  if (images.size() == 0) return json.field("content", text);
  json.array("content", [&] {
    json.object([&] {
      json.field("type", "text");
      json.field("text", text);
    });
    for (const element image : images) {
      std::string_view base64;
      if (image.get(base64) != SUCCESS) problem.note("an image must be a string of base64");
      json.object([&] {
        json.field("type", "image_url");
        // Engines tell the kind of a picture by its bytes.
        json.object("image_url",
                    [&] { json.field("url", fmt::format("data:image/png;base64,{}", base64)); });
      });
    }
  });
}

/// OpenAI matches the answer of a tool to its call by an id, Ollama by order.
struct CallIds {
  std::int64_t called = 0;
  std::int64_t answered = 0;
};

void write_tool_calls(JsonWriter& json, const array& calls, CallIds& ids, Problem& problem) {
  json.array("tool_calls", [&] {
    for (const element call : calls) {
      object function;
      std::string_view name;
      if (call["function"].get(function) != SUCCESS || function["name"].get(name) != SUCCESS) {
        problem.note("a tool call must have a function with a name");
        continue;
      }
      element arguments;
      const bool has_arguments = is_given(function, "arguments", arguments);
      json.object([&] {
        json.field("id", fmt::format("call_{}", ids.called++));
        json.field("type", "function");
        json.object("function", [&] {
          json.field("name", name);
          json.field("arguments", has_arguments ? simdjson::minify(arguments) : std::string("{}"));
        });
      });
    }
  });
}

void write_message(JsonWriter& json, const element& message, CallIds& ids, Problem& problem) {
  object from;
  std::string_view role;
  if (message.get(from) != SUCCESS || from["role"].get(role) != SUCCESS) {
    return problem.note("each message must be an object with a 'role'");
  }
  json.object([&] {
    json.field("role", role);
    write_content(json, text_of(from, "content", problem), from, problem);
    const std::string_view thinking = text_of(from, "thinking", problem);
    if (!thinking.empty()) json.field("reasoning_content", thinking);
    if (role == "tool") json.field("tool_call_id", fmt::format("call_{}", ids.answered++));
    array calls;
    if (from["tool_calls"].get(calls) == SUCCESS && calls.size() > 0) {
      write_tool_calls(json, calls, ids, problem);
    }
  });
}

void write_head(JsonWriter& json, const OllamaRequest& request) {
  json.field("model", request.facts.model);
  json.field("stream", request.facts.stream);
}

/// What chat and generate have in common.
void write_rest(JsonWriter& json, const object& top, OllamaRequest& request, Problem& problem) {
  write_options(json, top, request, problem);
  write_format(json, top, problem);
}

void translate_chat(const object& top, OllamaRequest& request, Problem& problem) {
  request.route = Route::chat;
  element given;
  array messages;
  if (is_given(top, "messages", given) && given.get(messages) != SUCCESS) {
    return problem.note("'messages' must be a list");
  }
  if (!is_given(top, "messages", given) || messages.size() == 0) {
    request.wish = OllamaRequest::Wish::load;
    return;
  }
  JsonWriter json;
  json.object([&] {
    write_head(json, request);
    json.array("messages", [&] {
      CallIds ids;
      for (const element message : messages) write_message(json, message, ids, problem);
    });
    element tools;
    if (is_given(top, "tools", tools)) json.raw_field("tools", simdjson::minify(tools));
    write_think(json, top, problem);
    write_rest(json, top, request, problem);
  });
  request.body = json.take();
}

/// A member that asks for what an engine behind OpenAI's routes cannot do, and that must not be
/// passed over in silence.
void refuse_member(const object& top, std::string_view name, Problem& problem) {
  element value;
  if (!is_given(top, name, value)) return;
  std::string_view text;
  array list;
  const bool is_empty = (value.get(text) == SUCCESS && text.empty()) ||
                        (value.get(list) == SUCCESS && list.size() == 0);
  if (!is_empty) problem.note(fmt::format("'{}' is not supported", name));
}

void translate_generate(const object& top, OllamaRequest& request, Problem& problem) {
  for (const std::string_view name : {"suffix", "template", "context"}) {
    refuse_member(top, name, problem);
  }
  const std::string_view prompt = text_of(top, "prompt", problem);
  const std::string_view system = text_of(top, "system", problem);
  if (prompt.empty()) {
    request.wish = OllamaRequest::Wish::load;
    return;
  }
  element given;
  bool raw = false;
  if (is_given(top, "raw", given) && given.get(raw) != SUCCESS) {
    problem.note("'raw' must be true or false");
  }
  request.route = raw ? Route::completions : Route::chat;
  JsonWriter json;
  json.object([&] {
    write_head(json, request);
    if (raw) {
      json.field("prompt", prompt);
    } else {
      json.array("messages", [&] {
        if (!system.empty()) {
          json.object([&] {
            json.field("role", "system");
            json.field("content", system);
          });
        }
        json.object([&] {
          json.field("role", "user");
          write_content(json, prompt, top, problem);
        });
      });
      write_think(json, top, problem);
    }
    write_rest(json, top, request, problem);
  });
  request.body = json.take();
}

void translate_embed(const object& top, std::string_view input, OllamaRequest& request,
                     Problem& problem) {
  request.route = Route::embeddings;
  request.facts.stream = false;
  element given;
  if (!is_given(top, input, given) || (!given.is_string() && !given.is_array())) {
    return problem.note(fmt::format("'{}' must be a string or a list of strings", input));
  }
  JsonWriter json;
  json.object([&] {
    json.field("model", request.facts.model);
    json.raw_field("input", simdjson::minify(given));
    json.field("encoding_format", "float");
    if (is_given(top, "dimensions", given)) json.raw_field("dimensions", simdjson::minify(given));
  });
  request.body = json.take();
}

void read_common(const object& top, OllamaRequest& request, Problem& problem) {
  request.facts.model = text_of(top, "model", problem);
  if (request.facts.model.empty()) request.facts.model = text_of(top, "name", problem);
  if (request.facts.model.empty()) problem.note("model is required");
  request.facts.stream = true;
  element given;
  bool stream = true;
  if (is_given(top, "stream", given)) {
    if (given.get(stream) != SUCCESS) problem.note("'stream' must be true or false");
    request.facts.stream = stream;
  }
  if (!is_given(top, "keep_alive", given)) return;
  request.keep_alive = parse_keep_alive(simdjson::minify(given));
  if (!request.keep_alive) {
    problem.note("'keep_alive' must be a number of seconds or a duration such as \"5m\"");
  }
}

}  // namespace

std::optional<Duration> parse_keep_alive(std::string_view json) {
  simdjson::dom::parser parser;
  element value;
  if (parser.parse(json.data(), json.size()).get(value) != SUCCESS) return std::nullopt;
  double s = 0;
  if (value.get(s) == SUCCESS) return duration_of_ns(s * 1e9);
  std::string_view text;
  if (value.get(text) != SUCCESS) return std::nullopt;
  return parse_go_duration(text);
}

tl::expected<OllamaRequest, ApiError> translate_ollama(Route route, std::string_view body) {
  simdjson::dom::parser parser;
  object top;
  if (parser.parse(body.data(), body.size()).get(top) != SUCCESS) {
    return refuse("the body must be a JSON object");
  }
  OllamaRequest request;
  Problem problem;
  read_common(top, request, problem);
  switch (route) {
    case Route::ollama_chat:
      translate_chat(top, request, problem);
      break;
    case Route::ollama_generate:
      translate_generate(top, request, problem);
      break;
    default:
      translate_embed(top, route == Route::ollama_embeddings ? "prompt" : "input", request,
                      problem);
      break;
  }
  if (!problem.message().empty()) return refuse(problem.message());
  const bool lets_go = request.keep_alive && request.keep_alive->ns == 0;
  if (request.wish == OllamaRequest::Wish::load && lets_go) {
    request.wish = OllamaRequest::Wish::unload;
  }
  return request;
}

}  // namespace stoker::gateway
