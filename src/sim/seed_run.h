// One seed is one world: devices, deployments, traffic and faults are drawn from it, the world runs
// with faults, then without, and everything must settle. The same seed gives the same run.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "sim/scene.h"
#include "sim/script.h"
#include "sim/states.h"
#include "sim/world.h"

namespace stoker::sim {

struct SeedOptions {
  std::int32_t requests = 4000;   // about so many arrive
  std::int32_t sweep_every = 64;  // events between full sweeps of the core
  bool with_faults = true;
  std::function<void(const std::string&)> trace;  // hears every event and order in words
  Observer* listener = nullptr;                   // hears starts of the server, events and orders
  /// One in so many seeds is drawn with a deployment that never comes up, on devices of its own,
  /// and run once more without it (V22); 0: none.
  std::uint64_t paired_in = 8;
};

struct SeedResult {
  std::uint64_t seed = 0;
  WorldTotals totals;
  StateCounts states;
  Duration virtual_time;
  std::uint64_t decisions_compared = 0;  // of a paired run
  std::optional<std::string> violation;  // what broke, and at which event
};

/// Never throws: a broken invariant becomes the violation.   Cost: a few us a request.
/// `script`: becomes what was drawn; null: it is not kept.
[[nodiscard]] SeedResult run_seed(std::uint64_t seed, const SeedOptions& options,
                                  Script* script = nullptr);
/// The same run from its script, or another one from another script.
[[nodiscard]] SeedResult run_script(const Script& script, const SceneOptions& options = {});

}  // namespace stoker::sim
