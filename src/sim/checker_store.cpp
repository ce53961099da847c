// What lies in the stores that the core fills: no tier holds more than it may, nothing is moved
// twice at once or back and forth, what is pinned stays, and what is in host memory is on disk.
// That nothing is dropped that a process uses, the world looks at itself.
#include <algorithm>
#include <utility>

#include "base/invariant.h"
#include "sim/checker.h"

namespace stoker::sim {

using core::Tier;

namespace {

/// Rounds are a second apart.
constexpr Duration stray_stays = seconds(3);

}  // namespace

/// There, or on its way.
Bytes Checker::Store::held(Tier tier) const {
  Bytes sum;
  for (const auto& [copy, bytes] : copies) {
    if (std::get<Tier>(copy) == tier) sum += bytes;
  }
  for (const auto& [id, move] : moves) {
    const bool comes = move.is_fetch && std::get<Tier>(move.copy) == tier;
    if (comes && !copies.contains(move.copy)) sum += move.bytes;
  }
  return sum;
}

bool Checker::Store::moves_now(const Copy& copy) const {
  return std::any_of(moves.begin(), moves.end(),
                     [&](const auto& each) { return each.second.copy == copy; });
}

void Checker::hear(Instant, const core::StoreAdded& e) {
  Store& store = stores_[e.store.node];
  const bool is_new = store.spec.node == NodeId{};
  store.spec = e.store;
  for (const Tier tier : {Tier::host, Tier::disk}) {
    if (is_new || store.held(tier) <= store.capacity(tier)) continue;
    store.shrunk = true;
    reached(State::store_shrunk);
  }
}

void Checker::hear(Instant, const core::ModelInTier& e) {
  stored_.insert({e.model, e.node, e.tier});
  for (const auto& [model, node, tier] : stored_) {
    if (model == e.model && node != e.node) reached(State::model_on_two_nodes);
  }
  const auto store = stores_.find(e.node);
  if (store != stores_.end()) store->second.copies[{e.model, e.node, e.tier}] = e.bytes;
  note_size(e.model, e.bytes);
}

/// Until a store tells how large a model is, its orders go by what deployments say.
void Checker::note_size(ModelId model, Bytes bytes) {
  for (auto& [node, store] : stores_) {
    for (auto& [copy, of_copy] : store.copies) {
      if (std::get<ModelId>(copy) == model) of_copy = bytes;
    }
    for (auto& [id, move] : store.moves) {
      if (std::get<ModelId>(move.copy) == model) move.bytes = bytes;
    }
    for (const Tier tier : {Tier::host, Tier::disk}) {
      store.shrunk |= store.held(tier) > store.capacity(tier);
    }
  }
}

void Checker::hear(Instant, const core::ModelLost& e) {
  reached(State::model_lost);
  stored_.erase({e.model, e.node, e.tier});
  const auto store = stores_.find(e.node);
  if (store != stores_.end()) store->second.copies.erase({e.model, e.node, e.tier});
}

void Checker::hear(Instant, const core::TierLost& e) {
  reached(State::tier_lost);
  const auto was_there = [&](const Copy& copy) {
    return std::get<NodeId>(copy) == e.node && std::get<Tier>(copy) == e.tier;
  };
  std::erase_if(stored_, was_there);
  const auto store = stores_.find(e.node);
  if (store == stores_.end()) return;
  std::erase_if(store->second.copies, [&](const auto& each) { return was_there(each.first); });
}

void Checker::note_end_of_move(Instant now, core::MoveId id) {
  for (auto& [node, store] : stores_) {
    const auto it = store.moves.find(id);
    if (it == store.moves.end()) continue;
    store.moved_at[it->second.copy] = now;
    store.moves.erase(it);
    return;
  }
}

void Checker::hear(Instant now, const core::ModelFetched& e) {
  const auto store = stores_.find(e.node);
  if (store == stores_.end() || !store->second.moves.contains(e.move)) {
    reached(State::moved_told_again);
    return;
  }
  const Copy copy{e.model, e.node, e.tier};
  store->second.copies[copy] = e.bytes;
  stored_.insert(copy);
  note_end_of_move(now, e.move);
  note_size(e.model, e.bytes);
}

void Checker::hear(Instant now, const core::ModelDropped& e) {
  const auto store = stores_.find(e.node);
  if (store == stores_.end() || !store->second.moves.contains(e.move)) {
    reached(State::moved_told_again);
    return;
  }
  store->second.copies.erase({e.model, e.node, e.tier});
  note_end_of_move(now, e.move);
}

void Checker::hear(Instant now, const core::MoveFailed& e) {
  const auto store = stores_.find(e.node);
  if (store == stores_.end() || !store->second.moves.contains(e.move)) return;
  const Copy copy{e.model, e.node, e.tier};
  const bool is_fetch = store->second.moves.at(e.move).is_fetch;
  if (!is_fetch) reached(State::drop_failed);
  if (is_fetch) {
    reached(e.failure == core::MoveFailure::no_room     ? State::fetch_found_no_room
            : e.failure == core::MoveFailure::no_source ? State::fetch_found_no_source
                                                        : State::fetch_failed);
  }
  if (store->second.copies.contains(copy)) stored_.insert(copy);
  note_end_of_move(now, e.move);
  note_size(e.model, e.bytes);
}

void Checker::on(Instant now, const core::PrefetchModel& a) {
  const auto found = stores_.find(a.node);
  STOKER_INVARIANT(found != stores_.end(), "node {} has no store", a.node.value);
  Store& store = found->second;
  const Copy copy{a.model, a.node, a.tier};
  const Copy on_disk{a.model, a.node, Tier::disk};
  STOKER_INVARIANT(a.tier != Tier::remote && !store.copies.contains(copy),
                   "model {} is fetched to where it is", a.model.value);
  for (const auto& [id, move] : store.moves) {
    STOKER_INVARIANT(move.copy != copy && !(a.tier == Tier::host && move.copy == on_disk),
                     "model {} is fetched while it moves", a.model.value);
    STOKER_INVARIANT(std::get<Tier>(move.copy) != a.tier, "two move in the {} tier of node {}",
                     to_text(a.tier), a.node.value);
  }
  STOKER_INVARIANT(a.tier != Tier::host || store.copies.contains(on_disk),
                   "model {} is fetched to host memory and is not on disk", a.model.value);
  const Bytes held = store.held(a.tier);
  STOKER_INVARIANT(held + a.bytes <= store.capacity(a.tier),
                   "the {} tier of node {} holds {} and gets {}", to_text(a.tier), a.node.value,
                   held.value, a.bytes.value);
  const auto moved = store.moved_at.find(copy);
  STOKER_INVARIANT(moved == store.moved_at.end() || now - moved->second >= store.spec.rest,
                   "model {} goes and comes", a.model.value);
  STOKER_INVARIANT((a.reason == core::PrefetchReason::pinned) == is_pinned(a.node, a.model, a.tier),
                   "model {} is fetched for {}", a.model.value, to_text(a.reason));
  STOKER_INVARIANT(a.reason == core::PrefetchReason::pinned || a.saves.ns >= 0, "model {}",
                   a.model.value);
  store.moves[a.move] = {copy, a.bytes, true};
  reached(a.tier == Tier::disk ? State::prefetched_to_disk : State::prefetched_to_host_memory);
  if (a.reason == core::PrefetchReason::pinned) reached(State::prefetched_pinned);
}

void Checker::on(Instant now, const core::DropModel& a) {
  const auto found = stores_.find(a.node);
  STOKER_INVARIANT(found != stores_.end(), "node {} has no store", a.node.value);
  Store& store = found->second;
  const Copy copy{a.model, a.node, a.tier};
  STOKER_INVARIANT(store.copies.contains(copy) && !store.moves_now(copy),
                   "model {} is dropped from where it is not, or twice", a.model.value);
  const Copy in_host{a.model, a.node, Tier::host};
  STOKER_INVARIANT(
      a.tier == Tier::host || (!store.copies.contains(in_host) && !store.moves_now(in_host)),
      "model {} leaves the disk before host memory", a.model.value);
  STOKER_INVARIANT(!is_pinned(a.node, a.model, a.tier), "model {} is pinned", a.model.value);
  switch (a.reason) {
    case core::DropReason::worth_less: {
      const auto moved = store.moved_at.find(copy);
      STOKER_INVARIANT(moved == store.moved_at.end() || now - moved->second >= store.spec.rest,
                       "model {} comes and goes", a.model.value);
      reached(State::dropped_for_another);
      break;
    }
    case core::DropReason::over_capacity:
      STOKER_INVARIANT(store.held(Tier::host) > store.spec.host_memory ||
                           store.held(Tier::disk) > store.spec.disk,
                       "node {} has room", a.node.value);
      reached(State::dropped_over_capacity);
      break;
    case core::DropReason::not_on_disk:
      STOKER_INVARIANT(
          a.tier == Tier::host && !store.copies.contains({a.model, a.node, Tier::disk}),
          "model {} is on disk", a.model.value);
      store.strays.erase(a.model);  // it may fail, and is tried again
      reached(State::dropped_without_file);
      break;
  }
  store.moves[a.move] = {copy, a.bytes, false};
  stored_.erase(copy);
}

void Checker::on(const core::PinModel& a) {
  const auto store = stores_.find(a.node);
  STOKER_INVARIANT(
      store != stores_.end() && store->second.copies.contains({a.model, a.node, a.tier}),
      "model {} is pinned where it is not", a.model.value);
  STOKER_INVARIANT(a.pinned == is_pinned(a.node, a.model, a.tier), "model {}", a.model.value);
  reached(a.pinned ? State::copy_pinned : State::copy_unpinned);
}

void Checker::on(const core::RefuseCopy& a) {
  const Store& store = stores_.at(a.node);
  if (a.reason == core::CopyRefusal::larger_than_tier) {
    STOKER_INVARIANT(a.bytes > store.capacity(a.tier), "model {} fits", a.model.value);
    reached(State::copy_refused_too_large);
  } else {
    STOKER_INVARIANT(is_pinned(a.node, a.model, a.tier), "model {}", a.model.value);
    STOKER_INVARIANT(store.held(a.tier) + a.bytes > store.capacity(a.tier),
                     "there is room for model {}", a.model.value);
    reached(State::copy_refused_no_room);
  }
}

/// A deployment that could start there says so.
bool Checker::is_pinned(NodeId node, ModelId model, Tier tier) const {
  return std::any_of(deployments_.begin(), deployments_.end(), [&](const auto& entry) {
    const core::DeploymentSpec& spec = entry.second.spec;
    if (entry.second.removed || spec.pool || spec.model.id != model || !spec.model.pinned) {
      return false;
    }
    if (tier < *spec.model.pinned) return false;
    return std::any_of(devices_.begin(), devices_.end(), [&](const auto& each) {
      return each.second.spec.node == node && suits(each.second.spec, spec.needs);
    });
  });
}

/// Some instance of it is there, or was suspended there.
bool Checker::is_used(NodeId node, ModelId model) const {
  return std::any_of(instances_.begin(), instances_.end(), [&](const auto& entry) {
    const Instance& each = entry.second;
    const std::vector<DeviceId>& where = each.devices.empty() ? each.home : each.devices;
    return !where.empty() && devices_.at(where.front()).spec.node == node &&
           deployments_.at(each.deployment).spec.model.id == model;
  });
}

/// After a time without faults and requests: all that was begun is done, what had to go is gone,
/// and what is pinned is there if there is room.
void Checker::check_settled_stores() const {
  for (const auto& [node, store] : stores_) {
    STOKER_INVARIANT(store.moves.empty(), "L2 {} moves never end on node {}", store.moves.size(),
                     node.value);
    for (const auto& [copy, bytes] : store.copies) {
      const auto [model, on_node, tier] = copy;
      const bool stays = is_pinned(node, model, tier) || is_used(node, model);
      STOKER_INVARIANT(stays || store.held(tier) <= store.capacity(tier),
                       "L6 node {} keeps model {} and holds too much", node.value, model.value);
    }
    for (const auto& [id, d] : deployments_) {
      const core::StoredModel& model = d.spec.model;
      const bool has_room = store.held(Tier::disk) + model.bytes <= store.spec.disk;
      if (d.removed || model.bytes == Bytes{} || !has_room) continue;
      STOKER_INVARIANT(!is_pinned(node, model.id, Tier::disk) ||
                           store.copies.contains({model.id, node, Tier::disk}),
                       "L4 model {} is pinned and not on node {}", model.id.value, node.value);
    }
  }
}

/// A copy in host memory whose file is gone leaves with the next round.
void Checker::check_strays(Instant now, NodeId node, Store& store) const {
  std::map<ModelId, Instant> strays;
  for (const auto& [copy, bytes] : store.copies) {
    const auto [model, on_node, tier] = copy;
    const Copy on_disk{model, node, Tier::disk};
    const bool may_go = tier == Tier::host && !store.copies.contains(on_disk) &&
                        !store.moves_now(copy) && !store.moves_now(on_disk) &&
                        !is_pinned(node, model, tier) && !is_used(node, model);
    if (!may_go) continue;
    const auto known = store.strays.find(model);
    const Instant since = known == store.strays.end() ? now : known->second;
    STOKER_INVARIANT(now - since <= stray_stays || shutting_down_,
                     "node {} keeps model {} in host memory without its file", node.value,
                     model.value);
    strays.emplace(model, since);
  }
  store.strays = std::move(strays);
}

void Checker::check_stores(Instant now, const core::Summary& summary) {
  for (auto& [node, store] : stores_) check_strays(now, node, store);
  STOKER_INVARIANT(summary.stores.size() == 2 * stores_.size(), "{} stores", stores_.size());
  for (const core::StoreSummary& each : summary.stores) {
    const Store& store = stores_.at(each.id);
    const Bytes held = store.held(each.tier);
    STOKER_INVARIANT(each.held == held && each.capacity == store.capacity(each.tier),
                     "the {} tier of node {} holds {}, it says {}", to_text(each.tier),
                     each.id.value, held.value, each.held.value);
    STOKER_INVARIANT(held <= each.capacity || store.shrunk, "the {} tier of node {} holds {} of {}",
                     to_text(each.tier), each.id.value, held.value, each.capacity.value);
  }
}

}  // namespace stoker::sim
