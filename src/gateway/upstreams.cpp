#include "gateway/upstreams.h"

#include "base/invariant.h"

namespace stoker::gateway {
namespace {

constexpr Duration sweep_interval = seconds(30);
constexpr Duration kept_unused = seconds(60);
// As many as one instance is likely to be asked to run at once.
constexpr std::size_t max_idle_connections = 256;

}  // namespace

Upstreams::~Upstreams() {
  if (sweep_timer_ != 0) loop_.cancel(sweep_timer_);
}

net::HttpClient& Upstreams::acquire(const DispatchTarget& target) {
  Pool& pool = pools_[Key{target.instance, target.generation}];
  if (!pool.client) {
    pool.client = std::make_unique<net::HttpClient>(
        loop_, target.endpoint, net::ClientOptions{.max_idle_connections = max_idle_connections});
    if (sweep_timer_ == 0) {
      sweep_timer_ = loop_.run_at(loop_.now() + sweep_interval, [this] { close_unused(); });
    }
  }
  ++pool.in_use;
  return *pool.client;
}

void Upstreams::release(const DispatchTarget& target) {
  const auto found = pools_.find(Key{target.instance, target.generation});
  STOKER_INVARIANT(found != pools_.end() && found->second.in_use > 0, "instance={}",
                   target.instance.value);
  --found->second.in_use;
  found->second.last_used = loop_.now();
}

void Upstreams::close_unused() {
  std::erase_if(pools_, [&](const auto& entry) {
    return entry.second.in_use == 0 && entry.second.last_used + kept_unused <= loop_.now();
  });
  sweep_timer_ =
      pools_.empty() ? 0 : loop_.run_at(loop_.now() + sweep_interval, [this] { close_unused(); });
}

}  // namespace stoker::gateway
