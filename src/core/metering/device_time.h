// The time of devices, apportioned among the requests that run on an instance: each has the
// integral of dt / n(t) over its run, n = requests in flight there (DESIGN.md 4.7). What all have
// together in any span is never more than the span, on each device of the instance (V26); less than
// a nanosecond of each run is lost.
//
// Bills are in whole milliseconds. A tenant's rest below one is carried to its next request on the
// same instance, so that many short requests cost what one long one does, and nobody pays the rest
// of another. Rejected: rounding each request down (a 1.5 ms inference would be a third free) or up
// (three at once would be billed more than the device had).
#pragma once

#include <cstdint>
#include <vector>

#include "base/id_table.h"
#include "base/int128.h"
#include "base/units.h"

namespace stoker::core::metering {

class DeviceTime {
 public:
  /// A request that runs on an instance.
  struct Run {
    std::uint32_t clock = 0;
    Uint128 begun_at = 0;  // on the clock of the instance, in 2^-32 ns
  };
  /// Needs: now never falls, over all calls. `devices`: how many the instance holds.
  [[nodiscard]] Run begin(Instant now, InstanceId instance, std::int32_t devices);
  /// Gives: its device time until now, rounded down; monotone while it runs.   Units: ms x devices.
  [[nodiscard]] std::int64_t so_far_ms(const Run& run, Instant now);
  /// Ends it and bills the tenant.   Gives: >= each so_far_ms.   Needs: once per begin, or drop.
  [[nodiscard]] std::int64_t end_ms(const Run& run, Instant now, TenantId tenant);
  /// Ends it and bills nobody: it never reached its worker.
  void drop(const Run& run, Instant now);
  /// The instance is gone for good; what still runs there may yet end.
  void instance_gone(InstanceId instance);

  [[nodiscard]] std::size_t instances() const { return by_instance_.size(); }
  [[nodiscard]] std::int64_t running() const { return running_; }

 private:
  struct InstanceClock {  // advances by dt / n
    InstanceId instance;
    Uint128 time = 0;
    Instant last;
    std::int32_t running = 0;
    std::int32_t devices = 1;
    bool gone = false;
    IdTable<TenantId, std::int64_t> rests_ns;
  };
  InstanceClock& advance(const Run& run, Instant now);
  void leave(InstanceClock& clock, std::uint32_t index);
  void forget(std::uint32_t index);

  std::vector<InstanceClock> clocks_;
  std::vector<std::uint32_t> free_;
  IdTable<InstanceId, std::uint32_t> by_instance_;
  std::int64_t running_ = 0;
};

}  // namespace stoker::core::metering
