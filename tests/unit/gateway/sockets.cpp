#include "sockets.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cctype>
#include <stdexcept>

namespace stoker::gateway {
namespace {

constexpr int patience_ms = 20'000;

bool wait_readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, patience_ms) == 1;
}

void send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;  // the peer is gone, which the test sees otherwise
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

/// Closing sends RST on TCP.
void set_reset_on_close(int fd) {
  const linger now{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace

TestClient::TestClient(const std::string& address)
    : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port =
      htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    throw std::runtime_error("connect to " + address);
  }
}

void TestClient::send(std::string_view bytes) {
  send_all(fd_.get(), bytes);
}

void TestClient::reset() {
  set_reset_on_close(fd_.get());
  fd_.reset();
}

bool TestClient::read_more() {
  char buffer[65536];
  if (!wait_readable(fd_.get())) return false;
  const ssize_t n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
  if (n <= 0) return false;
  input_.append(buffer, static_cast<std::size_t>(n));
  return true;
}

bool TestClient::parse_head() {
  const std::size_t end = input_.find("\r\n\r\n");
  if (end == std::string::npos) return false;
  std::string head = input_.substr(0, end + 2);
  input_.erase(0, end + 4);
  answer_ = {};
  answer_.status = std::stoi(head.substr(9, 3));
  for (std::size_t at = head.find("\r\n") + 2; at < head.size();) {
    const std::size_t line_end = head.find("\r\n", at);
    const std::size_t colon = head.find(':', at);
    answer_.fields[lower(head.substr(at, colon - at))] =
        head.substr(colon + 2, line_end - colon - 2);
    at = line_end + 2;
  }
  chunked_ = answer_.field("transfer-encoding") == "chunked";
  const std::string length = answer_.field("content-length");
  body_left_ = length.empty() ? 0 : std::stoul(length);
  return true;
}

void TestClient::take_body() {
  if (!chunked_) {
    const std::size_t n = std::min(body_left_, input_.size());
    answer_.body.append(input_, 0, n);
    input_.erase(0, n);
    body_left_ -= n;
    answer_.whole = body_left_ == 0;
    return;
  }
  while (!answer_.whole) {
    const std::size_t line_end = input_.find("\r\n");
    if (line_end == std::string::npos) return;
    const std::size_t size = std::stoul(input_.substr(0, line_end), nullptr, 16);
    if (input_.size() < line_end + 4 + size) return;
    answer_.body.append(input_, line_end + 2, size);
    input_.erase(0, line_end + 4 + size);
    answer_.whole = size == 0;
  }
}

bool TestClient::read_until(std::string_view text) {
  while (true) {
    if (!head_done_) head_done_ = parse_head();
    if (head_done_) take_body();
    if (answer_.body.find(text) != std::string::npos) return true;
    if (answer_.whole || !read_more()) return false;
  }
}

Answer TestClient::read_answer() {
  while (true) {
    if (!head_done_) head_done_ = parse_head();
    if (head_done_) take_body();
    if (answer_.whole || !read_more()) break;
  }
  head_done_ = false;
  return std::exchange(answer_, Answer{});
}

std::string post(std::string_view path, std::string_view body, std::string_view more_fields) {
  std::string text = "POST ";
  text.append(path).append(" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
  text.append(more_fields).append("Content-Length: ").append(std::to_string(body.size()));
  return text.append("\r\n\r\n").append(body);
}

std::string get(std::string_view path, std::string_view more_fields) {
  std::string text = "GET ";
  return text.append(path)
      .append(" HTTP/1.1\r\nHost: localhost\r\n")
      .append(more_fields)
      .append("\r\n");
}

std::string WorkerConnection::read_request() {
  while (true) {
    const std::size_t end = input_.find("\r\n\r\n");
    if (end != std::string::npos) {
      const std::string head = lower(input_.substr(0, end));
      const std::size_t length_at = head.find("content-length: ");
      const std::size_t length =
          length_at == std::string::npos ? 0 : std::stoul(head.substr(length_at + 16));
      if (input_.size() >= end + 4 + length) {
        std::string request = input_.substr(0, end + 4 + length);
        input_.erase(0, request.size());
        return request;
      }
    }
    char buffer[65536];
    if (!wait_readable(fd_.get())) return {};
    const ssize_t n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (n <= 0) return {};
    input_.append(buffer, static_cast<std::size_t>(n));
  }
}

void WorkerConnection::send(std::string_view bytes) {
  send_all(fd_.get(), bytes);
}

bool WorkerConnection::wait_closed() {
  char byte = 0;
  return wait_readable(fd_.get()) && ::recv(fd_.get(), &byte, 1, 0) <= 0;
}

void WorkerConnection::reset() {
  set_reset_on_close(fd_.get());
  fd_.reset();
}

ScriptedWorker::ScriptedWorker(Script script)
    : script_(std::move(script)), path_((directory_ / "worker.sock").string()) {
  listener_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  path_.copy(at.sun_path, sizeof at.sun_path - 1);
  if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
      ::listen(listener_.get(), 64) != 0) {
    throw std::runtime_error("listen on " + path_);
  }
  acceptor_ = std::thread([this] { accept_all(); });
}

ScriptedWorker::~ScriptedWorker() {
  ::shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
  for (std::thread& connection : connections_) connection.join();
}

void ScriptedWorker::accept_all() {
  while (true) {
    UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd) return;
    connections_.emplace_back([this, fd = std::move(fd)]() mutable {
      WorkerConnection connection(std::move(fd));
      script_(connection);
    });
  }
}

}  // namespace stoker::gateway
