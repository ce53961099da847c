#include "worker/exec/relay.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "worker/exec/relay_connection.h"

namespace stoker::worker {
namespace {

constexpr Duration sweep_interval = ms(250);
constexpr Duration accept_pause = ms(100);  // when descriptors have run out

/// A connection to the engine under way; bytes wait until it stands.
UniqueFd connect_to(int port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (!fd) return fd;
  const int one = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno != EINPROGRESS) {
    fd.reset();
  }
  return fd;
}

/// Closes with a reset, where the protocol has one.
void reset_socket(UniqueFd& fd) {
  if (!fd) return;
  const linger at_once{1, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  fd.reset();
}

}  // namespace

// --- Relay ---

Relay::Relay(net::EventLoop& loop, WorkerCounters& counters, int listen_fd)
    : loop_(loop), counters_(counters), listen_fd_(listen_fd) {
  ::fcntl(listen_fd, F_SETFL, ::fcntl(listen_fd, F_GETFL) | O_NONBLOCK);
}

Relay::~Relay() {
  close();
}

void Relay::open(int port) {
  port_ = port;
  listen(true);
}

void Relay::listen(bool on) {
  if (on == listening_) return;
  listening_ = on;
  if (on) {
    loop_.add(listen_fd_, EPOLLIN, *this);
  } else {
    loop_.remove(listen_fd_);
  }
}

void Relay::close() {
  port_ = 0;
  listen(false);
  const auto connections = std::exchange(connections_, {});
  for (const auto& [key, connection] : connections) connection->abort();
}

void Relay::drain(std::function<void()> done) {
  port_ = 0;
  listen(false);
  drained_ = std::move(done);
  sweep();
}

void Relay::on_events(std::uint32_t) {
  for (;;) {
    const int fd = ::accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      accept_one(fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      listen(false);
      loop_.run_at(loop_.now() + accept_pause, [this] { listen(port_ != 0); });
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

void Relay::accept_one(int fd) {
  UniqueFd client(fd);
  UniqueFd engine = connect_to(port_);
  if (!engine) return reset_socket(client);
  const int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);  // fails on a Unix socket: fine
  auto connection = std::make_shared<RelayConnection>(*this, std::move(client), std::move(engine));
  connections_.emplace(connection.get(), connection);
  connection->start();
}

void Relay::arm_sweep() {
  if (sweep_timer_ != 0) return;
  sweep_timer_ = loop_.run_at(loop_.now() + sweep_interval, [this] {
    sweep_timer_ = 0;
    sweep();
  });
}

/// Finds the connections whose request is over, and the end of a drain.
void Relay::sweep() {
  std::vector<std::shared_ptr<RelayConnection>> idle;
  bool any_active = false;
  for (const auto& [key, connection] : connections_) {
    if (!connection->busy_since(loop_.now() - quiet_after)) connection->set_active(false);
    any_active = any_active || connection->active();
    if (!connection->active()) idle.push_back(connection);
  }
  if (any_active) arm_sweep();
  if (!drained_) return;
  for (const auto& connection : idle) connection->close();
  if (!any_active) std::exchange(drained_, nullptr)();
}

void Relay::removed(RelayConnection& connection) {
  connections_.erase(&connection);
  if (drained_) arm_sweep();
}

// --- RelayConnection ---

RelayConnection::RelayConnection(Relay& relay, UniqueFd client_fd, UniqueFd engine_fd)
    : relay_(relay),
      fds_{std::move(client_fd), std::move(engine_fd)},
      sides_{Side(*this, client), Side(*this, engine)} {
  for (auto& direction : directions_) direction = std::make_unique<Direction>();
}

RelayConnection::~RelayConnection() {
  set_active(false);
}

void RelayConnection::start() {
  for (const Which side : {client, engine}) {
    interest_[side] = EPOLLIN;
    relay_.loop_.add(fds_[side].get(), interest_[side], sides_[side]);
    registered_[side] = true;
  }
}

void RelayConnection::on_events(Which side, std::uint32_t events) {
  const std::shared_ptr<RelayConnection> self = shared_from_this();  // close() drops the owner's
  // The gateway has closed or reset: nobody will read, so the engine need not go on.
  const bool client_gone = side == client && (events & (EPOLLHUP | EPOLLERR)) != 0;
  // A connection that was kept and is given up between two requests ends in the ordinary way: a
  // reset would be an error in the engine's log. A Unix socket reports this end as a hang-up too.
  const bool at_rest = !busy_since(relay_.loop_.now() - Relay::quiet_after);
  if (client_gone && at_rest && (events & EPOLLERR) == 0) return close();
  if (client_gone || (events & EPOLLERR) != 0) return abort();
  if (!pump(client) || !pump(engine)) return abort();
  if (directions_[client]->shut && directions_[engine]->shut) return close();
  if (side == engine && (events & EPOLLHUP) != 0 && directions_[engine]->ended) {
    // The engine is gone; what it said still goes out, what was meant for it is lost. Its hang-up
    // would be reported without end, so it is not watched any more.
    if (directions_[engine]->shut) return abort();
    relay_.loop_.remove(fds_[engine].get());
    registered_[engine] = false;
  }
  update_interest(client);
  update_interest(engine);
}

/// Moves what can be moved now; level-triggered events bring the rest.
/// Gives: false if a socket is broken.
bool RelayConnection::pump(Which from) {
  Direction& direction = *directions_[from];
  if (!direction.ended && !direction.full() && !read_some(from)) return false;
  if (!direction.empty() && !write_some(from)) return false;
  if (direction.ended && direction.empty() && !std::exchange(direction.shut, true)) {
    ::shutdown(fds_[other(from)].get(), SHUT_WR);
  }
  return true;
}

bool RelayConnection::read_some(Which from) {
  Direction& direction = *directions_[from];
  const ssize_t size = ::recv(fds_[from].get(), direction.bytes.data() + direction.end,
                              direction.bytes.size() - direction.end, 0);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  direction.ended = size == 0;
  direction.end += static_cast<std::size_t>(size);
  if (size > 0) note_bytes(from, static_cast<std::size_t>(size));
  return true;
}

bool RelayConnection::write_some(Which from) {
  Direction& direction = *directions_[from];
  if (!registered_[other(from)]) return false;
  const ssize_t size = ::send(fds_[other(from)].get(), direction.bytes.data() + direction.begin,
                              direction.end - direction.begin, MSG_NOSIGNAL);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  direction.begin += static_cast<std::size_t>(size);
  if (direction.empty()) direction.begin = direction.end = 0;
  return true;
}

void RelayConnection::note_bytes(Which from, std::size_t count) {
  last_bytes_at_ = relay_.loop_.now();
  answer_owed_ = from == client;
  if (from == engine) count_step(relay_.counters_, count);
  if (from == client) set_active(true);
}

bool RelayConnection::busy_since(Instant at) const {
  return answer_owed_ || last_bytes_at_ >= at;
}

void RelayConnection::set_active(bool active) {
  if (active == active_) return;
  active_ = active;
  if (active) {
    relay_.counters_.active.fetch_add(1, std::memory_order_relaxed);
    relay_.counters_.requests.fetch_add(1, std::memory_order_relaxed);
    relay_.arm_sweep();
  } else {
    relay_.counters_.active.fetch_sub(1, std::memory_order_relaxed);
  }
}

void RelayConnection::update_interest(Which side) {
  if (!registered_[side]) return;
  const Direction& incoming = *directions_[side];
  const Direction& outgoing = *directions_[other(side)];
  const std::uint32_t wanted =
      (!incoming.ended && !incoming.full() ? EPOLLIN : 0U) | (!outgoing.empty() ? EPOLLOUT : 0U);
  if (wanted == interest_[side]) return;
  interest_[side] = wanted;
  relay_.loop_.modify(fds_[side].get(), wanted, sides_[side]);
}

void RelayConnection::abort() {
  const std::shared_ptr<RelayConnection> self = shared_from_this();
  close();
  for (UniqueFd& fd : fds_) reset_socket(fd);
}

void RelayConnection::close() {
  for (const Which side : {client, engine}) {
    if (std::exchange(registered_[side], false)) relay_.loop_.remove(fds_[side].get());
  }
  set_active(false);
  relay_.removed(*this);
}

}  // namespace stoker::worker
