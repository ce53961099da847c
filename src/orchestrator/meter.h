// Limits of keys and tenants, and what requests use of them: core/metering with a lock, a clock and
// the names of the gateway. Asked before the core, so that what a limit refuses makes no event.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "access/key_ring.h"
#include "base/id_table.h"
#include "core/metering/metering.h"
#include "gateway/dispatcher.h"

namespace stoker::orchestrator {

/// Threads: any, for every function. Calls nobody back; its lock is the last one taken.
class Meter {
 public:
  Meter();

  /// Keys that are not in `keys` any more are admitted no more; what is open goes on.
  void set_keys(const access::KeyRing& keys);
  /// Of requests from now on. Needs: before the first request of the deployment.
  void set_prices(DeploymentId deployment, const Prices& prices);

  /// Takes what the request may use from its key and its tenant.
  /// Gives: nullopt, or why not. Each reserved one is settled or released once.
  [[nodiscard]] std::optional<gateway::Rejection> reserve(const gateway::Arrival& arrival);
  void dispatched(RequestId request, InstanceId instance, std::int32_t devices);
  void undelivered(RequestId request);
  /// Gives: false if it has used more than its reservation and a limit forbids to enlarge that.
  [[nodiscard]] bool within_limits(RequestId request, const gateway::TokenCounts& used);
  /// It is over. Gives: its device time.   Unknown and released ones: nothing happens.
  std::int64_t settle(RequestId request, const gateway::TokenCounts& used);
  /// It never ran.
  void release(RequestId request);
  void instance_gone(InstanceId instance);

  [[nodiscard]] gateway::Standings standings(KeyId key);
  /// What an earlier life recorded still counts.   Needs: before anything is reserved, oldest
  /// first; `ago` since it was used.
  void count_again(KeyId key, Duration ago, const gateway::TokenCounts& used,
                   std::int64_t device_ms);

 private:
  struct Open {
    core::metering::ReservationId reservation;
    DeploymentId deployment;
    std::uint64_t reports = 0;
    bool ran = false;
  };
  [[nodiscard]] Instant now();

  std::mutex mutex_;
  core::metering::Metering metering_;
  Instant latest_;  // clocks of two threads may be read in one order and used in the other
  std::map<KeyId, bool> known_;  // true: admitted
  IdTable<RequestId, Open> open_;
  /// Device time of a request, learned, so that a limit of it is held before it is used.
  std::map<DeploymentId, std::int64_t> usual_ms_;
};

}  // namespace stoker::orchestrator
