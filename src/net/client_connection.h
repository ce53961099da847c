// One connection of an HTTP client: sends one request at a time, reads its answer, and goes back to
// the pool only if the answer was read to its proper end. Internal to the HTTP client.
// System calls of a warm call: one send, one recv; epoll is told nothing. The send is put off to
// the end of the round: requests of one round then go out together, and the peer is woken once for
// them instead of once for each.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "net/buffer.h"
#include "net/event_loop.h"
#include "net/http_client.h"
#include "net/http_parser.h"
#include "net/secure_channel.h"
#include "net/socket_address.h"

namespace stoker::net {

class ClientConnection;

/// What the connections of one client share.
struct ClientShared {
  EventLoop& loop;
  Endpoint endpoint;
  ClientOptions options;
  SocketAddress address;
  HttpLimits answer_limits;
  std::string host_field;  // "Host: ...\r\n"
  std::string head;        // scratch for the head of a request
  Buffer scratch;          // what one recv brought
  std::vector<std::shared_ptr<ClientConnection>> connections;
  std::vector<ClientConnection*> idle;  // longest idle first
  TimerId sweep = 0;                    // set while there are idle ones

  ClientShared(EventLoop& loop_, Endpoint endpoint_, ClientOptions options_)
      : loop(loop_), endpoint(std::move(endpoint_)), options(options_) {}
};

/// A request as send() was given it.
struct CallRequest {
  std::string_view method;
  std::string_view target;
  std::string_view head_fields;
  std::string_view body;
  bool upgrade = false;
};

class ClientConnection final : public FdHandler, public RoundEndHook, public Call {
 public:
  ClientConnection(ClientShared& shared, std::size_t index);
  ~ClientConnection() override;

  /// Connects and sends. Gives false after the handler has been told of a failure.
  bool open_and_send(const CallRequest& request, CallHandler& handler);
  /// Sends on a kept connection, at the end of the round. If the peer has closed it before it took
  /// anything, it is opened anew, once.
  void send_again(const CallRequest& request, CallHandler& handler);
  [[nodiscard]] Instant idle_since() const { return idle_since_; }
  void close();

  void cancel() override;
  void pause() override;
  void resume() override;
  void write(std::string_view bytes) override;
  [[nodiscard]] std::size_t unsent_bytes() const override { return out_.size(); }
  void on_events(std::uint32_t events) override;
  void on_round_end() override;

 private:
  enum class Phase : std::uint8_t { connecting, securing, idle, head, body, closed };

  void begin(const CallRequest& request, CallHandler& handler);
  std::string_view make_head(const CallRequest& request);
  bool open();
  void open_anew();
  int try_connect();
  void connect_later();
  void on_connecting(std::uint32_t events);
  bool on_connected();
  bool shake_hands();
  bool begin_to_send();
  [[nodiscard]] bool holds_input() const;
  bool send_queued();
  bool read_once();
  void take(std::string_view bytes);
  bool take_head(std::string_view& bytes);
  void take_body(std::string_view bytes);
  bool take_chunks(std::string_view& bytes);
  void end_call(bool bytes_left);
  void on_end_of_input();
  void fail(CallFailure failure, const std::string& detail);
  void go_idle();
  void set_interest();

  ClientShared& shared_;
  std::size_t index_;  // in shared_.connections
  UniqueFd fd_;
  std::unique_ptr<SecureChannel> channel_;  // null: plain
  Phase phase_ = Phase::connecting;
  CallHandler* handler_ = nullptr;
  ResponseHeadParser parser_;
  ChunkDecoder decoder_;
  HttpResponseHead head_;
  Buffer partial_head_;  // only if a head came in more than one piece
  Buffer out_;           // of the request, not yet taken by the kernel
  std::uint64_t body_left_ = 0;
  std::uint32_t interest_ = 0;  // what epoll knows; 0: not registered
  TimerId connect_timer_ = 0;
  Instant connect_deadline_;
  Instant idle_since_;
  bool paused_ = false;
  bool kept_ = false;        // the current request found it open
  bool sent_any_ = false;    // the kernel took something of the current request
  bool peer_ended_ = false;  // it sends or takes no more: never used again
  ResponseHeadParser::Answers answers_;
  bool switched_ = false;  // the peer took the upgrade
};

}  // namespace stoker::net
