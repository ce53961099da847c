// The answering half of ServerConnection, and the exchange that callers see.
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <utility>

#include "base/invariant.h"
#include "net/clock.h"
#include "net/server_connection.h"

namespace stoker::net {
namespace {

/// From this size on, copying costs more than the system call that a copy may save.
constexpr std::size_t send_at_once_bytes = 16 << 10;
constexpr std::string_view never_a_page = "X-Content-Type-Options: nosniff\r\n";

std::ptrdiff_t send_pieces(int fd, const std::array<std::string_view, 3>& pieces) {
  std::array<iovec, 3> parts;
  std::size_t count = 0;
  for (const std::string_view piece : pieces) {
    if (!piece.empty()) parts[count++] = {const_cast<char*>(piece.data()), piece.size()};
  }
  if (count == 1) return ::send(fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = count;
  return ::sendmsg(fd, &message, MSG_NOSIGNAL);
}

void append_number(std::string& text, std::uint64_t number) {
  const fmt::format_int digits(number);
  text.append(digits.data(), digits.size());
}

}  // namespace

// --- Exchange --------------------------------------------------------------------------------

void ServerExchange::forget_request() {
  if (connection_ == nullptr) return;
  STOKER_INVARIANT(started_, "{}: forgotten before the answer", request_.target);
  connection_->forget_request();
}

void ServerExchange::respond(int status, std::string_view head_fields, std::string_view body) {
  if (connection_ == nullptr) return;
  STOKER_INVARIANT(!started_, "{}: answered twice", status);
  started_ = true;
  connection_->respond(status, head_fields, body);
}

void ServerExchange::start(int status, std::string_view head_fields,
                           std::optional<std::uint64_t> content_length) {
  if (connection_ == nullptr) return;
  STOKER_INVARIANT(!started_, "{}: answered twice", status);
  started_ = true;
  connection_->start(status, head_fields, content_length);
}

void ServerExchange::write(std::string_view bytes) {
  if (connection_ == nullptr) return;
  STOKER_INVARIANT(started_, "{}: body bytes before the head", bytes.size());
  connection_->write(bytes);
}

void ServerExchange::switch_protocol(std::string_view head_fields) {
  if (connection_ == nullptr) return;
  STOKER_INVARIANT(!started_ && request_.upgrade, "{}: not an upgrade", request_.target);
  started_ = true;
  connection_->switch_protocol(head_fields);
}

void ServerExchange::pause_input() {
  if (connection_ != nullptr) connection_->pause_input(true);
}

void ServerExchange::resume_input() {
  if (connection_ != nullptr) connection_->pause_input(false);
}

void ServerExchange::finish() {
  if (connection_ == nullptr) return;
  STOKER_INVARIANT(started_, "{}: end before the head", request_.target);
  connection_->finish();
}

void ServerExchange::abort() {
  if (connection_ != nullptr) connection_->abort();
}

std::size_t ServerExchange::unsent_bytes() const {
  return connection_ == nullptr ? 0 : connection_->unsent_bytes();
}

void ServerExchange::set_callbacks(Callbacks callbacks) {
  if (connection_ != nullptr) callbacks_ = std::move(callbacks);
}

// --- Answers ---------------------------------------------------------------------------------

/// What came behind the request stays.
void ServerConnection::forget_request() {
  if (switched_) return;
  Buffer& input = exchange_->input_;
  exchange_->request_ = {};
  exchange_->body_.release();
  input.consume(std::exchange(request_end_, 0));
  if (input.empty()) shared_.buffers.give_back(std::move(input));
}

/// Head of the answer in the server's scratch string; valid until the next one is made. Decides how
/// the body is sent.
std::string_view ServerConnection::make_head(int status, std::string_view head_fields,
                                             std::optional<std::uint64_t> content_length) {
  const HttpRequest& request = exchange_->request_;
  const bool no_body = status == 204 || status == 304 || request.method == "HEAD";
  coding_ = no_body          ? Coding::none
            : content_length ? Coding::length
            : request.http10 ? Coding::until_close
                             : Coding::chunked;
  answer_left_ = content_length.value_or(0);
  if (coding_ == Coding::until_close || shared_.draining) keep_alive_ = false;

  std::string& head = shared_.head;
  head.assign("HTTP/1.1 ");
  append_number(head, static_cast<std::uint64_t>(status));
  head.append(" ").append(reason_phrase(status)).append("\r\n");
  head.append(shared_.date.text(coarse_wall_now()));
  head.append(never_a_page);
  head.append(head_fields).append(exchange_->answer_fields_);
  if (content_length && status != 204 && status != 304) {
    head.append("Content-Length: ");
    append_number(head, *content_length);
    head.append("\r\n");
  } else if (coding_ == Coding::chunked) {
    head.append("Transfer-Encoding: chunked\r\n");
  }
  if (!keep_alive_) {
    head.append("Connection: close\r\n");
  } else if (request.http10) {
    head.append("Connection: keep-alive\r\n");
  }
  return head.append("\r\n");
}

void ServerConnection::respond(int status, std::string_view head_fields, std::string_view body) {
  const std::string_view head = make_head(status, head_fields, body.size());
  if (coding_ == Coding::none) body = {};
  if (!blocked_ && body.size() < send_at_once_bytes) {
    queue(head);
    queue(body);
    send_soon();
  } else {
    send_now(head, body);
  }
  end_exchange();
}

void ServerConnection::start(int status, std::string_view head_fields,
                             std::optional<std::uint64_t> content_length) {
  queue(make_head(status, head_fields, content_length));
  send_soon();
}

void ServerConnection::write(std::string_view bytes) {
  if (bytes.empty() || coding_ == Coding::none || broken_) return;
  fmt::memory_buffer chunk_head;
  std::string_view chunk_end;
  if (coding_ == Coding::length) {
    STOKER_INVARIANT(bytes.size() <= answer_left_,
                     "{}: body is longer than its Content-Length by {}", exchange_->request_.path,
                     bytes.size() - answer_left_);
    answer_left_ -= bytes.size();
  } else if (coding_ == Coding::chunked) {
    fmt::format_to(std::back_inserter(chunk_head), "{:x}\r\n", bytes.size());
    chunk_end = "\r\n";
  }
  queue({chunk_head.data(), chunk_head.size()});
  if (bytes.size() >= send_at_once_bytes && !blocked_) {
    send_now(bytes, chunk_end);
  } else {
    queue(bytes);
    queue(chunk_end);
    if (!blocked_) send_soon();
  }
  if (out_.size() > shared_.limits.write_buffer_bytes) over_limit_ = true;
}

void ServerConnection::switch_protocol(std::string_view head_fields) {
  coding_ = Coding::until_close;
  keep_alive_ = false;
  switched_ = true;
  queue("HTTP/1.1 101 Switching Protocols\r\n");
  queue(shared_.date.text(coarse_wall_now()));
  queue(head_fields);
  queue("\r\n");
  set_interest();
  send_soon();
}

void ServerConnection::pause_input(bool paused) {
  if (!switched_) return;
  input_paused_ = paused;
  set_interest();
}

void ServerConnection::finish() {
  if (coding_ == Coding::length && answer_left_ > 0) return abort();  // the peer must see it
  if (coding_ == Coding::chunked) queue("0\r\n\r\n");
  if (!blocked_) send_soon();
  end_exchange();
}

void ServerConnection::abort() {
  // Only a reset tells the peer that a body which ends with the connection is not whole.
  if (coding_ == Coding::until_close) {
    const linger reset{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  } else if (!out_.empty() && !blocked_) {
    send_now({}, {});
  }
  close();  // without the goodbye of TLS, so that its peer sees it too
}

/// The answer has been given, though not all of it may have been sent.
void ServerConnection::end_exchange() {
  ServerExchange& exchange = *exchange_;
  exchange.connection_ = nullptr;
  const Exchange::Callbacks done = std::move(exchange.callbacks_);  // dies last: may hold a caller
  exchange.callbacks_ = {};
  over_limit_ = false;
  // A drain may have begun after the head, which still promised to keep the connection.
  if (!keep_alive_ || shared_.draining) return close_after_answer();

  phase_ = Phase::idle;
  phase_since_ = shared_.loop.now();
  run_requests();
}

void ServerConnection::close_after_answer() {
  // Of TLS the goodbye of the peer is still to come.
  lingers_ = channel_ != nullptr || !input_whole_ || (interest_ & EPOLLIN) == 0 ||
             bytes_behind_request() > 0;
  phase_ = Phase::closing;
  set_interest();
  if (!has_unsent() && !broken_) send_soon();  // flush() closes: not now, callers are on the stack
}

// --- Sending ---------------------------------------------------------------------------------

void ServerConnection::queue(std::string_view bytes) {
  if (bytes.empty()) return;
  if (out_.capacity() == 0) out_ = shared_.buffers.take();
  out_.append(bytes);
}

/// Sends what is queued and then the given pieces, in one system call; queues what is not taken.
void ServerConnection::send_now(std::string_view first, std::string_view second) {
  if (channel_ != nullptr) return send_sealed(first, second);
  const std::array pieces = {out_.view(), first, second};
  std::size_t taken = 0;
  if (!blocked_ && !broken_) {
    const std::ptrdiff_t sent = send_pieces(fd_.get(), pieces);
    if (sent > 0) {
      taken = static_cast<std::size_t>(sent);
    } else if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      broken_ = true;  // told at the end of the round: whoever answers is on the stack
      send_soon();
    }
    write_progress_ = shared_.loop.now();
  }
  if (broken_) return out_.clear();
  const std::size_t from_queue = std::min(taken, out_.size());
  out_.consume(from_queue);
  taken -= from_queue;
  for (const std::string_view piece : {first, second}) {
    const std::size_t from_piece = std::min(taken, piece.size());
    taken -= from_piece;
    queue(piece.substr(from_piece));
  }
  blocked_ = !out_.empty();
  set_interest();
}

/// The same over TLS: what is sent becomes records of its own, so it is put together first.
void ServerConnection::send_sealed(std::string_view first, std::string_view second) {
  if (!broken_) {
    queue(first);
    queue(second);
    if (!blocked_) {
      const std::ptrdiff_t taken = channel_->send(out_.view());
      broken_ = taken < 0;
      if (taken > 0) out_.consume(static_cast<std::size_t>(taken));
      write_progress_ = shared_.loop.now();
      if (broken_) send_soon();
    }
  }
  if (broken_) return out_.clear();
  blocked_ = has_unsent();
  set_interest();
}

bool ServerConnection::has_unsent() const {
  return !out_.empty() || (channel_ != nullptr && channel_->holds_output());
}

void ServerConnection::flush() {
  if (phase_ == Phase::closed) return;
  if (has_unsent()) {
    blocked_ = false;
    send_now({}, {});
    if (broken_) return lose();
  }
  if (!has_unsent()) {
    shared_.buffers.give_back(std::move(out_));  // a silent stream holds none
    if (phase_ == Phase::closing) return close_or_linger();
  }
  if (over_limit_ && out_.size() <= shared_.limits.write_buffer_bytes / 4) {
    over_limit_ = false;
    // A copy, because the callback may replace itself or end the exchange.
    const std::function<void()> on_drained = exchange_->callbacks_.on_drained;
    if (on_drained) on_drained();
  }
}

/// The last answer is out. If the peer may still be sending, closing now would reset the connection
/// and could take the answer away from it: so we say that we are done, and read on for a while.
void ServerConnection::close_or_linger() {
  if (!lingers_) return close();
  if (channel_ != nullptr) channel_->say_goodbye();
  ::shutdown(fd_.get(), SHUT_WR);
  phase_ = Phase::lingering;
  phase_since_ = shared_.loop.now();
  set_interest();
}

}  // namespace stoker::net
