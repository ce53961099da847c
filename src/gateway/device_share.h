// What a request used of its instance's device time: the integral of dt / n(t) over its run,
// n = requests in flight on that instance. The shares of an instance never sum to more than the
// wall time during which it had work (V26).
//
// Kept as one virtual clock per instance that advances by dt / n; a request's share is the
// difference of two readings. Rejected: each request integrating for itself, which costs O(n) at
// each begin and end.
#pragma once

#include <cstdint>
#include <mutex>

#include "base/int128.h"
#include "base/units.h"

namespace stoker::gateway {

/// Threads: any. Shared by all event loops that run requests on the instance.
/// Cost: one uncontended lock and one division.
class DeviceShare {
 public:
  /// Reading of the virtual clock, in 2^-32 ns.
  struct Mark {
    Uint128 at = 0;
  };
  [[nodiscard]] Mark begin(Instant now);
  /// Gives: the share since `mark`, rounded down. Needs: one end() for each begin().
  Duration end(Mark mark, Instant now);

 private:
  void advance(Instant now);

  std::mutex mutex_;
  Uint128 virtual_time_ = 0;
  Instant last_;
  std::int64_t running_ = 0;
};

}  // namespace stoker::gateway
