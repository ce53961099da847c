// Orchestrator, instance side, what concerns suspending: its orders, its news, and what an instance
// holds then. On the loop's thread.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "net/clock.h"
#include "orchestrator/orchestrator.h"

namespace stoker::orchestrator {

/// What comes of it is told by the worker, or by nobody: then the core's own limit ends it.
void Orchestrator::carry_out(const core::SuspendInstance& order) {
  const backend::InstanceKey key{order.instance, order.generation};
  InstanceRecord* r = record(key);
  if (r == nullptr) return;
  {
    const std::lock_guard lock(records_mutex_);
    r->suspend_ordered = true;
    r->resume_ordered = false;
  }
  tell({"instance_suspending", plan_of(r->deployment).spec.name, r->name,
        core::to_text(order.reason),
        fmt::format("suspending {} ({}); it should be back in {}, a start takes {}", r->name,
                    core::to_text(order.reason), to_text(order.expected_resume),
                    to_text(order.expected_start))});
  backend_.send(key, R"({"type":"suspend"})");
}

void Orchestrator::carry_out(const core::ResumeInstance& order) {
  const backend::InstanceKey key{order.instance, order.generation};
  InstanceRecord* r = record(key);
  if (r == nullptr) return;
  {
    const std::lock_guard lock(records_mutex_);
    r->suspend_ordered = false;
    r->resume_ordered = true;
    r->timeline.wanted = order.wanted_at;
    r->timeline.placed = net::monotonic_now();
    r->timeline.up = r->timeline.placed;
    r->timeline.resumed = true;
  }
  tell({"instance_resuming", plan_of(r->deployment).spec.name, r->name, core::to_text(order.reason),
        fmt::format("resuming {} on {}, {} reserved ({})", r->name, r->device_names(),
                    to_text(order.reserved.private_bytes + order.reserved.shared_bytes),
                    core::to_text(order.reason))});
  backend_.send(key, R"({"type":"resume"})");
}

/// On each of its devices. Nullopt: it cannot be told.
std::optional<core::MemoryNeed> Orchestrator::measured_on_devices(const InstanceRecord& r,
                                                                  Bytes private_bytes,
                                                                  Bytes shared_bytes) {
  if (r.kind() != backend::DeviceKind::cuda || !options_.device_memory) {
    // On processors nobody can tell which device a byte is on: in equal parts.
    const auto parts = static_cast<std::int32_t>(r.devices.size());
    return core::MemoryNeed{{(private_bytes.value + parts - 1) / parts},
                            {(shared_bytes.value + parts - 1) / parts}};
  }
  // What the process holds of the host's memory does not count.
  const std::optional<Bytes> held = device_bytes_held(r);
  if (!held) return std::nullopt;
  return core::MemoryNeed{*held, Bytes{}};
}

/// What its processes hold of its devices. Nullopt: the driver does not tell.
std::optional<Bytes> Orchestrator::device_bytes_held(const InstanceRecord& r) {
  if (r.kind() != backend::DeviceKind::cuda) return Bytes{};
  if (!options_.device_memory) return std::nullopt;
  Bytes most;
  for (const backend::Device& each : r.devices) {
    const auto held = options_.device_memory(each, backend_.processes_of(r.key));
    if (!held) return std::nullopt;
    most = std::max(most, *held);
  }
  return most;
}

void Orchestrator::on_suspended(InstanceRecord& r, const backend::WorkerSuspended& m) {
  {
    const std::lock_guard lock(records_mutex_);
    r.suspend_ordered = false;
  }
  const std::optional<Bytes> on_device = device_bytes_held(r);
  const Bytes in_host = m.private_bytes + m.shared_bytes;
  std::string text;
  if (!on_device) {
    text = fmt::format(
        "{} says that it is suspended, and its driver does not tell whether its "
        "device memory is free",
        r.name);
  } else if (*on_device > Bytes{}) {
    text = fmt::format("{} says that it is suspended, and still holds {} of {}", r.name,
                       to_text(*on_device), r.device_names());
  } else {
    text = fmt::format("{} is suspended; it holds {} of host memory", r.name, to_text(in_host));
  }
  const bool is_free = on_device && *on_device == Bytes{};
  tell({is_free ? "instance_suspended" : "instance_suspend_failed", plan_of(r.deployment).spec.name,
        r.name, "", text},
       !is_free);
  // Only memory that is known to be free is given to others.
  Outcome outcome =
      on_device
          ? step(core::InstanceSuspended{r.key.instance, r.key.generation, in_host, *on_device})
          : step(core::SuspendFailed{r.key.instance, r.key.generation,
                                     core::SuspendFailure::outcome_unknown});
  deliver(outcome);
}

void Orchestrator::on_resumed(InstanceRecord& r, const backend::WorkerResumed& m) {
  const DeploymentPlan& plan = plan_of(r.deployment);
  const core::MemoryNeed measured =
      measured_on_devices(r, m.private_bytes, m.shared_bytes).value_or(plan.spec.estimate);
  {
    const std::lock_guard lock(records_mutex_);
    r.resume_ordered = false;
    r.timeline.loaded = net::monotonic_now();
    r.timeline.ready = r.timeline.loaded;
  }
  {
    const std::lock_guard lock(core_mutex_);
    const auto target = targets_.find(r.key.instance);
    if (target != targets_.end()) {
      auto again = std::make_shared<gateway::DispatchTarget>(*target->second);
      again->timeline = r.timeline;
      target->second = std::move(again);
    }
  }
  tell({"instance_resumed", plan.spec.name, r.name, "",
        fmt::format("{} is back after {}; it holds {}", r.name,
                    to_text(r.timeline.ready - r.timeline.wanted),
                    to_text(measured.private_bytes + measured.shared_bytes))});
  Outcome outcome = step(core::InstanceResumed{r.key.instance, r.key.generation, measured});
  deliver(outcome);
}

/// An order that could not be followed.
void Orchestrator::on_error(InstanceRecord& r, const backend::WorkerError& m) {
  log_.warn("worker_error", {{"instance", r.name}, {"code", m.code}, {"text", m.message}});
  const bool suspends = r.suspend_ordered;
  const bool resumes = r.resume_ordered;
  if (!suspends && !resumes) return;
  {
    const std::lock_guard lock(records_mutex_);
    r.suspend_ordered = false;
    r.resume_ordered = false;
  }
  const auto refused = core::SuspendFailure::refused;
  Outcome outcome = suspends ? step(core::SuspendFailed{r.key.instance, r.key.generation, refused})
                             : step(core::ResumeFailed{r.key.instance, r.key.generation, refused});
  deliver(outcome);
}

}  // namespace stoker::orchestrator
