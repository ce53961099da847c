// The real clocks. The only place in the product that reads time.
#pragma once

#include <ctime>

#include "base/units.h"

namespace stoker::net {

inline Instant monotonic_now() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return Instant{t.tv_sec * 1'000'000'000 + t.tv_nsec};
}
inline WallTime wall_now() {
  timespec t{};
  ::clock_gettime(CLOCK_REALTIME, &t);
  return WallTime{t.tv_sec * 1'000'000'000 + t.tv_nsec};
}

/// Of the last tick, some milliseconds old; a fifth of the price.
inline WallTime coarse_wall_now() {
  timespec t{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &t);
  return WallTime{t.tv_sec * 1'000'000'000 + t.tv_nsec};
}

}  // namespace stoker::net
