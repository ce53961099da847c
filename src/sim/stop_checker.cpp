#include "sim/stop_checker.h"

#include <algorithm>

#include "base/invariant.h"
#include "base/overloaded.h"

namespace stoker::sim {
namespace {

constexpr Duration shortest_busy_stay = seconds(1);
constexpr Duration stop_slack = seconds(2);

}  // namespace

void StopChecker::on_server_start(Instant, const core::CoreConfig&) {
  deployments_.clear();
  instances_.clear();
  end_by_.reset();
}

void StopChecker::before_step(Instant now, const core::Event& event) {
  shedding_ = {};
  must_go_ = 0;
  std::visit(
      Overloaded{
          [&](const core::DeploymentAdded& e) { deployments_[e.deployment.id] = e.deployment; },
          [&](const core::DeploymentChanged& e) {
            if (!deployments_.contains(e.deployment.id)) return;
            deployments_[e.deployment.id] = e.deployment;
            bounds_lowered(e.deployment.id, e.deployment.scale.max_instances);
          },
          [&](const core::BoundsChanged& e) {
            if (deployments_.contains(e.deployment)) {
              bounds_lowered(e.deployment, e.max_instances);
            }
          },
          [&](const core::DeploymentRemoved& e) { deployments_.erase(e.deployment); },
          [&](const core::InstanceReady& e) {
            const auto it = instances_.find(e.instance);
            if (it == instances_.end() || it->second.generation != e.generation) return;
            if (!it->second.ready_at) it->second.ready_at = now;
          },
          [&](const core::RequestUndelivered& e) { no_longer_runs(e.request); },
          [&](const core::ShutdownRequested&) {
            if (!end_by_) end_by_ = now + core::CoreConfig{}.shutdown_limit;
          },
          [](const auto&) {},
      },
      event);
}

/// Those beyond a lower maximum that do not work leave at once, before any that works.
void StopChecker::bounds_lowered(DeploymentId deployment, std::int32_t most) {
  std::int32_t live = 0;
  std::int32_t not_busy = 0;
  for (const auto& [id, each] : instances_) {
    if (each.deployment != deployment || each.stopping) continue;
    ++live;
    not_busy += each.running == 0 ? 1 : 0;
  }
  shedding_ = deployment;
  must_go_ = std::min(live - std::max(most, 1), not_busy);
}

void StopChecker::on_action(Instant now, const core::Event& cause, const core::Action& action) {
  std::visit(Overloaded{
                 [&](const core::StartInstance& a) {
                   instances_[a.instance] = {a.deployment, a.generation, 0, {}, {}, false};
                 },
                 [&](const core::StopInstance& a) { stopped(now, a, cause); },
                 [&](const core::Dispatch& a) {
                   const auto it = instances_.find(a.instance);
                   if (it == instances_.end()) return;
                   ++it->second.running;
                   running_on_.insert(a.request, a.instance);
                 },
                 [](const auto&) {},
             },
             action);
}

void StopChecker::stopped(Instant now, const core::StopInstance& a, const core::Event& cause) {
  const auto it = instances_.find(a.instance);
  if (it == instances_.end() || it->second.generation != a.generation) return;
  Instance& each = it->second;
  // The first order may go unheard; after the second nothing more can be done.
  if (each.stopping) {
    each.stop_again_at.reset();
  } else {
    each.stop_again_at = now + a.grace + stop_slack;
  }
  each.stopping = true;
  const auto d = deployments_.find(each.deployment);
  if (each.deployment == shedding_ && a.reason == core::StopReason::stop_request) --must_go_;
  if (a.reason == core::StopReason::abandoned) {
    STOKER_INVARIANT(d == deployments_.end() || !d->second.finish_abandoned_load,
                     "instance {} is cut, and its load should be finished", a.instance.value);
  }
  if (a.reason == core::StopReason::swap && each.ready_at) {
    STOKER_INVARIANT(now - *each.ready_at >= shortest_busy_stay,
                     "instance {} is swapped out {} ns after it was ready", a.instance.value,
                     (now - *each.ready_at).ns);
  }
  const auto* by_hand = std::get_if<core::StopRequested>(&cause);
  if (by_hand != nullptr && a.reason == core::StopReason::stop_request) {
    STOKER_INVARIANT(!by_hand->instance || by_hand->instance == a.instance,
                     "instance {} is stopped and {} was meant", a.instance.value,
                     by_hand->instance.value);
  }
}

void StopChecker::no_longer_runs(RequestId request) {
  const InstanceId* on = running_on_.find(request);
  if (on == nullptr) return;
  const auto it = instances_.find(*on);
  if (it != instances_.end()) --it->second.running;
  running_on_.erase(request);
}

void StopChecker::on_ended(Instant, RequestId request, Ending) {
  no_longer_runs(request);
}

void StopChecker::on_process_gone(Instant, InstanceId instance) {
  instances_.erase(instance);
}

void StopChecker::after_step(Instant now, const core::Event&, const core::Core& core) {
  STOKER_INVARIANT(must_go_ <= 0, "V15 deployment {} keeps {} that do not work beyond its maximum",
                   shedding_.value, must_go_);
  for (const auto& [id, each] : instances_) {
    STOKER_INVARIANT(!each.stop_again_at || now <= *each.stop_again_at,
                     "L2 instance {} does not stop, and nobody asks again", id.value);
  }
  if (!end_by_ || now <= *end_by_) return;
  for (const core::DeploymentSummary& each : core.summary().deployments) {
    STOKER_INVARIANT(each.queued == 0, "L2 {} requests wait beyond the end of the server",
                     each.queued);
  }
}

}  // namespace stoker::sim
