// What the tests of net/ share: a loop that runs until something has happened, and a raw peer that
// sends exactly the bytes it is told to.
#pragma once

#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "net/clock.h"
#include "net/event_loop.h"
#include "net/socket_address.h"

namespace stoker::net {

class LoopFixture : public ::testing::Test {
 protected:
  LoopFixture() : loop_owner(EventLoop::create().value()), loop(*loop_owner) {}

  /// Runs rounds until `done`; false if that takes more than 20 s, which only a bug does.
  bool run_until(std::function<bool()> done) {
    struct Watch final : RoundEndHook {
      EventLoop& loop;
      std::function<bool()> done;
      Instant give_up = monotonic_now() + seconds(20);
      bool happened = false;
      Watch(EventLoop& l, std::function<bool()> d) : loop(l), done(std::move(d)) {}
      void on_round_end() override {
        happened = done();
        if (happened || monotonic_now() > give_up) return loop.stop();
        loop.at_round_end(*this);
      }
    };
    Watch watch(loop, std::move(done));
    loop.at_round_end(watch);
    loop.run();
    return watch.happened;
  }
  void run_rounds(int rounds) {
    run_until([&] { return rounds-- == 0; });
  }

  std::unique_ptr<EventLoop> loop_owner;
  EventLoop& loop;
};

/// The other end of a connection. Collects what comes; what it sends is sent at once.
class RawPeer final : public FdHandler {
 public:
  RawPeer(EventLoop& loop, UniqueFd fd) : loop_(loop), fd_(std::move(fd)) {
    const int on = 1;  // else a message in two pieces waits for a delayed acknowledgement
    ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    loop_.add(fd_.get(), EPOLLIN, *this);
  }
  /// Connects to a bound address as bound_address() gives it.
  static std::unique_ptr<RawPeer> connect(EventLoop& loop, int listener) {
    SocketAddress address;
    EXPECT_EQ(::getsockname(listener, address.raw(), &address.size), 0);
    UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(fd.get(), address.raw(), address.size), 0) << errno;
    return std::make_unique<RawPeer>(loop, std::move(fd));
  }
  ~RawPeer() override { close(); }

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // the other side has closed, which is what some tests are about
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  /// As much as the socket takes without waiting; gives how much.
  std::size_t send_some(std::string_view bytes) {
    const auto sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent > 0 ? static_cast<std::size_t>(sent) : 0;
  }
  void shutdown_sending() { ::shutdown(fd_.get(), SHUT_WR); }
  /// Stops and goes on reading.
  void stall() { loop_.modify(fd_.get(), 0, *this); }
  void go_on() { loop_.modify(fd_.get(), EPOLLIN, *this); }
  void close() {
    if (!fd_) return;
    if (!closed) loop_.remove(fd_.get());
    fd_.reset();
  }
  void on_events(std::uint32_t) override {
    char buffer[64 << 10];
    const auto got = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (got > 0) {
      received.append(buffer, static_cast<std::size_t>(got));
      return;
    }
    closed = true;
    reset = got < 0;
    loop_.remove(fd_.get());
  }

  std::string received;
  bool closed = false;  // the other side has ended the connection
  bool reset = false;   // and not properly

 private:
  EventLoop& loop_;
  UniqueFd fd_;
};

inline std::size_t count_of(std::string_view text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) {
    ++count;
  }
  return count;
}

}  // namespace stoker::net
