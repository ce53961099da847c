// How many instances, where they go, and who makes room.
#include <algorithm>

#include "base/invariant.h"
#include "core/autoscaler.h"
#include "core/core.h"

namespace stoker::core {

Core::Counts Core::count(const Deployment& d) const {
  Counts counts;
  for (const InstanceId id : d.instances) {
    const Instance& instance = instances_.at(id);
    switch (instance.state) {
      case InstanceState::planned:
      case InstanceState::starting:
      case InstanceState::loading:
      case InstanceState::ready:
        ++counts.live;
        counts.free_slots +=
            d.spec.scale.concurrency - static_cast<std::int32_t>(instance.in_flight.size());
        if (instance.state == InstanceState::ready) ++counts.ready;
        break;
      case InstanceState::draining:
        ++counts.draining;
        break;
      case InstanceState::stopping:
      case InstanceState::failed:
      case InstanceState::gone:
        break;
    }
  }
  return counts;
}

/// Plans what is missing. Starts wait for the end of a backoff; a retry timer brings them back.
void Core::scale(Deployment& d) {
  const Counts counts = count(d);
  const ScaleDecision decision =
      decide_scale(d.spec.scale, Demand{static_cast<std::int32_t>(d.queue.size()), counts.live,
                                        counts.free_slots, d.minimum_suspended || shutting_down_});
  d.desired = decision.desired_instances;
  const std::int32_t room = d.spec.scale.max_instances - counts.live - counts.draining;
  const std::int32_t missing = std::min(decision.desired_instances - counts.live, room);
  if (missing <= 0) return;
  if (d.failures.any() && now_ < d.failures.retry_at()) {
    timers_.set(TimerKind::retry, d.spec.id.value, d.failures.retry_at());
    return;
  }
  const StartReason reason = d.failures.any() ? StartReason::replace : decision.reason;
  for (std::int32_t i = 0; i < missing; ++i) plan(d, reason);
}

void Core::plan(Deployment& d, StartReason reason) {
  const InstanceId id{next_instance_++};
  Instance& instance = instances_[id];
  instance.deployment = d.spec.id;
  instance.generation = Generation{config_.epoch.value << 32U | id.value};
  instance.reason = reason;
  instance.wanted_at = now_;
  instance.since = now_;
  d.instances.push_back(id);
  if (!try_place(id) && instances_.contains(id)) waiting_.push_back(id);
}

/// Gives: true if it starts now. Otherwise it waits for room that is being made or may come, or,
/// if no device could ever hold it, it is dropped and its requests are refused.
bool Core::try_place(InstanceId id) {
  Instance& instance = instances_.at(id);
  Deployment& d = deployment(instance.deployment);
  const std::vector<DeviceView> views = views_for(id, d);
  const Placement placement = place(d.spec.kinds, views);
  if (placement.device) {
    Device& device = devices_.at(*placement.device);
    const MemoryNeed need = need_of(d, device.spec.kind);
    device.memory.reserve(id, need, d.spec.weights);
    instance.device = *placement.device;
    instance.awaits = {};
    advance(id, instance, InstanceInput::placed);
    timers_.set(TimerKind::start_deadline, id.value, now_ + d.spec.limits.start_timeout);
    actions_->push_back(StartInstance{id, instance.generation, d.spec.id, instance.device,
                                      instance.reason, need, instance.wanted_at});
    return true;
  }
  if (!placement.possible) {
    drop_planned(id, instance);
    refuse_all_queued(d, RefuseReason::no_capacity);
    return false;
  }
  const Eviction eviction = choose_eviction(d.spec.kinds, views);
  instance.awaits = eviction.device.value_or(DeviceId{});
  if (!instance.wait_told) {
    instance.wait_told = true;
    const MemoryNeed need = need_of(d, views.front().kind);
    actions_->push_back(AwaitRoom{id, d.spec.id,
                                  eviction.device ? WaitReason::evicting : WaitReason::all_busy,
                                  need.private_bytes + need.shared_bytes, placement.most_free});
  }
  for (const InstanceId victim : eviction.victims) {
    stop(victim, instances_.at(victim), StopMode::graceful, StopReason::make_room);
  }
  return false;
}

/// Room may have come: the planned instances try again in the order of their wish.
void Core::retry_waiting() {
  room_changed_ = false;
  for (const InstanceId id : std::vector<InstanceId>(waiting_)) {
    const auto it = instances_.find(id);
    if (it == instances_.end() || it->second.state != InstanceState::planned) continue;
    if (try_place(id)) std::erase(waiting_, id);
  }
}

void Core::drop_planned(InstanceId id, Instance& instance) {
  STOKER_INVARIANT(instance.state == InstanceState::planned, "instance {}", id.value);
  advance(id, instance, InstanceInput::dropped);
  std::erase(waiting_, id);
  std::erase(deployment(instance.deployment).instances, id);
  instances_.erase(id);
}

MemoryNeed Core::need_of(const Deployment& d, DeviceKind kind) const {
  const auto measured = d.measured.find(kind);
  return measured == d.measured.end() ? d.spec.estimate : measured->second;
}

/// Never a busy one, and never below the minimum of its deployment.
bool Core::may_evict(const Instance& instance) const {
  if (instance.state != InstanceState::ready || !instance.in_flight.empty()) return false;
  const Deployment& d = deployments_.at(instance.deployment);
  const std::int32_t minimum = d.minimum_suspended ? 0 : d.spec.scale.min_instances;
  return d.queue.empty() && count(d).live > minimum;
}

std::vector<DeviceView> Core::views_for(InstanceId id, const Deployment& d) const {
  std::vector<DeviceView> views;
  for (const auto& [device_id, device] : devices_) {
    const MemoryNeed need = need_of(d, device.spec.kind);
    DeviceView view;
    view.id = device_id;
    view.kind = device.spec.kind;
    view.lost = device.lost;
    view.capacity = device.memory.capacity();
    view.free = device.memory.free();
    view.cost = device.memory.cost_of(need, d.spec.weights);
    view.holds_weights = view.cost < need.private_bytes + need.shared_bytes;
    view.free_slots = device.spec.slots - device.memory.residents();
    for (const auto& [other_id, other] : instances_) {
      if (other.device == device_id) {
        const Bytes frees = device.memory.freed_by(other_id);
        if (other.state == InstanceState::stopping || other.state == InstanceState::failed) {
          view.free_soon += frees;
          ++view.slots_soon;
        } else if (may_evict(other)) {
          view.idle.push_back({other_id, other.idle_since, frees});
        }
      }
    }
    // What others were promised is not free a second time.
    for (const InstanceId other_id : waiting_) {
      const Instance& other = instances_.at(other_id);
      if (other_id == id || other.awaits != device_id) continue;
      const Deployment& owner = deployments_.at(other.deployment);
      view.free_soon -= device.memory.cost_of(need_of(owner, device.spec.kind), owner.spec.weights);
      --view.slots_soon;
    }
    views.push_back(std::move(view));
  }
  return views;
}

}  // namespace stoker::core
