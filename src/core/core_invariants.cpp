// What must hold between any two steps; numbers as in RELIABILITY.md 4.
#include <algorithm>

#include "base/invariant.h"
#include "core/core.h"

namespace stoker::core {

void Core::check_invariants() const {
  std::int32_t queued = 0;
  std::int32_t running = 0;
  for (const auto& [id, d] : deployments_) {
    queued += static_cast<std::int32_t>(d.queue.size());
    std::int32_t never_ran = 0;
    for (const auto& [key, request_id] : d.queue) {
      const Request* request = requests_.find(request_id);
      STOKER_INVARIANT(request != nullptr && request->state == RequestState::queued &&
                           request->deployment == id && !request->instance,
                       "V1 request {}", request_id.value);
      STOKER_INVARIANT(timers_.is_set(TimerKind::queue_deadline, request_id.value),
                       "V14 request {}", request_id.value);
      if (request->attempts == 0) ++never_ran;
    }
    // What could not be delivered comes back however full the queue is: it was accepted once.
    STOKER_INVARIANT(never_ran <= d.spec.limits.max_queued, "V13 deployment {}", id.value);
    const Counts counts = count(d);
    STOKER_INVARIANT(counts.live + counts.draining <= std::max(d.spec.scale.max_instances, 1),
                     "V17 deployment {}", id.value);
    for (const InstanceId each : d.instances) {
      STOKER_INVARIANT(instances_.at(each).deployment == id, "V5 instance {}", each.value);
    }
  }
  for (const auto& [id, instance] : instances_) {
    running += static_cast<std::int32_t>(instance.in_flight.size());
    const Deployment& d = deployments_.at(instance.deployment);
    STOKER_INVARIANT(
        static_cast<std::int32_t>(instance.in_flight.size()) <= d.spec.scale.concurrency,
        "V9 instance {}", id.value);
    for (const RequestId each : instance.in_flight) {
      const Request* request = requests_.find(each);
      STOKER_INVARIANT(request != nullptr && request->instance == id &&
                           request->state != RequestState::queued &&
                           request->deployment == instance.deployment,
                       "V1 V5 request {}", each.value);
    }
    const bool before_ready = instance.state == InstanceState::planned ||
                              instance.state == InstanceState::starting ||
                              instance.state == InstanceState::loading;
    STOKER_INVARIANT(!before_ready || instance.in_flight.empty(), "V8 instance {}", id.value);
    STOKER_INVARIANT((instance.state == InstanceState::planned) == (instance.device == DeviceId{}),
                     "V12 instance {}", id.value);
    STOKER_INVARIANT(std::count(d.instances.begin(), d.instances.end(), id) == 1, "V12 instance {}",
                     id.value);
    STOKER_INVARIANT((instance.state == InstanceState::planned) ==
                         (std::count(waiting_.begin(), waiting_.end(), id) == 1),
                     "instance {} is {}", id.value, to_text(instance.state));
  }
  for (const auto& [id, device] : devices_) {
    std::int32_t residents = 0;
    for (const auto& [instance_id, instance] : instances_) {
      if (instance.device == id) ++residents;
    }
    STOKER_INVARIANT(residents == device.memory.residents(), "V12 device {}", id.value);
    STOKER_INVARIANT(device.memory.reserved() == device.memory.recount(), "V12 device {}",
                     id.value);
    STOKER_INVARIANT(device.memory.reserved() <= device.memory.capacity(), "V3 device {}",
                     id.value);
  }
  STOKER_INVARIANT(queued == queued_, "V1 {} != {}", queued, queued_);
  STOKER_INVARIANT(running == running_, "V9 {} != {}", running, running_);
  STOKER_INVARIANT(requests_.size() == static_cast<std::size_t>(queued + running), "V1 {} != {}",
                   requests_.size(), queued + running);
}

}  // namespace stoker::core
