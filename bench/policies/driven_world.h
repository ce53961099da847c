// One trace through the production core in the simulated world: one fake device, and a deployment
// for each model that refuses nobody.
#pragma once

#include <cstdint>
#include <functional>

#include "arrivals.h"
#include "core/spec.h"
#include "sim/world.h"

namespace stoker::bench {

struct DrivenWorld {
  Bytes memory;       // of the device; an instance holds 1 MiB of it, unless `shape` says other
  Bytes host_memory;  // of its node, for suspended instances; 0: there is no node
  std::int32_t slots = 1;
  Duration load;                    // of every model
  std::optional<Duration> service;  // of every request; nullopt: its own
  Instant until;                    // the world goes on until then after the last arrival
  /// How instances of a deployment come and go.
  std::function<void(core::DeploymentSpec&)> shape;
  /// What instances of a deployment do besides loading; empty: no more.
  std::function<void(sim::Behaviour&)> behave;
};

/// Gives: the world's totals at the end.
sim::WorldTotals drive(const Arrivals& arrivals, const DrivenWorld& world, sim::Observer& observer);

}  // namespace stoker::bench
