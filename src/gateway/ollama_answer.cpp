#include "gateway/ollama_answer.h"

#include <simdjson.h>

#include <utility>
#include <vector>

#include "base/json_writer.h"
#include "base/text.h"

namespace stoker::gateway {
namespace {

using simdjson::SUCCESS;
using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr std::size_t most_calls = 128;
constexpr std::size_t most_call_bytes = std::size_t{1} << 20;

/// A call of a tool; its arguments come in pieces of JSON text.
struct ToolCall {
  std::string name;
  std::string arguments;
};

/// What one choice, or one piece of it, says.
struct Piece {
  std::string_view text;
  std::string_view thinking;
};

std::string_view string_in(const object& from, std::string_view name) {
  std::string_view text;
  return from[name].get(text) == SUCCESS ? text : std::string_view{};
}

/// Which reason of OpenAI's stands for which of Ollama's: it has no own one for calls of tools.
std::string_view done_reason(std::string_view finish_reason) {
  return finish_reason == "length" ? "length" : "stop";
}

std::optional<object> first_choice(const object& top) {
  array choices;
  object choice;
  if (top["choices"].get(choices) != SUCCESS) return std::nullopt;
  if (choices.at(0).get(choice) != SUCCESS) return std::nullopt;
  return choice;
}

std::string_view error_text(const object& top) {
  object error;
  if (top["error"].get(error) == SUCCESS) return string_in(error, "message");
  return string_in(top, "error");
}

void write_arguments(JsonWriter& json, const std::string& arguments,
                     simdjson::dom::parser& parser) {
  element value;
  if (arguments.empty()) {
    json.raw_field("arguments", "{}");
  } else if (parser.parse(arguments).get(value) == SUCCESS && value.is_object()) {
    json.raw_field("arguments", simdjson::minify(value));
  } else {
    json.field("arguments", arguments);  // not what it should be, but nothing is lost
  }
}

}  // namespace

struct OllamaAnswer::Impl {
  simdjson::dom::parser parser;
  simdjson::dom::parser arguments_parser;
  std::vector<ToolCall> calls;
  std::size_t call_bytes = 0;
  std::string reason;  // why it stopped

  std::optional<object> parse(std::string_view json) {
    object top;
    if (parser.parse(json.data(), json.size()).get(top) != SUCCESS) return std::nullopt;
    return top;
  }

  /// Takes calls, or pieces of them.   Gives: false beyond the limits.
  bool take_calls(const object& from) {
    array list;
    if (from["tool_calls"].get(list) != SUCCESS) return true;
    for (const element each : list) {
      std::int64_t index = static_cast<std::int64_t>(calls.size());
      std::int64_t told = 0;
      if (each["index"].get(told) == SUCCESS) index = told;
      if (index < 0 || index >= static_cast<std::int64_t>(most_calls)) return false;
      if (calls.size() <= static_cast<std::size_t>(index)) {
        calls.resize(static_cast<std::size_t>(index) + 1);
      }
      ToolCall& call = calls[static_cast<std::size_t>(index)];
      object function;
      if (each["function"].get(function) != SUCCESS) continue;
      const std::string_view name = string_in(function, "name");
      const std::string_view arguments = string_in(function, "arguments");
      call_bytes += name.size() + arguments.size();
      if (call_bytes > most_call_bytes) return false;
      call.name += name;
      call.arguments += arguments;
    }
    return true;
  }

  void write_calls(JsonWriter& json) {
    if (calls.empty()) return;
    json.array("tool_calls", [&] {
      for (const ToolCall& call : calls) {
        json.object([&] {
          json.object("function", [&] {
            json.field("name", call.name);
            write_arguments(json, call.arguments, arguments_parser);
          });
        });
      }
    });
    calls.clear();
  }

  /// What `choice` says in its member `part`, or as a completion, whose calls are taken.
  /// Gives: nullopt if these are beyond the limits.
  std::optional<Piece> take_piece(const object& choice, std::string_view part) {
    object said;
    if (choice[part].get(said) != SUCCESS) return Piece{string_in(choice, "text"), {}};
    if (!take_calls(said)) return std::nullopt;
    return Piece{string_in(said, "content"), string_in(said, "reasoning_content")};
  }

  /// `message` of a chat, or `response` of a generation, with what belongs to it.
  void write_piece(JsonWriter& json, Route route, const Piece& piece, bool with_calls) {
    const auto rest = [&] {
      if (!piece.thinking.empty()) json.field("thinking", piece.thinking);
      if (with_calls) write_calls(json);
    };
    if (route == Route::ollama_generate) {
      json.field("response", piece.text);
      rest();
      return;
    }
    json.object("message", [&] {
      json.field("role", "assistant");
      json.field("content", piece.text);
      rest();
    });
  }
};

namespace {

Duration load_time(const ledger::Phases& phases) {
  return {phases.allocate.ns + phases.start.ns + phases.load.ns + phases.warmup.ns};
}

std::optional<std::vector<std::string>> vectors_of(const object& answer) {
  array list;
  if (answer["data"].get(list) != SUCCESS) return std::nullopt;
  std::vector<std::string> vectors;
  for (const element each : list) {
    array vector;
    if (each["embedding"].get(vector) != SUCCESS) return std::nullopt;
    vectors.push_back(simdjson::minify(vector));
  }
  return vectors;
}

/// The figures of an end. Of an answer that came whole nobody knows when its first token was there,
/// so that all of its time is that of generating.
void write_figures(JsonWriter& json, const ledger::Usage& ending, bool streamed) {
  const ledger::Phases& phases = ending.phases;
  json.field("total_duration", phases.total().ns);
  json.field("load_duration", load_time(phases).ns);
  json.field("prompt_eval_count", ending.input_tokens);
  json.field("prompt_eval_duration", streamed ? phases.ttft.ns : 0);
  json.field("eval_count", ending.output_tokens);
  json.field("eval_duration", (streamed ? 0 : phases.ttft.ns) + phases.generate.ns);
}

}  // namespace

OllamaAnswer::OllamaAnswer(Route route, std::string model)
    : route_(route), model_(std::move(model)), impl_(std::make_unique<Impl>()) {}
OllamaAnswer::~OllamaAnswer() = default;

bool OllamaAnswer::add_event(std::string_view data, std::string& out) {
  const std::optional<object> top = impl_->parse(data);
  if (!top) return true;  // no chunk, whatever it is
  if (const std::string_view error = error_text(*top); !error.empty()) {
    JsonWriter json;
    json.object([&] { json.field("error", error); });
    out.append(json.text()).append("\n");
    return true;
  }
  const std::optional<object> choice = first_choice(*top);
  if (!choice) return true;
  const std::optional<Piece> piece = impl_->take_piece(*choice, "delta");
  if (!piece) return false;
  const std::string_view reason = string_in(*choice, "finish_reason");
  if (!reason.empty()) impl_->reason = done_reason(reason);
  const bool calls_are_whole = !reason.empty() && !impl_->calls.empty();
  if (piece->text.empty() && piece->thinking.empty() && !calls_are_whole) return true;
  JsonWriter json;
  json.object([&] {
    json.field("model", model_);
    json.field("created_at", to_text(now_));
    impl_->write_piece(json, route_, *piece, calls_are_whole);
    json.field("done", false);
  });
  out.append(json.text()).append("\n");
  return true;
}

std::string OllamaAnswer::last_line(const ledger::Usage& ending) {
  JsonWriter json;
  json.object([&] {
    json.field("model", model_);
    json.field("created_at", to_text(now_));
    impl_->write_piece(json, route_, {}, true);
    json.field("done", true);
    json.field("done_reason", impl_->reason.empty() ? "stop" : impl_->reason.c_str());
    write_figures(json, ending, true);
  });
  return json.take() + "\n";
}

/// `vectors`: JSON text of each.
std::string OllamaAnswer::embeddings(const std::vector<std::string>& vectors,
                                     const ledger::Usage& ending) const {
  JsonWriter json;
  json.object([&] {
    if (route_ == Route::ollama_embeddings) {
      json.raw_field("embedding", vectors.empty() ? "[]" : vectors.front());
      return;
    }
    json.field("model", model_);
    json.array("embeddings", [&] {
      for (const std::string& vector : vectors) json.raw(vector);
    });
    json.field("total_duration", ending.phases.total().ns);
    json.field("load_duration", load_time(ending.phases).ns);
    json.field("prompt_eval_count", ending.input_tokens);
  });
  return json.take();
}

std::string OllamaAnswer::whole(std::string_view engine_json, const ledger::Usage& ending) {
  const std::optional<object> top = impl_->parse(engine_json);
  if (!top) return {};
  if (route_ == Route::ollama_embed || route_ == Route::ollama_embeddings) {
    const std::optional<std::vector<std::string>> vectors = vectors_of(*top);
    return vectors ? embeddings(*vectors, ending) : std::string();
  }
  const std::optional<object> choice = first_choice(*top);
  if (!choice) return {};
  const std::optional<Piece> piece = impl_->take_piece(*choice, "message");
  if (!piece) return {};
  JsonWriter json;
  json.object([&] {
    json.field("model", model_);
    json.field("created_at", to_text(now_));
    impl_->write_piece(json, route_, *piece, true);
    json.field("done", true);
    json.field("done_reason", done_reason(string_in(*choice, "finish_reason")));
    write_figures(json, ending, false);
  });
  return json.take();
}

std::string OllamaAnswer::only_done(std::string_view reason, const ledger::Usage& ending) {
  JsonWriter json;
  json.object([&] {
    json.field("model", model_);
    json.field("created_at", to_text(now_));
    impl_->write_piece(json, route_, {}, false);
    json.field("done", true);
    json.field("done_reason", reason);
    if (ending.phases.total().ns > 0) write_figures(json, ending, false);
  });
  return json.take();
}

}  // namespace stoker::gateway
