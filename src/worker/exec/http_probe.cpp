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
#include <optional>
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

ProbeResult probe_http(int port, const std::string& path, Duration at_most) {
  constexpr ProbeResult refused{ProbeResult::Kind::refused};
  constexpr ProbeResult silent{ProbeResult::Kind::silent};
  const Instant deadline = net::monotonic_now() + at_most;
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_in address = loopback(port);
  if (!fd) return silent;
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno != EINPROGRESS) {
    return refused;
  }
  if (!wait_for(fd.get(), POLLOUT, deadline)) return silent;
  int connected = 0;
  socklen_t size_of_it = sizeof connected;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &connected, &size_of_it) != 0 ||
      connected != 0) {
    return refused;
  }
  const std::string request = fmt::format(
      "GET {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAccept: */*\r\nConnection: close\r\n\r\n", path,
      port);
  // A fresh connection takes so few bytes at once, or it is not connected any more.
  if (::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return silent;
  }
  std::string line;
  std::array<char, 512> buffer{};
  while (line.find("\r\n") == std::string::npos && line.size() < 4096) {
    if (!wait_for(fd.get(), POLLIN, deadline)) return silent;
    const ssize_t size = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (size <= 0 && line.empty()) return silent;
    if (size <= 0) break;
    line.append(buffer.data(), static_cast<std::size_t>(size));
  }
  const std::optional<int> status = parse_status(line);
  if (!status) return {ProbeResult::Kind::not_http};
  return {ProbeResult::Kind::answered, *status};
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
