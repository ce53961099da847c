#include "net/socket_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstring>

namespace stoker::net {

std::optional<SocketAddress> SocketAddress::unix_path(const std::string& path) {
  sockaddr_un name{};
  if (path.empty() || path.size() >= sizeof name.sun_path) return std::nullopt;
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  SocketAddress address;
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  std::memcpy(&address.storage, &name, address.size);
  return address;
}

std::optional<SocketAddress> SocketAddress::internet(const std::string& host, int port) {
  SocketAddress address;
  sockaddr_in v4{};
  if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(static_cast<std::uint16_t>(port));
    address.size = sizeof v4;
    std::memcpy(&address.storage, &v4, sizeof v4);
    return address;
  }
  sockaddr_in6 v6{};
  if (::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(static_cast<std::uint16_t>(port));
    address.size = sizeof v6;
    std::memcpy(&address.storage, &v6, sizeof v6);
    return address;
  }
  return std::nullopt;
}

std::string SocketAddress::text() const {
  std::array<char, INET6_ADDRSTRLEN> host{};
  if (family() == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage, sizeof v4);
    ::inet_ntop(AF_INET, &v4.sin_addr, host.data(), host.size());
    return fmt::format("{}:{}", host.data(), ntohs(v4.sin_port));
  }
  if (family() == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, host.data(), host.size());
    return fmt::format("[{}]:{}", host.data(), ntohs(v6.sin6_port));
  }
  constexpr std::size_t path_offset = offsetof(sockaddr_un, sun_path);
  sockaddr_un name{};
  std::memcpy(&name, &storage, sizeof name);
  if (size <= path_offset || name.sun_path[0] == '\0') return "unix";
  return fmt::format("unix:{}",
                     std::string(name.sun_path, ::strnlen(name.sun_path, size - path_offset)));
}

}  // namespace stoker::net
