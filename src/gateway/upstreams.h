// Connections of one event loop to the instances that it sends requests to. Instances come and go,
// so a pool that nothing used for a while is closed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "gateway/dispatcher.h"
#include "net/event_loop.h"
#include "net/http_client.h"

namespace stoker::gateway {

class Upstreams {
 public:
  explicit Upstreams(net::EventLoop& loop) : loop_(loop) {}
  ~Upstreams();
  Upstreams(const Upstreams&) = delete;
  Upstreams& operator=(const Upstreams&) = delete;

  /// The pool of the target, made on first use. It stays until as many release() have come.
  [[nodiscard]] net::HttpClient& acquire(const DispatchTarget& target);
  void release(const DispatchTarget& target);
  [[nodiscard]] std::size_t size() const { return pools_.size(); }

 private:
  using Key = std::pair<InstanceId, Generation>;
  struct Pool {
    std::unique_ptr<net::HttpClient> client;
    std::int64_t in_use = 0;
    Instant last_used;
  };
  void close_unused();

  net::EventLoop& loop_;
  std::map<Key, Pool> pools_;
  net::TimerId sweep_timer_ = 0;
};

}  // namespace stoker::gateway
