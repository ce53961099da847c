// Many seeds of the simulator on several threads; the sum does not depend on their number.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "sim/seed_run.h"

namespace stoker::cli {

struct ManyOptions {
  std::uint64_t first_seed = 1;
  std::uint64_t seeds = 100;
  std::int32_t threads = 1;
  sim::SeedOptions each;
  std::uint64_t recheck_every = 20;  // so many seeds run twice and must give the same actions
};
struct ManyResult {
  std::uint64_t seeds = 0;
  std::uint64_t requests = 0;
  std::uint64_t events = 0;
  std::uint64_t violations = 0;
  std::uint64_t decisions_compared = 0;  // in paired runs
  std::uint64_t action_hash = 0;         // over all seeds, whatever the number of threads
  Duration virtual_time;
  sim::StateCounts states;
  std::optional<sim::SeedResult> first_violation;  // of the lowest seed
};
/// Stops early after a violation. `progress` hears the sum so far after each seed, under a lock.
[[nodiscard]] ManyResult run_seeds(const ManyOptions& options,
                                   const std::function<void(const ManyResult&)>& progress = {});

}  // namespace stoker::cli
