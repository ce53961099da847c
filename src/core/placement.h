// Where an instance goes: hard filters with reasons, then ordered costs, and, if nothing is free,
// whom to stop for it. Pure functions over views.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/units.h"
#include "core/spec.h"

namespace stoker::core {

struct EvictionCandidate {  // an idle instance that may be stopped
  InstanceId instance;
  Instant idle_since;
  Bytes frees;
};

struct DeviceView {
  DeviceId id;
  DeviceKind kind = DeviceKind::cpu;
  bool lost = false;
  Bytes capacity;
  Bytes free;
  Bytes cost;                  // of the instance to be placed, on this device
  bool holds_weights = false;  // its weights are reserved there already
  std::int32_t free_slots = 0;
  Bytes free_soon;  // what instances that are stopping will free, less what others wait for
  std::int32_t slots_soon = 0;
  std::vector<EvictionCandidate> idle;
};

enum class Unfit : std::uint8_t { lost, wrong_kind, too_small, too_little_free, no_slot };

struct PlacementCost {         // compared field by field, smaller is better
  bool weights_absent = true;  // first: where the weights lie already, it is ready soonest
  Bytes left_over;             // then: the tightest fit, so that large gaps stay
  DeviceId device;             // last: lowest id, so that equal inputs give equal answers
  auto operator<=>(const PlacementCost&) const = default;
};

struct Placement {
  std::optional<DeviceId> device;  // fits now
  bool possible = false;           // some device could ever hold it
  Bytes most_free;                 // on a device that could
};
[[nodiscard]] std::optional<Unfit> why_unfit(std::span<const DeviceKind> kinds,
                                             const DeviceView& device);
[[nodiscard]] Placement place(std::span<const DeviceKind> kinds,
                              std::span<const DeviceView> devices);

struct Eviction {
  std::optional<DeviceId> device;   // where room is made or already on its way; nullopt: all busy
  std::vector<InstanceId> victims;  // to stop now; empty if stopping ones free enough
};
/// Gives: on each device the longest idle instances until it fits, without those that turn out not
///   to be needed; of all devices the one with the fewest victims, then the longest idle, then by
///   id.
[[nodiscard]] Eviction choose_eviction(std::span<const DeviceKind> kinds,
                                       std::span<const DeviceView> devices);

}  // namespace stoker::core
