// HTTP/1.1 server side on one EventLoop: strict parser, limits before buffering, keep-alive,
// pipelining in order, absolute deadlines, bounded write buffers. It knows nothing of routes.
// A request is handed over when its body is whole. Never retries, never repairs: after a parse
// error it answers once and closes.
//
// A client that sends no more while its answer is awaited or under way is gone, as in nginx by
// default: a closed connection cannot be told from one that was only shut down for sending, and
// going on would occupy a device for nobody. Such a client (`nc -N`) still gets an answer that is
// given inside on_request.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "net/event_loop.h"
#include "net/http.h"

namespace stoker::net {

class ChannelMaker;

/// One request and its answer. Lives from on_request until finish(), respond() or abort(), or
/// until the connection breaks (on_gone). Threads: the loop's only, but the last pointer may be
/// dropped on any. Holders keep an ExchangePtr; a call on an exchange whose connection is gone does
/// nothing, and its request stays readable as long as it is held.
class Exchange {
 public:
  virtual ~Exchange() = default;
  [[nodiscard]] virtual const HttpRequest& request() const = 0;
  /// When the first byte of the request was read.
  [[nodiscard]] virtual Instant accepted_at() const = 0;
  /// What check_head() found out about the head; null if it kept nothing.
  [[nodiscard]] virtual const std::shared_ptr<const void>& context() const = 0;
  /// False once the connection broke or the answer ended.
  [[nodiscard]] virtual bool open() const = 0;
  /// "127.0.0.1:4242" or "unix".
  [[nodiscard]] virtual std::string peer() const = 0;

  /// Nobody reads the request any more: request() is empty from here on, and its memory is others'.
  /// Needs: the answer was started.
  virtual void forget_request() = 0;

  /// Whole answer in one write. `head_fields` is raw header text, each field "Name: value\r\n"
  /// (the caller has checked it for CR and LF); Content-Length, Date and Connection are added.
  virtual void respond(int status, std::string_view head_fields, std::string_view body) = 0;

  /// Streamed answer: start(), any number of write(), then finish().
  /// With `content_length` the body is sent plain, without it chunked (HTTP/1.0: until close).
  /// The head may be held back until the first write() so that both go out in one system call.
  virtual void start(int status, std::string_view head_fields,
                     std::optional<std::uint64_t> content_length) = 0;
  /// Queues body bytes; they are sent at once where the socket takes them. Several writes inside
  /// one round of the loop may be joined.
  virtual void write(std::string_view bytes) = 0;
  /// Answers an upgrade with status 101: from then on write() sends bytes of another protocol, and
  /// what the client sends goes to on_data, until finish() or abort() or the end of the connection.
  /// `head_fields` say which protocol. Needs: request().upgrade.
  virtual void switch_protocol(std::string_view head_fields) = 0;
  /// After switch_protocol(): stop and go on reading what the client sends.
  virtual void pause_input() = 0;
  virtual void resume_input() = 0;
  /// Ends the answer. With fewer body bytes than the announced length the connection is broken, so
  /// that the peer does not take the answer for whole.
  virtual void finish() = 0;
  /// Breaks the connection without a proper end, so that the peer sees an error.
  virtual void abort() = 0;

  /// Bytes queued but not yet taken by the kernel. Above HttpLimits::write_buffer_bytes the
  /// producer should pause until on_drained.
  [[nodiscard]] virtual std::size_t unsent_bytes() const = 0;

  struct Callbacks {
    std::function<void()> on_gone;     // peer closed or broke the connection before the end
    std::function<void()> on_drained;  // unsent_bytes() fell to a quarter of the limit or less
    std::function<void(std::string_view)> on_data;  // only after switch_protocol()
  };
  /// Replaces the callbacks; on_gone is called at most once, never after the end of the answer and
  /// never inside another call on the exchange.
  virtual void set_callbacks(Callbacks callbacks) = 0;
};
using ExchangePtr = std::shared_ptr<Exchange>;

/// What is decided from a request's head alone.
struct HeadVerdict {
  int status = 0;       // 0 goes on; else it is answered at once, without reading the body
  std::string message;  // for error_body()
  std::shared_ptr<const void> context;  // kept for on_request: Exchange::context()
  std::string answer_fields;            // go into the head of whatever is answered: raw text
};

class RequestHandler {
 public:
  virtual ~RequestHandler() = default;
  /// The handler answers now or later; it must keep the pointer until it has.
  virtual void on_request(ExchangePtr exchange) = 0;
  /// Body of an error answer that the server itself gives (400, 408, 413, 414, 431, 501, 505):
  /// JSON text, so that the product speaks with one voice.
  [[nodiscard]] virtual std::string error_body(int status, std::string_view message) const = 0;
  /// Called with the head as soon as it is complete, before any body byte is read. A status, for
  /// example 401 or 413, is answered with error_body(status, message).
  [[nodiscard]] virtual HeadVerdict check_head(const HttpRequest& head) = 0;
  /// Nobody is let in for now; who comes waits in the kernel. `error`: EMFILE and its like, where a
  /// descriptor could not be had; 0: HttpLimits::max_connections are open.
  virtual void on_accept_paused(int /*error*/) {}
};

struct ListenAddress {
  std::string host;       // "127.0.0.1", "::1", "0.0.0.0"; empty for a Unix socket
  int port = 0;           // 0: the kernel chooses
  std::string unix_path;  // set for a Unix socket
};
/// Reads "127.0.0.1:8080", "[::1]:8080", ":8080", "8080" or "unix:/path". Without a host it is the
/// loopback: to be reachable from outside is something to say, not to forget.
Result<ListenAddress> parse_listen_address(std::string_view text);
/// Binds and listens (non-blocking, close-on-exec; SO_REUSEADDR; SO_REUSEPORT when asked).
/// The file of a Unix socket that nobody listens on any more is replaced.
/// Errors: in_use with the address and what to do.
Result<UniqueFd> listen_on(const ListenAddress& address, bool reuse_port);
/// The bound address as text, with the port that the kernel chose.
std::string bound_address(int fd);

/// The file of a Unix socket that this process listens on; removed when this goes, unless another
/// file has taken its place. Needs: the socket is bound. Let it go while the listener is still
/// open: a successor takes the path only once nobody listens there.
class SocketFile {
 public:
  explicit SocketFile(std::string path);
  ~SocketFile();
  SocketFile(SocketFile&& other) noexcept;
  SocketFile& operator=(SocketFile&&) = delete;

 private:
  std::string path_;  // empty: nothing to remove
  std::uint64_t device_ = 0;
  std::uint64_t inode_ = 0;
};

class HttpServer {
 public:
  /// Serves connections of `listener` until destroyed. `listener` is duplicated by nobody: the
  /// server owns it. `loop` and `handler` must outlive it.
  /// `secure`: TLS on every connection; null: plain HTTP. It outlives the server.
  HttpServer(EventLoop& loop, UniqueFd listener, HttpLimits limits, RequestHandler& handler,
             ChannelMaker* secure = nullptr);
  /// Closes all connections without telling anybody. Not inside a callback of the server.
  ~HttpServer();
  /// From now on each answer is the last of its connection and says so. Goes on accepting, so that
  /// whoever comes is told that this server ends. Idle connections stay: a request may be on its
  /// way on them, and a close would meet it with a reset.
  void begin_drain();
  /// begin_drain(), accepts no more, and closes idle connections. `done` is called once no
  /// connection is left.
  void drain(std::function<void()> done);
  [[nodiscard]] std::size_t connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::net
