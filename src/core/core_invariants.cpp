// What must hold between any two steps; numbers as in RELIABILITY.md 4.
#include <algorithm>

#include "base/invariant.h"
#include "core/core.h"

namespace stoker::core {

void Core::check_invariants() const {
  std::int32_t queued = 0;
  std::int32_t running = 0;
  for (const auto& [id, d] : deployments_) {
    queued += d->queue.size();
    std::int32_t never_ran = 0;
    std::int32_t listed = 0;
    d->queue.for_each([&](const QueuedRequest& entry) {
      const Request* request = requests_.find(entry.request);
      STOKER_INVARIANT(request != nullptr && request->state == RequestState::queued &&
                           request->deployment == d.get() && request->instance == nullptr,
                       "V1 request {}", entry.request.value);
      STOKER_INVARIANT(timers_.is_set(TimerKind::queue_deadline, entry.request.value),
                       "V14 request {}", entry.request.value);
      if (request->attempts == 0) ++never_ran;
      ++listed;
    });
    STOKER_INVARIANT(listed == d->queue.size(), "V1 deployment {}", id.value);
    STOKER_INVARIANT(!d->removed || listed == 0, "V1 deployment {} is removed", id.value);
    // What could not be delivered comes back however full the queue is: it was accepted once.
    STOKER_INVARIANT(never_ran <= d->spec.limits.max_queued || d->changed, "V13 deployment {}",
                     id.value);
    Counts counts;
    std::int32_t ready_in_flight = 0;
    std::int32_t in_flight = 0;
    for (const Instance* each : d->instances) {
      in_flight += static_cast<std::int32_t>(each->in_flight.size());
      STOKER_INVARIANT(each->owner == d.get(), "V5 instance {}", each->id.value);
      const bool live =
          each->state == InstanceState::planned || each->state == InstanceState::starting ||
          each->state == InstanceState::loading || each->state == InstanceState::ready ||
          each->state == InstanceState::resuming || each->wanted_back;
      const bool asleep =
          each->state == InstanceState::suspending || each->state == InstanceState::suspended;
      counts.live += live ? 1 : 0;
      counts.asleep += asleep && !each->wanted_back ? 1 : 0;
      counts.coming_back += each->state == InstanceState::resuming || each->wanted_back ? 1 : 0;
      counts.planned += each->state == InstanceState::planned || each->wanted_back ? 1 : 0;
      counts.ready += each->state == InstanceState::ready ? 1 : 0;
      counts.draining += each->state == InstanceState::draining ? 1 : 0;
      if (each->state == InstanceState::ready) {
        ready_in_flight += static_cast<std::int32_t>(each->in_flight.size());
      }
    }
    STOKER_INVARIANT(in_flight == d->in_flight, "deployment {}: {} != {}", id.value, in_flight,
                     d->in_flight);
    STOKER_INVARIANT(counts == d->counts && ready_in_flight == d->ready_in_flight,
                     "deployment {}: counted {} live {} ready {} draining", id.value, counts.live,
                     counts.ready, counts.draining);
    for (const Instance* each : d->instances) {
      const bool waits = each->state == InstanceState::planned || each->wanted_back;
      STOKER_INVARIANT(
          !waits || !d->queue.empty() || !is_for_waiters(*each) || counts.live <= minimum_of(*d),
          "V4 instance {} is planned for nobody", each->id.value);
    }
    STOKER_INVARIANT(counts.all() <= std::max(d->spec.scale.max_instances, 1) || d->changed,
                     "V17 deployment {}", id.value);
    STOKER_INVARIANT(
        std::is_sorted(d->instances.begin(), d->instances.end(),
                       [](const Instance* a, const Instance* b) { return a->id < b->id; }),
        "deployment {}", id.value);
  }
  std::size_t idle = 0;
  std::size_t planned = 0;
  for (const auto& [id, instance] : instances_) {
    running += static_cast<std::int32_t>(instance->in_flight.size());
    const Deployment& d = *instance->owner;
    STOKER_INVARIANT(find_instance(id) == instance.get(), "instance {}", id.value);
    STOKER_INVARIANT(
        static_cast<std::int32_t>(instance->in_flight.size()) <= d.spec.scale.concurrency ||
            d.changed,
        "V9 instance {}", id.value);
    for (const RequestId each : instance->in_flight) {
      const Request* request = requests_.find(each);
      STOKER_INVARIANT(request != nullptr && request->instance == instance.get() &&
                           request->state != RequestState::queued && request->deployment == &d,
                       "V1 V5 request {}", each.value);
    }
    const bool is_planned = instance->state == InstanceState::planned;
    const bool before_ready = is_planned || instance->state == InstanceState::starting ||
                              instance->state == InstanceState::loading;
    STOKER_INVARIANT(!before_ready || instance->in_flight.empty(), "V8 instance {}", id.value);
    const bool asleep =
        instance->state == InstanceState::suspending || instance->state == InstanceState::suspended;
    const bool is_over =
        instance->state == InstanceState::stopping || instance->state == InstanceState::failed;
    const bool nowhere = instance->devices.empty() && !instance->pool;
    STOKER_INVARIANT(nowhere == (is_planned || instance->state == InstanceState::suspended) ||
                         (is_over && instance->holds_host),
                     "V12 instance {}", id.value);
    STOKER_INVARIANT(!instance->wanted_back || asleep, "V7 instance {}", id.value);
    STOKER_INVARIANT(instance->holds_host || (instance->state != InstanceState::suspended &&
                                              instance->state != InstanceState::resuming),
                     "V12 instance {} is {} without host memory", id.value,
                     to_text(instance->state));
    STOKER_INVARIANT(instance->state != InstanceState::suspended || instance->in_flight.empty(),
                     "V8 instance {}", id.value);
    STOKER_INVARIANT(instance->state != InstanceState::suspended || instance->wanted_back ||
                         timers_.is_set(TimerKind::suspend_check, id.value),
                     "instance {} is suspended for ever", id.value);
    STOKER_INVARIANT(std::count(d.instances.begin(), d.instances.end(), instance.get()) == 1,
                     "V12 instance {}", id.value);
    const bool waits = is_planned || instance->wanted_back;
    STOKER_INVARIANT(waits == waiting_.contains(wait_key(*instance)), "instance {} is {}", id.value,
                     to_text(instance->state));
    STOKER_INVARIANT(instance->is_idle ==
                         (instance->state == InstanceState::ready && instance->in_flight.empty()),
                     "instance {} is {}", id.value, to_text(instance->state));
    idle += instance->is_idle ? 1U : 0U;
    planned += waits ? 1U : 0U;
  }
  STOKER_INVARIANT(planned == waiting_.size(), "{} != {}", planned, waiting_.size());
  for (const Instance* each = longest_idle_; each != nullptr; each = each->shorter_idle) {
    STOKER_INVARIANT(each->is_idle && idle > 0, "instance {}", each->id.value);
    STOKER_INVARIANT(
        each->shorter_idle == nullptr || each->shorter_idle->idle_since >= each->idle_since,
        "instance {}", each->id.value);
    --idle;
  }
  STOKER_INVARIANT(idle == 0, "{} idle instances are not in the list", idle);
  STOKER_INVARIANT(rooms_.size() == devices_.size(), "{} != {}", rooms_.size(), devices_.size());
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    const Device& device = devices_[i];
    const DeviceId id = device.spec.id;
    STOKER_INVARIANT(
        rooms_[i] == room_of(device) || std::count(stale_rooms_.begin(), stale_rooms_.end(), i) > 0,
        "device {} changed unnoticed", id.value);
    std::int32_t share_permille = 0;
    std::int32_t alone = 0;
    for (const Instance* each : device.residents) {
      share_permille += each->share_permille;
      alone += each->exclusive ? 1 : 0;
      STOKER_INVARIANT(std::count(each->devices.begin(), each->devices.end(), id) == 1,
                       "V12 device {} instance {}", id.value, each->id.value);
    }
    const auto residents = static_cast<std::int32_t>(device.residents.size());
    STOKER_INVARIANT(residents == device.memory.residents() && residents <= device.spec.slots,
                     "V12 device {}", id.value);
    STOKER_INVARIANT(alone == device.exclusive, "V12 device {}", id.value);
    STOKER_INVARIANT(alone == 0 || residents == 1, "device {} is not one's alone", id.value);
    STOKER_INVARIANT(share_permille == device.share_permille && share_permille <= 1000,
                     "V12 device {}", id.value);
    STOKER_INVARIANT(device.memory.reserved() == device.memory.recount(), "V12 device {}",
                     id.value);
    STOKER_INVARIANT(device.memory.reserved() <= device.memory.capacity(), "V3 device {}",
                     id.value);
    for (const Instance* each : device.promised) {
      STOKER_INVARIANT(each->state == InstanceState::planned || each->wanted_back, "device {}",
                       id.value);
    }
  }
  for (const auto& [id, node] : nodes_) {
    std::int32_t holders = 0;
    for (const Instance* each : node.sleepers) {
      STOKER_INVARIANT(find_instance(each->id) == each && each->node == id, "V12 node {}",
                       id.value);
      holders += each->holds_host ? 1 : 0;
    }
    STOKER_INVARIANT(holders == node.host.residents(), "V12 node {}", id.value);
    STOKER_INVARIANT(node.host.reserved() == node.host.recount(), "V12 node {}", id.value);
    STOKER_INVARIANT(node.host.reserved() <= node.host.capacity(), "V3 node {}", id.value);
  }
  for (const auto& [id, store] : stores_) {
    std::array<std::int32_t, cached_tiers> uses{};
    for (const auto& [instance_id, each] : instances_) {
      if (!each->model || each->store_node != id || each->state == InstanceState::planned) continue;
      const bool loads =
          each->state == InstanceState::starting || each->state == InstanceState::loading;
      uses[0] += each->from == Tier::host && loads ? 1 : 0;
      ++uses[1];
    }
    for (const Tier tier : {Tier::host, Tier::disk}) {
      STOKER_INVARIANT(store.plan.held(tier) == store.plan.recount(tier), "V12 store {}", id.value);
      STOKER_INVARIANT(store.plan.uses(tier) == uses[static_cast<std::size_t>(tier)],
                       "store {}: {} read from the {} tier, not {}", id.value,
                       store.plan.uses(tier), to_text(tier), uses[static_cast<std::size_t>(tier)]);
    }
  }
  for (const auto& [id, pool] : pools_) {
    std::int32_t held = 0;
    for (const Instance* each : pool.residents) held += each->pool_devices;
    STOKER_INVARIANT(held == pool.devices_held && held <= pool.spec.quota_devices, "V12 pool {}",
                     id.value);
  }
  STOKER_INVARIANT(queued == queued_, "V1 {} != {}", queued, queued_);
  STOKER_INVARIANT(running == running_, "V9 {} != {}", running, running_);
  STOKER_INVARIANT(requests_.size() == static_cast<std::size_t>(queued + running), "V1 {} != {}",
                   requests_.size(), queued + running);
}

}  // namespace stoker::core
