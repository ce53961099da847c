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
  std::int32_t requests = 4000;     // about so many arrive
  std::int32_t sweep_every = 64;    // events between full sweeps of the core
  bool with_faults = true;
  std::function<void(const std::string&)> trace;  // hears every event and order in words
};

struct SeedResult {
  std::uint64_t seed = 0;
  WorldTotals totals;
  StateCounts states;
  Duration virtual_time;
  std::optional<std::string> violation;  // what broke, and at which event
};

/// Never throws: a broken invariant becomes the violation.   Cost: about 2 us a request.
[[nodiscard]] SeedResult run_seed(std::uint64_t seed, const SeedOptions& options);

struct ManyOptions {
  std::uint64_t first_seed = 1;
  std::uint64_t seeds = 100;
  std::int32_t threads = 1;
  SeedOptions each;
  std::uint64_t recheck_every = 20;  // so many seeds run twice and must give the same actions
};
struct ManyResult {
  std::uint64_t seeds = 0;
  std::uint64_t requests = 0;
  std::uint64_t events = 0;
  std::uint64_t violations = 0;
  std::uint64_t action_hash = 0;     // over all seeds, whatever the number of threads
  Duration virtual_time;
  StateCounts states;
  std::optional<SeedResult> first_violation;  // of the lowest seed
};
/// Stops early after a violation.
[[nodiscard]] ManyResult run_seeds(const ManyOptions& options);

}  // namespace stoker::sim
