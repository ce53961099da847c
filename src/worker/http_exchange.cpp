#include "worker/http_exchange.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/invariant.h"
#include "base/json_writer.h"
#include "net/clock.h"

namespace stoker::worker {
namespace {

constexpr std::array<std::string_view, 5> terminal_events = {
    "data: [DONE]", "event: message_stop", "event: response.completed",
    "event: response.incomplete", "event: response.failed"};
constexpr std::string_view event_stream_type = "text/event-stream";

}  // namespace

std::string usage_text(const RequestUsage& usage) {
  return fmt::format("input={},output={},cached={},device_ms={}", usage.input, usage.output,
                     usage.cached, usage.device_ms);
}

std::size_t find_terminal_event(std::string_view events) {
  for (std::size_t at = 0; at < events.size();) {
    const std::string_view rest = events.substr(at);
    for (const std::string_view marker : terminal_events) {
      if (rest.starts_with(marker)) return at;
    }
    const std::size_t blank = events.find("\n\n", at);
    if (blank == std::string_view::npos) break;
    at = blank + 2;
  }
  return std::string_view::npos;
}

std::string error_json(std::string_view type, std::string_view code, std::string_view message) {
  JsonWriter json;
  json.object([&] {
    json.object("error", [&] {
      json.field("message", message);
      json.field("type", type);
      json.field("code", code);
    });
  });
  return json.take();
}

HttpWorkerExchange::HttpWorkerExchange(ExchangeHome& home, net::ExchangePtr http, std::string id,
                                       bool remembered)
    : home_(home), http_(std::move(http)), id_(std::move(id)), remembered_(remembered) {
  copy_request(http_->request());
}

/// The views of the request die with the connection; compute threads may outlive that.
void HttpWorkerExchange::copy_request(const net::HttpRequest& request) {
  std::size_t bytes =
      request.method.size() + request.path.size() + request.query.size() + request.body.size();
  for (const net::Field& field : request.fields) bytes += field.name.size() + field.value.size();
  storage_.reserve(bytes);
  const auto keep = [this](std::string_view text) {
    const std::size_t at = storage_.size();
    storage_.append(text);
    return std::string_view(storage_.data() + at, text.size());
  };
  method_ = keep(request.method);
  path_ = keep(request.path);
  query_ = keep(request.query);
  body_ = keep(request.body);
  for (const net::Field& field : request.fields) fields_.add(keep(field.name), keep(field.value));
}

void HttpWorkerExchange::watch_connection() {
  // Plain `this`: the registry holds the exchange until complete(), which removes the callbacks.
  http_->set_callbacks({.on_gone = [this] { stop(); },
                        .on_drained =
                            [this] {
                              note_congestion();
                              std::function<void()> ready;
                              {
                                const std::lock_guard lock(mutex_);
                                ready = ready_;
                              }
                              if (ready) ready();
                            }});
}

// --- Stopping ---

void HttpWorkerExchange::stop() {
  std::function<void()> wake;
  {
    const std::lock_guard lock(mutex_);
    if (stopped_.exchange(true, std::memory_order_acq_rel)) return;
    wake = std::move(wake_);
    wake_ = nullptr;
  }
  if (!answered_.load(std::memory_order_acquire)) {
    home_.counters.cancelled.fetch_add(1, std::memory_order_relaxed);
  }
  writable_.notify_all();
  if (wake) wake();
}

void HttpWorkerExchange::on_stop(std::function<void()> wake) {
  {
    const std::lock_guard lock(mutex_);
    if (!stopped()) {
      wake_ = std::move(wake);
      return;
    }
  }
  if (wake) wake();
}

// --- Usage ---

void HttpWorkerExchange::set_usage(const RequestUsage& usage) {
  usage_[0].store(usage.input, std::memory_order_relaxed);
  usage_[1].store(usage.output, std::memory_order_relaxed);
  usage_[2].store(usage.cached, std::memory_order_relaxed);
  usage_[3].store(usage.device_ms, std::memory_order_relaxed);
}

RequestUsage HttpWorkerExchange::usage() const {
  return {.input = usage_[0].load(std::memory_order_relaxed),
          .output = usage_[1].load(std::memory_order_relaxed),
          .cached = usage_[2].load(std::memory_order_relaxed),
          .device_ms = usage_[3].load(std::memory_order_relaxed)};
}

void HttpWorkerExchange::append_usage_comment(std::string& out) {
  usage_sent_ = true;
  fmt::format_to(std::back_inserter(out), ": stoker-usage {}\n\n", usage_text(usage()));
}

void HttpWorkerExchange::append_with_usage(std::string& out, std::string_view bytes) {
  const std::size_t terminal =
      event_stream_ && !usage_sent_ ? find_terminal_event(bytes) : std::string_view::npos;
  if (terminal == std::string_view::npos) {
    out += bytes;
    return;
  }
  out += bytes.substr(0, terminal);
  append_usage_comment(out);
  out += bytes.substr(terminal);
}

// --- Answering ---

/// Makes `change` to what is pending, and sees that the loop sends it: now, when this is its
/// thread.
template <class Change>
void HttpWorkerExchange::queue(Change&& change) {
  bool post = false;
  {
    const std::lock_guard lock(mutex_);
    change(pending_);
    if (pending_.bytes.size() > home_.write_buffer_bytes) congested_.store(true);
    post = !on_loop() && !flush_posted_;
    flush_posted_ = flush_posted_ || post;
  }
  if (on_loop()) {
    flush();
  } else if (post) {
    home_.loop.post([self = shared_from_this()] { self->flush(); });
  }
}

void HttpWorkerExchange::respond(int status, std::string_view content_type, std::string_view body,
                                 std::string_view head_fields) {
  STOKER_INVARIANT(answer_ == Answer::none, "{} answered twice", id_);
  answer_ = Answer::done;
  status_ = status;
  answered_.store(true, std::memory_order_release);
  std::string fields = fmt::format("Content-Type: {}\r\nX-Stoker-Usage: {}\r\n{}", content_type,
                                   usage_text(usage()), head_fields);
  if (on_loop()) {
    http_->respond(status, fields, body);
    return;
  }
  queue([&](Pending& pending) {
    pending.status = status;
    pending.head_fields = std::move(fields);
    pending.bytes = body;
  });
}

void HttpWorkerExchange::respond_error(int status, std::string_view type, std::string_view code,
                                       std::string_view message) {
  respond(status, "application/json", error_json(type, code, message), {});
}

void HttpWorkerExchange::start_stream(std::string_view content_type, std::string_view head_fields) {
  STOKER_INVARIANT(answer_ == Answer::none, "{} answered twice", id_);
  answer_ = Answer::streaming;
  status_ = 200;
  event_stream_ = content_type.starts_with(event_stream_type);
  queue([&](Pending& pending) {
    pending.starts = true;
    pending.head_fields =
        fmt::format("Content-Type: {}\r\n{}{}", content_type,
                    event_stream_ ? "Cache-Control: no-cache\r\n" : "", head_fields);
  });
}

bool HttpWorkerExchange::write(std::string_view bytes) {
  STOKER_INVARIANT(answer_ == Answer::streaming, "{} writes outside of a stream", id_);
  if (stopped()) return false;
  queue([&](Pending& pending) { append_with_usage(pending.bytes, bytes); });
  return true;
}

void HttpWorkerExchange::finish() {
  STOKER_INVARIANT(answer_ == Answer::streaming, "{} finishes outside of a stream", id_);
  answer_ = Answer::done;
  answered_.store(true, std::memory_order_release);
  queue([&](Pending& pending) {
    if (event_stream_ && !usage_sent_) append_usage_comment(pending.bytes);
    pending.finishes = true;
  });
}

void HttpWorkerExchange::flush() {
  Pending pending;
  {
    const std::lock_guard lock(mutex_);
    flush_posted_ = false;
    pending = std::exchange(pending_, {});
  }
  apply(std::move(pending));
}

void HttpWorkerExchange::apply(Pending pending) {
  if (!http_) return;
  if (pending.status != 0) {
    http_->respond(pending.status, pending.head_fields, pending.bytes);
    return;
  }
  if (pending.starts) http_->start(200, pending.head_fields, std::nullopt);
  if (!pending.bytes.empty()) http_->write(pending.bytes);
  if (pending.finishes) http_->finish();
  if (!pending.bytes.empty()) note_congestion();
}

// --- Back-pressure ---

void HttpWorkerExchange::note_congestion() {
  const bool congested = http_ && http_->open() && http_->unsent_bytes() > home_.write_buffer_bytes;
  const bool before = congested_.exchange(congested, std::memory_order_acq_rel);
  if (before && !congested) {
    // The lock makes sure that a waiter is either before its check or asleep.
    const std::lock_guard lock(mutex_);
    writable_.notify_all();
  }
}

bool HttpWorkerExchange::wait_writable() {
  STOKER_INVARIANT(!on_loop(), "{} would block the loop", id_);
  std::unique_lock lock(mutex_);
  writable_.wait(lock, [this] { return stopped() || !congested(); });
  return !stopped();
}

void HttpWorkerExchange::on_writable(std::function<void()> ready) {
  const std::lock_guard lock(mutex_);
  ready_ = std::move(ready);
}

// --- The end ---

void HttpWorkerExchange::release() {
  {
    const std::lock_guard lock(mutex_);
    wake_ = nullptr;
    ready_ = nullptr;
  }
  if (on_loop()) {
    complete();
  } else {
    home_.loop.post([self = shared_from_this()] { self->complete(); });
  }
}

/// The runtime let go without an answer: because the request was stopped, or it failed to.
void HttpWorkerExchange::answer_unanswered() {
  if (answer_ == Answer::done) return;
  const bool cancelled = stopped();
  const std::string_view type = cancelled ? "request_cancelled" : "server_error";
  const std::string_view code = cancelled ? "cancelled" : "internal";
  const std::string_view message =
      cancelled ? "The request was cancelled." : "The engine gave no answer.";
  if (answer_ == Answer::none) {
    respond_error(cancelled ? 499 : 500, type, code, message);
    return;
  }
  status_ = 500;
  std::string last;
  if (event_stream_) {
    if (!usage_sent_) append_usage_comment(last);
    last += fmt::format("data: {}\n\n", error_json(type, code, message));
  }
  answer_ = Answer::done;
  Pending pending;
  pending.finishes = true;
  pending.bytes = std::move(last);
  apply(std::move(pending));
}

void HttpWorkerExchange::complete() {
  flush();
  const bool answered = answer_ == Answer::done;
  answer_unanswered();
  const EndReason reason = !answered && stopped() ? EndReason::cancelled
                           : status_ < 400        ? EndReason::completed
                                                  : EndReason::failed;
  http_->set_callbacks({});
  http_.reset();
  home_.registry.end(id_, usage(), reason, net::monotonic_now(), remembered_);
}

}  // namespace stoker::worker
