#include "worker/exec/http_probe.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <string_view>

#include "base/unique_fd.h"
#include "net/clock.h"

namespace stoker::worker {
namespace {

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

bool wait_for(int fd, short events, Instant deadline) {
  const Duration left = deadline - net::monotonic_now();
  if (left.ns <= 0) return false;
  pollfd polled{fd, events, 0};
  return ::poll(&polled, 1, static_cast<int>(whole_ms(left)) + 1) == 1;
}

/// "HTTP/1.1 200 OK"
std::optional<int> parse_status(std::string_view line) {
  if (!line.starts_with("HTTP/1.") || line.size() < 12) return std::nullopt;
  int status = 0;
  const auto [end, error] = std::from_chars(line.data() + 9, line.data() + 12, status);
  if (error != std::errc{} || end != line.data() + 12) return std::nullopt;
  return status;
}

}  // namespace

std::optional<int> probe_http(int port, const std::string& path, Duration at_most) {
  const Instant deadline = net::monotonic_now() + at_most;
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_in address = loopback(port);
  if (!fd) return std::nullopt;
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno != EINPROGRESS) {
    return std::nullopt;
  }
  if (!wait_for(fd.get(), POLLOUT, deadline)) return std::nullopt;
  const std::string request = fmt::format(
      "GET {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAccept: */*\r\nConnection: close\r\n\r\n", path,
      port);
  // A fresh connection takes so few bytes at once, or it is not connected.
  if (::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return std::nullopt;
  }
  std::string line;
  std::array<char, 512> buffer{};
  while (line.find("\r\n") == std::string::npos && line.size() < 4096) {
    if (!wait_for(fd.get(), POLLIN, deadline)) return std::nullopt;
    const ssize_t size = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (size <= 0) return std::nullopt;
    line.append(buffer.data(), static_cast<std::size_t>(size));
  }
  return parse_status(line);
}

int find_free_port() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (!fd || ::bind(fd.get(), generic, size) != 0 || ::getsockname(fd.get(), generic, &size) != 0) {
    return 0;
  }
  return ntohs(address.sin_port);
}

}  // namespace stoker::worker
