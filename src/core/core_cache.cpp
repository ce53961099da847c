// What lies in the stores of the nodes: which models are worth what where, and the rounds in which
// cache_plan decides what is prefetched, pinned and dropped.
//
// Worth changes with every request, and what lies where for minutes. So a request only notes its
// model; at most once a second a round looks at some of those noted, and at some others in turn, so
// that those that nobody asks for lose their worth. A round's cost is bounded by the constants here
// and the number of nodes, not by how many models there are.
#include <algorithm>

#include "base/invariant.h"
#include "core/core.h"

namespace stoker::core {
namespace {

constexpr Duration round_pause = seconds(1);
/// A round is never due in the step that asks for it: what is due at an instant has been done once.
constexpr Duration round_delay = ms(1);
/// So many models are looked at in a round: of those that were noted, and in turn.
constexpr std::size_t noted_a_round = 32;
constexpr std::size_t in_turn_a_round = 32;

double seconds_of(Duration d) {
  return static_cast<double>(d.ns) / 1e9;
}

/// What is saved in an hour; bounded, as it is for people.
Duration in_an_hour(double seconds_per_second) {
  return {static_cast<std::int64_t>(std::min(seconds_per_second * 3600, 1e8) * 1e9)};
}

}  // namespace

Core::Store* Core::find_store(NodeId node) {
  const auto it = stores_.find(node);
  return it == stores_.end() ? nullptr : &it->second;
}

/// Cost: O(models + instances); it is rare.
void Core::on(const StoreAdded& e) {
  const NodeId node = e.store.node;
  if (Store* const known = find_store(node)) {
    known->plan.resize(e.store);
  } else {
    Store& store = stores_.emplace(node, Store{CachePlan(e.store), {}}).first->second;
    for (const Device& each : devices_) {
      if (each.node == node) store.devices.push_back(each.id);
    }
    for (auto& [id, d] : deployments_) look_where_stored(*d);
    for (const auto& [model, places] : model_places_) {
      for (const ModelPlace& each : places) {
        if (each.node != node) continue;
        for (const Tier tier : {Tier::disk, Tier::host}) {
          if ((each.tier_bits >> static_cast<unsigned>(tier) & 1U) == 0) continue;
          store.plan.found(model, tier, bytes_of(known_models_[model]));
        }
      }
    }
    for (const auto& [id, instance] : instances_) {
      if (instance->store_node == node && instance->model) {
        note_model_use(*instance, InstanceState::planned);
      }
    }
  }
  for (const auto& [model, known] : known_models_) touch_model(model);
}

void Core::note_store_device(const DeviceSpec& spec) {
  Store* const store = find_store(spec.node);
  if (store == nullptr) return;
  store->devices.insert(std::ranges::lower_bound(store->devices, spec.id), spec.id);
  for (auto& [id, d] : deployments_) {
    look_where_stored(*d);
    touch(*d);
  }
}

void Core::add_user(Deployment& d) {
  if (!d.spec.model.id) return;
  std::vector<Deployment*>& users = known_models_[d.spec.model.id].users;
  users.insert(std::ranges::lower_bound(users, d.spec.id, {},
                                        [](const Deployment* each) { return each->spec.id; }),
               &d);
  look_where_stored(d);
  d.cache_touched = false;  // if so, then for another model
  touch(d);
}

void Core::remove_user(const Deployment& d) {
  if (!d.spec.model.id) return;
  std::erase(known_models_.at(d.spec.model.id).users, &d);
  if (d.stored) touch_model(d.spec.model.id);
}

void Core::look_where_stored(Deployment& d) {
  d.stored = d.spec.model.id && std::ranges::any_of(stores_, [&](const auto& each) {
               return device_for(d, each.second) != nullptr;
             });
}

/// The first on its node that the deployment could start on; nullptr: none.
const Core::Device* Core::device_for(const Deployment& d, const Store& store) const {
  if (d.spec.pool) return nullptr;
  for (const DeviceId id : store.devices) {
    const Device& each = device(id);
    if (suits(each, d.spec.needs)) return &each;
  }
  return nullptr;
}

void Core::note_found(const ModelInTier& e) {
  Store* const store = find_store(e.node);
  if (e.tier == Tier::remote || (store == nullptr && e.bytes == Bytes{})) return;
  if (e.bytes > Bytes{}) note_size(e.model, e.bytes);
  if (store == nullptr) return;
  store->plan.found(e.model, e.tier, bytes_of(known_models_[e.model]));
  touch_model(e.model);
}

void Core::note_size(ModelId model, Bytes bytes) {
  known_models_[model].bytes = bytes;
  for (auto& [node, store] : stores_) store.plan.sized(model, bytes);
}

void Core::note_lost(NodeId node, ModelId model, Tier tier) {
  Store* const store = find_store(node);
  if (store == nullptr || tier == Tier::remote) return;
  store->plan.lost(model, tier);
  touch_model(model);
}

void Core::on(const ModelFetched& e) {
  Store* const store = find_store(e.node);
  if (store == nullptr || e.tier == Tier::remote) return;
  if (store->plan.done(e.model, e.tier, e.move, now_) != CachePlan::Move::fetch) return;
  note_copy(e.node, e.model, e.tier, true);
  note_found({e.node, e.model, e.tier, e.bytes});
}

void Core::on(const ModelDropped& e) {
  Store* const store = find_store(e.node);
  if (store == nullptr || e.tier == Tier::remote) return;
  if (store->plan.done(e.model, e.tier, e.move, now_) == CachePlan::Move::none) return;
  touch_model(e.model);
}

void Core::on(const MoveFailed& e) {
  Store* const store = find_store(e.node);
  if (store == nullptr || e.tier == Tier::remote) return;
  if (store->plan.failed(e.model, e.tier, e.move, now_) == CachePlan::Move::none) return;
  if (e.bytes > Bytes{}) note_size(e.model, e.bytes);
  if (store->plan.is_there(e.model, e.tier)) note_copy(e.node, e.model, e.tier, true);
  touch_model(e.model);
}

/// Its file is open or mapped as long as its process may be there; a copy in host memory is read
/// until it is loaded.   Needs: it has a model.
void Core::note_model_use(Instance& instance, InstanceState before) {
  Store* const store = find_store(instance.store_node);
  if (store == nullptr) return;
  const auto loads = [](InstanceState state) {
    return state == InstanceState::starting || state == InstanceState::loading;
  };
  const auto runs = [](InstanceState state) {
    return state != InstanceState::planned && state != InstanceState::gone;
  };
  const auto note = [&](Tier tier, bool did, bool does) {
    if (did == does) return;
    store->plan.used(instance.model, tier, does ? 1 : -1);
    touch_model(instance.model);
  };
  note(Tier::disk, runs(before), runs(instance.state));
  if (instance.from == Tier::host) note(Tier::host, loads(before), loads(instance.state));
}

/// Its worth may have changed, where a store may serve it.
void Core::touch(Deployment& d) {
  if (!d.stored || d.cache_touched) return;
  d.cache_touched = true;
  touch_model(d.spec.model.id);
}

void Core::touch_model(ModelId model) {
  if (stores_.empty() || shutting_down_) return;
  touched_models_.push_back(model);
  timers_.set_earlier(TimerKind::cache_round, 1,
                      std::max(now_ + round_delay, cache_round_at_ + round_pause));
}

void Core::cache_round() {
  if (shutting_down_) return;
  cache_round_at_ = now_;
  const std::size_t noted = std::min(touched_models_.size(), noted_a_round);
  for (std::size_t i = 0; i < noted; ++i) update_model(touched_models_[i]);
  touched_models_.erase(touched_models_.begin(),
                        touched_models_.begin() + static_cast<std::ptrdiff_t>(noted));
  const std::size_t in_turn = std::min(known_models_.size(), in_turn_a_round);
  for (std::size_t i = 0; i < in_turn && !known_models_.empty(); ++i) {
    auto next = known_models_.upper_bound(last_looked_at_);
    if (next == known_models_.end()) next = known_models_.begin();
    last_looked_at_ = next->first;
    update_model(last_looked_at_);
  }
  std::optional<Instant> again;
  if (!touched_models_.empty()) again = now_;
  for (auto& [node, store] : stores_) decide_cache(node, store, again);
  if (again) {
    timers_.set_earlier(TimerKind::cache_round, 1, std::max(*again, now_ + round_pause));
  }
}

void Core::decide_cache(NodeId node, Store& store, std::optional<Instant>& again) {
  cache_orders_.clear();
  const std::optional<Instant> ask = store.plan.decide(now_, next_move_, cache_orders_);
  if (ask && (!again || *ask < *again)) again = ask;
  for (const CacheOrder& each : cache_orders_) {
    switch (each.kind) {
      case CacheOrder::Kind::prefetch:
        actions_->push_back(PrefetchModel{node, each.model, each.tier, each.move,
                                          each.prefetched_for, each.bytes, in_an_hour(each.worth)});
        update_model(each.model);  // on other nodes a copy is worth less now
        break;
      case CacheOrder::Kind::drop:
        // Who starts from now on does not count on it.
        note_copy(node, each.model, each.tier, false);
        actions_->push_back(DropModel{node, each.model, each.tier, each.move, each.dropped_for,
                                      each.bytes, in_an_hour(each.worth)});
        update_model(each.model);
        break;
      case CacheOrder::Kind::pin:
      case CacheOrder::Kind::unpin:
        actions_->push_back(
            PinModel{node, each.model, each.tier, each.kind == CacheOrder::Kind::pin});
        break;
      case CacheOrder::Kind::refuse:
        actions_->push_back(RefuseCopy{node, each.model, each.tier, each.refused_for, each.bytes,
                                       store.plan.capacity(each.tier)});
        break;
    }
  }
}

/// As a store told, else as its deployments say, else what they need of a device.
Bytes Core::bytes_of(const KnownModel& known) const {
  if (known.bytes > Bytes{}) return known.bytes;
  Bytes most{1};
  for (const Deployment* each : known.users) {
    if (!each->stored) continue;  // what it needs elsewhere says nothing here
    const std::vector<DeviceKind>& kinds = each->spec.needs.kinds;
    most = std::max(most, weights_of(*each, kinds.empty() ? DeviceKind::cpu : kinds.front()));
  }
  return most;
}

/// Nodes that have a copy there or nearer, or soon will.
std::int32_t Core::copies_elsewhere(ModelId model, Tier tier, NodeId node) const {
  std::int32_t count = 0;
  for (const auto& [id, store] : stores_) {
    if (id == node) continue;
    const bool has = store.plan.is_promised(model, tier) ||
                     (tier == Tier::disk && store.plan.is_promised(model, Tier::host));
    count += has ? 1 : 0;
  }
  return count;
}

/// Tells every store what the model is worth there now. Where others have a copy too, each start
/// needs only one of them: a second is worth a half, a third a third.
void Core::update_model(ModelId model) {
  const auto it = known_models_.find(model);
  if (it == known_models_.end()) return;
  KnownModel& known = it->second;
  const Bytes bytes = bytes_of(known);
  for (Deployment* each : known.users) each->cache_touched = false;
  for (auto& [node, store] : stores_) {
    CachedModel here;
    here.bytes = bytes;
    for (Deployment* each : known.users) {
      if (each->removed) continue;
      const Device* const device = device_for(*each, store);
      if (device == nullptr) continue;
      const double uses = NextUse::rate(each->next_use, now_);
      const auto saves = [&](Tier below, Tier tier) {
        return uses * seconds_of(each->own_times.saved(load_times_, device->kind, below, tier,
                                                       weights_of(*each, device->kind)));
      };
      here.worth[0] += saves(Tier::disk, Tier::host);
      here.worth[1] += saves(Tier::remote, Tier::disk);
      if (!each->spec.model.pinned) continue;
      here.pinned[0] |= *each->spec.model.pinned == Tier::host;
      here.pinned[1] |= *each->spec.model.pinned != Tier::remote;
    }
    here.worth[0] /= 1 + copies_elsewhere(model, Tier::host, node);
    here.worth[1] /= 1 + copies_elsewhere(model, Tier::disk, node);
    store.plan.update(model, here, now_);
  }
  if (known.users.empty() && !model_places_.contains(model)) known_models_.erase(it);
}

}  // namespace stoker::core
