// A socket address of any family that we speak, and its text.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <optional>
#include <string>

namespace stoker::net {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_storage);

  /// nullopt for a path that does not fit (107 bytes).
  static std::optional<SocketAddress> unix_path(const std::string& path);
  /// Numeric IPv4 or IPv6; nullopt for anything else. Names are never looked up here.
  static std::optional<SocketAddress> internet(const std::string& host, int port);

  [[nodiscard]] sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
  [[nodiscard]] const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
  [[nodiscard]] int family() const { return storage.ss_family; }
  /// "127.0.0.1:80", "[::1]:80", "unix:/path", or "unix" for a socket without a name.
  [[nodiscard]] std::string text() const;
};

}  // namespace stoker::net
