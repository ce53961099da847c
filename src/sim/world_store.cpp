// What lies in the tiers of the virtual nodes' stores. Where the core was told of a store, it alone
// says what is brought there and dropped, beside what a load leaves; elsewhere the last few models
// that were loaded stay.
#include <algorithm>

#include "base/invariant.h"
#include "sim/world.h"

namespace stoker::sim {
namespace {

/// Where nobody plans, more are not kept: those that came first go.
constexpr std::size_t models_in_host = 2;
constexpr std::size_t models_on_disk = 3;

constexpr Duration fetch_begins = ms(20);
constexpr Duration drop_takes = ms(5);
constexpr std::int64_t host_faster = 10;
constexpr std::int64_t slow_fetch = 20;
constexpr std::int32_t drop_fails_more = 5;
constexpr std::uint32_t message_kind = 0x300U;  // among the rolls of a copy's messages

}  // namespace

void World::add_store(const AddStore& store) {
  stores_[store.store.node].filled_by_core = store;
  step(core::StoreAdded{store.store});
}

/// Of each model one, whatever its deployments say later.
Bytes World::size_of(ModelId model) const {
  const auto told = sizes_.find(model);
  if (told != sizes_.end()) return told->second;
  const std::uint64_t drawn = Prng(seed_ ^ model.value * 0x9e3779b97f4a7c15ULL).below(56);
  return mib(5 + static_cast<std::int64_t>(drawn));
}

bool World::lies_in(NodeId node, ModelId model, core::Tier tier) const {
  const auto store = stores_.find(node);
  if (store == stores_.end()) return false;
  const std::vector<ModelId>& there = store->second.of(tier);
  return std::count(there.begin(), there.end(), model) > 0;
}

bool World::is_being_fetched(NodeId node, ModelId model, core::Tier tier) const {
  return std::any_of(moves_.begin(), moves_.end(), [&](const auto& entry) {
    const Move& each = entry.second;
    return each.goes_on && each.is_fetch && each.node == node && each.model == model &&
           each.tier == tier;
  });
}

/// Less what is on its way. May be negative after the store has shrunk.
Bytes World::free_in(NodeId node, core::Tier tier) const {
  const Tiers& store = stores_.at(node);
  const core::StoreSpec& spec = store.filled_by_core->store;
  Bytes free = tier == core::Tier::host ? spec.host_memory : spec.disk;
  for (const ModelId model : store.of(tier)) free -= size_of(model);
  for (const auto& [id, each] : moves_) {
    const bool comes = each.goes_on && each.is_fetch && each.node == node && each.tier == tier;
    if (comes && !lies_in(node, each.model, tier)) free -= size_of(each.model);
  }
  return free;
}

/// What was loaded lies on the node's disk afterwards, and in the host's page cache for a while.
/// Where the core plans, only on disk, and if there is room.
void World::keep_model(ModelId model, const Process& process) {
  if (hits(Fault::store_full, process.subject)) return;
  const NodeId node = node_of(process.devices.front());
  Tiers& store = stores_[node];
  if (store.filled_by_core) {
    const bool known =
        lies_in(node, model, core::Tier::disk) || is_being_fetched(node, model, core::Tier::disk);
    if (known || size_of(model) > free_in(node, core::Tier::disk)) return;
    state(State::left_by_a_load);
    return put_model(node, model, core::Tier::disk);
  }
  put_model(node, model, core::Tier::disk);
  put_model(node, model, core::Tier::host);
  while (store.host.size() > models_in_host) take_model(node, store.host.front(), core::Tier::host);
  while (store.disk.size() > models_on_disk) take_model(node, store.disk.front(), core::Tier::disk);
}

void World::put_model(NodeId node, ModelId model, core::Tier tier) {
  std::vector<ModelId>& there = stores_[node].of(tier);
  std::erase(there, model);
  there.push_back(model);
  step(core::ModelInTier{node, model, tier, size_of(model)});
}

void World::take_model(NodeId node, ModelId model, core::Tier tier) {
  std::erase(stores_[node].of(tier), model);
  step(core::ModelLost{node, model, tier});
}

/// With all that lies there, or with what came first.
void World::lose_tier(const Strike& strike) {
  const auto store = stores_.find(strike.node);
  const auto tier = static_cast<core::Tier>(strike.amount);
  if (store == stores_.end() || store->second.of(tier).empty()) return;
  struck(strike.fault);
  std::vector<ModelId>& there = store->second.of(tier);
  if (strike.fault == Fault::model_lost) return take_model(strike.node, there.front(), tier);
  there.clear();
  step(core::TierLost{strike.node, tier});
}

World::Move& World::new_move(core::MoveId id, NodeId node, ModelId model, core::Tier tier,
                             bool is_fetch) {
  mix(node.value * 31 + model.value);
  mix(static_cast<std::uint64_t>(tier) * 2 + (is_fetch ? 1 : 0));
  Move move{node, model, tier, is_fetch, true, {}, 0};
  move.time = ++moves_of_[move.subject()];
  const auto [it, is_new] = moves_.emplace(id, move);
  STOKER_INVARIANT(is_new, "move {} is ordered twice", id.value);
  return it->second;
}

void World::carry_out(const core::PrefetchModel& order) {
  const Bytes bytes = size_of(order.model);
  const auto store = stores_.find(order.node);
  STOKER_INVARIANT(store != stores_.end() && store->second.filled_by_core, "node {} has no store",
                   order.node.value);
  const bool has_room = bytes <= free_in(order.node, order.tier);
  const Move& move = new_move(order.move, order.node, order.model, order.tier, true);
  if (!has_room || hits(Fault::store_full, move.subject(), move.time)) {
    return move_failed(order.move, core::MoveFailure::no_room);
  }
  const bool to_host = order.tier == core::Tier::host;
  const std::int64_t mib_per_s =
      store->second.filled_by_core->fetch_mib_per_s * (to_host ? host_faster : 1);
  Duration takes = fetch_begins + Duration{bytes.value / mib_per_s * 1'000'000'000 / mib(1).value};
  if (chances_.any()) takes = chances_.around(takes, Roll::load_step, move.subject(), move.time);
  if (hits(Fault::fetch_slow, move.subject(), move.time)) takes.ns *= slow_fetch;
  plan_in(takes, Happening::move_done, order.move.value);
}

void World::carry_out(const core::DropModel& order) {
  for (const Process& each : processes_) {
    const bool here = each.phase != Phase::gone && each.model == order.model &&
                      !each.devices.empty() && node_of(each.devices.front()) == order.node;
    const bool reads = order.tier == core::Tier::disk || each.phase == Phase::starting ||
                       each.phase == Phase::loading;
    STOKER_INVARIANT(!here || !reads || (order.tier == core::Tier::host && !each.from_host),
                     "model {} is dropped from the {} tier of node {} while instance {} uses it",
                     order.model.value, to_text(order.tier), order.node.value, each.id.value);
  }
  new_move(order.move, order.node, order.model, order.tier, false);
  plan_in(drop_takes, Happening::move_done, order.move.value);
}

void World::move_done(core::MoveId id) {
  Move& move = moves_.at(id);
  if (!move.goes_on) return;  // the server that ordered it is gone
  const bool there = lies_in(move.node, move.model, move.tier);
  const Fault fault = move.is_fetch ? Fault::fetch_fails : Fault::drop_fails;
  const std::int32_t times = move.is_fetch ? 1 : drop_fails_more;  // there are few
  if ((move.is_fetch || there) && hits(fault, move.subject(), move.time, times)) {
    return move_failed(id, core::MoveFailure::error);
  }
  if (move.is_fetch && move.tier == core::Tier::host &&
      !lies_in(move.node, move.model, core::Tier::disk)) {
    return move_failed(id, core::MoveFailure::no_source);
  }
  std::vector<ModelId>& models = stores_.at(move.node).of(move.tier);
  std::erase(models, move.model);
  if (move.is_fetch) models.push_back(move.model);
  move.goes_on = false;
  tell_moved(id);
}

void World::move_failed(core::MoveId id, core::MoveFailure failure) {
  Move& move = moves_.at(id);
  move.goes_on = false;
  move.failure = failure;
  tell_moved(id);
}

/// The store is a part of the server: what it says may be late or come twice, but it comes.
void World::tell_moved(core::MoveId id) {
  if (!chances_.any()) return plan_in(Duration{}, Happening::told_moved, id.value);
  const Move& move = moves_.at(id);
  const std::uint32_t which = message_kind << 16U | (move.time & 0xffffU);
  Duration after = us(chances_.below(Roll::delivery, move.subject(), which, 2'000));
  if (hits(Fault::message_late, move.subject(), which)) {
    after = after + ms(chances_.below(Roll::lateness, move.subject(), which, 3'000));
  }
  if (hits(Fault::message_twice, move.subject(), which)) {
    plan_in(after + ms(chances_.below(Roll::redelivery, move.subject(), which, 500)),
            Happening::told_moved, id.value);
  }
  plan_in(after, Happening::told_moved, id.value);
}

void World::told_moved(core::MoveId id) {
  const Move& move = moves_.at(id);
  if (move.failure) {
    step(
        core::MoveFailed{move.node, move.model, move.tier, id, *move.failure, size_of(move.model)});
  } else if (move.is_fetch) {
    step(core::ModelFetched{move.node, move.model, move.tier, id, size_of(move.model)});
  } else {
    step(core::ModelDropped{move.node, move.model, move.tier, id});
  }
}

/// Parts of files are swept away, and what was to be dropped stays.
void World::forget_moves() {
  for (auto& [id, move] : moves_) move.goes_on = false;
}

}  // namespace stoker::sim
