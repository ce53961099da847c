// Carries bytes between the connections that the gateway makes on the listening socket and the
// engine's port, both ways. The engine may live in a network namespace of its own; the listening
// socket is the door. It knows nothing of HTTP: half-close, back-pressure, close and reset pass
// through, so that a gateway that closes its connection cancels the request in the engine.
// Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "net/event_loop.h"
#include "worker/counters.h"

namespace stoker::worker {

class RelayConnection;

class Relay final : private net::FdHandler {
 public:
  /// `listen_fd` stays the caller's.
  Relay(net::EventLoop& loop, WorkerCounters& counters, int listen_fd);
  ~Relay() override;

  /// Accepts from now on and connects each to 127.0.0.1:`port`.
  void open(int port);
  /// Stops accepting and resets all connections.
  void close();
  /// Stops accepting; `done` is called once no connection has a request under way.
  void drain(std::function<void()> done);

 private:
  friend class RelayConnection;
  void on_events(std::uint32_t events) override;
  void listen(bool on);
  void accept_one(int fd);
  /// A request is taken to be under way on a connection from the gateway's bytes until the engine
  /// has been silent for this long after its last byte: a relay cannot see where an answer ends.
  static constexpr Duration quiet_after = seconds(1);
  void sweep();
  void arm_sweep();
  void removed(RelayConnection& connection);

  net::EventLoop& loop_;
  WorkerCounters& counters_;
  const int listen_fd_;
  int port_ = 0;
  bool listening_ = false;
  net::TimerId sweep_timer_ = 0;
  std::function<void()> drained_;
  std::unordered_map<RelayConnection*, std::shared_ptr<RelayConnection>> connections_;
};

}  // namespace stoker::worker
