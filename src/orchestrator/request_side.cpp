// Orchestrator, request side: the Dispatcher, on the gateway's threads.
#include <fmt/format.h>

#include "base/overloaded.h"
#include "base/text.h"
#include "net/clock.h"
#include "orchestrator/orchestrator.h"

namespace stoker::orchestrator {
namespace {

gateway::RejectReason reason_of(core::RefuseReason reason) {
  switch (reason) {
    case core::RefuseReason::queue_full:
      return gateway::RejectReason::queue_full;
    case core::RefuseReason::queue_timeout:
      return gateway::RejectReason::queue_timeout;
    case core::RefuseReason::load_failed:
      return gateway::RejectReason::load_failed;
    case core::RefuseReason::crash_loop:
      return gateway::RejectReason::crash_loop;
    case core::RefuseReason::no_capacity:
      return gateway::RejectReason::no_capacity;
    case core::RefuseReason::shutting_down:
      return gateway::RejectReason::draining;
    case core::RefuseReason::undeliverable:
      return gateway::RejectReason::undeliverable;
    case core::RefuseReason::tenant_queue_full:
      return gateway::RejectReason::queue_full;
    case core::RefuseReason::removed:
      return gateway::RejectReason::draining;
  }
  return gateway::RejectReason::queue_full;
}

/// What tenants are charged in their shares of a queue: tokens, and one for the request itself.
std::int64_t cost_of(const gateway::TokenCounts& tokens) {
  return 1 + tokens.input + tokens.output;
}

std::string never_fits_text(const DeploymentPlan& plan) {
  const core::DeviceNeed& needs = plan.spec.needs;
  const std::string memory =
      to_text(plan.spec.estimate.private_bytes + plan.spec.estimate.shared_bytes);
  std::string with;
  for (const std::string& each : plan.labels) with += (with.empty() ? " with " : ", ") + each;
  if (needs.devices > 1) {
    return fmt::format(
        "'{}' needs {} on each of {} devices{} of a kind that it can run on, and there "
        "are not so many that have so much in all",
        plan.spec.name, memory, needs.devices, with);
  }
  return fmt::format(
      "'{}' needs {} and no device{} of a kind that it can run on has so much in all",
      plan.spec.name, memory, with);
}

}  // namespace

RequestId Orchestrator::new_request_id() {
  // 24 bits of life and 40 bits of counter: unique for 2^40 requests in each of 2^24 lives.
  return RequestId{options_.epoch.value << 40U |
                   next_request_.fetch_add(1, std::memory_order_relaxed)};
}

gateway::Admission Orchestrator::admit(const gateway::Arrival& arrival,
                                       std::shared_ptr<gateway::DispatchSink> sink) {
  Outcome outcome = step(
      core::RequestArrived{arrival.request, arrival.deployment, arrival.tenant, arrival.priority,
                           arrival.deadline, cost_of(arrival.estimate), arrival.affinity},
      arrival.request, std::move(sink));
  deliver(outcome);
  if (outcome.own) return std::move(*outcome.own);
  return gateway::Queued{};
}

bool Orchestrator::cancel(RequestId request, gateway::EndState) {
  Outcome outcome = step(core::RequestCancelled{request});
  const bool runs = outcome.cancel_ordered;
  if (!runs) {
    meter_.release(request);
    const std::lock_guard lock(core_mutex_);
    waiters_.erase(request);
  }
  deliver(outcome);
  return !runs;
}

void Orchestrator::undelivered(RequestId request) {
  meter_.undelivered(request);
  Outcome outcome = step(core::RequestUndelivered{request});
  deliver(outcome);
}

void Orchestrator::first_token(RequestId request, Duration took) {
  Outcome outcome = step(core::FirstTokenSent{request, took});
  deliver(outcome);
}

/// The gateway may be done before the worker is: it does not let its client wait for a worker that
/// ignores a cancel. The slot stays taken until the worker's word, or its end, which the core sees
/// to.
std::int64_t Orchestrator::ended(RequestId request, gateway::EndState,
                                 const gateway::TokenCounts& used) {
  const std::int64_t device_ms = meter_.settle(request, used);
  {
    const std::lock_guard lock(core_mutex_);
    if (Waiter* waiter = waiters_.find(request); waiter != nullptr && waiter->awaits_worker) {
      waiter->sink = nullptr;
      return device_ms;
    }
  }
  Outcome outcome = step(core::RequestEnded{request, cost_of(used)}, {}, nullptr, request);
  deliver(outcome);
  return device_ms;
}

void Orchestrator::keep(DeploymentId deployment, std::optional<Duration> idle) {
  Outcome outcome = step(core::KeepWished{deployment, idle});
  deliver(outcome);
}

std::optional<gateway::WaitState> Orchestrator::waiting(RequestId request) const {
  using Phase = gateway::WaitState::Phase;
  std::optional<core::WaitSummary> wait;
  {
    const std::lock_guard lock(core_mutex_);
    wait = core_.waiting(net::monotonic_now(), request);
  }
  if (!wait) return std::nullopt;
  gateway::WaitState state{Phase::allocate, wait->position, wait->expected, {}};
  if (wait->all_busy) state.phase = Phase::queue;
  if (wait->state == core::InstanceState::starting) state.phase = Phase::start;
  if (wait->state == core::InstanceState::resuming) state.phase = Phase::load;
  if (wait->state != core::InstanceState::loading) return state;
  state.phase = Phase::load;
  const std::lock_guard lock(records_mutex_);
  const auto record = records_.find(wait->awaits);
  if (record == records_.end()) return state;
  state.load_fraction = record->second.load_fraction;
  if (record->second.timeline.loaded != Instant{}) state.phase = Phase::warmup;
  return state;
}

bool Orchestrator::can_serve(DeploymentId deployment) const {
  const std::lock_guard lock(core_mutex_);
  return core_.would_admit(net::monotonic_now(), deployment);
}

Orchestrator::Outcome Orchestrator::step(const core::Event& event, RequestId own,
                                         std::shared_ptr<gateway::DispatchSink> sink,
                                         RequestId over) {
  thread_local std::vector<core::Action> actions;  // reused: no allocation when warm
  actions.clear();
  Outcome outcome;
  const std::lock_guard lock(core_mutex_);
  if (sink != nullptr) waiters_.insert(own, Waiter{std::move(sink), {}, false});
  const Instant now = net::monotonic_now();
  core_.step(now, event, actions);
  if (options_.recorder != nullptr) options_.recorder->stepped(now, event, actions);
  for (const core::Action& action : actions) {
    if (!std::holds_alternative<core::Dispatch>(action)) decisions_.add(net::wall_now(), action);
    resolve(action, own, outcome);
  }
  if (over) waiters_.erase(over);
  const std::optional<Instant> next = core_.next_wakeup();
  const bool earlier = next && (!wakeup_at_ || *next < *wakeup_at_);
  if ((!orders_.empty() || earlier) && !orders_posted_) {
    orders_posted_ = true;
    outcome.wake_loop = true;
  }
  return outcome;
}

/// Turns one action into a call on a waiter or an order for the loop. Needs: core_mutex_ is held.
void Orchestrator::resolve(const core::Action& action, RequestId own, Outcome& outcome) {
  const auto sink_of = [&](RequestId request) {
    const Waiter* waiter = waiters_.find(request);
    return waiter == nullptr ? nullptr : waiter->sink;
  };
  std::visit(Overloaded{
                 [&](const core::Dispatch& dispatch) {
                   const auto target = targets_.find(dispatch.instance);
                   if (target == targets_.end()) return;
                   meter_.dispatched(dispatch.request, dispatch.instance, target->second->devices);
                   if (Waiter* waiter = waiters_.find(dispatch.request)) {
                     waiter->instance = dispatch.instance;
                   }
                   if (dispatch.request == own) {
                     outcome.own = target->second;
                   } else {
                     outcome.told.push_back({sink_of(dispatch.request), target->second});
                   }
                 },
                 [&](const core::Refuse& refuse) {
                   gateway::Rejection rejection = rejection_for(refuse);
                   if (refuse.request == own) {
                     outcome.own = std::move(rejection);
                   } else {
                     outcome.told.push_back({sink_of(refuse.request), std::move(rejection)});
                   }
                   waiters_.erase(refuse.request);
                   meter_.release(refuse.request);
                 },
                 [&](const core::FailRequest& fail) {
                   const auto target = targets_.find(fail.instance);
                   std::string what =
                       target == targets_.end() ? "its instance" : target->second->name;
                   what += " ended while it ran this request";
                   if (const auto exit = exits_.find(fail.instance); exit != exits_.end()) {
                     what += " (" + exit->second + ")";
                   }
                   outcome.told.push_back({sink_of(fail.request), std::move(what)});
                   waiters_.erase(fail.request);
                 },
                 [&](const core::CancelRequest& cancel) {
                   outcome.cancel_ordered = true;
                   if (Waiter* waiter = waiters_.find(cancel.request)) waiter->awaits_worker = true;
                   orders_.push_back(cancel);
                 },
                 [&](const auto& order) { orders_.push_back(order); },
             },
             action);
}

gateway::Rejection Orchestrator::rejection_for(const core::Refuse& refuse) const {
  const DeploymentPlan& plan = plan_of(refuse.deployment);
  const std::string& name = plan.spec.name;
  const auto failure = failures_.find(refuse.deployment);
  const bool explains = failure != failures_.end() && !failure->second.is_past;
  const std::string why = explains ? ": " + failure->second.text : std::string();
  const auto loading = load_details_.find(refuse.deployment);
  const std::string again = fmt::format("the next attempt is in {}", to_text(refuse.retry_after));
  gateway::Rejection rejection{reason_of(refuse.reason), refuse.retry_after, {}};
  switch (refuse.reason) {
    case core::RefuseReason::queue_full:
      rejection.message = fmt::format("'{}' has {} requests waiting, its limit (limits.max_queued)",
                                      name, plan.spec.limits.max_queued);
      break;
    case core::RefuseReason::queue_timeout:
      rejection.message =
          fmt::format("no instance of '{}' became free within {} (limits.queue_timeout){}", name,
                      to_text(plan.spec.limits.queue_timeout),
                      loading == load_details_.end() ? why : ": " + loading->second);
      break;
    case core::RefuseReason::load_failed:
      rejection.message = fmt::format("'{}' could not be loaded{}; {}", name, why, again);
      break;
    case core::RefuseReason::crash_loop:
      rejection.message = fmt::format("'{}' keeps failing{}; {}", name, why, again);
      break;
    case core::RefuseReason::no_capacity:
      rejection.message = never_fits_text(plan);
      break;
    case core::RefuseReason::shutting_down:
      rejection.message = "the server is shutting down";
      break;
    case core::RefuseReason::undeliverable:
      rejection.message = fmt::format("no instance of '{}' could be reached{}", name, why);
      break;
    case core::RefuseReason::tenant_queue_full:
      rejection.message = fmt::format(
          "you have {} requests waiting for '{}', the limit of one "
          "tenant (limits.max_queued_per_tenant)",
          plan.spec.limits.max_queued_per_tenant, name);
      break;
    case core::RefuseReason::removed:
      rejection.message = fmt::format("'{}' is being removed", name);
      break;
  }
  return rejection;
}

/// Calls the waiters and wakes the loop. Needs: no lock is held.
void Orchestrator::deliver(Outcome& outcome) {
  for (Outcome::Told& told : outcome.told) {
    if (told.sink == nullptr) continue;
    std::visit(Overloaded{
                   [&](gateway::DispatchTargetPtr& target) { told.sink->on_dispatched(target); },
                   [&](gateway::Rejection& r) { told.sink->on_rejected(std::move(r)); },
                   [&](std::string& reason) { told.sink->on_instance_lost(std::move(reason)); },
               },
               told.what);
  }
  if (outcome.wake_loop) loop_.post([this] { carry_out_orders(); });
}

core::Summary Orchestrator::summary() const {
  const std::lock_guard lock(core_mutex_);
  return core_.summary();
}

std::string Orchestrator::why_never(const core::DeploymentSummary& deployment, Instant now) const {
  const bool backs_off = deployment.failures > 0 && now < deployment.retry_at;
  // With nothing else in the way, only a device that is large enough can be missing.
  if (shutting_down() || backs_off || deployment.live_instances > 0) return {};
  if (can_serve(deployment.id)) return {};
  return never_fits_text(*plans()->at(deployment.id));
}

std::string Orchestrator::why_never(DeploymentId deployment) const {
  for (const core::DeploymentSummary& each : summary().deployments) {
    if (each.id == deployment) return why_never(each, net::monotonic_now());
  }
  return {};
}

std::string Orchestrator::last_failure(DeploymentId deployment) const {
  const std::lock_guard lock(core_mutex_);
  const auto it = failures_.find(deployment);
  return it == failures_.end() ? std::string() : it->second.text;
}

std::map<InstanceId, InstanceRecord> Orchestrator::records() const {
  const std::lock_guard lock(records_mutex_);
  return records_;
}

void Orchestrator::warm(DeploymentId deployment) {
  Outcome outcome = step(core::WarmRequested{deployment});
  deliver(outcome);
}

void Orchestrator::stop(DeploymentId deployment, InstanceId only) {
  Outcome outcome = step(core::StopRequested{deployment, only});
  deliver(outcome);
}

}  // namespace stoker::orchestrator
