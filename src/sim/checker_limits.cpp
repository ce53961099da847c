// What has a limit keeps it, failures are forgotten in time, and requests go where least runs.
#include <algorithm>

#include "base/invariant.h"
#include "core/failure_policy.h"
#include "sim/checker.h"

namespace stoker::sim {

/// One that is asked to go has so long for what it runs. What drains for another model is never
/// cut.
void Checker::note_asked_to_stop(Instant now, const core::StopRequested& e) {
  for (auto& [id, each] : instances_) {
    if (each.deployment != e.deployment || (e.instance && e.instance != id)) continue;
    if (each.stage != Stage::ready || each.running.empty()) continue;
    each.asked_to_stop_at = now;
    each.stops_by = now + deployments_.at(e.deployment).spec.limits.drain_limit;
  }
}

void Checker::note_failure(Instant now, Deployment& d) {
  d.failing = true;
  d.failed_at = now;
}

void Checker::check_limits(Instant now, const core::Summary& summary) const {
  for (const core::InstanceSummary& each : summary.instances) {
    if (each.state != core::InstanceState::draining) continue;
    if (each.drains_for == core::StopReason::swap) continue;
    const Instance& books = instances_.at(each.id);
    if (!books.asked_to_stop_at || *books.asked_to_stop_at != each.since) continue;
    STOKER_INVARIANT(now <= books.stops_by, "L2 instance {} drains {} ns beyond its limit",
                     each.id.value, (now - books.stops_by).ns);
  }
  if (!shut_down_by_ || now <= *shut_down_by_) return;
  for (const core::InstanceSummary& each : summary.instances) {
    STOKER_INVARIANT(instances_.at(each.id).stage == Stage::leaving,
                     "L2 instance {} is {} after the shutdown's limit", each.id.value,
                     core::to_text(each.state));
  }
}

/// What is ready for long without a failure has no failures in a row.
void Checker::check_forgotten(Instant now, const core::Summary& summary) const {
  for (const core::InstanceSummary& each : summary.instances) {
    if (each.state != core::InstanceState::ready) continue;
    const Deployment& d = deployments_.at(each.deployment);
    if (now - std::max(each.since, d.failed_at) <= core::healthy_reset) continue;
    const auto owner = std::find_if(
        summary.deployments.begin(), summary.deployments.end(),
        [&](const core::DeploymentSummary& other) { return other.id == each.deployment; });
    STOKER_INVARIANT(owner->failures == 0, "deployment {} remembers {} failures", owner->id.value,
                     owner->failures);
  }
}

/// Without a session a request goes to the least busy of the older ones, or, if they are full, to a
/// younger one.
void Checker::check_least(const core::Summary& summary) const {
  if (!sent_ || sent_->affinity != 0) return;
  for (const core::InstanceSummary& each : summary.instances) {
    if (each.deployment != sent_->deployment || each.state != core::InstanceState::ready) continue;
    if (each.id.value >= sent_->instance.value) continue;
    STOKER_INVARIANT(sent_->beside <= each.in_flight, "V8 instance {} with {} in flight before {}",
                     sent_->instance.value, sent_->beside, each.id.value);
  }
}

}  // namespace stoker::sim
