#include "gateway/client_answer.h"

#include <string>
#include <utility>

#include "base/invariant.h"

namespace stoker::gateway {

void ClientAnswer::set_callbacks(net::Exchange::Callbacks callbacks) {
  if (exchange_) exchange_->set_callbacks(std::move(callbacks));
}

void ClientAnswer::forget_request() const {
  if (exchange_) exchange_->forget_request();
}

void ClientAnswer::respond(int status, std::string_view fields, std::string_view body) {
  STOKER_INVARIANT(form_ == Form::held, "form={}", static_cast<int>(form_));
  if (!exchange_) return;
  status_ = status;
  body_bytes_ = body.size();
  exchange_->respond(status, fields, body);
  close();
}

void ClientAnswer::start_events(std::string_view fields) {
  STOKER_INVARIANT(form_ == Form::held, "form={}", static_cast<int>(form_));
  form_ = Form::events;
  if (!exchange_) return;
  status_ = 200;
  // Proxies buffer what they may; these fields tell them not to (G2 in RELIABILITY.md).
  std::string head = dialect_ == Dialect::ollama
                         ? "Content-Type: application/x-ndjson\r\n"
                         : "Content-Type: text/event-stream; charset=utf-8\r\n";
  head.append("Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n");
  head.append(fields);
  exchange_->start(200, head, std::nullopt);
}

void ClientAnswer::start_bytes(int status, std::string_view fields) {
  STOKER_INVARIANT(form_ == Form::held, "form={}", static_cast<int>(form_));
  form_ = Form::bytes;
  if (!exchange_) return;
  status_ = status;
  exchange_->start(status, fields, std::nullopt);
}

void ClientAnswer::switch_protocol(std::string_view fields) {
  STOKER_INVARIANT(form_ == Form::held, "form={}", static_cast<int>(form_));
  form_ = Form::bytes;
  if (!exchange_) return;
  status_ = 101;
  exchange_->switch_protocol(fields);
}

void ClientAnswer::pause_input() const {
  if (exchange_) exchange_->pause_input();
}

void ClientAnswer::resume_input() const {
  if (exchange_) exchange_->resume_input();
}

void ClientAnswer::write(std::string_view bytes, Instant now) {
  STOKER_INVARIANT(form_ != Form::held, "form={}", static_cast<int>(form_));
  if (!exchange_ || bytes.empty()) return;
  body_bytes_ += bytes.size();
  last_write_ = now;
  exchange_->write(bytes);
}

void ClientAnswer::keep_alive(Instant now) {
  // A line may begin with white space, but an empty one breaks readers.
  write(dialect_ == Dialect::ollama ? " " : ": keep-alive\n\n", now);
}

void ClientAnswer::finish() {
  if (exchange_) exchange_->finish();
  close();
}

void ClientAnswer::fail(const ApiError& error, std::string_view fields) {
  if (!exchange_) return;
  switch (form_) {
    case Form::held: {
      std::string head = "Content-Type: application/json\r\n" + retry_after_field(error);
      head.append(fields);
      respond(error.status, head, error_body(dialect_, error));
      return;
    }
    case Form::events:
      exchange_->write(error_event(dialect_, error));
      exchange_->finish();
      break;
    case Form::bytes:
      exchange_->abort();
      break;
    case Form::over:
      break;
  }
  close();
}

void ClientAnswer::drop() {
  close();
}

void ClientAnswer::close() {
  form_ = Form::over;
  // The callbacks point to the request, which may be gone before the exchange is.
  if (exchange_) exchange_->set_callbacks({});
  exchange_.reset();
}

}  // namespace stoker::gateway
