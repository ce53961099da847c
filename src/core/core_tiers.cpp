// Where weights lie, and what a start from there is expected to take.
#include <algorithm>

#include "core/core.h"

namespace stoker::core {
void Core::on(const ModelInTier& e) {
  note_copy(e.node, e.model, e.tier, true);
  note_found(e);
}

void Core::on(const ModelLost& e) {
  note_copy(e.node, e.model, e.tier, false);
  note_lost(e.node, e.model, e.tier);
}

/// Cost: O(models of the store); it is rare.
void Core::on(const TierLost& e) {
  std::vector<ModelId> models;
  for (const auto& [model, places] : model_places_) models.push_back(model);
  for (const ModelId model : models) note_copy(e.node, model, e.tier, false);
  const Store* const store = find_store(e.node);
  if (store == nullptr || e.tier == Tier::remote) return;
  for (const ModelId model : store->plan.models_in(e.tier)) note_lost(e.node, model, e.tier);
}

/// The remote store has them all; nothing is noted of it.
void Core::note_copy(NodeId node, ModelId model, Tier tier, bool is_there) {
  if (tier == Tier::remote) return;
  std::vector<ModelPlace>& places = model_places_[model];
  auto at = std::lower_bound(places.begin(), places.end(), node,
                             [](const ModelPlace& a, NodeId id) { return a.node < id; });
  if (at == places.end() || at->node != node) at = places.insert(at, {node, 0});
  const auto bit = static_cast<std::uint8_t>(1U << static_cast<unsigned>(tier));
  at->tier_bits = static_cast<std::uint8_t>(is_there ? at->tier_bits | bit : at->tier_bits & ~bit);
  if (at->tier_bits == 0) places.erase(at);
  if (places.empty()) model_places_.erase(model);
}

void Core::fill_ready_times(const Deployment& d, ReadyTimes& ready) {
  ready.places = {};
  ready.otherwise = Tier::disk;
  const bool stored = static_cast<bool>(d.spec.model.id);
  if (stored) {
    ready.otherwise = Tier::remote;
    const auto found = model_places_.find(d.spec.model.id);
    if (found != model_places_.end()) ready.places = found->second;
  }
  for (std::size_t kind = 0; kind < device_kinds; ++kind) {
    for (std::size_t tier = 0; tier < tiers; ++tier) {
      if (!stored && static_cast<Tier>(tier) != Tier::disk) continue;
      ready.after[kind][tier] = start_on(d, static_cast<DeviceKind>(kind), static_cast<Tier>(tier));
    }
  }
}

/// Where a start on that node would take its weights from.
Tier Core::tier_for(const Deployment& d, NodeId node) const {
  if (!d.spec.model.id) return Tier::disk;
  const auto found = model_places_.find(d.spec.model.id);
  if (found == model_places_.end()) return Tier::remote;
  return ReadyTimes{{}, found->second, Tier::remote}.tier_on(node);
}

/// Bytes that a start reads.
Bytes Core::weights_of(const Deployment& d, DeviceKind kind) const {
  if (d.spec.model.bytes > Bytes{}) return d.spec.model.bytes;
  const MemoryNeed need = need_of(d, kind);
  return need.private_bytes + need.shared_bytes;
}

Duration Core::start_on(const Deployment& d, DeviceKind kind, Tier from) const {
  return d.own_times.expected(load_times_, kind, from, weights_of(d, kind), d.spec.expected_start);
}

/// From the fastest tier that holds it anywhere; of one that no store knows, what its starts took.
Duration Core::soonest_start(const Deployment& d) const {
  if (!d.spec.model.id || devices_.empty() || d.spec.pool) return d.start_time.get();
  Tier best = Tier::remote;
  const auto found = model_places_.find(d.spec.model.id);
  if (found != model_places_.end()) {
    for (const ModelPlace& each : found->second) best = std::min(best, each.fastest());
  }
  const std::vector<DeviceKind>& kinds = d.spec.needs.kinds;
  return start_on(d, kinds.empty() ? devices_.front().kind : kinds.front(), best);
}

Duration Core::start_at_device(const Deployment& d, const Device& device) const {
  return start_on(d, device.kind, tier_for(d, device.node));
}

/// Needs: it has just become ready, from a start.
void Core::note_start_time(const Instance& instance) {
  Deployment& d = *instance.owner;
  const Duration took = now_ - instance.started_at;
  d.start_time.observed(took);
  if (instance.devices.empty()) return;
  const DeviceKind kind = device(instance.devices.front()).kind;
  d.own_times.observed(kind, instance.from, took);
  load_times_.observed(kind, instance.from, weights_of(d, kind), took);
  touch(d);
}

}  // namespace stoker::core
