#include "sim/checker.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/invariant.h"
#include "base/overloaded.h"
#include "core/describe.h"

namespace stoker::sim {

Checker::Instance& Checker::instance(InstanceId id) {
  const auto it = instances_.find(id);
  STOKER_INVARIANT(it != instances_.end(), "V6 instance {} is not one that was started", id.value);
  return it->second;
}

Checker::Request& Checker::request(RequestId id) {
  Request* found = requests_.find(id);
  STOKER_INVARIANT(found != nullptr, "V2 request {} is not open", id.value);
  return *found;
}

std::int32_t Checker::warm_of(DeploymentId id) const {
  std::int32_t warm = 0;
  for (const auto& [each_id, each] : instances_) {
    if (each.deployment != id || each.stage == Stage::leaving) continue;
    if (each.stage != Stage::suspending && each.stage != Stage::suspended) ++warm;
  }
  return warm;
}

std::int32_t Checker::live_of(DeploymentId id) const {
  std::int32_t live = 0;
  for (const auto& [each_id, each] : instances_) {
    if (each.deployment == id && each.stage != Stage::leaving) ++live;
  }
  return live;
}

void Checker::on_arrival(Instant now, const Arrival& arrival) {
  const auto d = deployments_.find(arrival.deployment);
  Request request;
  request.deployment = arrival.deployment;
  request.tenant = arrival.tenant;
  request.priority = arrival.priority;
  request.cost = arrival.cost;
  request.affinity = arrival.affinity;
  request.arrived_at = now;
  const Duration timeout =
      d == deployments_.end() ? Duration{} : d->second.spec.limits.queue_timeout;
  request.deadline = now + (arrival.deadline.ns > 0 ? arrival.deadline : timeout);
  request.own_deadline = arrival.deadline.ns > 0;
  request.order = next_order_++;
  if (d != deployments_.end()) {
    d->second.largest_cost = std::max(d->second.largest_cost, arrival.cost);
    ++d->second.open;
  }
  note_burst(now, arrival.deployment);
  wait(arrival.request, requests_.insert(arrival.request, request));
}

/// Many at the same instant, for one deployment or for many.
void Checker::note_burst(Instant now, DeploymentId deployment) {
  if (now != burst_at_) burst_.clear();
  burst_at_ = now;
  if (++burst_[deployment] == 10) reached(State::burst_arrived);
  if (burst_.size() == 4 && burst_[deployment] == 1) reached(State::herd_arrived);
}

void Checker::wait(RequestId id, Request& r) {
  r.instance = {};
  deadlines_.insert({r.deadline, id});
  lanes_[Lane{r.deployment, r.tenant, r.priority}].insert({r.order, id});
  const auto d = deployments_.find(r.deployment);
  if (d == deployments_.end()) return;
  ++d->second.waiting;
  if (r.attempts == 0) {
    ++d->second.waiting_never_ran;
    ++d->second.waiting_never_ran_of[r.tenant];
  }
  if (++d->second.waiting_of[r.tenant] > 1) return;
  // Time without work earns nothing: it starts where the others are.
  std::int64_t& mine = d->second.served[r.tenant];
  mine = std::max(mine, d->second.served_now);
  for (const auto& [tenant, count] : d->second.waiting_of) {
    if (count == 0 || tenant == r.tenant) continue;
    reached(State::two_tenants_waited);
    if (count >= 10) reached(State::one_tenant_flooded);
  }
}

void Checker::no_longer_waits(RequestId id, Request& r) {
  deadlines_.erase({r.deadline, id});
  const auto lane = lanes_.find(Lane{r.deployment, r.tenant, r.priority});
  lane->second.erase({r.order, id});
  if (lane->second.empty()) lanes_.erase(lane);
  const auto d = deployments_.find(r.deployment);
  if (d == deployments_.end()) return;
  --d->second.waiting;
  if (r.attempts == 0) {
    --d->second.waiting_never_ran;
    --d->second.waiting_never_ran_of[r.tenant];
  }
  --d->second.waiting_of[r.tenant];
}

/// The request runs on its instance no more.
void Checker::let_go(Instant now, RequestId id, Request& r) {
  const auto it = instances_.find(r.instance);
  if (it == instances_.end()) return;
  it->second.running.erase(id);
  if (it->second.running.empty()) it->second.idle_since = now;
}

void Checker::on_ended(Instant now, RequestId id, Ending ending) {
  Request& r = request(id);
  if (ending == Ending::interrupted) {
    // The server is gone, and with it all that was known of its queues and instances.
    overtaken_.erase(id);
    requests_.erase(id);
    return;
  }
  if (const auto d = deployments_.find(r.deployment); d != deployments_.end()) --d->second.open;
  if (!r.instance) {
    no_longer_waits(id, r);
    if (ending == Ending::cancelled) {
      reached(State::cancelled_while_queued);
      for (const auto& [each_id, each] : instances_) {
        if (each.deployment == r.deployment && each.stage == Stage::loading) {
          reached(State::cancelled_while_loading);
          break;
        }
      }
    }
  } else {
    let_go(now, id, r);
    if (ending == Ending::cancelled) reached(State::cancelled_while_running);
    if (ending == Ending::failed) reached(State::failed_with_its_instance);
    if (ending == Ending::completed && r.attempts == 2) reached(State::undelivered_then_served);
  }
  overtaken_.erase(id);
  requests_.erase(id);
}

void Checker::before_step(Instant now, const core::Event& event) {
  if (listener_ != nullptr) listener_->before_step(now, event);
  STOKER_INVARIANT(now >= last_, "V21 {} after {}", now.ns, last_.ns);
  previous_ = std::exchange(last_, now);
  if (trace_) {
    trace_(fmt::format("{:>12.6f}  {}", static_cast<double>(now.ns) / 1e9, core::describe(event)));
  }
  measured_.reset();
  sent_.reset();
  victims_in_step_ = 0;
  std::visit([&](const auto& e) { hear(now, e); }, event);
}

void Checker::on_action(Instant now, const core::Event& cause, const core::Action& action) {
  if (listener_ != nullptr) listener_->on_action(now, cause, action);
  if (trace_) trace_("                -> " + core::describe(action));
  std::visit(Overloaded{
                 [&](const core::Dispatch& a) { on(now, a, cause); },
                 [&](const core::Refuse& a) { on(now, a, cause); },
                 [&](const core::StartInstance& a) { on(now, a); },
                 [&](const core::StopInstance& a) { on(now, a); },
                 [&](const core::SuspendInstance& a) { on(now, a, cause); },
                 [&](const core::ResumeInstance& a) { on(now, a, cause); },
                 [&](const core::PrefetchModel& a) { on(now, a); },
                 [&](const core::DropModel& a) { on(now, a); },
                 [&](const core::PinModel& a) { on(a); },
                 [&](const core::RefuseCopy& a) { on(a); },
                 [&](const core::FailRequest& a) { on(now, a); },
                 [&](const core::CancelRequest& a) { on(now, a); },
                 [&](const core::AwaitRoom& a) { on(now, a); },
             },
             action);
}

void Checker::on_process_gone(Instant, InstanceId id) {
  const auto it = instances_.find(id);
  if (it == instances_.end()) return;
  if (it->second.unkillable) reached(State::unkillable_gone_at_last);
  for (const DeviceId device : it->second.devices) devices_.at(device).residents.erase(id);
  // Its requests are ended by the step that follows; only then is it forgotten.
  it->second.devices.clear();
  it->second.host = {};
  it->second.pool_devices = 0;
  it->second.stage = it->second.stage == Stage::leaving ? Stage::leaving : it->second.stage;
}

void Checker::after_step(Instant now, const core::Event& event, const core::Core& core) {
  if (measured_) {
    Instance& each = instances_.at(measured_of_);
    Deployment& d = deployments_.at(each.deployment);
    const bool swept = each.stage == Stage::leaving;  // ready and stopped in one step
    const bool started = std::holds_alternative<core::InstanceReady>(event);
    if (!swept) each.stage = Stage::ready;
    if (!swept && started) note_worked_start(each);
    if (each.running.empty()) each.idle_since = now;
    if (started) {
      const Duration took = now - each.started_at;
      if (d.shortest_start.ns == 0 || took < d.shortest_start) d.shortest_start = took;
    } else {
      d.shortest_resume = std::min(d.shortest_resume, now - each.resumed_at);
    }
    d.starts.clear();
    d.failing = false;
    for (const DeviceId id : each.devices) check_memory(id);
  }
  if (const auto* suspended = std::get_if<core::InstanceSuspended>(&event)) {
    const auto it = instances_.find(suspended->instance);
    const bool known = it != instances_.end() && it->second.generation == suspended->generation;
    STOKER_INVARIANT(!known || it->second.stage != Stage::suspending,
                     "V3 instance {} holds device memory and goes on being suspended",
                     suspended->instance.value);
    if (known && it->second.node) check_host(it->second.node);
  }
  // Those that are gone: nothing may run on them any more.
  if (std::holds_alternative<core::InstanceExited>(event) ||
      std::holds_alternative<core::StartFailed>(event)) {
    const InstanceId id = std::holds_alternative<core::InstanceExited>(event)
                              ? std::get<core::InstanceExited>(event).instance
                              : std::get<core::StartFailed>(event).instance;
    const auto it = instances_.find(id);
    if (it != instances_.end() && it->second.devices.empty() && it->second.pool_devices == 0) {
      STOKER_INVARIANT(it->second.running.empty(), "V9 instance {} is gone with {} requests",
                       id.value, it->second.running.size());
      instances_.erase(it);
    }
  }
  STOKER_INVARIANT(
      deadlines_.empty() || deadlines_.begin()->first > now || deadlines_.begin()->first == now,
      "V14 request {} waits beyond its deadline", deadlines_.begin()->second.value);
  for (auto& [id, d] : deployments_) {
    note_level(now, d);
    STOKER_INVARIANT(d.waiting_never_ran <= d.spec.limits.max_queued || d.changed,
                     "V13 deployment {}", id.value);
    const std::int32_t limit = d.spec.limits.max_queued_per_tenant;
    if (limit == 0 || d.changed) continue;
    for (const auto& [tenant, waiting] : d.waiting_never_ran_of) {
      STOKER_INVARIANT(waiting <= limit, "V13 deployment {} tenant {}", id.value, tenant.value);
    }
  }
  if (--until_sweep_ > 0 && !fault_struck_) return;
  until_sweep_ = sweep_every_;
  fault_struck_ = false;
  sweep(now, core);
}

void Checker::on_fault(Instant now, Fault fault) {
  if (trace_ && fault != Fault::client_leaves) {
    trace_(fmt::format("{:>12.6f}  ! {}", static_cast<double>(now.ns) / 1e9, to_text(fault)));
  }
  fault_struck_ = true;
  switch (fault) {
    case Fault::message_lost:
      reached(State::progress_lost);
      break;
    case Fault::message_late:
      reached(State::told_late);
      break;
    case Fault::process_slow:
      reached(State::worker_slowed);
      break;
    case Fault::process_dies_slowly:
      reached(State::died_slowly);
      break;
    case Fault::load_fails_partly:
      reached(State::load_failed_partly);
      break;
    case Fault::clock_steps:
      reached(State::clock_stepped);
      break;
    case Fault::load_slow:
      reached(State::slow_load_with_progress);
      break;
    case Fault::store_full:
      reached(State::store_full);
      break;
    case Fault::server_sleeps:
      reached(State::overslept);
      break;
    default:
      break;
  }
}

void Checker::on_server_crash(Instant) {
  for (const auto& [id, each] : instances_) {
    if (each.stage == Stage::loading) reached(State::server_crashed_while_loading);
    if (each.stage == Stage::suspended) reached(State::server_crashed_while_suspended);
    if (!each.running.empty()) reached(State::server_crashed_while_busy);
  }
  for (const auto& [id, store] : stores_) {
    if (!store.moves.empty()) reached(State::server_crashed_while_fetching);
  }
  // Of instances and queues the next life knows nothing; the requests are ended one by one.
  instances_.clear();
  deployments_.clear();
  devices_.clear();
  nodes_.clear();
  stored_.clear();
  stores_.clear();
  pools_.clear();
  weights_.clear();
  lanes_.clear();
  deadlines_.clear();
  start_failed_at_.reset();
  shut_down_by_.reset();
}

}  // namespace stoker::sim
