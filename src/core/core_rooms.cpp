// Where instances go, who waits for room, and who makes it.
#include <algorithm>
#include <utility>

#include "base/invariant.h"
#include "core/core.h"

namespace stoker::core {
namespace {

/// An idle instance whose model just came keeps its place so long at most, so that two models asked
/// in turn are batched a little and do not only load.
constexpr Duration longest_idle_stay = seconds(2);
/// A busy one that others wait for keeps it for four times what its start took: then at most a
/// fifth of the time goes into loading.
constexpr std::int64_t busy_stay_starts = 4;
constexpr Duration shortest_busy_stay = seconds(1);
constexpr Duration longest_busy_stay = seconds(60);

/// With more devices than these, room is looked for where instances have been idle longest, on so
/// many devices: each resident that is weighed costs up to two microseconds.
constexpr std::size_t search_all_up_to = 32;
constexpr std::size_t devices_to_search = 8;

Duration busy_stay(Duration start) {
  return std::clamp(Duration{start.ns * busy_stay_starts}, shortest_busy_stay, longest_busy_stay);
}

bool has_labels(const std::vector<LabelId>& has, const std::vector<LabelId>& wants) {
  return std::includes(has.begin(), has.end(), wants.begin(), wants.end());
}

}  // namespace

Core::WaitKey Core::wait_key(const Instance& instance) {
  return {-instance.priority, instance.wish, instance.id};
}

/// It will free its room without a further decision.
bool Core::is_leaving(const Instance& instance) {
  return instance.state == InstanceState::stopping || instance.state == InstanceState::failed ||
         instance.state == InstanceState::draining || instance.state == InstanceState::suspending;
}

MemoryNeed Core::need_of(const Deployment& d, DeviceKind kind) {
  const auto measured = d.measured.find(kind);
  return measured == d.measured.end() ? d.spec.estimate : measured->second;
}

Core::Promised Core::promised_before(const Device& device, const Instance* seeker) {
  Promised promised;
  for (const Instance* other : device.promised) {
    if (other == seeker) continue;
    if (seeker != nullptr && wait_key(*seeker) < wait_key(*other)) continue;
    const Deployment& owner = *other->owner;
    promised.bytes += device.memory.cost_of(need_of(owner, device.spec.kind), owner.spec.weights);
    ++promised.slots;
  }
  return promised;
}

/// The device as `seeker` sees it; null: as one more instance of `d` that comes last.
DeviceView Core::view_of(const Device& device, const Instance* seeker, const Deployment& d) const {
  const MemoryNeed need = need_of(d, device.kind);
  DeviceView view;
  view.id = device.id;
  view.node = device.node;
  view.kind = device.kind;
  view.lost = device.unusable();
  view.distrusted = device.distrusted;
  view.labels_match =
      d.spec.needs.labels.empty() || has_labels(device.spec.labels, d.spec.needs.labels);
  view.capacity = device.memory.capacity();
  view.free = device.memory.free();
  view.cost = device.memory.cost_of(need, d.spec.weights);
  view.holds_weights = view.cost < need.private_bytes + need.shared_bytes;
  view.ready_after = start_at_device(d, device);
  view.residents = static_cast<std::int32_t>(device.residents.size());
  view.free_slots = device.slots - view.residents;
  view.free_share_permille = 1000 - device.share_permille;
  view.taken_alone = device.exclusive > 0;
  if (device.promised.empty()) return view;
  // What others wait for is theirs, unless those that leave bring enough for both.
  Promised promised = promised_before(device, seeker);
  for (const Instance* each : device.residents) {
    if (!is_leaving(*each)) continue;
    promised.bytes -= device.memory.freed_by(each->id);
    --promised.slots;
  }
  view.free = std::max(Bytes{}, view.free - std::max(Bytes{}, promised.bytes));
  view.free_slots -= std::max(0, promised.slots);
  return view;
}

/// When the instance may be stopped for another; nullopt: as things are, never.
std::optional<Instant> Core::evictable_at(const Instance& instance) const {
  const Deployment& d = *instance.owner;
  if (instance.state != InstanceState::ready || d.counts.placed() <= minimum_of(d)) return {};
  const Duration start = reload_time(d);
  if (instance.in_flight.empty() && d.queue.empty()) {
    return instance.ready_at + std::min(start, longest_idle_stay);
  }
  return instance.ready_at + busy_stay(start);
}

/// `later`: becomes the first instant at which one more resident could be stopped.
EvictionView Core::eviction_view_of(const Device& device, const Instance& seeker, Spare& spare,
                                    std::optional<Instant>& later) {
  EvictionView view;
  view.device = view_of(device, &seeker, *seeker.owner);
  view.device.free = device.memory.free();
  view.device.free_slots = device.spec.slots - view.device.residents;
  view.candidates.reserve(device.residents.size());
  for (const Instance* each : device.residents) {
    const Bytes frees = device.memory.freed_by(each->id);
    if (is_leaving(*each)) {
      view.free_soon += frees;
      view.share_soon_permille += each->share_permille;
      ++view.slots_soon;
      ++view.residents_soon;
      continue;
    }
    const std::optional<Instant> at = evictable_at(*each);
    if (!at || each->owner == seeker.owner) continue;
    const bool busy = !each->in_flight.empty() || !each->owner->queue.empty();
    if (busy && each->priority > seeker.priority) continue;
    if (*at > now_) {
      if (!later || *at < *later) later = at;
      continue;
    }
    const Deployment& owner = *each->owner;
    auto left = std::find_if(spare.begin(), spare.end(),
                             [&](const auto& entry) { return entry.first == &owner; });
    if (left == spare.end()) {
      left = spare.insert(left, {&owner, owner.counts.placed() - minimum_of(owner)});
    }
    if (left->second-- <= 0) continue;
    const double loss = busy ? 0 : idle_loss(*each);  // busy ones go by who came first
    view.candidates.push_back({each->id, busy, loss, busy ? each->ready_at : each->idle_since,
                               frees, each->share_permille});
  }
  const Promised promised = promised_before(device, &seeker);
  view.free_soon -= promised.bytes;
  view.slots_soon -= promised.slots;
  return view;
}

/// Gives: true if it starts now. Otherwise it waits for room that is being made or may come, or,
/// if no device could ever hold it, it is dropped and its requests are refused.
/// `only`: the devices whose room changed; null: all.
bool Core::try_place(Instance& instance, const std::vector<DeviceId>* only) {
  const DeviceNeed& needs = instance.owner->spec.needs;
  if (only != nullptr && !any_suits(*only, needs)) return false;
  const bool all = only == nullptr || needs.devices > 1;
  return all ? try_anywhere(instance) : try_there(instance, *only);
}

bool Core::suits(const Device& device, const DeviceNeed& needs) {
  const bool kind =
      needs.kinds.empty() || std::count(needs.kinds.begin(), needs.kinds.end(), device.kind) > 0;
  return kind && has_labels(device.spec.labels, needs.labels);
}

/// Whatever happens on other devices changes nothing for who waits.
bool Core::any_suits(const std::vector<DeviceId>& devices, const DeviceNeed& needs) const {
  return std::any_of(devices.begin(), devices.end(),
                     [&](DeviceId id) { return suits(device(id), needs); });
}

bool Core::try_anywhere(Instance& instance) {
  const Deployment& d = *instance.owner;
  Placement placement = find_place(instance, Trust::as_known);
  // A device that is not trusted is better than none.
  if (!placement.possible) placement = find_place(instance, Trust::all);
  if (start_at(instance, placement)) return true;
  if (leave_to_sibling(instance)) return false;
  if (!placement.possible) {
    never_fits(instance);
    return false;
  }
  where_.clear();
  if (devices_.size() > search_all_up_to && d.spec.needs.devices == 1) {
    where_ = likely_devices(d);
  } else {
    for (const Device& each : devices_) {
      if (suits(each, d.spec.needs)) where_.push_back(&each);
    }
  }
  make_room(instance, placement, where_);
  return false;
}

bool Core::try_there(Instance& instance, const std::vector<DeviceId>& only) {
  const Deployment& d = *instance.owner;
  SinglePlacement single(d.spec.needs);
  where_.clear();
  for (const DeviceId id : only) {
    const Device& each = device(id);
    where_.push_back(&each);
    single.look_at(view_of(each, &instance, d));
  }
  const Placement placement = single.result();
  if (start_at(instance, placement)) return true;
  if (leave_to_sibling(instance)) return false;
  if (!instance.awaits.empty()) {
    const bool here = std::any_of(only.begin(), only.end(), [&](DeviceId id) {
      return std::count(instance.awaits.begin(), instance.awaits.end(), id) > 0;
    });
    if (!here) return false;  // its room is being made elsewhere
    const bool still_comes =
        std::any_of(instance.awaits.begin(), instance.awaits.end(), [&](DeviceId id) {
          const std::vector<Instance*>& there = device(id).residents;
          return std::any_of(there.begin(), there.end(),
                             [](const Instance* each) { return is_leaving(*each); });
        });
    if (still_comes) return false;
    // What it was promised did not come; it looks everywhere again.
    await_at(instance, {});
    return try_anywhere(instance);
  }
  make_room(instance, placement, where_);
  return false;
}

bool Core::start_at(Instance& instance, const Placement& placement) {
  if (placement.devices.empty()) return false;
  const DeviceKind kind = device(placement.devices.front()).spec.kind;
  start(instance, placement.devices, need_of(*instance.owner, kind));
  return true;
}

DeviceRoom Core::room_of(const Device& device) {
  DeviceRoom room;
  room.capacity = device.memory.capacity();
  room.free = device.memory.free();
  room.held_weights = device.memory.held_weights();
  room.device = device.id;
  room.node = device.node;
  room.residents = static_cast<std::int32_t>(device.residents.size());
  room.free_slots = device.slots - room.residents;
  room.free_share_permille = 1000 - device.share_permille;
  room.kind = device.kind;
  room.lost = device.unusable();
  room.distrusted = device.distrusted;
  room.taken_alone = device.exclusive > 0;
  room.promised = !device.promised.empty();
  return room;
}

/// Looks at every device.
Placement Core::find_place(const Instance& instance, Trust trust) {
  const Deployment& d = *instance.owner;
  const DeviceNeed& needs = d.spec.needs;
  // First, whatever is looked for: so the list of stale ones stays short.
  for (const std::size_t stale : stale_rooms_) rooms_[stale] = room_of(devices_[stale]);
  stale_rooms_.clear();
  if (needs.devices > 1) {
    views_.clear();
    for (const Device& each : devices_) {
      views_.push_back(view_of(each, &instance, d));
      if (trust == Trust::all) views_.back().distrusted = false;
    }
    return place(needs, views_);
  }
  SinglePlacement single(needs);
  const auto look_closer = [&](const Device& device) {
    DeviceView view = view_of(device, &instance, d);
    view.distrusted &= trust == Trust::as_known;
    single.look_at(view);
  };
  if (!needs.labels.empty()) {
    for (const Device& each : devices_) look_closer(each);
    return single.result();
  }
  CostByKind costs;
  for (std::size_t i = 0; i < costs.size(); ++i) {
    const MemoryNeed need = need_of(d, static_cast<DeviceKind>(i));
    costs[i] = need.private_bytes + need.shared_bytes;
  }
  unusual_rooms_.clear();
  fill_ready_times(d, ready_times_);
  single.look_at(rooms_, costs, MemoryLedger::bit_of(d.spec.weights), ready_times_,
                 trust == Trust::all, unusual_rooms_);
  for (const std::size_t each : unusual_rooms_) look_closer(devices_[each]);
  return single.result();
}

/// As the devices are, waiting would not help. When one comes, its deployment is asked again.
void Core::never_fits(Instance& instance) {
  Deployment& d = *instance.owner;
  if (std::count(unplaceable_.begin(), unplaceable_.end(), d.spec.id) == 0) {
    unplaceable_.push_back(d.spec.id);
  }
  drop_planned(instance);
  refuse_all_queued(d, RefuseReason::no_capacity);
}

/// Asks those again that no device could hold before these came.
void Core::try_unplaceable(const std::vector<DeviceId>& came) {
  const std::vector<DeploymentId> ids = std::move(unplaceable_);
  unplaceable_.clear();
  for (const DeploymentId id : ids) {
    Deployment* const d = find_deployment(id);
    if (d == nullptr) continue;
    if (any_suits(came, d->spec.needs)) {
      scale(*d);
    } else {
      unplaceable_.push_back(id);
    }
  }
}

/// Where stopping idle instances promises most: the devices of those that are idle longest.
std::vector<const Core::Device*> Core::likely_devices(const Deployment& d) const {
  std::vector<DeviceId> ids;
  std::size_t looked_at = 0;
  for (const Instance* each = longest_idle_; each != nullptr; each = each->shorter_idle) {
    if (ids.size() >= devices_to_search || ++looked_at > 8 * devices_to_search) break;
    for (const DeviceId id : each->devices) {
      if (may_pass(why_unfit(d.spec.needs, view_of(device(id), nullptr, d))
                       .value_or(Unfit::too_little_free))) {
        ids.push_back(id);
      }
    }
  }
  // Nobody idles there: those that leave, or have had their stay, anywhere.
  if (ids.empty()) {
    for (const Device& each : devices_) ids.push_back(each.spec.id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::vector<const Device*> found;
  for (const DeviceId id : ids) found.push_back(&device(id));
  return found;
}

void Core::make_room(Instance& instance, const Placement& placement,
                     const std::vector<const Device*>& where) {
  const Deployment& d = *instance.owner;
  std::vector<EvictionView> views;
  views.reserve(where.size());
  std::vector<std::optional<Instant>> later(where.size());
  Spare spare;
  for (std::size_t i = 0; i < where.size(); ++i) {
    if (d.spec.needs.devices == 1) spare.clear();  // only one of the views will be taken
    views.push_back(eviction_view_of(*where[i], instance, spare, later[i]));
  }
  const Eviction eviction = choose_eviction(d.spec.needs, views);
  await_at(instance, eviction.devices);
  if (!instance.wait_told) {
    instance.wait_told = true;
    const MemoryNeed need = need_of(d, where.front()->spec.kind);
    const WaitReason reason = eviction.devices.empty() ? WaitReason::all_busy
                              : eviction.busy          ? WaitReason::swapping
                                                       : WaitReason::evicting;
    actions_->push_back(AwaitRoom{instance.id, d.spec.id, reason,
                                  need.private_bytes + need.shared_bytes, placement.most_free,
                                  placement.unfit});
  }
  for (const InstanceId id : eviction.victims) {
    Instance& victim = *find_instance(id);
    if (victim.in_flight.empty() && victim.owner->queue.empty()) {
      put_away(victim, StopReason::make_room);
    } else if (!try_suspend(victim, StopReason::swap)) {
      drain(victim, StopReason::swap);
    }
  }
  if (!eviction.devices.empty()) return;
  for (std::size_t i = 0; i < where.size(); ++i) {
    if (!later[i] ||
        !may_pass(why_unfit(d.spec.needs, views[i].device).value_or(Unfit::too_little_free))) {
      continue;
    }
    timers_.set_earlier(TimerKind::swap, where[i]->spec.id.value, *later[i]);
  }
}

/// A pool's quota counts what it gave and what it was asked for.
bool Core::try_pool(Instance& instance) {
  Deployment& d = *instance.owner;
  Pool& pool = pools_.at(d.spec.pool);
  const std::int32_t wanted = d.spec.needs.devices;
  if (wanted > pool.spec.quota_devices) {
    never_fits(instance);
    return false;
  }
  if (pool.devices_held + wanted <= pool.spec.quota_devices) {
    pool.devices_held += wanted;
    pool.residents.push_back(&instance);
    instance.pool = d.spec.pool;
    instance.pool_devices = wanted;
    start(instance, {}, d.spec.estimate);
    return true;
  }
  // Somebody idle may give way, as on our own devices, unless enough is leaving already.
  std::int32_t soon = pool.spec.quota_devices - pool.devices_held;
  for (const Instance* each : pool.residents) {
    if (is_leaving(*each)) soon += each->pool_devices;
  }
  for (const auto& [key, other] : waiting_) {
    if (other->owner->spec.pool == d.spec.pool && !(wait_key(instance) < key)) {
      soon -= other->owner->spec.needs.devices;
    }
  }
  std::optional<Instant> later;
  Instance* victim = soon < 0 ? idle_in(pool, instance, later) : nullptr;
  if (!instance.wait_told) {
    instance.wait_told = true;
    actions_->push_back(
        AwaitRoom{instance.id,
                  d.spec.id,
                  victim != nullptr || soon >= 0 ? WaitReason::evicting : WaitReason::quota,
                  {},
                  {},
                  {}});
  }
  if (victim != nullptr) {
    stop(*victim, StopMode::graceful, StopReason::make_room);
  } else if (later) {
    timers_.set_earlier(TimerKind::pool_swap, d.spec.pool.value, *later);
  }
  return false;
}

/// The idle instance of another deployment whose loss is least; null: there is none.
/// `later`: becomes the first instant at which one could be stopped that may not be now.
Core::Instance* Core::idle_in(const Pool& pool, const Instance& seeker,
                              std::optional<Instant>& later) {
  Instance* best = nullptr;
  double best_loss = 0;
  for (Instance* each : pool.residents) {
    const std::optional<Instant> at = evictable_at(*each);
    if (!each->is_idle || each->owner == seeker.owner || !at) continue;
    if (*at > now_) {
      if (!later || *at < *later) later = at;
      continue;
    }
    const double loss = idle_loss(*each);
    if (best != nullptr && !(loss < best_loss)) continue;
    best = each;
    best_loss = loss;
  }
  return best;
}

/// Notes where room is being made for a planned instance; empty: nowhere.
void Core::await_at(Instance& instance, std::vector<DeviceId> devices) {
  for (const DeviceId id : instance.awaits) std::erase(device_to_change(id).promised, &instance);
  instance.awaits = std::move(devices);
  for (const DeviceId id : instance.awaits) device_to_change(id).promised.push_back(&instance);
}

/// What was promised to it is there for others.
void Core::await_no_more(Instance& instance) {
  if (instance.awaits.empty()) return;
  if (!waiting_.empty()) {
    changed_devices_.insert(changed_devices_.end(), instance.awaits.begin(), instance.awaits.end());
  }
  await_at(instance, {});
}

/// Its room is for those that were promised some there; what is free already is for the others.
void Core::note_leaving(const Instance& instance) {
  if (waiting_.size() < 2) return;
  for (const DeviceId id : instance.devices) {
    if (!device(id).promised.empty()) changed_devices_.push_back(id);
  }
}

/// Those who wait will be asked whether what this instance holds helps them.
void Core::room_changed(const Instance& instance) {
  if (waiting_.empty()) return;
  for (const DeviceId id : instance.devices) changed_devices_.push_back(id);
  if (instance.pool) changed_pools_.push_back(instance.pool);
}

/// Needs: the need fits on each of them.
void Core::take_room(Instance& instance, const std::vector<DeviceId>& devices) {
  const Deployment& d = *instance.owner;
  instance.devices = devices;
  instance.share_permille = d.spec.needs.share_permille;
  instance.exclusive = d.spec.needs.exclusive;
  instance.price_per_hour = {};
  for (const DeviceId id : devices) {
    Device& on_device = device_to_change(id);
    instance.price_per_hour.value += on_device.spec.price_per_hour.value;
    on_device.memory.reserve(instance.id, need_of(d, on_device.spec.kind), d.spec.weights);
    on_device.residents.push_back(&instance);
    on_device.share_permille += instance.share_permille;
    on_device.exclusive += instance.exclusive ? 1 : 0;
  }
}

/// Needs: the process is known to be gone, or to have let go of its devices.
void Core::release_room(Instance& instance) {
  for (const DeviceId id : instance.devices) {
    Device& on_device = device_to_change(id);
    on_device.memory.release(instance.id);
    std::erase(on_device.residents, &instance);
    on_device.share_permille -= instance.share_permille;
    on_device.exclusive -= instance.exclusive ? 1 : 0;
    if (instance.unkillable) --on_device.unkillable;
  }
  instance.devices.clear();
  if (!instance.pool) return;
  Pool& pool = pools_.at(instance.pool);
  pool.devices_held -= instance.pool_devices;
  std::erase(pool.residents, &instance);
}

/// Room may have come: the planned instances try again in their order.
void Core::retry_waiting() {
  std::vector<DeviceId> changed = std::move(changed_devices_);
  changed_devices_.clear();
  std::sort(changed.begin(), changed.end());
  changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
  const std::vector<PoolId> pools = std::move(changed_pools_);
  changed_pools_.clear();
  std::vector<InstanceId> ids;
  ids.reserve(waiting_.size());
  for (const auto& [key, instance] : waiting_) ids.push_back(key.instance);
  for (const InstanceId id : ids) {
    Instance* const instance = find_instance(id);
    if (instance == nullptr) continue;
    if (instance->state != InstanceState::planned) {
      if (instance->wanted_back && any_suits(changed, instance->owner->spec.needs)) {
        try_resume(*instance);
      }
    } else if (const PoolId pool = instance->owner->spec.pool) {
      if (std::count(pools.begin(), pools.end(), pool) > 0) try_pool(*instance);
    } else if (!changed.empty()) {
      try_place(*instance, &changed);
    }
  }
}

}  // namespace stoker::core
