// One seed is one world: devices, deployments, traffic and faults are drawn from it, the world runs
// with faults, then without, and everything must settle. The same seed gives the same run.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "sim/states.h"
#include "sim/world.h"

namespace stoker::sim {

struct SeedOptions {
  std::int32_t requests = 4000;   // about so many arrive
  std::int32_t sweep_every = 64;  // events between full sweeps of the core
  bool with_faults = true;
  std::function<void(const std::string&)> trace;  // hears every event and order in words
  Observer* listener = nullptr;                   // hears starts of the server, events and orders
};

struct SeedResult {
  std::uint64_t seed = 0;
  WorldTotals totals;
  StateCounts states;
  Duration virtual_time;
  std::optional<std::string> violation;  // what broke, and at which event
};

/// Never throws: a broken invariant becomes the violation.   Cost: a few us a request.
[[nodiscard]] SeedResult run_seed(std::uint64_t seed, const SeedOptions& options);

}  // namespace stoker::sim
