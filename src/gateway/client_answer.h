// The client's side of one request: what was sent so far, and what may still be sent. Knows the
// shapes of answers and nothing of engines. Must never write inside an event.
#pragma once

#include <cstdint>
#include <string_view>

#include "gateway/api_error.h"
#include "net/http_server.h"

namespace stoker::gateway {

/// Threads: the loop's only.
class ClientAnswer {
 public:
  enum class Form : std::uint8_t { held, events, bytes, over };

  ClientAnswer(net::ExchangePtr exchange, Dialect dialect)
      : exchange_(std::move(exchange)), dialect_(dialect) {}

  [[nodiscard]] Form form() const { return form_; }
  /// False once the client left or the answer is over: nothing that is written goes anywhere.
  [[nodiscard]] bool open() const { return exchange_ != nullptr; }
  /// Needs: open().
  [[nodiscard]] const net::Exchange& exchange() const { return *exchange_; }
  [[nodiscard]] int status() const { return status_; }  // sent, 0 if none yet
  [[nodiscard]] std::uint64_t body_bytes() const { return body_bytes_; }
  [[nodiscard]] Instant last_write() const { return last_write_; }

  void set_callbacks(net::Exchange::Callbacks callbacks);

  /// Its bytes are not needed any more. Needs: the answer was started.
  void forget_request() const;
  /// Whole answer at once. Needs: form() == held.
  void respond(int status, std::string_view fields, std::string_view body);
  /// Head of a stream of events, status 200; events follow through write().
  void start_events(std::string_view fields);
  /// Head of a long answer of unknown length; its bytes follow through write().
  void start_bytes(int status, std::string_view fields);
  /// Head of an upgrade that the engine took; bytes follow through write(), and those of the client
  /// come to the callback on_data.
  void switch_protocol(std::string_view fields);
  void pause_input() const;
  void resume_input() const;
  /// Needs: form() is events (then whole events only) or bytes.
  void write(std::string_view bytes, Instant now);
  /// Says nothing, in as few bytes as the dialect has for that. Needs: form() is events.
  void keep_alive(Instant now);
  /// Proper end of what was started.
  void finish();
  /// Ends with an error: as a status while held, as the last event of a stream; a long answer is
  /// broken off, so that its reader sees that it is not whole.
  void fail(const ApiError& error, std::string_view fields);
  /// The client left.
  void drop();

 private:
  void close();

  net::ExchangePtr exchange_;
  Dialect dialect_;
  Form form_ = Form::held;
  int status_ = 0;
  std::uint64_t body_bytes_ = 0;
  Instant last_write_;
};

}  // namespace stoker::gateway
