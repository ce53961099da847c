#include "core/core.h"

#include "base/invariant.h"
#include "base/overloaded.h"

namespace stoker::core {

Core::Core(const CoreConfig& config) : config_(config), prng_(config.seed) {}

void Core::step(Instant now, const Event& event, Actions& actions) {
  STOKER_INVARIANT(now >= now_, "time went from {} back to {}", now_.ns, now.ns);
  now_ = now;
  actions_ = &actions;
  while (const std::optional<Timers::Due> due = timers_.take_due(now)) fire(*due);
  handle(event);
  if (room_changed_) retry_waiting();
  actions_ = nullptr;
}

void Core::handle(const Event& event) {
  std::visit(
      Overloaded{
          [&](const DeviceAdded& e) { on(e); }, [&](const DeploymentAdded& e) { on(e); },
          [&](const RequestArrived& e) { on(e); }, [&](const RequestEnded& e) { on(e); },
          [&](const RequestCancelled& e) { on(e); }, [&](const RequestUndelivered& e) { on(e); },
          [&](const InstanceUp& e) { on(e); }, [&](const LoadProgressed& e) { on(e); },
          [&](const InstanceReady& e) { on(e); }, [&](const LoadFailed& e) { on(e); },
          [&](const InstanceExited& e) { on(e); }, [&](const StartFailed& e) { on(e); },
          [&](const InstanceHung& e) { on(e); }, [&](const InstanceUnkillable& e) { on(e); },
          [&](const WarmRequested& e) { on(e); }, [&](const StopRequested& e) { on(e); },
          [&](const ShutdownRequested& e) { on(e); },
          [](const WokeUp&) {},  // what was due has been done
      },
      event);
}

void Core::fire(const Timers::Due& due) {
  const InstanceId instance_id{due.id};
  const auto instance = instances_.find(instance_id);
  switch (due.kind) {
    case TimerKind::queue_deadline:
      refuse(RequestId{due.id}, RefuseReason::queue_timeout, seconds(1));
      return;
    case TimerKind::cancel_grace:
      if (const Request* request = requests_.find(RequestId{due.id})) {
        const auto holder = instances_.find(request->instance);
        if (holder != instances_.end()) {
          break_down(request->instance, holder->second, StopReason::cancel_ignored);
        }
      }
      return;
    case TimerKind::start_deadline:
      if (instance != instances_.end()) {
        break_down(instance_id, instance->second,
                   instance->second.state == InstanceState::starting ? StopReason::start_timeout
                                                                     : StopReason::load_stalled);
      }
      return;
    case TimerKind::idle_check:
      check_idle(instance_id);
      return;
    case TimerKind::drain_limit:
      if (instance != instances_.end()) {
        stop(instance_id, instance->second, StopMode::kill, StopReason::drain_limit);
      }
      return;
    case TimerKind::stop_overdue:
      if (instance != instances_.end()) {
        actions_->push_back(StopInstance{instance_id,
                                         instance->second.generation,
                                         StopMode::kill,
                                         StopReason::not_stopping,
                                         {}});
      }
      return;
    case TimerKind::retry: {
      Deployment& d = deployment(DeploymentId{due.id});
      scale(d);
      return;
    }
    case TimerKind::healthy:
      deployment(DeploymentId{due.id}).failures.clear();
      return;
    case TimerKind::shutdown_limit:
      for (auto& [id, d] : deployments_) {
        refuse_all_queued(d, RefuseReason::shutting_down);
        for (const InstanceId each : std::vector<InstanceId>(d.instances)) {
          const auto it = instances_.find(each);
          if (it == instances_.end()) continue;
          stop(each, it->second, StopMode::kill, StopReason::shutdown);
        }
      }
      return;
  }
}

Core::Deployment& Core::deployment(DeploymentId id) {
  const auto it = deployments_.find(id);
  STOKER_INVARIANT(it != deployments_.end(), "deployment {}", id.value);
  return it->second;
}

/// The instance of that life, or nullptr: then the message is late and must change nothing.
Core::Instance* Core::live_instance(InstanceId id, Generation generation) {
  const auto it = instances_.find(id);
  if (it == instances_.end() || it->second.generation != generation) return nullptr;
  return &it->second;
}

void Core::advance(InstanceId id, Instance& instance, InstanceInput input) {
  const std::optional<InstanceState> next = lifecycle::next_state(instance.state, input);
  STOKER_INVARIANT(next.has_value(), "instance {} in {} cannot take input {}", id.value,
                   to_text(instance.state), static_cast<int>(input));
  instance.state = *next;
  instance.since = now_;
}

bool Core::quiet() const {
  return shutting_down_ && queued_ == 0 && running_ == 0 && instances_.empty();
}

Summary Core::summary() const {
  Summary summary;
  for (const auto& [id, d] : deployments_) {
    const Counts counts = count(d);
    DeploymentSummary row{id,
                          static_cast<std::int32_t>(d.queue.size()),
                          0,
                          counts.ready,
                          counts.live,
                          d.desired,
                          d.failures.consecutive(),
                          d.failures.crash_loop(),
                          d.failures.retry_at()};
    for (const InstanceId each : d.instances) {
      row.running += static_cast<std::int32_t>(instances_.at(each).in_flight.size());
    }
    summary.deployments.push_back(row);
  }
  for (const auto& [id, instance] : instances_) {
    MemoryNeed held;
    const auto device = devices_.find(instance.device);
    if (device != devices_.end()) held = device->second.memory.held_by(id);
    summary.instances.push_back({id, instance.generation, instance.deployment, instance.device,
                                 instance.state,
                                 static_cast<std::int32_t>(instance.in_flight.size()),
                                 held.private_bytes, held.shared_bytes, instance.since});
  }
  for (const auto& [id, device] : devices_) {
    summary.devices.push_back({id, device.spec.kind, device.spec.name, device.spec.memory,
                               device.memory.reserved(), device.spec.slots,
                               device.memory.residents(), device.lost});
  }
  return summary;
}

}  // namespace stoker::core
