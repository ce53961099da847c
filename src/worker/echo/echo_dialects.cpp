#include "worker/echo/echo_dialects.h"

#include "base/json_writer.h"

namespace stoker::worker {
namespace {

/// `event: NAME`, and as data an object that begins with its type.
template <class Body>
void append_event(std::string& out, std::string_view name, Body&& body) {
  JsonWriter json;
  json.object([&] {
    json.field("type", name);
    body(json);
  });
  out.append("event: ").append(name).append("\ndata: ").append(json.text()).append("\n\n");
}

// --- Messages ---

void write_message_end(JsonWriter& json, bool cut_off) {
  json.field("stop_reason", cut_off ? "max_tokens" : "end_turn");
  json.null_field("stop_sequence");
}

void write_message_head(JsonWriter& json, const EchoAnswer& answer) {
  json.field("id", answer.id);
  json.field("type", "message");
  json.field("role", "assistant");
  json.field("model", answer.model);
}

void write_message_usage(JsonWriter& json, std::int64_t input, std::int64_t output) {
  json.object("usage", [&] {
    json.field("input_tokens", input);
    json.field("output_tokens", output);
  });
}

// --- Responses ---

void write_text_part(JsonWriter& json, std::string_view text) {
  json.field("type", "output_text");
  json.field("text", text);
  json.array("annotations", [] {});
}

void write_item(JsonWriter& json, const EchoAnswer& answer, std::string_view status,
                std::optional<std::string_view> text) {
  json.field("type", "message");
  json.field("id", "msg_" + answer.id);
  json.field("status", status);
  json.field("role", "assistant");
  json.array("content", [&] {
    if (text) json.object([&] { write_text_part(json, *text); });
  });
}

struct ResponseEnd {
  std::string_view text;
  std::int64_t output_tokens = 0;
  bool cut_off = false;
};

/// The members of a response; while it is in progress there is no end.
void write_response(JsonWriter& json, const EchoAnswer& answer, const ResponseEnd* end) {
  const std::string_view status = end == nullptr ? "in_progress"
                                  : end->cut_off ? "incomplete"
                                                 : "completed";
  json.field("id", answer.id);
  json.field("object", "response");
  json.field("created_at", answer.created_s);
  json.field("status", status);
  json.null_field("error");
  if (end != nullptr && end->cut_off) {
    json.object("incomplete_details", [&] { json.field("reason", "max_output_tokens"); });
  } else {
    json.null_field("incomplete_details");
  }
  json.field("model", answer.model);
  json.array("output", [&] {
    if (end != nullptr) json.object([&] { write_item(json, answer, status, end->text); });
  });
  if (end == nullptr) {
    json.null_field("usage");
    return;
  }
  json.object("usage", [&] {
    json.field("input_tokens", answer.input_tokens);
    json.field("output_tokens", end->output_tokens);
    json.field("total_tokens", answer.input_tokens + end->output_tokens);
  });
}

void write_place(JsonWriter& json, const EchoAnswer& answer) {
  json.field("item_id", "msg_" + answer.id);
  json.field("output_index", 0);
  json.field("content_index", 0);
}

}  // namespace

std::string message_answer(const EchoAnswer& answer, std::string_view text,
                           std::int64_t output_tokens, bool cut_off) {
  JsonWriter json;
  json.object([&] {
    write_message_head(json, answer);
    json.array("content", [&] {
      json.object([&] {
        json.field("type", "text");
        json.field("text", text);
      });
    });
    write_message_end(json, cut_off);
    write_message_usage(json, answer.input_tokens, output_tokens);
  });
  return json.take();
}

std::string message_opening(const EchoAnswer& answer) {
  std::string out;
  append_event(out, "message_start", [&](JsonWriter& json) {
    json.object("message", [&] {
      write_message_head(json, answer);
      json.array("content", [] {});
      json.null_field("stop_reason");
      json.null_field("stop_sequence");
      write_message_usage(json, answer.input_tokens, 0);
    });
  });
  append_event(out, "content_block_start", [](JsonWriter& json) {
    json.field("index", 0);
    json.object("content_block", [&] {
      json.field("type", "text");
      json.field("text", "");
    });
  });
  return out;
}

void append_message_token(std::string& out, std::string_view token) {
  append_event(out, "content_block_delta", [&](JsonWriter& json) {
    json.field("index", 0);
    json.object("delta", [&] {
      json.field("type", "text_delta");
      json.field("text", token);
    });
  });
}

std::string message_closing(std::int64_t output_tokens, bool cut_off) {
  std::string out;
  append_event(out, "content_block_stop", [](JsonWriter& json) { json.field("index", 0); });
  append_event(out, "message_delta", [&](JsonWriter& json) {
    json.object("delta", [&] { write_message_end(json, cut_off); });
    json.object("usage", [&] { json.field("output_tokens", output_tokens); });
  });
  append_event(out, "message_stop", [](JsonWriter&) {});
  return out;
}

std::string response_answer(const EchoAnswer& answer, std::string_view text,
                            std::int64_t output_tokens, bool cut_off) {
  const ResponseEnd end{text, output_tokens, cut_off};
  JsonWriter json;
  json.object([&] { write_response(json, answer, &end); });
  return json.take();
}

std::string response_opening(const EchoAnswer& answer) {
  std::string out;
  for (const std::string_view name : {"response.created", "response.in_progress"}) {
    append_event(out, name, [&](JsonWriter& json) {
      json.object("response", [&] { write_response(json, answer, nullptr); });
    });
  }
  append_event(out, "response.output_item.added", [&](JsonWriter& json) {
    json.field("output_index", 0);
    json.object("item", [&] { write_item(json, answer, "in_progress", std::nullopt); });
  });
  append_event(out, "response.content_part.added", [&](JsonWriter& json) {
    write_place(json, answer);
    json.object("part", [&] { write_text_part(json, ""); });
  });
  return out;
}

void append_response_token(std::string& out, const EchoAnswer& answer, std::string_view token) {
  append_event(out, "response.output_text.delta", [&](JsonWriter& json) {
    write_place(json, answer);
    json.field("delta", token);
  });
}

std::string response_closing(const EchoAnswer& answer, std::string_view text,
                             std::int64_t output_tokens, bool cut_off) {
  const ResponseEnd end{text, output_tokens, cut_off};
  std::string out;
  append_event(out, "response.output_text.done", [&](JsonWriter& json) {
    write_place(json, answer);
    json.field("text", text);
  });
  append_event(out, "response.content_part.done", [&](JsonWriter& json) {
    write_place(json, answer);
    json.object("part", [&] { write_text_part(json, text); });
  });
  append_event(out, "response.output_item.done", [&](JsonWriter& json) {
    json.field("output_index", 0);
    json.object("item", [&] { write_item(json, answer, "completed", text); });
  });
  append_event(out, cut_off ? "response.incomplete" : "response.completed", [&](JsonWriter& json) {
    json.object("response", [&] { write_response(json, answer, &end); });
  });
  return out;
}

}  // namespace stoker::worker
