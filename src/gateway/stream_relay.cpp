#include "gateway/stream_relay.h"

#include <utility>

namespace stoker::gateway {
namespace {

constexpr std::string_view own_comments = "stoker";  // reserved: clients trust our receipts
constexpr std::string_view usage_comment = "stoker-usage ";

bool is_error_event(const net::SseEvent& event) {
  return event.name == "error" || event.name == "response.failed" ||
         event.data.starts_with("{\"error\"");
}

}  // namespace

bool StreamRelay::feed(std::string_view bytes, std::string& out) {
  framer_.feed(bytes);
  net::SseEvent event;
  while (true) {
    switch (framer_.next(event)) {
      case net::SseFramer::Next::event:
        take(event, out);
        if (too_large_) return false;
        break;
      case net::SseFramer::Next::need_more:
        return true;
      case net::SseFramer::Next::too_large:
        return false;
    }
  }
}

void StreamRelay::take(const net::SseEvent& event, std::string& out) {
  if (event.comment_only && event.comment.starts_with(own_comments)) {
    if (rules_.speaks_contract && event.comment.starts_with(usage_comment)) {
      if (const auto usage = parse_worker_usage(event.comment.substr(usage_comment.size()))) {
        usage_ = *usage;
      }
    }
    return;
  }
  if (!terminal_.empty()) {
    // Nothing comes after the end of a dialect. A pass-through stream may go on after what only
    // looked like one.
    if (rules_.dialect != Dialect::plain) return;
    out += std::exchange(terminal_, {});
  }
  if (is_terminal(event)) {
    if (!rules_.speaks_contract) static_cast<void>(read_usage(event.data));
    error_seen_ = error_seen_ || is_error_event(event);
    terminal_ = event.raw;
    return;
  }
  if (event.has_data) {
    const bool looks = !rules_.speaks_contract || rules_.hide_usage;
    const bool hides = looks && read_usage(event.data) && rules_.hide_usage;
    if (hides && json_->is_usage_event(event.data)) return;
    if (carries_output(event)) ++data_events_;
    error_seen_ = error_seen_ || is_error_event(event);
    if (hides) {
      append_without_usage(event, out);
      return;
    }
  }
  pass_on(event, out);
}

void StreamRelay::pass_on(const net::SseEvent& event, std::string& out) {
  if (rules_.translator == nullptr) {
    out += event.raw;
  } else if (event.has_data) {
    too_large_ = !rules_.translator->add_event(event.data, out);
  }
}

/// Not so the events that only frame the output.
bool StreamRelay::carries_output(const net::SseEvent& event) const {
  switch (rules_.dialect) {
    case Dialect::anthropic:
      return event.name == "content_block_delta";
    case Dialect::responses:
      return event.name.ends_with(".delta");
    default:
      return true;
  }
}

bool StreamRelay::is_terminal(const net::SseEvent& event) const {
  switch (rules_.dialect) {
    case Dialect::openai:
    case Dialect::ollama:  // engines are asked in OpenAI's words
      return event.data == "[DONE]";
    case Dialect::anthropic:
      return event.name == "message_stop";
    case Dialect::responses:
      return event.name == "response.completed" || event.name == "response.incomplete" ||
             event.name == "response.failed";
    case Dialect::open_inference:
    case Dialect::plain:
      return event.data == "[DONE]" || event.name == "message_stop" ||
             event.name == "response.completed";
  }
  return false;
}

bool StreamRelay::read_usage(std::string_view data) {
  // Most events have none; looking for the word is far cheaper than parsing each one.
  if (data.find("\"usage\"") == data.npos) return false;
  const auto usage = json_->engine_usage(data);
  if (!usage) return false;
  if (!rules_.speaks_contract) merge_usage(usage_, *usage);
  return true;
}

/// An event that has text and usage in one, as llama.cpp's last one of a completion.
void StreamRelay::append_without_usage(const net::SseEvent& event, std::string& out) {
  if (!event.name.empty()) out.append("event: ").append(event.name).append("\n");
  out.append("data: ").append(json_->without_usage(event.data)).append("\n\n");
}

StreamRelay::End StreamRelay::end() const {
  if (error_seen_) return End::error;
  const bool has_terminal_event =
      rules_.dialect != Dialect::open_inference && rules_.dialect != Dialect::plain;
  if (has_terminal_event && terminal_.empty()) return End::broken;
  // What is left of a cut event must not pass for an end.
  return framer_.unfinished().empty() ? End::terminal : End::broken;
}

}  // namespace stoker::gateway
