#include "net/client_connection.h"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/invariant.h"

namespace stoker::net {
namespace {

constexpr std::size_t read_bytes = 64 << 10;
constexpr std::size_t max_kept_out_bytes = 64 << 10;
constexpr Duration connect_retry = ms(5);  // while the backlog of a Unix socket is full

std::string describe(std::string_view what, int error) {
  return fmt::format("{}: {}", what, std::strerror(error));
}

}  // namespace

ClientConnection::ClientConnection(ClientShared& shared, std::size_t index)
    : shared_(shared),
      index_(index),
      parser_(shared.answer_limits),
      decoder_(shared.answer_limits) {}

ClientConnection::~ClientConnection() = default;

// --- Opening and closing ---------------------------------------------------------------------

void ClientConnection::begin(const CallRequest& request, CallHandler& handler) {
  handler_ = &handler;
  answers_ = {.head_request = request.method == "HEAD", .upgrade_request = request.upgrade};
  parser_.reset(answers_);
  kept_ = sent_any_ = paused_ = false;
  out_.append(make_head(request));
  out_.append(request.body);
}

/// Head of the request in the client's scratch string; valid until the next one is made.
std::string_view ClientConnection::make_head(const CallRequest& request) {
  std::string& head = shared_.head;
  head.assign(request.method).append(" ").append(request.target).append(" HTTP/1.1\r\n");
  head.append(shared_.host_field);
  if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD")) {
    const fmt::format_int length(request.body.size());
    head.append("Content-Length: ").append(length.data(), length.size()).append("\r\n");
  }
  return head.append(request.head_fields).append("\r\n");
}

/// Gives 0 or the error. EINPROGRESS and, for a Unix socket, EAGAIN mean: not yet.
int ClientConnection::try_connect() {
  const SocketAddress& address = shared_.address;
  if (::connect(fd_.get(), address.raw(), address.size) == 0) return 0;
  return errno;
}

bool ClientConnection::open_and_send(const CallRequest& request, CallHandler& handler) {
  begin(request, handler);
  return open();
}

void ClientConnection::send_again(const CallRequest& request, CallHandler& handler) {
  begin(request, handler);
  kept_ = true;
  phase_ = Phase::head;
  shared_.loop.at_round_end(*this);
}

void ClientConnection::on_round_end() {
  if (holds_input()) return on_events(EPOLLIN);
  if (phase_ != Phase::head || out_.empty()) return;  // cancelled, or opened anew meanwhile
  // A Unix socket refuses bytes for a peer that is gone; TCP takes them, so there we look first.
  char byte = 0;
  const bool looks_alive =
      shared_.address.family() == AF_UNIX ||
      (::recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN);
  if (!looks_alive || !send_queued()) open_anew();
}

/// Connects, and sends what is queued. Gives false after the handler has been told of a failure.
bool ClientConnection::open() {
  fd_.reset(::socket(shared_.address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int error = fd_ ? try_connect() : errno;
  if (error == EINPROGRESS || (error == EAGAIN && fd_)) {
    connect_deadline_ = shared_.loop.now() + shared_.options.connect_timeout;
    connect_later();
    return true;
  }
  if (error != 0) {
    fail(CallFailure::connect_failed, describe("connect", error));
    return false;
  }
  return on_connected();
}

/// The kept connection turned out to be of no use before the peer took anything of the request.
void ClientConnection::open_anew() {
  kept_ = false;
  phase_ = Phase::connecting;
  if (interest_ != 0) shared_.loop.remove(fd_.get());
  interest_ = 0;
  channel_.reset();
  open();
}

void ClientConnection::connect_later() {
  const bool is_unix = shared_.address.family() == AF_UNIX;
  if (!is_unix) set_interest();
  const Instant at =
      is_unix ? std::min(shared_.loop.now() + connect_retry, connect_deadline_) : connect_deadline_;
  connect_timer_ = shared_.loop.run_at(at, [this] {
    connect_timer_ = 0;
    if (shared_.loop.now() >= connect_deadline_) {
      return fail(CallFailure::connect_failed, "connect: no answer in time");
    }
    const int error = try_connect();
    if (error == EAGAIN) return connect_later();
    if (error != 0) return fail(CallFailure::connect_failed, describe("connect", error));
    on_connected();
  });
}

void ClientConnection::on_connecting(std::uint32_t events) {
  if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) return;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return fail(CallFailure::connect_failed, describe("connect", error));
  on_connected();
}

/// Gives false after the handler has been told of a failure.
bool ClientConnection::on_connected() {
  shared_.loop.cancel(std::exchange(connect_timer_, 0));
  if (shared_.address.family() != AF_UNIX) {
    const int on = 1;
    ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  if (!shared_.endpoint.tls) return begin_to_send();
  channel_ = shared_.options.secure->make(fd_.get());
  phase_ = Phase::securing;
  connect_timer_ =
      shared_.loop.run_at(shared_.loop.now() + shared_.options.connect_timeout, [this] {
        connect_timer_ = 0;
        fail(CallFailure::connect_failed, "TLS: no answer in time");
      });
  return shake_hands();
}

/// Gives false after the handler has been told of a failure.
bool ClientConnection::shake_hands() {
  switch (channel_->shake_hands()) {
    case SecureChannel::Handshake::under_way:
      set_interest();
      return true;
    case SecureChannel::Handshake::done:
      shared_.loop.cancel(std::exchange(connect_timer_, 0));
      return begin_to_send();
    case SecureChannel::Handshake::not_tls:
    case SecureChannel::Handshake::failed:
      break;
  }
  fail(CallFailure::connect_failed, "TLS: " + channel_->failure());
  return false;
}

/// Gives false after the handler has been told of a failure.
bool ClientConnection::begin_to_send() {
  phase_ = Phase::head;
  if (send_queued()) return true;
  fail(CallFailure::not_delivered, "the peer closed the connection at once");
  return false;
}

void ClientConnection::close() {
  if (phase_ == Phase::closed) return;
  if (phase_ == Phase::idle) std::erase(shared_.idle, this);
  phase_ = Phase::closed;
  handler_ = nullptr;
  shared_.loop.cancel(std::exchange(connect_timer_, 0));
  if (interest_ != 0) shared_.loop.remove(fd_.get());
  interest_ = 0;
  channel_.reset();
  fd_.reset();
  // The last one takes our place; we die at the end of the round, for we may be on the stack.
  std::shared_ptr<ClientConnection>& place = shared_.connections[index_];
  shared_.loop.dispose(std::move(place));
  if (index_ + 1 < shared_.connections.size()) {
    place = std::move(shared_.connections.back());
    place->index_ = index_;
  }
  shared_.connections.pop_back();
}

void ClientConnection::fail(CallFailure failure, const std::string& detail) {
  CallHandler* handler = handler_;
  close();
  if (handler != nullptr) handler->on_failure(failure, detail);
}

void ClientConnection::cancel() {
  close();
}

void ClientConnection::pause() {
  paused_ = true;
  set_interest();
}

void ClientConnection::resume() {
  paused_ = false;
  set_interest();
  if (holds_input()) shared_.loop.at_round_end(*this);
}

/// An answer is awaited, and some of it has been read from the socket but not given yet.
bool ClientConnection::holds_input() const {
  return channel_ != nullptr && !paused_ && (phase_ == Phase::head || phase_ == Phase::body) &&
         channel_->holds_input();
}

void ClientConnection::write(std::string_view bytes) {
  STOKER_INVARIANT(switched_, "{} bytes outside of an upgrade", bytes.size());
  if (phase_ != Phase::body || peer_ended_) return;
  const bool waits = !out_.empty();
  out_.append(bytes);
  if (!waits) static_cast<void>(send_queued());  // something was sent before: it cannot fail
}

/// A paused connection is not registered at all: epoll would report the end of the peer for ever.
void ClientConnection::set_interest() {
  if (phase_ == Phase::closed) return;
  std::uint32_t wanted = 0;
  const bool seals = channel_ != nullptr && channel_->holds_output();
  if (phase_ == Phase::connecting || (phase_ != Phase::securing && !out_.empty()) || seals) {
    wanted |= EPOLLOUT;
  }
  if (phase_ != Phase::connecting && !paused_) wanted |= EPOLLIN | EPOLLRDHUP;
  if (wanted == interest_) return;
  if (wanted == 0) {
    shared_.loop.remove(fd_.get());
  } else if (interest_ == 0) {
    shared_.loop.add(fd_.get(), wanted, *this);
  } else {
    shared_.loop.modify(fd_.get(), wanted, *this);
  }
  interest_ = wanted;
}

// --- Sending ---------------------------------------------------------------------------------

/// Gives false if the peer is gone and nothing of this request was ever taken. If it is gone later,
/// it may have answered before: reading tells.
bool ClientConnection::send_queued() {
  const std::ptrdiff_t sent = channel_ == nullptr
                                  ? ::send(fd_.get(), out_.data(), out_.size(), MSG_NOSIGNAL)
                                  : channel_->send(out_.view());
  if (sent > 0) {
    out_.consume(static_cast<std::size_t>(sent));
    sent_any_ = true;
  } else if (sent < 0 && errno != EAGAIN && errno != EINTR) {
    if (!sent_any_) return false;
    peer_ended_ = true;
    out_.clear();
  }
  if (out_.empty() && out_.capacity() > max_kept_out_bytes) out_.release();
  set_interest();
  return true;
}

// --- Reading ---------------------------------------------------------------------------------

void ClientConnection::on_events(std::uint32_t events) {
  if (phase_ == Phase::connecting) return on_connecting(events);
  if (phase_ == Phase::securing) {
    (void)shake_hands();
    return;
  }
  if (phase_ == Phase::idle) return close();  // the peer closed it, or speaks out of turn
  if (kept_ && !sent_any_ && events != EPOLLOUT) return open_anew();  // the same
  const bool may_send = !out_.empty() || (channel_ != nullptr && channel_->holds_output());
  if ((events & EPOLLOUT) != 0 && may_send && !send_queued()) {
    return fail(CallFailure::not_delivered, "the peer closed the connection at once");
  }
  if (switched_ && (events & EPOLLOUT) != 0 && out_.empty()) {
    handler_->on_drained();
    if (phase_ == Phase::closed) return;  // cancelled in there
  }
  if (paused_) {
    // Nobody will take the rest of the request; what was answered is read after resume().
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
      peer_ended_ = true;
      out_.clear();
      set_interest();
    }
    return;
  }
  if ((events & ~std::uint32_t{EPOLLOUT}) == 0) return;
  // With the end of the input announced, what is left is read in one go.
  peer_ended_ = peer_ended_ || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
  while (read_once() && (peer_ended_ || holds_input())) {
  }
}

/// Gives true if there may be more to read for this call.
bool ClientConnection::read_once() {
  Buffer& scratch = shared_.scratch;
  scratch.clear();
  scratch.make_room(read_bytes);
  const std::ptrdiff_t got = channel_ == nullptr
                                 ? ::recv(fd_.get(), scratch.free_space(), read_bytes, 0)
                                 : channel_->receive(scratch.free_space(), read_bytes);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return false;
    fail(CallFailure::closed_early, describe("the connection broke", errno));
    return false;
  }
  if (got == 0) {
    on_end_of_input();
    return false;
  }
  take({scratch.free_space(), static_cast<std::size_t>(got)});
  return (phase_ == Phase::head || phase_ == Phase::body) && !paused_;
}

void ClientConnection::on_end_of_input() {
  if (phase_ == Phase::body && parser_.body_end() == BodyEnd::connection_close) {
    return end_call(false);
  }
  fail(CallFailure::closed_early, phase_ == Phase::head ? "the peer closed before it answered"
                                                        : "the peer closed inside its answer");
}

void ClientConnection::take(std::string_view bytes) {
  while (phase_ == Phase::head) {
    if (!take_head(bytes)) return;
  }
  if (phase_ == Phase::body) take_body(bytes);
}

/// Gives true if the head is whole, `bytes` being what follows it; false if more is needed or the
/// call is over.
bool ClientConnection::take_head(std::string_view& bytes) {
  const std::size_t held = partial_head_.size();
  std::string_view message = bytes;
  if (held > 0) {
    partial_head_.append(bytes);
    message = partial_head_.view();
  }
  switch (parser_.advance(message)) {
    case HeadParser::State::need_more:
      if (held == 0) partial_head_.append(bytes);
      return false;
    case HeadParser::State::failed:
      fail(CallFailure::protocol, parser_.error().message);
      return false;
    case HeadParser::State::done:
      break;
  }
  bytes.remove_prefix(parser_.head_bytes() - held);
  if (parser_.interim()) {  // the real one follows
    parser_.reset(answers_);
    partial_head_.clear();
    return !bytes.empty();
  }
  parser_.fill(message.data(), head_);
  phase_ = Phase::body;
  switched_ = parser_.status() == 101;
  body_left_ = head_.content_length.value_or(0);
  decoder_.reset();
  handler_->on_head(head_);
  partial_head_.release();
  if (phase_ == Phase::closed) return false;  // cancelled in there
  const BodyEnd end = parser_.body_end();
  if (end == BodyEnd::none || (end == BodyEnd::length && body_left_ == 0)) {
    end_call(!bytes.empty());
    return false;
  }
  return true;
}

void ClientConnection::take_body(std::string_view bytes) {
  if (bytes.empty()) return;
  switch (parser_.body_end()) {
    case BodyEnd::length: {
      const std::size_t taken =
          static_cast<std::size_t>(std::min<std::uint64_t>(body_left_, bytes.size()));
      body_left_ -= taken;
      handler_->on_body(bytes.substr(0, taken));
      if (phase_ == Phase::body && body_left_ == 0) end_call(taken < bytes.size());
      return;
    }
    case BodyEnd::chunked:
      if (take_chunks(bytes)) end_call(!bytes.empty());
      return;
    case BodyEnd::connection_close:
      handler_->on_body(bytes);
      return;
    case BodyEnd::none:
      return;
  }
}

/// Gives true when the last chunk has been read; `bytes` is what follows then.
bool ClientConnection::take_chunks(std::string_view& bytes) {
  while (phase_ == Phase::body) {
    std::string_view data;
    switch (decoder_.next(bytes, data)) {
      case ChunkDecoder::State::data:
        handler_->on_body(data);
        break;
      case ChunkDecoder::State::need_more:
        return false;
      case ChunkDecoder::State::end:
        return true;
      case ChunkDecoder::State::failed:
        fail(CallFailure::protocol, decoder_.error().message);
        return false;
    }
  }
  return false;
}

/// The answer was read to its end. The connection is used again only if nothing at all is odd.
void ClientConnection::end_call(bool bytes_left) {
  CallHandler* handler = std::exchange(handler_, nullptr);
  const bool reusable = parser_.keep_alive() && !bytes_left && out_.empty() && !peer_ended_ &&
                        shared_.idle.size() < shared_.options.max_idle_connections;
  if (reusable) {
    go_idle();
  } else {
    close();
  }
  handler->on_end();  // last: it may send the next request on this very connection
}

void ClientConnection::go_idle() {
  phase_ = Phase::idle;
  paused_ = false;
  set_interest();
  idle_since_ = shared_.loop.now();
  shared_.idle.push_back(this);
}

}  // namespace stoker::net
