// HTTP/1.1 client side on one EventLoop: one pool of keep-alive connections per endpoint.
// One request at a time on a connection; a connection whose answer was not read to its proper
// end is closed, never used again (F9 in RELIABILITY.md). No redirects, no retries: the caller
// is told how far a failed call got and decides.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/event_loop.h"
#include "net/http.h"

namespace stoker::net {

struct Endpoint {
  std::string unix_path;  // or:
  std::string host;       // numeric address or "localhost"
  int port = 0;
  bool tls = false;
  /// "unix:/path", "http://host:port" or "https://host:port".
  [[nodiscard]] std::string text() const;
};
/// Reads what Endpoint::text() gives.
Result<Endpoint> parse_endpoint(std::string_view text);

class ChannelMaker;

enum class CallFailure {
  connect_failed,  // nothing of the request was sent: it never reached the peer
  not_delivered,   // the connection broke before any byte of the request was taken by the kernel
  closed_early,    // the peer closed before the head or before the end of the body
  protocol,        // the peer's answer is not HTTP
  timed_out,       // deadline of the caller
};

/// What the caller hears of one call. Exactly one of on_end and on_failure is called, last,
/// unless the call is cancelled: then nothing more is called.
class CallHandler {
 public:
  virtual ~CallHandler() = default;
  virtual void on_head(const HttpResponseHead& head) = 0;  // 1xx are swallowed
  virtual void on_body(std::string_view bytes) = 0;        // transfer coding undone
  virtual void on_end() = 0;
  virtual void on_failure(CallFailure failure, const std::string& detail) = 0;
  /// All that Call::write() queued is with the kernel.
  virtual void on_drained() {}
};

/// One running call; owned by the pool. Dead after the last callback: forget the pointer there.
class Call {
 public:
  virtual ~Call() = default;
  /// Closes the connection; the handler hears nothing more. The Call is dead afterwards.
  virtual void cancel() = 0;
  /// Back-pressure: stop and go on reading the answer. What had been read already (64 KiB at most)
  /// is still handed over. While paused the end of the peer is not noticed.
  virtual void pause() = 0;
  virtual void resume() = 0;
  /// Sends bytes of the other protocol. Needs: an upgrade that was answered with 101.
  virtual void write(std::string_view bytes) = 0;
  /// Of those, what the kernel has not taken yet.
  [[nodiscard]] virtual std::size_t unsent_bytes() const = 0;
};

struct ClientOptions {
  std::size_t max_idle_connections = 64;
  Duration idle_timeout = seconds(30);
  Duration connect_timeout = seconds(5);
  std::size_t head_bytes = 64 << 10;  // largest answer head accepted
  ChannelMaker* secure = nullptr;     // for an endpoint with TLS; outlives the client
};

class HttpClient {
 public:
  HttpClient(EventLoop& loop, Endpoint endpoint, ClientOptions options);
  /// Closes all connections; running calls are cancelled. Allowed inside a callback.
  ~HttpClient();

  /// Sends "METHOD TARGET HTTP/1.1", Host, Content-Length and `head_fields` (raw "Name: value\r\n"
  /// text), then `body` (copied): on a kept connection at the end of the loop's round.
  /// A kept connection that turns out to be closed by the peer before it took the request is
  /// replaced by a fresh one once. The handler must live until its last callback. May call the
  /// handler's on_failure before it returns, in which case it gives nullptr.
  Call* send(std::string_view method, std::string_view target, std::string_view head_fields,
             std::string_view body, CallHandler& handler);
  /// The same on a connection of its own, for a GET with the fields of an upgrade. An answer of
  /// status 101 is no interim one: what follows its head, up to the end of the connection, comes to
  /// on_body, and write() sends.
  Call* send_upgrade(std::string_view target, std::string_view head_fields, CallHandler& handler);
  [[nodiscard]] std::size_t idle_connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::net
