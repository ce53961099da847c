#include "core/cache_plan.h"

#include <algorithm>

#include "base/invariant.h"

namespace stoker::core {
namespace {

/// So many of the best that are not there are tried in a round, if those before them find no room.
constexpr int most_tried = 16;
constexpr std::array both = {Tier::host, Tier::disk};

double per_byte(double worth, Bytes bytes) {
  return worth / static_cast<double>(bytes.value);
}

}  // namespace

const CachePlan::Place* CachePlan::find(ModelId model, Tier tier) const {
  const auto it = entries_.find(model);
  return it == entries_.end() ? nullptr : &it->second.at[index(tier)];
}

bool CachePlan::is_there(ModelId model, Tier tier) const {
  const Place* const place = find(model, tier);
  return place != nullptr && place->there && place->moving != Move::drop;
}

bool CachePlan::is_promised(ModelId model, Tier tier) const {
  const Place* const place = find(model, tier);
  return place != nullptr && place->holds() && place->moving != Move::drop;
}

std::vector<ModelId> CachePlan::models_in(Tier tier) const {
  std::vector<ModelId> models;
  for (const auto& [model, entry] : entries_) {
    if (entry.at[index(tier)].holds()) models.push_back(model);
  }
  return models;
}

Bytes CachePlan::recount(Tier tier) const {
  Bytes sum;
  for (const auto& [model, entry] : entries_) {
    if (entry.at[index(tier)].holds()) sum += entry.known.bytes;
  }
  return sum;
}

std::int32_t CachePlan::uses(Tier tier) const {
  std::int32_t sum = 0;
  for (const auto& [model, entry] : entries_) sum += entry.at[index(tier)].uses;
  return sum;
}

/// The only writer of entries: what is held and who is listed follows.
template <class Change>
void CachePlan::change(ModelId model, Change&& change) {
  const auto it = entries_.try_emplace(model).first;
  Entry& entry = it->second;
  const auto count = [&](bool taken) {
    for (const Tier tier : both) {
      if (!place(entry, tier).holds()) continue;
      Bytes& held = tiers_[index(tier)].held;
      held = taken ? held + entry.known.bytes : held - entry.known.bytes;
    }
  };
  count(false);
  change(entry);
  count(true);
  list(it);
}

void CachePlan::list(Entries::iterator it) {
  Entry& entry = it->second;
  const ModelId model = it->first;
  for (const Tier tier : both) list(entry, model, tier);
  if (is_stray(entry)) {
    strays_.insert(model);
  } else {
    strays_.erase(model);
  }
}

/// What is lost if the copy goes: with one on disk that in host memory too.
double CachePlan::loss_of(const Entry& entry, Tier tier) {
  const double worth = entry.known.worth[index(tier)];
  const bool takes_host_along = tier == Tier::disk && entry.at[index(Tier::host)].there;
  return takes_host_along ? worth + entry.known.worth[index(Tier::host)] : worth;
}

bool CachePlan::is_stray(const Entry& entry) {
  const Place& host = entry.at[index(Tier::host)];
  return host.stays() && host.uses == 0 && !entry.known.pinned[index(Tier::host)] &&
         !entry.at[index(Tier::disk)].holds();
}

void CachePlan::list(Entry& entry, ModelId model, Tier tier) {
  TierState& state = tiers_[index(tier)];
  Listed& listed = entry.listed[index(tier)];
  const auto relist = [&](std::set<Key>& set, std::optional<Key>& old, bool wanted, double key) {
    if (old && wanted && old->density == key) return;
    if (old) set.erase(*old);
    old.reset();
    if (wanted) set.insert(old.emplace(Key{key, model}));
  };
  Place& here = place(entry, tier);
  const Place& host = place(entry, Tier::host);
  const Place& disk = place(entry, Tier::disk);
  const double worth = entry.known.worth[index(tier)];
  const bool pinned = entry.known.pinned[index(tier)];
  const bool is_disk = tier == Tier::disk;
  // A copy on disk is read while one is being made in host memory, and leaves after it.
  const bool may_leave = here.stays() && here.uses == 0 && !pinned &&
                         (!is_disk || (host.moving == Move::none && host.uses == 0));
  const bool may_come = !here.there && here.moving == Move::none && (pinned || worth > 0) &&
                        (is_disk || disk.stays());
  const bool fits = entry.known.bytes <= capacity(tier);
  const bool has_tier = pinned || capacity(tier) > Bytes{};  // where there is none, nobody is told
  relist(state.kept, listed.kept, may_leave, per_byte(loss_of(entry, tier), entry.known.bytes));
  relist(state.wanted, listed.wanted, may_come && fits && !pinned,
         -per_byte(worth, entry.known.bytes));
  relist(state.pinned, listed.pinned, may_come && fits && pinned,
         -per_byte(worth, entry.known.bytes));
  if (fits) here.too_large_told = false;
  if (here.there) here.no_room_told = false;
  const bool pin_changed = here.stays() && here.pin_told != pinned;
  if (!here.stays()) here.pin_told = false;
  if (pin_changed || (may_come && !fits && has_tier && !here.too_large_told)) {
    state.to_tell.insert(model);
  } else {
    state.to_tell.erase(model);
  }
}

void CachePlan::resize(const StoreSpec& store) {
  store_ = store;
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    for (Place& each : it->second.at) each.too_large_told = each.no_room_told = false;
    list(it);
  }
}

void CachePlan::update(ModelId model, const CachedModel& known, Instant now) {
  STOKER_INVARIANT(known.bytes > Bytes{}, "model {} has no size", model.value);
  const bool idle = known.worth == std::array<double, cached_tiers>{} &&
                    known.pinned == std::array<bool, cached_tiers>{};
  const auto it = entries_.find(model);
  if (it == entries_.end() && idle) return;
  CachedModel now_known = known;
  if (it != entries_.end()) {
    const auto holds = [](const Place& each) { return each.holds(); };
    if (std::ranges::any_of(it->second.at, holds)) now_known.bytes = it->second.known.bytes;
  }
  if (it == entries_.end() || it->second.known != now_known) {
    change(model, [&](Entry& entry) { entry.known = now_known; });
  }
  const auto nothing = [&](const Place& each) {
    return !each.there && each.moving == Move::none && each.uses == 0 && each.rests_until <= now;
  };
  if (idle && std::ranges::all_of(entries_.at(model).at, nothing)) entries_.erase(model);
}

void CachePlan::sized(ModelId model, Bytes bytes) {
  STOKER_INVARIANT(bytes > Bytes{}, "model {} has no size", model.value);
  if (!entries_.contains(model)) return;
  change(model, [&](Entry& entry) { entry.known.bytes = bytes; });
}

void CachePlan::found(ModelId model, Tier tier, Bytes bytes) {
  STOKER_INVARIANT(bytes > Bytes{}, "model {} has no size", model.value);
  change(model, [&](Entry& entry) {
    entry.known.bytes = bytes;
    place(entry, tier).there = true;
  });
}

void CachePlan::lost(ModelId model, Tier tier) {
  const Place* const known = find(model, tier);
  if (known == nullptr || !known->there) return;
  change(model, [&](Entry& entry) { place(entry, tier).there = false; });
}

void CachePlan::used(ModelId model, Tier tier, std::int32_t by) {
  change(model, [&](Entry& entry) {
    if (entry.known.bytes == Bytes{}) entry.known.bytes = Bytes{1};  // until it is told
    place(entry, tier).uses += by;
  });
}

CachePlan::Move CachePlan::end(ModelId model, Tier tier, MoveId move, Instant now, bool worked) {
  const Place* const known = find(model, tier);
  if (known == nullptr || known->moving == Move::none || known->move != move) return Move::none;
  const Move was = known->moving;
  --tiers_[index(tier)].going_on(was);
  change(model, [&](Entry& entry) {
    Place& here = place(entry, tier);
    here.moving = Move::none;
    here.rests_until = now + store_.rest;
    if (worked) here.there = was == Move::fetch;
  });
  return was;
}

CachePlan::Move CachePlan::done(ModelId model, Tier tier, MoveId move, Instant now) {
  return end(model, tier, move, now, true);
}

CachePlan::Move CachePlan::failed(ModelId model, Tier tier, MoveId move, Instant now) {
  return end(model, tier, move, now, false);
}

std::optional<Instant> CachePlan::decide(Instant now, std::uint64_t& next_move,
                                         std::vector<CacheOrder>& orders) {
  Round round{now, next_move, orders, {}};
  drop_strays(round);
  for (const Tier tier : both) {
    tell(tier, round);
    shrink(tier, round);
    if (!is_making_room(tier) && tiers_[index(tier)].fetches == 0) fill(tier, round);
  }
  return round.again;
}

/// What leaves the disk may have to leave host memory first.
bool CachePlan::is_making_room(Tier tier) const {
  return tiers_[index(tier)].drops > 0 ||
         (tier == Tier::disk && tiers_[index(Tier::host)].drops > 0);
}

void CachePlan::tell(Tier tier, Round& round) {
  for (const ModelId model : std::set<ModelId>(tiers_[index(tier)].to_tell)) {
    if (!find(model, tier)->stays()) {
      refuse(model, tier, CopyRefusal::larger_than_tier, round);
      continue;
    }
    CacheOrder order;
    order.model = model;
    order.tier = tier;
    change(model, [&](Entry& entry) {
      const bool pinned = entry.known.pinned[index(tier)];
      order.kind = pinned ? CacheOrder::Kind::pin : CacheOrder::Kind::unpin;
      order.bytes = entry.known.bytes;
      place(entry, tier).pin_told = pinned;
    });
    round.orders.push_back(order);
  }
}

void CachePlan::refuse(ModelId model, Tier tier, CopyRefusal reason, Round& round) {
  CacheOrder order;
  order.kind = CacheOrder::Kind::refuse;
  order.model = model;
  order.tier = tier;
  order.refused_for = reason;
  change(model, [&](Entry& entry) {
    order.bytes = entry.known.bytes;
    order.worth = entry.known.worth[index(tier)];
    Place& here = place(entry, tier);
    (reason == CopyRefusal::no_room ? here.no_room_told : here.too_large_told) = true;
  });
  round.orders.push_back(order);
}

void CachePlan::drop_strays(Round& round) {
  for (const ModelId model : std::set<ModelId>(strays_)) {
    order_drop(model, Tier::host, DropReason::not_on_disk, round);
  }
}

/// More lies there than may: those of least worth leave.
void CachePlan::shrink(Tier tier, Round& round) {
  const TierState& state = tiers_[index(tier)];
  if (state.held <= capacity(tier) || is_making_room(tier)) return;
  Bytes leaving;
  while (state.held - leaving > capacity(tier) && !state.kept.empty()) {
    const ModelId model = state.kept.begin()->model;
    leaving += entries_.at(model).known.bytes;
    order_drop(model, tier, DropReason::over_capacity, round);
  }
}

void CachePlan::fill(Tier tier, Round& round) {
  TierState& state = tiers_[index(tier)];
  const std::optional<ModelId> first = std::exchange(state.room_for, {});
  if (first) {
    const auto entry = entries_.find(*first);
    const bool may_come = entry != entries_.end() && (entry->second.listed[index(tier)].wanted ||
                                                      entry->second.listed[index(tier)].pinned);
    const bool pinned = may_come && entry->second.known.pinned[index(tier)];
    if (may_come && try_fetch(*first, tier, pinned, round)) return;
  }
  int tried = 0;
  for (const std::set<Key>* list : {&state.pinned, &state.wanted}) {
    const bool pinned = list == &state.pinned;
    for (const Key& key : *list) {
      if (tried == most_tried) return;
      const Place& here = *find(key.model, tier);
      if (here.rests_until > round.now) {
        round.look_again(here.rests_until);
        continue;
      }
      ++tried;
      if (try_fetch(key.model, tier, pinned, round)) return;
      if (pinned && !here.no_room_told) refuse(key.model, tier, CopyRefusal::no_room, round);
    }
  }
}

/// Gives: false, and nothing is ordered, if there is no room that is worth it.
bool CachePlan::try_fetch(ModelId model, Tier tier, bool pinned, Round& round) {
  const Bytes needed = entries_.at(model).known.bytes;
  const bool fits = held(tier) + needed <= capacity(tier);
  if (fits) {
    order_fetch(model, tier, pinned ? PrefetchReason::pinned : PrefetchReason::room, round);
    return true;
  }
  const std::optional<std::vector<ModelId>> leave = who_leaves(model, tier, pinned, round);
  if (!leave) return false;
  for (const ModelId each : *leave) order_drop(each, tier, DropReason::worth_less, round);
  tiers_[index(tier)].room_for = model;
  return true;
}

/// Those of least worth per byte until it fits, without those that turn out not to be needed.
std::optional<std::vector<ModelId>> CachePlan::who_leaves(ModelId model, Tier tier, bool pinned,
                                                          Round& round) const {
  const TierState& state = tiers_[index(tier)];
  const CachedModel& comes = entries_.at(model).known;
  const double worth = comes.worth[index(tier)];
  Bytes missing = state.held + comes.bytes - capacity(tier);
  struct Leaving {
    ModelId model;
    Bytes bytes;
    double loss;
  };
  std::vector<Leaving> leave;
  double lost = 0;
  const auto is_worth_it = [&] { return pinned || lost * cache_swap_margin < worth; };
  for (auto it = state.kept.begin(); missing > Bytes{} && it != state.kept.end(); ++it) {
    // Those that follow are worth as much per byte or more: no other choice loses less.
    if (!is_worth_it()) return std::nullopt;
    const Entry& entry = entries_.at(it->model);
    const Instant rests_until = std::max(entry.at[index(tier)].rests_until,
                                         tier == Tier::disk && entry.at[index(Tier::host)].there
                                             ? entry.at[index(Tier::host)].rests_until
                                             : Instant{});
    if (rests_until > round.now) {
      round.look_again(rests_until);
      continue;
    }
    const double loss = loss_of(entry, tier);
    leave.push_back({it->model, entry.known.bytes, loss});
    missing -= entry.known.bytes;
    lost += loss;
  }
  if (missing > Bytes{}) return std::nullopt;
  std::vector<ModelId> models;
  for (auto it = leave.rbegin(); it != leave.rend(); ++it) {
    if (missing + it->bytes <= Bytes{}) {
      missing += it->bytes;
      lost -= it->loss;
    } else {
      models.push_back(it->model);
    }
  }
  if (!is_worth_it()) return std::nullopt;
  std::sort(models.begin(), models.end());
  return models;
}

void CachePlan::order_fetch(ModelId model, Tier tier, PrefetchReason reason, Round& round) {
  CacheOrder order;
  order.kind = CacheOrder::Kind::prefetch;
  order.model = model;
  order.tier = tier;
  order.prefetched_for = reason;
  begin(order, Move::fetch, round);
}

/// From disk only what is not in host memory; else from there, and from disk another time.
void CachePlan::order_drop(ModelId model, Tier tier, DropReason reason, Round& round) {
  const bool in_host = tier == Tier::disk && find(model, Tier::host)->there;
  CacheOrder order;
  order.kind = CacheOrder::Kind::drop;
  order.model = model;
  order.tier = in_host ? Tier::host : tier;
  order.dropped_for = reason;
  begin(order, Move::drop, round);
}

void CachePlan::begin(CacheOrder order, Move move, Round& round) {
  order.move = MoveId{round.next_move++};
  ++tiers_[index(order.tier)].going_on(move);
  change(order.model, [&](Entry& entry) {
    order.bytes = entry.known.bytes;
    order.worth = entry.known.worth[index(order.tier)];
    Place& here = place(entry, order.tier);
    here.moving = move;
    here.move = order.move;
  });
  round.orders.push_back(order);
}

}  // namespace stoker::core
