// Drives a core by hand: events in, orders out, every due time in between, all invariants after
// each step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <variant>
#include <vector>

#include "core/core.h"

namespace stoker::core {

inline DeviceSpec device(std::uint64_t id, DeviceKind kind = DeviceKind::cpu) {
  DeviceSpec spec;
  spec.id = DeviceId{id};
  spec.kind = kind;
  spec.memory = mib(100);
  spec.slots = 8;
  return spec;
}

inline DeploymentSpec deployment(std::uint64_t id, std::int64_t private_mib = 80) {
  DeploymentSpec spec;
  spec.id = DeploymentId{id};
  spec.estimate.private_bytes = mib(private_mib);
  return spec;
}

inline RequestArrived request(std::uint64_t id, DeploymentId to) {
  RequestArrived arrived;
  arrived.request = RequestId{id};
  arrived.deployment = to;
  return arrived;
}

inline Instant at(std::int64_t s) {
  return Instant{} + seconds(s);
}

class CoreRig {
 public:
  explicit CoreRig(const CoreConfig& config = {}) : core(config) {}

  void step(const Event& event) {
    core.step(now, event, orders_);
    core.check_invariants();
  }
  /// Everything that is due until then, and then the event.
  void at(Instant when, const Event& event) {
    pass_until(when);
    step(event);
  }
  void pass_until(Instant when) {
    for (auto due = core.next_wakeup(); due && *due <= when; due = core.next_wakeup()) {
      now = std::max(now, *due);
      step(WokeUp{});
    }
    now = when;
  }

  /// The orders since the last call.
  Actions take() { return std::exchange(orders_, {}); }
  /// Those of one kind among them; the others are dropped.
  template <class Order>
  std::vector<Order> take_all() {
    std::vector<Order> found;
    for (const Action& each : take()) {
      if (const auto* order = std::get_if<Order>(&each)) found.push_back(*order);
    }
    return found;
  }
  void bring_up(const StartInstance& start) {
    step(InstanceUp{start.instance, start.generation});
    step(InstanceReady{start.instance, start.generation, start.reserved});
  }

  Core core;
  Instant now;

 private:
  Actions orders_;
};

}  // namespace stoker::core
