// The least that can stand between a client and a worker: bytes go from a TCP connection to one of
// its own to the worker's Unix socket and back, one epoll loop, no parsing. bench/gateway.py holds
// the gateway against it: whoever copies bytes between two sockets pays at least this.
//   gateway_relay PORT UNIX_PATH
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace stoker::gateway_relay {
namespace {

constexpr std::size_t read_bytes = 64 << 10;

struct End {
  UniqueFd fd;
  std::string out;  // what the socket did not take at once
  End* other = nullptr;
  std::uint32_t interest = EPOLLIN;
};
struct Pair {
  End client, worker;
};

class Relay {
 public:
  Relay(int port, std::string_view path) {
    worker_.sun_family = AF_UNIX;
    path.copy(worker_.sun_path, sizeof worker_.sun_path - 1);
    epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), "bind");
    check(::listen(listener_.get(), 1024), "listen");
    watch(EPOLL_CTL_ADD, listener_.get(), EPOLLIN, nullptr);
  }

  [[noreturn]] void run() {
    std::array<epoll_event, 256> events{};
    for (;;) {
      const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), -1);
      for (const epoll_event& each :
           std::span(events).first(static_cast<std::size_t>(std::max(count, 0)))) {
        if (each.data.ptr == nullptr) {
          accept_all();
        } else {
          on_events(*static_cast<End*>(each.data.ptr), each.events);
        }
      }
      dead_.clear();
    }
  }

 private:
  static void check(int result, const char* what) {
    if (result >= 0) return;
    std::perror(what);
    std::exit(1);
  }
  void watch(int operation, int fd, std::uint32_t interest, End* end) const {
    epoll_event event{};
    event.events = interest;
    event.data.ptr = end;
    ::epoll_ctl(epoll_.get(), operation, fd, &event);
  }
  void accept_all() {
    for (;;) {
      UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd) return;
      const int on = 1;
      ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      auto pair = std::make_unique<Pair>();
      pair->client = {std::move(fd), {}, &pair->worker};
      pair->worker = {
          UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), {}, &pair->client};
      // Waits while the worker's backlog is full.
      check(::connect(pair->worker.fd.get(), reinterpret_cast<sockaddr*>(&worker_), sizeof worker_),
            "connect");
      check(::fcntl(pair->worker.fd.get(), F_SETFL, O_NONBLOCK), "fcntl");
      watch(EPOLL_CTL_ADD, pair->client.fd.get(), EPOLLIN, &pair->client);
      watch(EPOLL_CTL_ADD, pair->worker.fd.get(), EPOLLIN, &pair->worker);
      pairs_.push_back(std::move(pair));
    }
  }
  void on_events(End& end, std::uint32_t events) {
    if (!end.fd) return;  // closed in this round
    if ((events & EPOLLOUT) != 0 && !flush(end)) return close_pair(end);
    if ((events & ~std::uint32_t{EPOLLOUT}) == 0) return;
    const ssize_t got = ::read(end.fd.get(), buffer_.data(), buffer_.size());
    if (got == 0 || (got < 0 && errno != EAGAIN)) return close_pair(end);
    if (got < 0) return;
    End& to = *end.other;
    const std::string_view bytes(buffer_.data(), static_cast<std::size_t>(got));
    if (!to.out.empty()) {
      to.out += bytes;
      return;
    }
    const ssize_t sent = ::send(to.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return close_pair(end);
    to.out = bytes.substr(sent < 0 ? 0 : static_cast<std::size_t>(sent));
    set_interest(to);
  }
  bool flush(End& end) {
    const ssize_t sent = ::send(end.fd.get(), end.out.data(), end.out.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return false;
    if (sent > 0) end.out.erase(0, static_cast<std::size_t>(sent));
    set_interest(end);
    return true;
  }
  void set_interest(End& end) {
    const std::uint32_t wanted = EPOLLIN | (end.out.empty() ? 0U : std::uint32_t{EPOLLOUT});
    if (wanted == end.interest) return;
    end.interest = wanted;
    watch(EPOLL_CTL_MOD, end.fd.get(), wanted, &end);
  }
  /// Events of this round may still name its ends: it dies after the round.
  void close_pair(End& end) {
    end.fd.reset();
    end.other->fd.reset();
    for (auto& each : pairs_) {
      if (&each->client != &end && &each->worker != &end) continue;
      std::swap(each, pairs_.back());
      dead_.push_back(std::move(pairs_.back()));
      pairs_.pop_back();
      return;
    }
  }

  sockaddr_un worker_{};
  UniqueFd epoll_, listener_;
  std::vector<std::unique_ptr<Pair>> pairs_, dead_;
  std::array<char, read_bytes> buffer_{};
};

}  // namespace
}  // namespace stoker::gateway_relay

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  stoker::gateway_relay::Relay(std::atoi(argv[1]), argv[2]).run();
}
