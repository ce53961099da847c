// One accepted connection: reads requests, hands them over one at a time, sends the answers.
// Internal to the HTTP server.
//
// Phases: (securing ->) idle -> head -> body -> busy -> idle ..., or closing (-> lingering) ->
// closed. System calls of a warm request: one recv, one send; epoll is told nothing.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "net/buffer.h"
#include "net/date_text.h"
#include "net/event_loop.h"
#include "net/http_parser.h"
#include "net/http_server.h"
#include "net/secure_channel.h"

namespace stoker::net {

class ServerConnection;
class ServerExchange;

/// What the connections of one server share.
struct ServerShared {
  EventLoop& loop;
  HttpLimits limits;
  RequestHandler& handler;
  ChannelMaker* secure;  // null: plain
  BufferPool buffers;
  DateField date;
  std::string head;  // scratch for the head of an answer
  bool draining = false;
  bool full = false;  // HttpLimits::max_connections are open
  std::vector<std::shared_ptr<ServerConnection>> connections;

  virtual ~ServerShared() = default;
  /// One of the connections has gone.
  virtual void on_closed() = 0;

 protected:
  ServerShared(EventLoop& loop_, HttpLimits limits_, RequestHandler& handler_,
               ChannelMaker* secure_)
      : loop(loop_), limits(limits_), handler(handler_), secure(secure_) {}
};

class ServerConnection final : public FdHandler, public RoundEndHook {
 public:
  ServerConnection(ServerShared& shared, UniqueFd fd, std::string peer, std::size_t index);
  ~ServerConnection() override;

  void on_events(std::uint32_t events) override;
  void on_round_end() override;
  /// Ends what has taken too long; an idle connection gives its buffers back.
  void check_deadlines();
  /// Closes if nothing is under way; else the connection closes after its answer.
  void close_if_idle();
  /// The server goes away: closes without telling anybody.
  void close();

 private:
  friend class ServerExchange;
  enum class Phase : std::uint8_t { securing, idle, head, body, busy, closing, lingering, closed };

  // Reading.
  void shake_hands();
  [[nodiscard]] bool may_read() const;
  [[nodiscard]] bool holds_input() const;
  void on_readable();
  std::ptrdiff_t receive(Buffer& into, std::size_t most);
  std::ptrdiff_t receive_more();
  void on_end_of_input();
  void run_requests();
  void begin_request();
  [[nodiscard]] std::size_t bytes_behind_request() const;
  void recycle_exchange();
  bool step_head();
  bool take_head();
  void prepare_body(std::size_t head_bytes);
  bool step_body();
  bool step_chunked_body();
  void hand_over();
  void refuse(int status, std::string_view message, bool may_keep_alive);
  [[nodiscard]] std::uint64_t missing_body_bytes() const;

  // After the protocol was switched: bytes of the client go to who answers.
  void on_switched_events(std::uint32_t events);
  void hand_over_early_bytes();

  // Answering; called by the exchange.
  void forget_request();
  void respond(int status, std::string_view head_fields, std::string_view body);
  void start(int status, std::string_view head_fields, std::optional<std::uint64_t> content_length);
  void write(std::string_view bytes);
  void switch_protocol(std::string_view head_fields);
  void pause_input(bool paused);
  void finish();
  void abort();
  [[nodiscard]] std::size_t unsent_bytes() const { return out_.size(); }
  std::string_view make_head(int status, std::string_view head_fields,
                             std::optional<std::uint64_t> content_length);
  void queue(std::string_view bytes);
  void send_now(std::string_view first, std::string_view second);
  void send_sealed(std::string_view first, std::string_view second);
  [[nodiscard]] bool has_unsent() const;
  void send_soon() { shared_.loop.at_round_end(*this); }
  void flush();
  void end_exchange();
  void close_after_answer();
  void close_or_linger();

  void close_politely();
  void lose();
  void set_interest();
  [[nodiscard]] std::uint32_t wanted_events() const;

  ServerShared& shared_;
  UniqueFd fd_;
  std::unique_ptr<SecureChannel> channel_;  // null: plain
  std::shared_ptr<const std::string> peer_;
  std::size_t index_;  // in shared_.connections
  Phase phase_ = Phase::idle;
  RequestHeadParser parser_;
  ChunkDecoder decoder_;
  std::shared_ptr<ServerExchange> exchange_;  // the request being read or answered
  Buffer out_;

  std::uint32_t interest_ = 0;  // what epoll knows
  bool running_ = false;        // run_requests() is on the stack
  bool blocked_ = false;        // the socket took less than we had
  bool broken_ = false;         // a send failed; handled at the end of the round
  bool over_limit_ = false;     // on_drained is owed
  bool input_whole_ = false;    // the current request was read to its end
  bool lingers_ = false;        // the peer may be sending while we close
  bool keep_alive_ = true;
  bool served_any_ = false;
  bool switched_ = false;      // to another protocol, for good
  bool input_paused_ = false;  // of that

  // The answer under way.
  enum class Coding : std::uint8_t { none, length, chunked, until_close };
  Coding coding_ = Coding::none;
  std::uint64_t answer_left_ = 0;  // of a body with a length

  std::size_t request_end_ = 0;  // end of the current request in its input buffer
  std::uint64_t body_received_ = 0;
  Instant phase_since_;
  Instant read_progress_;
  Instant write_progress_;
};

/// The answer side of one request, and the owner of its bytes: views into the request stay valid as
/// long as somebody holds the exchange, also after the connection broke.
class ServerExchange final : public Exchange {
 public:
  explicit ServerExchange(std::shared_ptr<const std::string> peer) : peer_(std::move(peer)) {}

  [[nodiscard]] const HttpRequest& request() const override { return request_; }
  [[nodiscard]] Instant accepted_at() const override { return accepted_at_; }
  [[nodiscard]] const std::shared_ptr<const void>& context() const override { return context_; }
  [[nodiscard]] bool open() const override { return connection_ != nullptr; }
  [[nodiscard]] std::string peer() const override { return *peer_; }
  void forget_request() override;
  void respond(int status, std::string_view head_fields, std::string_view body) override;
  void start(int status, std::string_view head_fields,
             std::optional<std::uint64_t> content_length) override;
  void write(std::string_view bytes) override;
  void switch_protocol(std::string_view head_fields) override;
  void pause_input() override;
  void resume_input() override;
  void finish() override;
  void abort() override;
  [[nodiscard]] std::size_t unsent_bytes() const override;
  void set_callbacks(Callbacks callbacks) override;

 private:
  friend class ServerConnection;
  ServerConnection* connection_ = nullptr;  // only while the answer is awaited or under way
  std::shared_ptr<const std::string> peer_;
  HttpRequest request_;
  Buffer input_;  // head, and the body if it fits behind it
  Buffer body_;   // the body if it does not
  Instant accepted_at_;
  std::shared_ptr<const void> context_;
  std::string answer_fields_;
  Callbacks callbacks_;
  bool started_ = false;
};

}  // namespace stoker::net
