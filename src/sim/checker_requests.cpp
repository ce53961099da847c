// Orders about requests: V2, V5, V8 to V11, V13, V14, V18.
#include "base/invariant.h"
#include "sim/checker.h"

namespace stoker::sim {
namespace {

constexpr std::int32_t most_attempts = 2;
constexpr std::int32_t most_overtaken = 8;
constexpr Duration overtaken_patience = seconds(2);

}  // namespace

void Checker::on(Instant now, const core::Dispatch& a, const core::Event& cause) {
  Request& r = request(a.request);
  Deployment& d = deployments_.at(r.deployment);
  STOKER_INVARIANT(!r.instance, "V10 request {} runs on {} already", a.request.value,
                   r.instance.value);
  STOKER_INVARIANT(!r.cancelled, "V2 request {} is dispatched after it was cancelled",
                   a.request.value);
  STOKER_INVARIANT(now <= r.deadline, "V14 request {} is {} ns late", a.request.value,
                   (now - r.deadline).ns);
  Instance& to = instance(a.instance);
  STOKER_INVARIANT(to.generation == a.generation, "instance {}", a.instance.value);
  STOKER_INVARIANT(to.deployment == r.deployment, "V5 request {} on instance {}", a.request.value,
                   a.instance.value);
  STOKER_INVARIANT(
      to.stage == Stage::ready || (measured_.has_value() && measured_of_ == a.instance),
      "V8 request {} on instance {}", a.request.value, a.instance.value);
  STOKER_INVARIANT(!to.broken, "V8 request {} on the broken instance {}", a.request.value,
                   a.instance.value);
  STOKER_INVARIANT(static_cast<std::int32_t>(to.running.size()) < d.spec.scale.concurrency,
                   "V9 instance {} has {} in flight", a.instance.value, to.running.size());
  const auto* arrived = std::get_if<core::RequestArrived>(&cause);
  const bool at_once = arrived != nullptr && arrived->request == a.request;
  if (at_once) {
    STOKER_INVARIANT(d.waiting == 1, "V18 request {} passes {} that wait", a.request.value,
                     d.waiting - 1);
    reached(State::dispatched_at_once);
    sent_ =
        Sent{r.deployment, a.instance, r.affinity, static_cast<std::int32_t>(to.running.size())};
  } else {
    reached(std::holds_alternative<core::InstanceReady>(cause) ? State::dispatched_by_ready_instance
                                                               : State::dispatched_from_queue);
    const auto& lane = lanes_.at(Lane{r.deployment, r.tenant, r.priority});
    for (const auto& [order, id] : lane) {
      if (order >= r.order) break;
      std::int32_t* count = overtaken_.find(id);
      if (count == nullptr) count = &overtaken_.insert(id, 0);
      ++*count;
      STOKER_INVARIANT(
          *count <= most_overtaken || now - request(id).arrived_at <= overtaken_patience,
          "V18 request {} was overtaken {} times", id.value, *count);
    }
    // Within a tenant, nobody of lower priority goes before one of higher.
    for (const auto& [other, waiting] : lanes_) {
      if (other.deployment != r.deployment || other.tenant != r.tenant) continue;
      STOKER_INVARIANT(other.priority <= r.priority, "V18 request {} of priority {} before {}",
                       a.request.value, r.priority, other.priority);
      if (other.priority < r.priority) reached(State::priorities_waited);
    }
    check_shares(d, r.tenant, r.cost);
  }
  no_longer_waits(a.request, r);
  ++r.attempts;
  STOKER_INVARIANT(r.attempts <= most_attempts, "V11 request {}", a.request.value);
  r.instance = a.instance;
  if (r.affinity != 0 && live_of(r.deployment) > 1) {
    reached(to.running.empty() ? State::affinity_kept : State::affinity_moved_for_load);
  }
  to.running.insert(a.request);
}

std::int64_t Checker::share_of(TenantId tenant, std::int64_t cost) const {
  constexpr std::int64_t divisible_by_all = 12;
  const auto weight = weights_.find(tenant);
  return cost * divisible_by_all / (weight == weights_.end() ? 1 : weight->second);
}

/// While two tenants both wait, what they were served, over their weights, differs by no more than
/// one of the largest requests of each.   Source: Goyal et al. 1996, theorem 1.
void Checker::check_shares(Deployment& d, TenantId served, std::int64_t cost) {
  std::int64_t& mine = d.served[served];
  for (const auto& [tenant, waiting] : d.waiting_of) {
    if (tenant == served || waiting == 0) continue;
    if (weights_.contains(tenant) || weights_.contains(served)) reached(State::weights_waited);
    STOKER_INVARIANT(mine - d.served[tenant] <=
                         share_of(tenant, d.largest_cost) + share_of(served, d.largest_cost),
                     "V18 tenant {} is {} ahead of tenant {}", served.value,
                     mine - d.served[tenant], tenant.value);
  }
  d.served_now = std::max(d.served_now, mine);
  mine += share_of(served, cost);
}

void Checker::on(Instant now, const core::Refuse& a, const core::Event& cause) {
  Request& r = request(a.request);
  STOKER_INVARIANT(!r.instance, "V2 request {} runs and is refused", a.request.value);
  const auto* arrived = std::get_if<core::RequestArrived>(&cause);
  const bool own = arrived != nullptr && arrived->request == a.request;
  const auto d = deployments_.find(r.deployment);
  switch (a.reason) {
    case core::RefuseReason::queue_full:
      STOKER_INVARIANT(own, "V13 request {} is dropped from a queue", a.request.value);
      STOKER_INVARIANT(d->second.waiting - 1 >= d->second.spec.limits.max_queued,
                       "request {} is refused with {} waiting", a.request.value,
                       d->second.waiting - 1);
      reached(State::refused_queue_full);
      break;
    case core::RefuseReason::tenant_queue_full:
      STOKER_INVARIANT(
          own && d->second.waiting_of[r.tenant] - 1 >= d->second.spec.limits.max_queued_per_tenant,
          "V13 request {}", a.request.value);
      reached(State::refused_tenant_queue_full);
      break;
    case core::RefuseReason::queue_timeout:
      STOKER_INVARIANT(now >= r.deadline, "request {} is refused {} ns early", a.request.value,
                       (r.deadline - now).ns);
      reached(State::refused_queue_timeout);
      for (const auto& [id, each] : instances_) {
        if (each.deployment == r.deployment && !each.running.empty()) {
          reached(State::expired_behind_busy_instance);
        }
      }
      break;
    case core::RefuseReason::load_failed:
      reached(State::refused_load_failed);
      break;
    case core::RefuseReason::crash_loop:
      reached(State::refused_crash_loop);
      reached(State::crash_loop_entered);
      break;
    case core::RefuseReason::no_capacity:
      reached(State::refused_no_capacity);
      break;
    case core::RefuseReason::shutting_down:
      STOKER_INVARIANT(shutting_down_, "request {}", a.request.value);
      reached(State::refused_shutting_down);
      break;
    case core::RefuseReason::undeliverable:
      STOKER_INVARIANT(r.attempts >= 1, "request {}", a.request.value);
      reached(State::refused_undeliverable);
      break;
    case core::RefuseReason::removed:
      STOKER_INVARIANT(d == deployments_.end() || d->second.removed, "request {}", a.request.value);
      reached(State::refused_removed);
      break;
  }
  STOKER_INVARIANT(a.retry_after.ns >= 0, "request {}", a.request.value);
}

void Checker::on(Instant, const core::FailRequest& a) {
  const Request& r = request(a.request);
  STOKER_INVARIANT(r.instance == a.instance, "V2 request {} fails with instance {}",
                   a.request.value, a.instance.value);
}

void Checker::on(Instant, const core::CancelRequest& a) {
  const Request& r = request(a.request);
  STOKER_INVARIANT(r.instance == a.instance && r.cancelled, "request {}", a.request.value);
}

}  // namespace stoker::sim
