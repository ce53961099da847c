// Listening sockets: addresses as people write them, bound and named.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <utility>

#include "net/http_server.h"
#include "net/socket_address.h"

namespace stoker::net {
namespace {

constexpr int listen_backlog = 4096;  // the kernel caps it at net.core.somaxconn

std::optional<int> parse_port(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port < 0 || port > 65535) {
    return std::nullopt;
  }
  return port;
}

/// A socket file left by a process that is gone is in the way of bind(); one that somebody still
/// listens on is not ours to remove.
bool remove_stale_socket(const SocketAddress& address, const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe || ::connect(probe.get(), address.raw(), address.size) == 0 || errno != ECONNREFUSED) {
    return false;
  }
  return ::unlink(path.c_str()) == 0;
}

}  // namespace

Result<ListenAddress> parse_listen_address(std::string_view text) {
  ListenAddress address;
  constexpr std::string_view unix_prefix = "unix:";
  if (text.starts_with(unix_prefix)) {
    address.unix_path = text.substr(unix_prefix.size());
    if (!address.unix_path.empty()) return address;
  } else {
    const std::size_t colon = text.rfind(':');
    std::string_view host = colon == text.npos ? std::string_view{} : text.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    if (host.empty()) host = "127.0.0.1";
    if (host == "localhost") host = "127.0.0.1";
    const std::optional<int> port = parse_port(colon == text.npos ? text : text.substr(colon + 1));
    address.host = host;
    if (port && SocketAddress::internet(address.host, *port)) {
      address.port = *port;
      return address;
    }
  }
  return failure(ErrorCode::invalid, fmt::format("\"{}\" is not an address to listen on", text),
                 "write HOST:PORT with a numeric host, for example 127.0.0.1:8080, or unix:/path");
}

Result<UniqueFd> listen_on(const ListenAddress& address, bool reuse_port) {
  const bool is_unix = !address.unix_path.empty();
  const std::optional<SocketAddress> where =
      is_unix ? SocketAddress::unix_path(address.unix_path)
              : SocketAddress::internet(address.host, address.port);
  const std::string name =
      is_unix ? "unix:" + address.unix_path : fmt::format("{}:{}", address.host, address.port);
  if (!where) {
    return failure(ErrorCode::invalid, fmt::format("cannot listen on {}: not an address", name),
                   is_unix ? "the path of a Unix socket has at most 107 bytes" : "");
  }
  UniqueFd fd(::socket(where->family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return tl::unexpected(errno_error("socket"));
  const int on = 1;
  if (!is_unix) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (reuse_port) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  int bound = ::bind(fd.get(), where->raw(), where->size);
  if (bound != 0 && errno == EADDRINUSE && is_unix) {
    bound = remove_stale_socket(*where, address.unix_path)
                ? ::bind(fd.get(), where->raw(), where->size)
                : bound;
    if (bound != 0) errno = EADDRINUSE;
  }
  if (bound != 0 || ::listen(fd.get(), listen_backlog) != 0) {
    if (errno == EADDRINUSE) {
      return failure(ErrorCode::in_use, fmt::format("{} is in use by another process", name),
                     "stop that process or listen on another address");
    }
    return tl::unexpected(errno_error("cannot listen on " + name));
  }
  return fd;
}

SocketFile::SocketFile(std::string path) : path_(std::move(path)) {
  struct stat status{};
  if (::lstat(path_.c_str(), &status) != 0) {
    path_.clear();
    return;
  }
  device_ = status.st_dev;
  inode_ = status.st_ino;
}

SocketFile::~SocketFile() {
  struct stat status{};
  if (path_.empty() || ::lstat(path_.c_str(), &status) != 0) return;
  if (status.st_dev == device_ && status.st_ino == inode_) ::unlink(path_.c_str());
}

SocketFile::SocketFile(SocketFile&& other) noexcept
    : path_(std::exchange(other.path_, {})), device_(other.device_), inode_(other.inode_) {}

std::string bound_address(int fd) {
  SocketAddress address;
  if (::getsockname(fd, address.raw(), &address.size) != 0) return "?";
  return address.text();
}

}  // namespace stoker::net
