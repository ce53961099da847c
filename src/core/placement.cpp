#include "core/placement.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace stoker::core {
namespace {

/// Asked of every device at every start, therefore inline.
[[gnu::always_inline]] inline std::optional<Unfit> find_unfit(const DeviceNeed& need,
                                                              const DeviceView& device) {
  // What it is comes first: whatever happens to a device of another kind is not of interest.
  if (!need.kinds.empty() &&
      std::find(need.kinds.begin(), need.kinds.end(), device.kind) == need.kinds.end()) {
    return Unfit::wrong_kind;
  }
  if (!device.labels_match) return Unfit::wrong_label;
  if (device.lost) return Unfit::lost;
  if (device.cost > device.capacity) return Unfit::too_small;
  if (device.distrusted) return Unfit::distrusted;
  if (device.taken_alone || (need.exclusive && device.residents > 0)) return Unfit::not_alone;
  if (device.cost > device.free) return Unfit::too_little_free;
  if (device.free_slots < 1) return Unfit::no_slot;
  if (device.free_share_permille < need.share_permille) return Unfit::no_share;
  return std::nullopt;
}

/// What stopping instances makes of a device, one after another.
struct Room {
  const DeviceNeed& need;
  Bytes cost;
  Bytes free;
  std::int32_t slots = 0;
  std::int32_t share_permille = 0;
  std::int32_t residents = 0;
  bool must_be_empty = false;

  [[nodiscard]] bool fits() const {
    return free >= cost && slots >= 1 && share_permille >= need.share_permille &&
           (!must_be_empty || residents == 0);
  }
  void add(const EvictionCandidate& c, std::int32_t sign) {
    free += Bytes{c.frees.value * sign};
    slots += sign;
    share_permille += c.frees_share_permille * sign;
    residents -= sign;
  }
};

struct VictimSet {
  std::vector<EvictionCandidate> victims;
  bool enough = false;
};

/// Cheap ones first: not busy, least loss per byte freed, longest idle, lowest id.
bool cheaper(const EvictionCandidate& a, const EvictionCandidate& b) {
  if (a.busy != b.busy) return b.busy;
  const double loss_a = a.loss * static_cast<double>(b.frees.value);
  const double loss_b = b.loss * static_cast<double>(a.frees.value);
  if (loss_a < loss_b) return true;
  if (loss_b < loss_a) return false;
  return std::pair(a.idle_since, a.instance) < std::pair(b.idle_since, b.instance);
}

VictimSet victims_on(const DeviceNeed& need, const EvictionView& view) {
  const DeviceView& device = view.device;
  Room room{need,
            device.cost,
            device.free + view.free_soon,
            device.free_slots + view.slots_soon,
            device.free_share_permille + view.share_soon_permille,
            device.residents - view.residents_soon,
            need.exclusive || device.taken_alone};
  VictimSet set;
  std::vector<EvictionCandidate> candidates = view.candidates;
  std::sort(candidates.begin(), candidates.end(), cheaper);
  for (const EvictionCandidate& candidate : candidates) {
    if (room.fits()) break;
    set.victims.push_back(candidate);
    room.add(candidate, 1);
  }
  set.enough = room.fits();
  // A small early victim may have become needless once a large one was taken.
  for (std::size_t i = 0; set.enough && i < set.victims.size();) {
    room.add(set.victims[i], -1);
    if (room.fits()) {
      set.victims.erase(set.victims.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      room.add(set.victims[i], 1);
      ++i;
    }
  }
  return set;
}

struct EvictionCost {
  std::int32_t busy = 0;
  double loss = 0;
  std::size_t victims = 0;
  Instant most_recent;
  DeviceId device;

  [[nodiscard]] bool less(const EvictionCost& other) const {
    if (busy != other.busy) return busy < other.busy;
    if (loss < other.loss) return true;
    if (other.loss < loss) return false;
    return std::tuple(victims, most_recent, device) <
           std::tuple(other.victims, other.most_recent, other.device);
  }
};

EvictionCost cost_of(const VictimSet& set, DeviceId device) {
  EvictionCost cost{0, 0, set.victims.size(), Instant{}, device};
  for (const EvictionCandidate& victim : set.victims) {
    cost.busy += victim.busy ? 1 : 0;
    cost.loss += victim.loss;
    cost.most_recent = std::max(cost.most_recent, victim.idle_since);
  }
  return cost;
}

}  // namespace

std::optional<Unfit> why_unfit(const DeviceNeed& need, const DeviceView& device) {
  return find_unfit(need, device);
}

bool may_pass(Unfit unfit) {
  switch (unfit) {
    case Unfit::lost:
    case Unfit::distrusted:
    case Unfit::wrong_kind:
    case Unfit::wrong_label:
    case Unfit::too_small:
      return false;
    case Unfit::too_little_free:
    case Unfit::no_slot:
    case Unfit::no_share:
    case Unfit::not_alone:
      return true;
  }
  return false;
}

void SinglePlacement::look_at(const DeviceView& device) {
  add(device, find_unfit(need_, device));
}

[[gnu::always_inline]] inline void SinglePlacement::add(const DeviceView& device,
                                                        std::optional<Unfit> unfit) {
  if (unfit) ++result_.unfit[static_cast<std::size_t>(*unfit)];
  if (unfit && !may_pass(*unfit)) return;
  result_.possible = true;
  result_.most_free = std::max(result_.most_free, device.free);
  if (unfit) return;
  const PlacementCost cost{!device.holds_weights, device.ready_after, device.free - device.cost,
                           device.id};
  if (!best_ || cost < *best_) best_ = cost;
}

void SinglePlacement::look_at(std::span<const DeviceRoom> rooms, const CostByKind& costs,
                              std::uint64_t weights, const ReadyTimes& ready, bool trust_all,
                              std::vector<std::size_t>& unusual) {
  NodeId node;  // devices of a node follow each other: it is looked up once
  Tier tier = ready.tier_on(node);
  for (const DeviceRoom& room : rooms) {
    if (room.promised || (room.held_weights & weights) != 0) {
      unusual.push_back(static_cast<std::size_t>(&room - rooms.data()));
      continue;
    }
    DeviceView view;
    view.id = room.device;
    view.kind = room.kind;
    view.lost = room.lost;
    view.distrusted = room.distrusted && !trust_all;
    view.capacity = room.capacity;
    view.free = room.free;
    view.cost = costs[static_cast<std::size_t>(room.kind)];
    view.free_slots = room.free_slots;
    view.free_share_permille = room.free_share_permille;
    view.residents = room.residents;
    view.taken_alone = room.taken_alone;
    if (room.node != node && !ready.places.empty()) {
      node = room.node;
      tier = ready.tier_on(node);
    }
    view.ready_after =
        ready.after[static_cast<std::size_t>(room.kind)][static_cast<std::size_t>(tier)];
    add(view, find_unfit(need_, view));
  }
}

Tier ModelPlace::fastest() const {
  std::size_t tier = 0;
  while ((tier_bits >> tier & 1U) == 0) ++tier;
  return static_cast<Tier>(tier);
}

Tier ReadyTimes::tier_on(NodeId node) const {
  const auto at = std::lower_bound(places.begin(), places.end(), node,
                                   [](const ModelPlace& a, NodeId id) { return a.node < id; });
  return at != places.end() && at->node == node ? at->fastest() : otherwise;
}

Placement SinglePlacement::result() const {
  Placement placement = result_;
  if (best_) placement.devices.push_back(best_->device);
  return placement;
}

Placement place(const DeviceNeed& need, std::span<const DeviceView> devices) {
  if (need.devices == 1) {
    SinglePlacement single(need);
    for (const DeviceView& device : devices) single.look_at(device);
    return single.result();
  }
  Placement result;
  std::map<NodeId, std::vector<PlacementCost>> fitting;
  std::map<NodeId, std::int32_t> ever;
  for (const DeviceView& device : devices) {
    const std::optional<Unfit> unfit = why_unfit(need, device);
    if (unfit) ++result.unfit[static_cast<std::size_t>(*unfit)];
    if (unfit && !may_pass(*unfit)) continue;
    result.most_free = std::max(result.most_free, device.free);
    result.possible |= ++ever[device.node] >= need.devices;
    if (unfit) continue;
    fitting[device.node].push_back(
        {!device.holds_weights, device.ready_after, device.free - device.cost, device.id});
  }
  const auto wanted = static_cast<std::size_t>(need.devices);
  const std::vector<PlacementCost>* chosen = nullptr;
  for (auto& [node, costs] : fitting) {
    if (costs.size() < wanted) continue;
    std::sort(costs.begin(), costs.end());
    costs.resize(wanted);
    if (chosen == nullptr || costs.back() < chosen->back()) chosen = &costs;
  }
  if (chosen != nullptr) {
    for (const PlacementCost& cost : *chosen) result.devices.push_back(cost.device);
    std::sort(result.devices.begin(), result.devices.end());
  }
  return result;
}

Eviction choose_eviction(const DeviceNeed& need, std::span<const EvictionView> views) {
  struct Option {
    EvictionCost cost;
    VictimSet set;
  };
  std::map<NodeId, std::vector<Option>> options;
  for (const EvictionView& view : views) {
    const std::optional<Unfit> unfit = why_unfit(need, view.device);
    // What fits already counts too, where several devices are wanted on one node.
    if (unfit && !may_pass(*unfit)) continue;
    VictimSet set = victims_on(need, view);
    if (!set.enough) continue;
    const EvictionCost cost = cost_of(set, view.device.id);
    options[view.device.node].push_back({cost, std::move(set)});
  }
  const auto wanted = static_cast<std::size_t>(need.devices);
  Eviction eviction;
  std::optional<EvictionCost> best;
  for (auto& [node, on_node] : options) {
    if (on_node.size() < wanted) continue;
    std::sort(on_node.begin(), on_node.end(),
              [](const Option& a, const Option& b) { return a.cost.less(b.cost); });
    on_node.resize(wanted);
    EvictionCost sum = on_node.front().cost;
    for (std::size_t i = 1; i < wanted; ++i) {
      sum.busy += on_node[i].cost.busy;
      sum.loss += on_node[i].cost.loss;
      sum.victims += on_node[i].cost.victims;
      sum.most_recent = std::max(sum.most_recent, on_node[i].cost.most_recent);
    }
    if (best && !sum.less(*best)) continue;
    best = sum;
    eviction = {};
    eviction.busy = sum.busy > 0;
    for (const Option& option : on_node) {
      eviction.devices.push_back(option.cost.device);
      for (const EvictionCandidate& victim : option.set.victims) {
        eviction.victims.push_back(victim.instance);
      }
    }
  }
  std::sort(eviction.devices.begin(), eviction.devices.end());
  std::sort(eviction.victims.begin(), eviction.victims.end());
  eviction.victims.erase(std::unique(eviction.victims.begin(), eviction.victims.end()),
                         eviction.victims.end());
  return eviction;
}

}  // namespace stoker::core
