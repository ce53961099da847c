#include "net/server_connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>

#include "base/invariant.h"
#include "net/clock.h"

namespace stoker::net {
namespace {

/// How long, after a refusal, we read and drop what the client still sends. Closing at once would
/// reset the connection, and the client might never see the answer.
constexpr Duration linger_time = seconds(2);
constexpr Duration rate_grace = seconds(5);       // before body_min_bytes_per_s is looked at
constexpr Duration full_keep_alive = seconds(1);  // while others wait to be let in
constexpr std::size_t min_chunked_room = 4 << 10;
constexpr std::size_t first_body_bytes = 64 << 10;

}  // namespace

ServerConnection::ServerConnection(ServerShared& shared, UniqueFd fd, std::string peer,
                                   std::size_t index)
    : shared_(shared),
      fd_(std::move(fd)),
      peer_(std::make_shared<const std::string>(std::move(peer))),
      index_(index),
      parser_(shared.limits),
      decoder_(shared.limits),
      interest_(EPOLLIN | EPOLLRDHUP),
      phase_since_(shared.loop.now()) {
  if (shared_.secure != nullptr) {
    channel_ = shared_.secure->make(fd_.get());
    phase_ = Phase::securing;
  }
  shared_.loop.add(fd_.get(), interest_, *this);
}

ServerConnection::~ServerConnection() = default;

// --- Events ----------------------------------------------------------------------------------

void ServerConnection::on_events(std::uint32_t events) {
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return lose();
  if (phase_ == Phase::securing) return shake_hands();
  if ((events & EPOLLOUT) != 0) {
    flush();
    if (phase_ == Phase::idle) run_requests();  // what was held back while the peer did not read
  }
  if (phase_ == Phase::busy && switched_) return on_switched_events(events);
  if (phase_ == Phase::busy) {
    // A peer that has closed, or will send no more, is gone: what nginx does too. It cannot be told
    // from one that only shut down its sending side, and going on would burn a GPU for nobody.
    if ((events & EPOLLRDHUP) != 0) return lose();
    if ((events & EPOLLIN) != 0) {  // pipelined: stays in the kernel until this answer has ended
      interest_ &= ~std::uint32_t{EPOLLIN};
      shared_.loop.modify(fd_.get(), interest_, *this);
    }
    return;
  }
  if (phase_ != Phase::closed && (events & EPOLLIN) != 0) on_readable();
  // The request came together with the end of input; it was answered at once or never will be.
  if (phase_ == Phase::busy && (events & EPOLLRDHUP) != 0) lose();
}

void ServerConnection::on_round_end() {
  if (broken_) return lose();
  flush();
  if (switched_) {
    hand_over_early_bytes();
    if (holds_input()) on_switched_events(EPOLLIN);
    return;
  }
  if (holds_input()) on_readable();
}

void ServerConnection::on_switched_events(std::uint32_t events) {
  if ((events & (EPOLLIN | EPOLLRDHUP)) == 0 || input_paused_) return;
  std::array<char, 16 << 10> bytes;
  const std::ptrdiff_t got = channel_ == nullptr ? ::recv(fd_.get(), bytes.data(), bytes.size(), 0)
                                                 : channel_->receive(bytes.data(), bytes.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return lose();
  // A copy, because the callback may end the exchange.
  const std::function<void(std::string_view)> on_data = exchange_->callbacks_.on_data;
  if (on_data) on_data({bytes.data(), static_cast<std::size_t>(got)});
  if (channel_ != nullptr) set_interest();  // it may hold more that epoll does not know of
}

/// What came together with the request.
void ServerConnection::hand_over_early_bytes() {
  if (phase_ != Phase::busy || bytes_behind_request() == 0) return;
  const std::string bytes(exchange_->input_.view().substr(request_end_));
  request_end_ = exchange_->input_.size();
  const std::function<void(std::string_view)> on_data = exchange_->callbacks_.on_data;
  if (on_data) on_data(bytes);
}

/// A handshake has no time of its own: it and the first header share one deadline.
void ServerConnection::shake_hands() {
  switch (channel_->shake_hands()) {
    case SecureChannel::Handshake::under_way:
      return set_interest();
    case SecureChannel::Handshake::done:
      phase_ = Phase::idle;
      return set_interest();
    case SecureChannel::Handshake::not_tls:
      channel_.reset();
      begin_request();
      return refuse(400, "this port speaks TLS; write https:// instead of http://", false);
    case SecureChannel::Handshake::failed:
      return close();
  }
}

/// The connection is of no use any more. Whoever works on an answer is told.
void ServerConnection::lose() {
  if (phase_ == Phase::closed) return;
  std::function<void()> on_gone;
  if (exchange_ != nullptr) on_gone = std::move(exchange_->callbacks_.on_gone);
  close();
  if (on_gone) on_gone();
}

void ServerConnection::close() {
  if (phase_ == Phase::closed) return;
  phase_ = Phase::closed;
  shared_.loop.remove(fd_.get());
  channel_.reset();
  fd_.reset();
  if (exchange_ != nullptr) {
    exchange_->connection_ = nullptr;
    exchange_->callbacks_ = {};
    exchange_.reset();
  }
  shared_.buffers.give_back(std::move(out_));
  // The last one takes our place; we die at the end of the round, for we may be on the stack.
  std::shared_ptr<ServerConnection>& place = shared_.connections[index_];
  shared_.loop.dispose(std::move(place));
  if (index_ + 1 < shared_.connections.size()) {
    place = std::move(shared_.connections.back());
    place->index_ = index_;
  }
  shared_.connections.pop_back();
  shared_.on_closed();
}

/// Closes where the peer may know that this is the end of what it gets.
void ServerConnection::close_politely() {
  if (channel_ != nullptr && phase_ != Phase::closed) channel_->say_goodbye();
  close();
}

bool ServerConnection::may_read() const {
  if (phase_ == Phase::busy) return switched_ && !input_paused_;
  // No new request from a peer that does not read its answers.
  return (phase_ == Phase::idle || phase_ == Phase::head || phase_ == Phase::body) &&
         out_.size() <= shared_.limits.write_buffer_bytes;
}

/// There is something to read that epoll does not know of.
bool ServerConnection::holds_input() const {
  return channel_ != nullptr && channel_->holds_input() && may_read();
}

std::uint32_t ServerConnection::wanted_events() const {
  const bool waits = blocked_ || (channel_ != nullptr && channel_->holds_output());
  const std::uint32_t out = waits ? std::uint32_t{EPOLLOUT} : 0U;
  switch (phase_) {
    case Phase::securing:
      return out | EPOLLIN | EPOLLRDHUP;
    case Phase::idle:
    case Phase::head:
    case Phase::body:
      return may_read() ? out | EPOLLIN | EPOLLRDHUP : out;
    case Phase::busy:
      if (switched_) return input_paused_ ? out : out | EPOLLIN | EPOLLRDHUP;
      return out | EPOLLRDHUP | (interest_ & EPOLLIN);
    case Phase::lingering:
      return EPOLLIN;
    case Phase::closing:
    case Phase::closed:
      break;
  }
  return out;
}

void ServerConnection::set_interest() {
  if (phase_ == Phase::closed) return;
  if (holds_input()) send_soon();  // on_round_end() reads it
  const std::uint32_t wanted = wanted_events();
  if (wanted == interest_) return;
  interest_ = wanted;
  shared_.loop.modify(fd_.get(), interest_, *this);
}

void ServerConnection::close_if_idle() {
  if (phase_ == Phase::securing) return close();
  if (phase_ == Phase::idle && !has_unsent()) close_politely();
}

void ServerConnection::check_deadlines() {
  const HttpLimits& limits = shared_.limits;
  const Instant now = shared_.loop.now();
  const Duration in_phase = now - phase_since_;
  if (blocked_ && now - write_progress_ > limits.write_stall_timeout) return lose();
  switch (phase_) {
    case Phase::securing:
      if (in_phase > limits.header_timeout) close();
      return;
    case Phase::idle: {
      const Duration most = !served_any_   ? limits.header_timeout
                            : shared_.full ? std::min(limits.keep_alive_timeout, full_keep_alive)
                                           : limits.keep_alive_timeout;
      if (in_phase > most) return close_politely();
      if (exchange_ != nullptr && bytes_behind_request() == 0) {
        recycle_exchange();
        shared_.buffers.give_back(std::move(exchange_->input_));
      }
      return;
    }
    case Phase::head:
      if (in_phase > limits.header_timeout) refuse(408, "the request header took too long", false);
      return;
    case Phase::body: {
      const bool stalled = now - read_progress_ > limits.body_idle_timeout;
      const bool slow = in_phase > rate_grace &&
                        body_received_ < limits.body_min_bytes_per_s *
                                             static_cast<std::uint64_t>(whole_ms(in_phase)) / 1000;
      if (stalled || slow) refuse(408, "the request body took too long", false);
      return;
    }
    case Phase::lingering:
      if (in_phase > linger_time) close();
      return;
    case Phase::busy:
    case Phase::closing:
    case Phase::closed:
      return;
  }
}

// --- Reading ---------------------------------------------------------------------------------

/// Gives what recv gives; -1 only when the connection was lost or there was nothing to read.
std::ptrdiff_t ServerConnection::receive(Buffer& into, std::size_t most) {
  const std::size_t room = std::min(most, into.free_bytes());
  const std::ptrdiff_t got = channel_ == nullptr ? ::recv(fd_.get(), into.free_space(), room, 0)
                                                 : channel_->receive(into.free_space(), room);
  if (got > 0) {
    into.commit(static_cast<std::size_t>(got));
    read_progress_ = shared_.loop.now();
  } else if (got < 0 && errno != EAGAIN && errno != EINTR) {
    lose();
  }
  return got;
}

/// One recv to where the next bytes of the current request belong.
std::ptrdiff_t ServerConnection::receive_more() {
  Buffer& input = exchange_->input_;
  if (phase_ == Phase::head) {
    const std::size_t most = parser_.most_bytes() - input.size();
    if (input.free_bytes() == 0) input.make_room(std::min(most, BufferPool::buffer_bytes));
    return receive(input, most);
  }
  if (parser_.framing().chunked || request_end_ > 0) {
    return receive(input, input.free_bytes());
  }
  Buffer& body = exchange_->body_;
  const std::uint64_t missing = missing_body_bytes();
  if (body.free_bytes() == 0) {
    body.make_room(static_cast<std::size_t>(std::min<std::uint64_t>(missing, body.size())));
  }
  return receive(body, static_cast<std::size_t>(missing));
}

void ServerConnection::on_readable() {
  if (phase_ == Phase::lingering) {
    std::array<char, 16 << 10> dropped;
    const std::ptrdiff_t got = ::recv(fd_.get(), dropped.data(), dropped.size(), 0);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) close();
    return;
  }
  if (phase_ == Phase::idle) begin_request();
  const std::ptrdiff_t got = receive_more();
  if (got == 0) return on_end_of_input();
  if (got > 0) return run_requests();
  if (channel_ != nullptr) set_interest();  // it may have something to say itself
}

/// The peer sends no more. What it was sent already still goes out.
void ServerConnection::on_end_of_input() {
  if (!has_unsent()) return close_politely();
  phase_ = Phase::closing;
  set_interest();
}

/// What came behind the request that was answered last.
std::size_t ServerConnection::bytes_behind_request() const {
  return exchange_ == nullptr ? 0 : exchange_->input_.size() - request_end_;
}

/// Leaves a clean exchange whose input begins with the next request. The old one is used again,
/// with its buffer and the capacity of its field list, if nobody else holds it any more. Done as
/// late as possible, because whoever answers holds it while he does.
void ServerConnection::recycle_exchange() {
  const std::size_t answered = std::exchange(request_end_, 0);
  if (exchange_ != nullptr && exchange_.use_count() == 1) {
    std::atomic_thread_fence(std::memory_order_acquire);  // another thread may have let go of it
    exchange_->input_.consume(answered);
    exchange_->body_.release();
    return;
  }
  auto next = std::make_shared<ServerExchange>(peer_);
  if (exchange_ != nullptr && exchange_->input_.size() > answered) {
    next->input_ = shared_.buffers.take();
    next->input_.append(exchange_->input_.view().substr(answered));
  }
  exchange_ = std::move(next);
}

void ServerConnection::begin_request() {
  recycle_exchange();
  if (exchange_->input_.capacity() == 0) exchange_->input_ = shared_.buffers.take();
  exchange_->accepted_at_ = shared_.loop.now();
  exchange_->answer_fields_.clear();
  // The first request is counted from the moment of connecting.
  if (served_any_) phase_since_ = shared_.loop.now();
  phase_ = Phase::head;
  parser_.reset();
  body_received_ = 0;
  input_whole_ = false;
  keep_alive_ = true;
}

/// Goes on with the bytes that are there: zero or more requests.
void ServerConnection::run_requests() {
  if (running_) return;  // an answer given inside on_request; the loop below goes on with it
  running_ = true;
  bool more = true;
  while (more) {
    switch (phase_) {
      case Phase::idle:
        more = bytes_behind_request() > 0 && out_.size() <= shared_.limits.write_buffer_bytes;
        if (more) begin_request();
        break;
      case Phase::head:
        more = step_head();
        break;
      case Phase::body:
        more = step_body();
        break;
      default:
        more = false;
    }
  }
  running_ = false;
  set_interest();
}

bool ServerConnection::step_head() {
  switch (parser_.advance(exchange_->input_.view())) {
    case HeadParser::State::need_more:
      return false;
    case HeadParser::State::failed:
      refuse(parser_.error().status, parser_.error().message, false);
      return false;
    case HeadParser::State::done:
      return take_head();
  }
  return false;
}

std::uint64_t ServerConnection::missing_body_bytes() const {
  return parser_.framing().content_length.value_or(0) - body_received_;
}

/// Chooses where the body goes: behind the head if it fits there, else to a buffer of its own that
/// grows with what really came. Nothing in the input buffer moves after this.
void ServerConnection::prepare_body(std::size_t head_bytes) {
  Buffer& input = exchange_->input_;
  if (parser_.framing().chunked) {
    if (input.free_bytes() < min_chunked_room) input.make_room(BufferPool::buffer_bytes);
    decoder_.reset();
    return;
  }
  const std::uint64_t length = parser_.framing().content_length.value_or(0);
  if (length <= input.space() - head_bytes) {
    request_end_ = head_bytes + static_cast<std::size_t>(length);
    return;
  }
  const std::string_view came = input.view().substr(head_bytes);
  exchange_->body_.make_room(
      static_cast<std::size_t>(std::min<std::uint64_t>(length, came.size() + first_body_bytes)));
  exchange_->body_.append(came);
  input.truncate(head_bytes);
  body_received_ = came.size();
}

bool ServerConnection::take_head() {
  const RequestFraming& framing = parser_.framing();
  prepare_body(parser_.head_bytes());
  HttpRequest& request = exchange_->request_;
  parser_.fill(exchange_->input_.data(), request);
  keep_alive_ = framing.keep_alive;
  served_any_ = true;
  phase_ = Phase::body;
  phase_since_ = read_progress_ = shared_.loop.now();

  HeadVerdict verdict = shared_.handler.check_head(request);
  exchange_->answer_fields_ = std::move(verdict.answer_fields);
  if (verdict.status != 0) {
    input_whole_ = request_end_ > 0 && exchange_->input_.size() >= request_end_;
    refuse(verdict.status, verdict.message, input_whole_);
    return phase_ == Phase::idle;
  }
  exchange_->context_ = std::move(verdict.context);
  const bool body_began = exchange_->input_.size() > parser_.head_bytes() || body_received_ > 0;
  const bool has_body = framing.chunked || framing.content_length.value_or(0) > 0;
  if (framing.expect_continue && has_body && !body_began) {
    send_now("HTTP/1.1 100 Continue\r\n\r\n", {});
  }
  return true;
}

bool ServerConnection::step_body() {
  if (parser_.framing().chunked) return step_chunked_body();
  HttpRequest& request = exchange_->request_;
  if (request_end_ > 0) {
    const std::string_view input = exchange_->input_.view();
    body_received_ = std::min(input.size(), request_end_) - parser_.head_bytes();
    if (input.size() < request_end_) return false;
    request.body = input.substr(parser_.head_bytes(), request_end_ - parser_.head_bytes());
  } else {
    body_received_ = exchange_->body_.size();
    if (missing_body_bytes() > 0) return false;
    request_end_ = parser_.head_bytes();
    request.body = exchange_->body_.view();
  }
  hand_over();
  return true;
}

bool ServerConnection::step_chunked_body() {
  Buffer& input = exchange_->input_;
  std::string_view raw = input.view().substr(parser_.head_bytes());
  while (true) {
    std::string_view data;
    switch (decoder_.next(raw, data)) {
      case ChunkDecoder::State::data:
        exchange_->body_.append(data);
        body_received_ += data.size();
        break;
      case ChunkDecoder::State::need_more:
        input.truncate(parser_.head_bytes());
        return false;
      case ChunkDecoder::State::failed:
        refuse(decoder_.error().status, decoder_.error().message, false);
        return false;
      case ChunkDecoder::State::end:
        request_end_ = input.size() - raw.size();
        exchange_->request_.body = exchange_->body_.view();
        hand_over();
        return true;
    }
  }
}

void ServerConnection::hand_over() {
  input_whole_ = true;
  phase_ = Phase::busy;
  exchange_->connection_ = this;
  exchange_->started_ = false;
  shared_.handler.on_request(exchange_);
}

/// An answer that we give ourselves. Without `may_keep_alive` it is the last one here.
void ServerConnection::refuse(int status, std::string_view message, bool may_keep_alive) {
  if (!may_keep_alive) keep_alive_ = false;
  if (phase_ == Phase::head) exchange_->request_ = {};
  phase_ = Phase::busy;
  exchange_->started_ = true;
  const std::string body = shared_.handler.error_body(status, message);
  respond(status, "Content-Type: application/json\r\n", body);
}

}  // namespace stoker::net
