#include "net/http_server.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "net/server_connection.h"
#include "net/socket_address.h"

namespace stoker::net {
namespace {

/// For so long nothing is accepted after the process ran out of descriptors. Trying again at once
/// would only keep the CPU busy.
constexpr Duration accept_pause = ms(100);

/// Deadlines are looked at by walking over all connections now and then, which costs a request
/// nothing. A deadline is kept to within a quarter of the shortest one, 500 ms at most.
Duration sweep_period(const HttpLimits& limits) {
  const Duration shortest = std::min({limits.header_timeout, limits.body_idle_timeout,
                                      limits.keep_alive_timeout, limits.write_stall_timeout});
  return std::clamp(Duration{shortest.ns / 4}, ms(5), ms(500));
}

}  // namespace

struct HttpServer::Impl final : ServerShared, FdHandler {
  UniqueFd listener;
  TimerId sweep = 0;         // set while there are connections
  TimerId accept_again = 0;  // set while there are no descriptors
  bool accepting = true;     // what epoll knows
  std::function<void()> drained;

  Impl(EventLoop& loop_, UniqueFd listener_, HttpLimits limits_, RequestHandler& handler_,
       ChannelMaker* secure_)
      : ServerShared(loop_, limits_, handler_, secure_), listener(std::move(listener_)) {
    loop.add(listener.get(), EPOLLIN, *this);
  }
  ~Impl() override {
    drained = nullptr;
    stop_accepting();
    while (!connections.empty()) connections.back()->close();
    loop.cancel(sweep);
  }

  void on_events(std::uint32_t events) override;
  void on_closed() override;
  void pause_accepting(int error);
  void set_accepting();
  void stop_accepting();
  void sweep_later();
  void check_deadlines();
};

void HttpServer::Impl::on_events(std::uint32_t) {
  SocketAddress peer;
  UniqueFd fd(::accept4(listener.get(), peer.raw(), &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd) {
    const int error = errno;
    if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM)
      pause_accepting(error);
    return;  // else the peer is gone again already
  }
  if (peer.family() != AF_UNIX) {
    const int on = 1;  // we join writes ourselves
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  connections.push_back(std::make_shared<ServerConnection>(
      *this, std::move(fd), peer.family() == AF_UNIX ? "unix" : peer.text(), connections.size()));
  if (sweep == 0) sweep_later();
  if (!full && connections.size() >= limits.max_connections) {
    full = true;
    set_accepting();
    handler.on_accept_paused(0);
  }
}

void HttpServer::Impl::pause_accepting(int error) {
  if (accept_again != 0) return;
  accept_again = loop.run_at(loop.now() + accept_pause, [this] {
    accept_again = 0;
    set_accepting();
  });
  set_accepting();
  handler.on_accept_paused(error);
}

void HttpServer::Impl::set_accepting() {
  const bool wanted = accept_again == 0 && !full;
  if (!listener || wanted == accepting) return;
  accepting = wanted;
  loop.modify(listener.get(), accepting ? std::uint32_t{EPOLLIN} : 0U, *this);
}

void HttpServer::Impl::stop_accepting() {
  if (!listener) return;
  loop.cancel(std::exchange(accept_again, 0));
  loop.remove(listener.get());
  listener.reset();
}

void HttpServer::Impl::sweep_later() {
  sweep = loop.run_at(loop.now() + sweep_period(limits), [this] { check_deadlines(); });
}

void HttpServer::Impl::check_deadlines() {
  // From the back: a connection that closes is replaced by the last one, which has been looked at.
  for (std::size_t i = connections.size(); i-- > 0;) {
    if (i < connections.size()) connections[i]->check_deadlines();
  }
  sweep = 0;
  if (!connections.empty()) sweep_later();
}

void HttpServer::Impl::on_closed() {
  if (full && connections.size() < limits.max_connections) {
    full = false;
    set_accepting();
  }
  // Through the loop, because one of our connections is on the stack.
  if (connections.empty() && drained) loop.post(std::exchange(drained, nullptr));
}

HttpServer::HttpServer(EventLoop& loop, UniqueFd listener, HttpLimits limits,
                       RequestHandler& handler, ChannelMaker* secure)
    : impl_(std::make_unique<Impl>(loop, std::move(listener), limits, handler, secure)) {}

HttpServer::~HttpServer() = default;

void HttpServer::begin_drain() {
  impl_->draining = true;
}

void HttpServer::drain(std::function<void()> done) {
  impl_->stop_accepting();
  begin_drain();
  for (std::size_t i = impl_->connections.size(); i-- > 0;) {
    impl_->connections[i]->close_if_idle();
  }
  impl_->drained = std::move(done);
  if (impl_->connections.empty()) impl_->on_closed();
}

std::size_t HttpServer::connections() const {
  return impl_->connections.size();
}

}  // namespace stoker::net
