// Where an instance goes: hard filters with reasons, then ordered costs, and, if nothing is free,
// whom to stop for it. Pure functions over views.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/units.h"
#include "core/actions.h"
#include "core/spec.h"

namespace stoker::core {

/// One device as one instance that looks for a place sees it.
struct DeviceView {
  DeviceId id;
  NodeId node;
  DeviceKind kind = DeviceKind::cpu;
  bool lost = false;
  bool distrusted = false;  // starts failed there one after another
  bool labels_match = true;
  Bytes capacity;
  Bytes free;                  // less what is promised to those who waited before
  Bytes cost;                  // of the instance to be placed, on this device
  bool holds_weights = false;  // its weights are reserved there already
  Duration ready_after;        // expected, given where the weights are
  std::int32_t free_slots = 0;
  std::int32_t free_share_permille = 1000;
  std::int32_t residents = 0;
  bool taken_alone = false;  // by an exclusive instance
};

[[nodiscard]] std::optional<Unfit> why_unfit(const DeviceNeed& need, const DeviceView& device);

/// True for what others leaving can change: then waiting for room makes sense.
[[nodiscard]] bool may_pass(Unfit unfit);

struct PlacementCost {         // compared field by field, smaller is better
  bool weights_absent = true;  // first: where they are mapped already, it is ready soonest
  Duration ready_after;        // then: ready soonest, by kind of device and tier of the weights
  Bytes left_over;             // then: the tightest fit, so that large gaps stay
  DeviceId device;             // last: lowest id, so that equal inputs give equal answers
  auto operator<=>(const PlacementCost&) const = default;
};

struct Placement {
  std::vector<DeviceId> devices;  // ascending; empty: nothing fits now
  bool possible = false;          // some node could ever hold it
  Bytes most_free;                // on a device that could
  UnfitCounts unfit{};
};
/// What a start asks of every device, whoever starts, in one cache line.
struct alignas(64) DeviceRoom {
  Bytes capacity;
  Bytes free;
  std::uint64_t held_weights = 0;  // MemoryLedger::held_weights()
  DeviceId device;
  NodeId node;
  std::int32_t free_slots = 0;
  std::int32_t free_share_permille = 0;
  std::int32_t residents = 0;
  DeviceKind kind = DeviceKind::cpu;
  bool lost = false;
  bool distrusted = false;
  bool taken_alone = false;
  bool promised = false;  // some of it to instances that wait
  bool operator==(const DeviceRoom&) const = default;
};
/// What one more instance costs by kind of device, where nothing of it is there yet.
using CostByKind = std::array<Bytes, device_kinds>;

/// The tiers of a node that hold a model, a bit for each. Not empty.
struct ModelPlace {
  NodeId node;
  std::uint8_t tier_bits = 0;
  [[nodiscard]] Tier fastest() const;
};
/// When one more instance would be ready, by kind of device and tier.
struct ReadyTimes {
  std::array<std::array<Duration, tiers>, device_kinds> after{};
  std::span<const ModelPlace> places;  // ascending by node; elsewhere it is `otherwise`
  Tier otherwise = Tier::disk;
  [[nodiscard]] Tier tier_on(NodeId node) const;
};

/// place() for a need of one device, fed with one device after another, in any order.
class SinglePlacement {
 public:
  explicit SinglePlacement(const DeviceNeed& need) : need_(need) {}
  void look_at(const DeviceView& device);
  /// All but those that need a closer look, as some of them is promised or may hold `weights` (bits
  /// of MemoryLedger::bit_of()); their indices are added to `unusual`.   Needs: no labels asked
  /// for.
  void look_at(std::span<const DeviceRoom> rooms, const CostByKind& costs, std::uint64_t weights,
               const ReadyTimes& ready, bool trust_all, std::vector<std::size_t>& unusual);
  [[nodiscard]] Placement result() const;

 private:
  void add(const DeviceView& device, std::optional<Unfit> unfit);

  const DeviceNeed& need_;
  Placement result_;
  std::optional<PlacementCost> best_;
};
/// Of the nodes with enough devices that fit now, the one whose costliest chosen device is
/// cheapest.
///   Cost: O(devices), and a sort per node when it needs more than one.
[[nodiscard]] Placement place(const DeviceNeed& need, std::span<const DeviceView> devices);

/// An instance that may be stopped for another.
struct EvictionCandidate {
  InstanceId instance;
  bool busy = false;  // it has had its stay and would be drained, not cut
  double loss = 0;    // expected seconds of reloading that stopping it brings, per second
  Instant idle_since;
  Bytes frees;
  std::int32_t frees_share_permille = 0;
};
/// A device on which room could be made.
struct EvictionView {
  DeviceView device;
  Bytes free_soon;  // what those that are leaving will free, less what others wait for
  std::int32_t slots_soon = 0;
  std::int32_t share_soon_permille = 0;
  std::int32_t residents_soon = 0;  // that will have gone
  std::vector<EvictionCandidate> candidates;
};

struct Eviction {
  std::vector<DeviceId> devices;    // where room is made or already on its way; empty: all busy
  std::vector<InstanceId> victims;  // to stop now; empty if leaving ones free enough
  bool busy = false;                // one of them is busy
};
/// Gives: on each device the instances of least loss until it fits, without those that turn out not
///   to be needed; of all nodes the one with the fewest busy ones, then the least loss, then the
///   longest idle, then by id.
[[nodiscard]] Eviction choose_eviction(const DeviceNeed& need, std::span<const EvictionView> views);

}  // namespace stoker::core
