#include "core/placement.h"

#include <algorithm>

namespace stoker::core {
namespace {

bool right_kind(std::span<const DeviceKind> kinds, DeviceKind kind) {
  return kinds.empty() || std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

struct VictimSet {
  std::vector<EvictionCandidate> victims;
  bool enough = false;
};

VictimSet victims_on(const DeviceView& device) {
  Bytes room = device.free + device.free_soon;
  std::int32_t slots = device.free_slots + device.slots_soon;
  VictimSet set;
  const auto fits = [&] { return room >= device.cost && slots >= 1; };
  std::vector<EvictionCandidate> idle = device.idle;
  std::sort(idle.begin(), idle.end(), [](const auto& a, const auto& b) {
    return std::pair(a.idle_since, a.instance) < std::pair(b.idle_since, b.instance);
  });
  for (const EvictionCandidate& candidate : idle) {
    if (fits()) break;
    set.victims.push_back(candidate);
    room += candidate.frees;
    ++slots;
  }
  set.enough = fits();
  // A small early victim may have become needless once a large one was taken.
  for (std::size_t i = 0; set.enough && i < set.victims.size();) {
    const EvictionCandidate& victim = set.victims[i];
    if (room - victim.frees >= device.cost && slots - 1 >= 1) {
      room -= victim.frees;
      --slots;
      set.victims.erase(set.victims.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  return set;
}

}  // namespace

std::optional<Unfit> why_unfit(std::span<const DeviceKind> kinds, const DeviceView& device) {
  if (device.lost) return Unfit::lost;
  if (!right_kind(kinds, device.kind)) return Unfit::wrong_kind;
  if (device.cost > device.capacity) return Unfit::too_small;
  if (device.cost > device.free) return Unfit::too_little_free;
  if (device.free_slots < 1) return Unfit::no_slot;
  return std::nullopt;
}

Placement place(std::span<const DeviceKind> kinds, std::span<const DeviceView> devices) {
  Placement result;
  std::optional<PlacementCost> best;
  for (const DeviceView& device : devices) {
    const std::optional<Unfit> unfit = why_unfit(kinds, device);
    if (unfit && *unfit != Unfit::too_little_free && *unfit != Unfit::no_slot) continue;
    result.possible = true;
    result.most_free = std::max(result.most_free, device.free);
    if (unfit) continue;
    const PlacementCost cost{!device.holds_weights, device.free - device.cost, device.id};
    if (!best || cost < *best) best = cost;
  }
  if (best) result.device = best->device;
  return result;
}

Eviction choose_eviction(std::span<const DeviceKind> kinds, std::span<const DeviceView> devices) {
  struct Cost {
    std::size_t victims = 0;
    Instant most_recent;
    DeviceId device;
    auto operator<=>(const Cost&) const = default;
  };
  Eviction eviction;
  std::optional<Cost> best;
  for (const DeviceView& device : devices) {
    const std::optional<Unfit> unfit = why_unfit(kinds, device);
    if (!unfit || (*unfit != Unfit::too_little_free && *unfit != Unfit::no_slot)) continue;
    const VictimSet set = victims_on(device);
    if (!set.enough) continue;
    Cost cost{set.victims.size(), Instant{}, device.id};
    for (const EvictionCandidate& victim : set.victims) {
      cost.most_recent = std::max(cost.most_recent, victim.idle_since);
    }
    if (best && *best <= cost) continue;
    best = cost;
    eviction.device = device.id;
    eviction.victims.clear();
    for (const EvictionCandidate& victim : set.victims) eviction.victims.push_back(victim.instance);
  }
  return eviction;
}

}  // namespace stoker::core
