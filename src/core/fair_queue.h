// The queue of one deployment. Between tenants: start-time fair queueing, so that a tenant that
// floods waits for its own requests and not others for it. Within a tenant: higher priority first,
// then order of arrival. Priority therefore orders a tenant's own work; it cannot take another's
// share (RELIABILITY.md V18).
// Source: Goyal, Vin, Cheng, "Start-time Fair Queuing", SIGCOMM 1996. Rejected: strict classes over
// tenants, which starve; deficit round robin, whose delay grows with the number of tenants.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "base/units.h"

namespace stoker::core {

struct QueuedRequest {
  RequestId request;
  TenantId tenant;
  std::int32_t priority = 0;  // larger is served first
  std::uint64_t order = 0;    // of arrival; kept when it comes back
  std::int64_t cost = 1;      // what it is expected to take; units: any, but one for all
};

class FairQueue {
 public:
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::int32_t size() const { return size_; }
  [[nodiscard]] std::int32_t size_of(TenantId tenant) const;

  /// Needs: the order is new; cost >= 1.   Cost: O(log n).
  void push(const QueuedRequest& request);
  /// Needs: not empty. The next one to be served.
  [[nodiscard]] const QueuedRequest& front() const;
  /// Takes front() out and charges its tenant.
  void pop();
  /// Takes it out without a charge. Gives: false if it is not there.
  bool erase(TenantId tenant, std::int32_t priority, std::uint64_t order);
  /// What a served request took beyond (or, negative, below) its cost.
  void charge(TenantId tenant, std::int64_t difference);
  /// Its place from 1 in the order in which all would be served if nothing came and no charge was
  /// corrected; 0 beyond `most`.   Needs: it is there.   Cost: O(place).
  [[nodiscard]] std::int32_t position(TenantId tenant, std::int32_t priority, std::uint64_t order,
                                      std::int32_t most) const;
  /// Shares are in proportion to weights; 1 unless set.  Needs: weight >= 1.
  void set_weight(TenantId tenant, std::int32_t weight);

  /// Calls `visit(request)` in an order by tenant, priority and arrival.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const auto& [id, tenant] : tenants_) {
      for (const auto& [key, request] : tenant.waiting) visit(request);
    }
  }

 private:
  struct Key {
    std::int32_t minus_priority = 0;
    std::uint64_t order = 0;
    auto operator<=>(const Key&) const = default;
  };
  struct Tenant {
    std::map<Key, QueuedRequest> waiting;
    std::int64_t start = 0;  // virtual time at which its next request may start
    std::int32_t weight = 1;
  };
  using Turn = std::pair<std::int64_t, TenantId>;
  void forget_idle_tenants();

  std::map<TenantId, Tenant> tenants_;
  std::set<Turn> turns_;           // of tenants with waiting requests
  std::int64_t virtual_time_ = 0;  // start of the last request served
  std::int32_t size_ = 0;
};

}  // namespace stoker::core
