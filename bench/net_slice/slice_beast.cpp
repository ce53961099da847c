// The same slice on Boost.Asio and Beast's parser, written for speed: one thread, concurrency hint
// 1, no polymorphic executors, buffers kept per connection, a parser that hands out views (derived
// from basic_parser, so that no field list is built), writes tried at once before they become
// asynchronous, counted pointers without atomics. One read is always outstanding on each socket,
// because that is how Asio tells that a peer has gone. It has no deadlines, which is in its favour.
//   net_slice_beast 127.0.0.1:PORT unix:/path/of/upstream
#include <array>
#include <boost/asio.hpp>
#include <boost/beast/http.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "route.h"

namespace stoker::net_slice {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using Executor = asio::io_context::executor_type;
using TcpSocket = asio::basic_stream_socket<asio::ip::tcp, Executor>;
using UnixSocket = asio::basic_stream_socket<asio::local::stream_protocol, Executor>;
using BeastView = boost::beast::string_view;

template <class T>
using Counted = boost::intrusive_ref_counter<T, boost::thread_unsafe_counter>;
template <class T>
using Ptr = boost::intrusive_ptr<T>;

constexpr std::uint32_t header_limit = 40 << 10;
constexpr std::uint64_t body_limit = 32 << 20;
constexpr std::size_t pause_above_bytes = 256 << 10;

std::string_view view(BeastView text) {
  return {text.data(), text.size()};
}

/// "Date: ...\r\n", made once per second, as the other slice sends it.
std::string_view date_field() {
  static std::time_t second = 0;
  static std::array<char, 48> text;
  static std::size_t size = 0;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  if (now.tv_sec != second) {
    second = now.tv_sec;
    std::tm utc{};
    ::gmtime_r(&second, &utc);
    size = std::strftime(text.data(), text.size(), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc);
  }
  return {text.data(), size};
}

template <class Number>
void append_number(std::string& text, Number number, int base) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number, base).ptr;
  text.append(digits.data(), end);
}

class RequestParser final : public http::basic_parser<true> {
 public:
  explicit RequestParser(std::string& body) : body_(body) {
    eager(true);
    http::basic_parser<true>::header_limit(net_slice::header_limit);
    http::basic_parser<true>::body_limit(net_slice::body_limit);
    body_.clear();
  }
  [[nodiscard]] std::string_view method() const { return method_; }
  [[nodiscard]] std::string_view target() const { return target_; }

 private:
  void on_request_impl(http::verb, BeastView method, BeastView target, int, error_code&) override {
    method_ = view(method);
    target_ = view(target);
  }
  void on_response_impl(int, BeastView, int, error_code&) override {}
  void on_field_impl(http::field, BeastView, BeastView, error_code&) override {}
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(BeastView bytes, error_code&) override {
    body_.append(bytes.data(), bytes.size());
    return bytes.size();
  }
  void on_chunk_header_impl(std::uint64_t, BeastView, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, BeastView bytes, error_code&) override {
    body_.append(bytes.data(), bytes.size());
    return bytes.size();
  }
  void on_finish_impl(error_code&) override {}

  std::string& body_;
  std::string method_, target_;
};

/// Writes the answer that it reads straight into the output of the client's connection.
class ResponseParser final : public http::basic_parser<false> {
 public:
  explicit ResponseParser(std::string& out) : out_(out) {
    eager(true);
    http::basic_parser<false>::header_limit(64 << 10);
    http::basic_parser<false>::body_limit(boost::none);
  }

 private:
  void on_request_impl(http::verb, BeastView, BeastView, int, error_code&) override {}
  void on_response_impl(int code, BeastView reason, int, error_code&) override {
    out_.append("HTTP/1.1 ");
    append_number(out_, code, 10);
    out_.append(" ").append(view(reason)).append("\r\n").append(date_field());
  }
  void on_field_impl(http::field name, BeastView, BeastView value, error_code&) override {
    if (name == http::field::content_type) {
      out_.append("Content-Type: ").append(view(value)).append("\r\n");
    }
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>& length, error_code&) override {
    if (length) {
      out_.append("Content-Length: ");
      append_number(out_, *length, 10);
      out_.append("\r\n\r\n");
    } else {
      out_.append("Transfer-Encoding: chunked\r\n\r\n");
    }
  }
  std::size_t on_body_impl(BeastView bytes, error_code&) override {
    out_.append(bytes.data(), bytes.size());
    return bytes.size();
  }
  void on_chunk_header_impl(std::uint64_t, BeastView, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, BeastView bytes, error_code&) override {
    append_number(out_, bytes.size(), 16);
    out_.append("\r\n").append(bytes.data(), bytes.size()).append("\r\n");
    return bytes.size();
  }
  void on_finish_impl(error_code&) override {
    if (chunked()) out_.append("0\r\n\r\n");
  }

  std::string& out_;
};

/// Bytes read and not yet parsed.
template <std::size_t Capacity>
class InputBuffer {
 public:
  [[nodiscard]] asio::const_buffer filled() const {
    return {bytes_.data() + begin_, end_ - begin_};
  }
  [[nodiscard]] bool empty() const { return begin_ == end_; }
  asio::mutable_buffer room() {
    if (end_ == bytes_.size() && begin_ > 0) {
      std::memmove(bytes_.data(), bytes_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    return {bytes_.data() + end_, bytes_.size() - end_};
  }
  void commit(std::size_t size) { end_ += size; }
  void consume(std::size_t size) {
    begin_ += size;
    if (begin_ == end_) begin_ = end_ = 0;
  }

 private:
  std::array<char, Capacity> bytes_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

/// Feeds the parser with all that it takes. Gives false on an error that is not "need more".
template <class Parser, class Input>
bool feed(Parser& parser, Input& input) {
  while (!input.empty() && !parser.is_done()) {
    error_code error;
    const std::size_t taken = parser.put(input.filled(), error);
    input.consume(taken);
    if (error == http::error::need_more || (!error && taken == 0)) return true;
    if (error) return false;
  }
  return true;
}

class Upstream;

/// Kept connections to one upstream, the one used last on top.
class Pool {
 public:
  Pool(asio::io_context& context, std::string path) : context_(context), path_(std::move(path)) {}
  Ptr<Upstream> take();
  void give_back(Ptr<Upstream> upstream) { idle_.push_back(std::move(upstream)); }
  void forget(const Upstream* upstream) {
    std::erase_if(idle_, [&](const auto& idle) { return idle.get() == upstream; });
  }

 private:
  asio::io_context& context_;
  std::string path_;
  std::vector<Ptr<Upstream>> idle_;
};

class Session final : public Counted<Session> {
 public:
  Session(TcpSocket socket, Router& router, std::vector<Pool>& pools)
      : socket_(std::move(socket)), router_(router), pools_(pools) {
    socket_.non_blocking(true);
    socket_.set_option(asio::ip::tcp::no_delay(true));
    parser_.emplace(body_);
  }
  void read() {
    const asio::mutable_buffer room = input_.room();
    reading_ = room.size() > 0;
    if (!reading_) return;
    socket_.async_read_some(room, [self = Ptr<Session>(this)](error_code error, std::size_t size) {
      self->on_read(error, size);
    });
  }
  std::string& out() { return out_; }
  /// Sends what is in out(). Gives false while the client should not be sent more.
  bool flush();
  void end_answer(bool keep_alive);
  void fail();

 private:
  void on_read(error_code error, std::size_t size);
  void parse();
  void on_written(error_code error);

  TcpSocket socket_;
  Router& router_;
  std::vector<Pool>& pools_;
  InputBuffer<16 << 10> input_;
  std::optional<RequestParser> parser_;
  std::string body_;
  std::string out_;      // being filled
  std::string writing_;  // with an asynchronous write
  Ptr<Upstream> upstream_;
  bool reading_ = false;
  bool busy_ = false;
};

class Upstream final : public Counted<Upstream> {
 public:
  Upstream(asio::io_context& context, Pool& pool) : socket_(context), pool_(pool) {}
  bool connect(const std::string& path) {
    error_code error;
    socket_.connect(asio::local::stream_protocol::endpoint(path), error);
    if (error) return false;
    socket_.non_blocking(true);
    read();
    return true;
  }
  void send(Ptr<Session> session, const RequestParser& request, const std::string& body);
  void cancel() {
    session_.reset();
    error_code ignored;
    socket_.close(ignored);
  }
  void resume() {
    if (!reading_) read();
  }

 private:
  void read() {
    reading_ = true;
    socket_.async_read_some(input_.room(),
                            [self = Ptr<Upstream>(this)](error_code error, std::size_t size) {
                              self->reading_ = false;
                              self->on_read(error, size);
                            });
  }
  void on_read(error_code error, std::size_t size);

  UnixSocket socket_;
  Pool& pool_;
  InputBuffer<64 << 10> input_;
  std::optional<ResponseParser> parser_;
  std::string head_;
  std::string unsent_;
  Ptr<Session> session_;
  bool reading_ = false;
};

Ptr<Upstream> Pool::take() {
  if (!idle_.empty()) {
    Ptr<Upstream> upstream = std::move(idle_.back());
    idle_.pop_back();
    return upstream;
  }
  Ptr<Upstream> upstream(new Upstream(context_, *this));
  return upstream->connect(path_) ? upstream : nullptr;
}

void Session::on_read(error_code error, std::size_t size) {
  if (error) {  // the client is gone
    if (upstream_) std::exchange(upstream_, nullptr)->cancel();
    error_code ignored;
    socket_.close(ignored);
    return;
  }
  input_.commit(size);
  if (!busy_) parse();
  read();
}

void Session::parse() {
  if (!feed(*parser_, input_)) return fail();
  if (!parser_->is_done()) return;
  const std::optional<int> route = router_.route(body_);
  if (route) upstream_ = pools_[static_cast<std::size_t>(*route)].take();
  if (!upstream_) return fail();
  busy_ = true;
  upstream_->send(this, *parser_, body_);
}

bool Session::flush() {
  if (!writing_.empty() || out_.empty()) return out_.size() < pause_above_bytes;
  error_code error;
  const std::size_t sent = socket_.write_some(asio::buffer(out_), error);
  if (error && error != asio::error::would_block) return true;  // the outstanding read tells
  if (sent == out_.size()) {
    out_.clear();
    return true;
  }
  writing_.swap(out_);
  out_.clear();
  asio::async_write(
      socket_, asio::buffer(writing_) + sent,
      [self = Ptr<Session>(this)](error_code failed, std::size_t) { self->on_written(failed); });
  return writing_.size() < pause_above_bytes;
}

void Session::on_written(error_code error) {
  writing_.clear();
  if (error) return;
  if (flush() && upstream_) upstream_->resume();
}

void Session::end_answer(bool keep_alive) {
  upstream_.reset();
  busy_ = false;
  if (!keep_alive || !parser_->keep_alive()) return fail();
  parser_.emplace(body_);
  if (!input_.empty()) parse();
  if (!reading_) read();
}

void Session::fail() {
  error_code ignored;
  socket_.close(ignored);
}

void Upstream::send(Ptr<Session> session, const RequestParser& request, const std::string& body) {
  session_ = std::move(session);
  parser_.emplace(session_->out());
  head_.assign(request.method()).append(" ").append(request.target()).append(" HTTP/1.1\r\n");
  head_.append("Host: localhost\r\nContent-Length: ");
  append_number(head_, body.size(), 10);
  head_.append("\r\nContent-Type: application/json\r\n\r\n");
  const std::array<asio::const_buffer, 2> pieces = {asio::buffer(head_), asio::buffer(body)};
  error_code error;
  const std::size_t sent = socket_.write_some(pieces, error);
  if (error && error != asio::error::would_block) return session_->fail();
  if (sent == head_.size() + body.size()) return;
  unsent_ = head_ + body;
  asio::async_write(socket_, asio::buffer(unsent_) + sent,
                    [self = Ptr<Upstream>(this)](error_code, std::size_t) {});
}

void Upstream::on_read(error_code error, std::size_t size) {
  if (!session_) {  // idle, or cancelled
    pool_.forget(this);
    return;
  }
  if (error) return std::exchange(session_, nullptr)->fail();
  input_.commit(size);
  if (!feed(*parser_, input_)) return std::exchange(session_, nullptr)->fail();
  const bool may_go_on = session_->flush();
  if (parser_->is_done()) {
    const bool reusable = parser_->keep_alive() && input_.empty();
    const Ptr<Session> session = std::exchange(session_, nullptr);
    if (reusable) pool_.give_back(this);
    session->end_answer(true);
    if (reusable && !reading_) read();
    return;
  }
  if (may_go_on) read();
}

class Acceptor {
 public:
  Acceptor(asio::io_context& context, const asio::ip::tcp::endpoint& where, std::string upstream)
      : acceptor_(context, where) {
    for (int i = 0; i < models; ++i) pools_.emplace_back(context, upstream);
    accept();
  }

 private:
  void accept() {
    acceptor_.async_accept([this](error_code error, TcpSocket socket) {
      if (!error) Ptr<Session>(new Session(std::move(socket), router_, pools_))->read();
      accept();
    });
  }

  asio::basic_socket_acceptor<asio::ip::tcp, Executor> acceptor_;
  Router router_;
  std::vector<Pool> pools_;
};

int run(std::string_view listen, std::string_view upstream) {
  const std::size_t colon = listen.rfind(':');
  if (colon == listen.npos || !upstream.starts_with("unix:")) return 2;
  int port = 0;
  std::from_chars(listen.data() + colon + 1, listen.data() + listen.size(), port);
  const asio::ip::tcp::endpoint where(asio::ip::make_address(std::string(listen.substr(0, colon))),
                                      static_cast<std::uint16_t>(port));
  asio::io_context context(1);
  const Acceptor acceptor(context, where, std::string(upstream.substr(5)));
  context.run();
  return 0;
}

}  // namespace
}  // namespace stoker::net_slice

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  return stoker::net_slice::run(argv[1], argv[2]);
}
