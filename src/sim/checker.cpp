#include "sim/checker.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/invariant.h"
#include "base/overloaded.h"
#include "base/text.h"
#include "core/describe.h"

namespace stoker::sim {
namespace {

using core::StopMode;
using core::StopReason;

constexpr std::int32_t most_attempts = 2;
constexpr std::int32_t most_overtaken = 8;
constexpr Duration overtaken_patience = seconds(2);

Duration cool_down_of(const core::ScalePolicy& policy) {
  return policy.scale_down_delay.value_or(policy.keep_warm.min);
}

bool is_graceful_choice(StopReason reason) {
  return reason == StopReason::idle || reason == StopReason::make_room;
}

}  // namespace

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
  request.order = next_order_++;
  if (d != deployments_.end()) {
    d->second.largest_cost = std::max(d->second.largest_cost, arrival.cost);
  }
  wait(arrival.request, requests_.insert(arrival.request, request));
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
    if (count > 0 && tenant != r.tenant) reached(State::two_tenants_waited);
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
  last_ = now;
  if (trace_) {
    trace_(fmt::format("{:>12.6f}  {}", static_cast<double>(now.ns) / 1e9, core::describe(event)));
  }
  measured_.reset();
  victims_in_step_ = 0;
  std::visit(
      Overloaded{
          [&](const core::DeviceAdded& e) { devices_[e.device.id] = {e.device, {}, false}; },
          [&](const core::PoolAdded& e) { pools_[e.pool.id] = e.pool; },
          [&](const core::DeviceLost& e) {
            Device& device = devices_.at(e.device);
            device.lost = true;
            if (device.residents.empty()) reached(State::device_lost_idle);
            for (const InstanceId id : device.residents) {
              const Instance& each = instances_.at(id);
              if (each.stage == Stage::starting || each.stage == Stage::loading) {
                reached(State::device_lost_while_loading);
              }
              if (!each.running.empty()) reached(State::device_lost_while_busy);
            }
          },
          [&](const core::DeviceReturned& e) {
            devices_.at(e.device).lost = false;
            reached(State::device_returned);
          },
          [&](const core::DeploymentAdded& e) {
            Deployment& d = deployments_[e.deployment.id];
            d.spec = e.deployment;
            d.need = e.deployment.estimate;
            d.most_instances = e.deployment.scale.max_instances;
          },
          [&](const core::DeploymentChanged& e) {
            const auto it = deployments_.find(e.deployment.id);
            if (it == deployments_.end()) return;
            Deployment& d = it->second;
            const std::int32_t live = live_of(e.deployment.id);
            if (live > 0) reached(State::deployment_changed_while_running);
            if (live > e.deployment.scale.max_instances) reached(State::maximum_lowered_below_live);
            d.spec = e.deployment;
            d.changed = true;
            d.failing = false;
            d.starts.clear();
            d.most_instances = std::max(d.most_instances, e.deployment.scale.max_instances);
          },
          [&](const core::BoundsChanged& e) {
            const auto it = deployments_.find(e.deployment);
            if (it == deployments_.end()) return;
            Deployment& d = it->second;
            const std::int32_t live = live_of(e.deployment);
            if (live > e.max_instances) {
              reached(State::maximum_lowered_below_live);
              d.changed = true;  // those beyond it still drain
            }
            core::ScalePolicy& policy = d.spec.scale;
            if (live < e.min_instances) reached(State::minimum_raised_above_live);
            if (live > e.min_instances && live <= policy.min_instances) {
              reached(State::minimum_lowered_below_live);
            }
            policy.min_instances = e.min_instances;
            policy.max_instances = e.max_instances;
            d.most_instances = std::max(d.most_instances, e.max_instances);
          },
          [&](const core::KeepWished& e) {
            const auto it = deployments_.find(e.deployment);
            if (it != deployments_.end()) it->second.keep_wish = e.idle;
          },
          [&](const core::DeploymentRemoved& e) {
            const auto it = deployments_.find(e.deployment);
            if (it == deployments_.end()) return;
            it->second.removed = true;
            for (const auto& [id, each] : instances_) {
              if (each.deployment == e.deployment && !each.running.empty()) {
                reached(State::deployment_removed_while_busy);
              }
            }
          },
          [&](const core::RequestArrived& e) {
            const auto it = deployments_.find(e.deployment);
            if (it != deployments_.end()) it->second.by_hand = false;
          },
          [&](const core::RequestUndelivered& e) {
            Request* r = requests_.find(e.request);
            if (r == nullptr || !r->instance) return;
            Deployment& owner = deployments_.at(r->deployment);
            std::int64_t& served = owner.served[r->tenant];
            served = std::max(served - r->cost, owner.served_now);  // it was not served after all
            let_go(now, e.request, *r);
            instance(r->instance).broken = true;
            if (r->cancelled) return;  // its end follows
            if (r->attempts == 2) reached(State::undelivered_twice);
            r->deadline = now + owner.spec.limits.queue_timeout;
            wait(e.request, *r);
          },
          [&](const core::RequestCancelled& e) {
            Request* r = requests_.find(e.request);
            if (r != nullptr) r->cancelled = true;
          },
          [&](const core::InstanceUp& e) {
            const auto it = instances_.find(e.instance);
            if (it == instances_.end() || it->second.generation != e.generation) return;
            if (it->second.stage == Stage::starting) it->second.stage = Stage::loading;
          },
          [&](const core::InstanceReady& e) {
            const auto it = instances_.find(e.instance);
            if (it == instances_.end() || it->second.generation != e.generation) {
              reached(State::ready_of_an_old_life);
              return;
            }
            if (it->second.stage == Stage::ready) reached(State::ready_told_twice);
            if (it->second.stage != Stage::loading) return;
            measured_ = e.measured;
            before_measured_ = it->second.held;
            if (e.measured.private_bytes > it->second.held.private_bytes) {
              reached(State::load_took_more_than_estimated);
            }
            // Taken back if the core says that it does not fit.
            it->second.held = e.measured;
          },
          [&](const core::InstanceExited& e) {
            const auto it = instances_.find(e.instance);
            if (it == instances_.end() || it->second.generation != e.generation) return;
            Instance& each = it->second;
            switch (each.stage) {
              case Stage::starting:
                reached(State::crashed_while_starting);
                break;
              case Stage::loading:
                reached(State::crashed_while_loading);
                break;
              case Stage::ready:
                reached(each.running.empty() ? State::crashed_while_idle
                                             : State::crashed_while_busy);
                break;
              case Stage::leaving:
                if (each.drained) reached(State::crashed_while_draining);
                break;
            }
            if (each.stage != Stage::leaving) deployments_.at(each.deployment).failing = true;
          },
          [&](const core::InstanceHung& e) {
            const auto it = instances_.find(e.instance);
            if (it == instances_.end()) return;
            reached(it->second.stage == Stage::ready ? State::hung_while_busy
                                                     : State::hung_while_loading);
          },
          [&](const core::LoadFailed& e) {
            reached(e.failure == core::LoadFailure::out_of_memory ? State::load_ran_out_of_memory
                                                                  : State::load_failed_for_good);
          },
          [&](const core::StartFailed& e) {
            reached(e.failure == core::StartFailure::may_pass ? State::start_failed_may_pass
                                                              : State::start_failed_will_stay);
            const auto it = instances_.find(e.instance);
            if (it != instances_.end()) deployments_.at(it->second.deployment).failing = true;
          },
          [&](const core::StartOutcomeUnknown&) { reached(State::start_outcome_unknown); },
          [&](const core::InstancePlaced&) { reached(State::pool_start_placed_late); },
          [&](const core::InstanceUnkillable& e) {
            reached(State::unkillable);
            const auto it = instances_.find(e.instance);
            if (it != instances_.end()) it->second.unkillable = true;
          },
          [&](const core::WarmRequested& e) {
            const auto it = deployments_.find(e.deployment);
            if (it == deployments_.end()) return;
            if (it->second.failing && it->second.starts.size() >= 5) {
              reached(State::crash_loop_left_by_hand);
            }
            it->second.by_hand = false;
            it->second.failing = false;
            it->second.starts.clear();
          },
          [&](const core::StopRequested& e) {
            const auto it = deployments_.find(e.deployment);
            if (it != deployments_.end() && !e.instance) it->second.by_hand = true;
          },
          [&](const core::ShutdownRequested&) {
            shutting_down_ = true;
            for (const auto& [id, each] : instances_) {
              if (!each.running.empty()) reached(State::shut_down_while_busy);
            }
          },
          [](const auto&) {},
      },
      event);
}

void Checker::on_action(Instant now, const core::Event& cause, const core::Action& action) {
  if (listener_ != nullptr) listener_->on_action(now, cause, action);
  if (trace_) trace_("                -> " + core::describe(action));
  std::visit(Overloaded{
                 [&](const core::Dispatch& a) { on(now, a, cause); },
                 [&](const core::Refuse& a) { on(now, a, cause); },
                 [&](const core::StartInstance& a) { on(now, a); },
                 [&](const core::StopInstance& a) { on(now, a); },
                 [&](const core::FailRequest& a) { on(now, a); },
                 [&](const core::CancelRequest& a) { on(now, a); },
                 [&](const core::AwaitRoom& a) { on(now, a); },
             },
             action);
}

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
      to.stage == Stage::ready || (to.stage == Stage::loading && measured_.has_value()),
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

/// While two tenants both wait, what they were served differs by no more than two of the largest
/// requests. (All weights are one here.)
void Checker::check_shares(Deployment& d, TenantId served, std::int64_t cost) {
  std::int64_t& mine = d.served[served];
  for (const auto& [tenant, waiting] : d.waiting_of) {
    if (tenant == served || waiting == 0) continue;
    STOKER_INVARIANT(mine - d.served[tenant] <= 2 * d.largest_cost,
                     "V18 tenant {} is {} ahead of tenant {}", served.value,
                     mine - d.served[tenant], tenant.value);
  }
  d.served_now = std::max(d.served_now, mine);
  mine += cost;
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

void Checker::on(Instant now, const core::StartInstance& a) {
  STOKER_INVARIANT(!instances_.contains(a.instance), "V4 instance {} is started twice",
                   a.instance.value);
  Deployment& d = deployments_.at(a.deployment);
  STOKER_INVARIANT(!d.removed, "instance {} of a removed deployment", a.instance.value);
  STOKER_INVARIANT(live_of(a.deployment) < std::max(d.spec.scale.max_instances, 1),
                   "V17 deployment {} has {} already", a.deployment.value, live_of(a.deployment));
  Instance each;
  each.deployment = a.deployment;
  each.generation = a.generation;
  each.reason = a.reason;
  each.devices = a.devices;
  each.pool = a.pool;
  each.held = a.reserved;
  each.share_permille = d.spec.needs.share_permille;
  each.exclusive = d.spec.needs.exclusive;
  each.pool_devices = a.pool ? d.spec.needs.devices : 0;
  STOKER_INVARIANT(
      static_cast<std::int32_t>(a.devices.size()) == (a.pool ? 0 : d.spec.needs.devices),
      "instance {}", a.instance.value);
  NodeId node;
  for (const DeviceId id : a.devices) {
    Device& device = devices_.at(id);
    STOKER_INVARIANT(!device.lost, "instance {} on the lost device {}", a.instance.value, id.value);
    STOKER_INVARIANT(id == a.devices.front() || device.spec.node == node,
                     "instance {} on two nodes", a.instance.value);
    node = device.spec.node;
    const auto& labels = device.spec.labels;
    STOKER_INVARIANT(std::includes(labels.begin(), labels.end(), d.spec.needs.labels.begin(),
                                   d.spec.needs.labels.end()),
                     "instance {} on device {}", a.instance.value, id.value);
    if (!d.spec.needs.labels.empty()) reached(State::labels_decided);
    for (const InstanceId other : device.residents) {
      if (instances_.at(other).deployment != a.deployment)
        reached(State::two_models_on_a_device);
      else if (d.spec.weights)
        reached(State::shared_weights_resident);
    }
    device.residents.insert(a.instance);
  }
  const std::vector<DeviceId> devices = a.devices;
  instances_[a.instance] = std::move(each);
  for (const DeviceId id : devices) check_memory(id);
  if (a.pool) {
    std::int32_t held = 0;
    for (const auto& [id, other] : instances_) {
      if (other.pool == a.pool) held += other.pool_devices;
    }
    STOKER_INVARIANT(held <= pools_.at(a.pool).quota_devices, "V3 pool {}", a.pool.value);
  }
  if (a.devices.size() > 1) reached(State::several_devices_taken);
  if (d.spec.needs.exclusive) reached(State::exclusive_device_taken);
  if (d.spec.needs.share_permille > 0) reached(State::share_taken);
  if (a.wanted_at < now && d.failing) reached(State::backoff_waited);
  switch (a.reason) {
    case core::StartReason::from_zero:
      reached(State::started_from_zero);
      break;
    case core::StartReason::queue_depth:
      reached(State::started_for_queue_depth);
      break;
    case core::StartReason::at_minimum:
      reached(State::started_for_minimum);
      break;
    case core::StartReason::warm_request:
      reached(State::started_by_hand);
      break;
    case core::StartReason::replace:
      reached(State::started_again_after_failure);
      break;
    case core::StartReason::expected:
      break;
    case core::StartReason::queue_wait:
      reached(State::started_for_queue_wait);
      break;
    case core::StartReason::utilization:
      reached(State::started_for_utilization);
      break;
    case core::StartReason::first_token:
      reached(State::started_for_first_token);
      break;
    case core::StartReason::request_rate:
      reached(State::started_for_request_rate);
      break;
    case core::StartReason::spare:
      reached(State::started_as_spare);
      break;
  }
  // V19: one that was stopped for want of requests is missed at once only by requests that wait.
  const core::ScalePolicy& policy = d.spec.scale;
  if (is_for_load(a.reason) && d.scaled_down_at && !d.changed) {
    STOKER_INVARIANT(a.wanted_at - *d.scaled_down_at >= cool_down_of(policy),
                     "V19 deployment {} starts one {} ns after it stopped one", a.deployment.value,
                     (a.wanted_at - *d.scaled_down_at).ns);
  }
  if (a.reason != core::StartReason::replace) d.scaled_up_at = now;
  // What a broken model may cost: with its backoff of 1, 2, 4, 8 ... 60 s, less a fifth, no more
  // than eight rounds of starts in a minute.
  std::erase_if(d.starts, [&](Instant at) { return now - at > seconds(60); });
  d.starts.push_back(now);
  STOKER_INVARIANT(static_cast<std::int32_t>(d.starts.size()) <= 8 * d.most_instances,
                   "V22 deployment {} was started {} times in a minute without success",
                   a.deployment.value, d.starts.size());
}

void Checker::on(Instant now, const core::StopInstance& a) {
  const auto it = instances_.find(a.instance);
  if (a.reason == StopReason::superseded) return;  // of another life
  STOKER_INVARIANT(it != instances_.end(), "instance {} is stopped and was never started",
                   a.instance.value);
  Instance& each = it->second;
  Deployment& d = deployments_.at(each.deployment);
  STOKER_INVARIANT(each.generation == a.generation, "instance {}", a.instance.value);
  if (is_graceful_choice(a.reason)) {
    STOKER_INVARIANT(each.stage == Stage::ready && each.running.empty(),
                     "V15 instance {} is stopped while it works", a.instance.value);
    const bool rests = d.by_hand || d.removed || shutting_down_;
    STOKER_INVARIANT(rests || live_of(each.deployment) > d.spec.scale.min_instances,
                     "V16 deployment {} falls below its minimum", each.deployment.value);
  }
  if (a.reason == StopReason::idle) {
    const core::ScalePolicy& policy = d.spec.scale;
    const bool last = live_of(each.deployment) == 1;
    // Others may drain, which is not seen from here: the shorter of the two delays holds.
    if (policy.scale_down_delay && policy.scale_to_zero_delay && !d.changed) {
      const Duration least = std::min({*policy.scale_down_delay, *policy.scale_to_zero_delay,
                                       d.keep_wish.value_or(*policy.scale_down_delay)});
      STOKER_INVARIANT(now - each.idle_since >= least, "V19 instance {} was idle for {} ns",
                       a.instance.value, (now - each.idle_since).ns);
    }
    if (d.scaled_up_at && !d.changed) {
      const auto kept = [&](const std::optional<Duration>& delay) {
        const Duration least_kept = delay.value_or(policy.keep_warm.min);
        return std::min(least_kept, d.keep_wish.value_or(least_kept));
      };
      const Duration least =
          std::min(kept(policy.scale_down_delay), kept(policy.scale_to_zero_delay));
      STOKER_INVARIANT(now - *d.scaled_up_at >= least,
                       "V19 deployment {} stops one {} ns after it started one",
                       each.deployment.value, (now - *d.scaled_up_at).ns);
    }
    d.scaled_down_at = now;
    reached(last ? State::stopped_last_idle : State::stopped_idle);
  }
  if (a.reason == StopReason::make_room) {
    reached(State::evicted_idle);
    if (++victims_in_step_ == 2) reached(State::evicted_two_for_one);
  }
  if (a.reason == StopReason::swap) {
    STOKER_INVARIANT(each.running.empty(), "V15 instance {} is cut for another model",
                     a.instance.value);
    reached(State::swapped_busy);
  }
  if (a.reason == StopReason::stop_request && a.mode == StopMode::graceful &&
      each.stage == Stage::ready) {
    STOKER_INVARIANT(each.running.empty(), "V15 instance {} is stopped before it is drained",
                     a.instance.value);
    reached(State::drained_to_the_end);
    each.drained = true;
  }
  if (each.stage == Stage::leaving && a.reason == StopReason::not_stopping) {
    reached(State::graceful_stop_overdue);
  }
  switch (a.reason) {
    case StopReason::start_timeout:
      reached(State::start_timed_out);
      break;
    case StopReason::load_stalled:
      reached(State::load_stalled);
      break;
    case StopReason::drain_limit:
      reached(State::drain_limit_cut);
      break;
    case StopReason::cancel_ignored:
      reached(State::cancel_ignored_by_worker);
      break;
    case StopReason::memory_overrun:
      reached(State::memory_overrun);
      if (measured_) {
        d.need = *measured_;
        each.held = before_measured_;
      }
      measured_.reset();
      break;
    case StopReason::abandoned:
      reached(State::stopped_while_loading_abandoned);
      break;
    case StopReason::not_placed:
      reached(State::pool_start_given_up);
      break;
    case StopReason::shutdown:
      if (a.mode == StopMode::kill) reached(State::shutdown_limit_cut);
      break;
    default:
      break;
  }
  const bool failed = a.mode == StopMode::kill && a.reason != StopReason::drain_limit &&
                      a.reason != StopReason::device_lost && a.reason != StopReason::abandoned &&
                      a.reason != StopReason::memory_overrun;
  if (failed && each.stage != Stage::leaving) d.failing = true;
  // What was given up on purpose did not fail.
  if (!failed && each.stage != Stage::ready && !d.starts.empty()) d.starts.pop_back();
  each.stage = Stage::leaving;
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

void Checker::on(Instant, const core::AwaitRoom& a) {
  reached(State::waited_for_room);
  if (a.reason == core::WaitReason::all_busy) reached(State::all_busy);
  if (a.reason == core::WaitReason::quota) reached(State::pool_quota_reached);
  if (a.unfit[static_cast<std::size_t>(core::Unfit::distrusted)] > 0) {
    reached(State::device_distrusted);
  }
}

void Checker::on_process_gone(Instant, InstanceId id) {
  const auto it = instances_.find(id);
  if (it == instances_.end()) return;
  if (it->second.unkillable) reached(State::unkillable_gone_at_last);
  for (const DeviceId device : it->second.devices) devices_.at(device).residents.erase(id);
  // Its requests are ended by the step that follows; only then is it forgotten.
  it->second.devices.clear();
  it->second.pool_devices = 0;
  it->second.stage = it->second.stage == Stage::leaving ? Stage::leaving : it->second.stage;
}

/// V3 from outside: what was reserved by orders, corrected by what was measured, fits.
void Checker::check_memory(DeviceId id) const {
  const Device& device = devices_.at(id);
  Bytes sum;
  std::int32_t share_permille = 0;
  std::int32_t alone = 0;
  std::map<WeightsId, Bytes> shared;
  for (const InstanceId each : device.residents) {
    const Instance& resident = instances_.at(each);
    const WeightsId weights = deployments_.at(resident.deployment).spec.weights;
    sum += resident.held.private_bytes;
    if (weights) {
      Bytes& most = shared[weights];
      most = std::max(most, resident.held.shared_bytes);
    } else {
      sum += resident.held.shared_bytes;
    }
    share_permille += resident.share_permille;
    alone += resident.exclusive ? 1 : 0;
  }
  for (const auto& [weights, bytes] : shared) sum += bytes;
  STOKER_INVARIANT(sum <= device.spec.memory, "V3 device {} holds {} of {}", id.value, sum.value,
                   device.spec.memory.value);
  const auto residents = static_cast<std::int32_t>(device.residents.size());
  STOKER_INVARIANT(residents <= device.spec.slots, "V3 device {} has {}", id.value, residents);
  STOKER_INVARIANT(share_permille <= 1000, "V3 device {} promised {}", id.value, share_permille);
  STOKER_INVARIANT(alone == 0 || residents == 1, "device {} is not one's alone", id.value);
}

void Checker::after_step(Instant now, const core::Event& event, const core::Core& core) {
  if (measured_) {
    const auto& ready = std::get<core::InstanceReady>(event);
    Instance& each = instances_.at(ready.instance);
    Deployment& d = deployments_.at(each.deployment);
    const bool swept = each.stage == Stage::leaving;  // ready and stopped in one step
    if (!swept) each.stage = Stage::ready;
    d.need = *measured_;
    if (each.running.empty()) each.idle_since = now;
    d.starts.clear();
    d.failing = false;
    for (const DeviceId id : each.devices) check_memory(id);
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
  for (const auto& [id, d] : deployments_) {
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

void Checker::sweep(Instant now, const core::Core& core) {
  core.check_invariants();
  const core::Summary summary = core.summary();
  std::int32_t running = 0;
  for (const core::InstanceSummary& each : summary.instances) {
    running += each.in_flight;
    if (each.state == core::InstanceState::planned) continue;
    const auto it = instances_.find(each.id);
    STOKER_INVARIANT(it != instances_.end(), "V6 instance {}", each.id.value);
    STOKER_INVARIANT(static_cast<std::int32_t>(it->second.running.size()) == each.in_flight,
                     "V9 instance {}: {} run, it says {}", each.id.value, it->second.running.size(),
                     each.in_flight);
  }
  std::int32_t waiting = 0;
  for (const core::DeploymentSummary& each : summary.deployments) {
    const auto it = deployments_.find(each.id);
    STOKER_INVARIANT(it != deployments_.end(), "deployment {}", each.id.value);
    Deployment& d = it->second;
    waiting += each.queued;
    STOKER_INVARIANT(d.waiting == each.queued, "V1 deployment {}: {} wait, it says {}",
                     each.id.value, d.waiting, each.queued);
    // V16: below the minimum for long only with a reason.
    const bool excused = d.by_hand || d.removed || shutting_down_ || each.failures > 0;
    const bool below = each.live_instances < d.spec.scale.min_instances && !excused;
    // Those that drain still count towards the maximum.
    const bool leaving = std::any_of(
        summary.instances.begin(), summary.instances.end(), [&](const core::InstanceSummary& i) {
          return i.deployment == each.id && (i.state == core::InstanceState::draining ||
                                             i.state == core::InstanceState::stopping ||
                                             i.state == core::InstanceState::failed);
        });
    if (!below || leaving || !could_hold(d, false)) {
      d.below_minimum_since.reset();
    } else if (!d.below_minimum_since) {
      d.below_minimum_since = now;
    } else {
      // What is planned counts as alive, so that only the word of a death takes time.
      STOKER_INVARIANT(now - *d.below_minimum_since <= seconds(1), "V16 deployment {} has {} of {}",
                       each.id.value, each.live_instances, d.spec.scale.min_instances);
    }
  }
  STOKER_INVARIANT(static_cast<std::size_t>(waiting + running) == requests_.size(),
                   "V1 {} wait and {} run of {}", waiting, running, requests_.size());
}

bool Checker::could_hold(const Deployment& d, bool now) const {
  const core::DeviceNeed& needs = d.spec.needs;
  if (d.spec.pool) {
    std::int32_t held = 0;
    for (const auto& [id, each] : instances_)
      held += each.pool == d.spec.pool ? each.pool_devices : 0;
    return (now ? held : 0) + needs.devices <= pools_.at(d.spec.pool).quota_devices;
  }
  std::map<NodeId, std::int32_t> on_node;
  for (const auto& [id, device] : devices_) {
    const auto& labels = device.spec.labels;
    const bool stuck = std::any_of(device.residents.begin(), device.residents.end(),
                                   [&](InstanceId each) { return instances_.at(each).unkillable; });
    if (device.lost || stuck ||
        !std::includes(labels.begin(), labels.end(), needs.labels.begin(), needs.labels.end())) {
      continue;
    }
    Bytes free = device.spec.memory;
    std::int32_t share_permille = 1000;
    bool alone = false;
    if (now) {
      for (const InstanceId each : device.residents) {
        const Instance& resident = instances_.at(each);
        free -= resident.held.private_bytes + resident.held.shared_bytes;  // at most
        share_permille -= resident.share_permille;
        alone |= resident.exclusive || needs.exclusive;
      }
      if (static_cast<std::int32_t>(device.residents.size()) >= device.spec.slots) continue;
    }
    if (alone || share_permille < needs.share_permille) continue;
    if (d.need.private_bytes + d.need.shared_bytes > free) continue;
    if (++on_node[device.spec.node] >= needs.devices) return true;
  }
  return false;
}

void Checker::on_fault(Instant, Fault fault) {
  fault_struck_ = true;
  switch (fault) {
    case Fault::message_lost:
      reached(State::progress_lost);
      break;
    case Fault::load_slow:
      reached(State::slow_load_with_progress);
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
    if (!each.running.empty()) reached(State::server_crashed_while_busy);
  }
  // Of instances and queues the next life knows nothing; the requests are ended one by one.
  instances_.clear();
  deployments_.clear();
  devices_.clear();
  pools_.clear();
  lanes_.clear();
  deadlines_.clear();
}

void Checker::check_settled(const core::Core& core, const World& world) {
  sweep(world.now(), core);
  STOKER_INVARIANT(world.open_requests() == 0, "L1 {} requests never ended", world.open_requests());
  const core::Summary summary = core.summary();
  if (trace_) {
    for (const core::InstanceSummary& each : summary.instances) {
      trace_(fmt::format("at the end: instance {} of deployment {} is {} with {} on {} devices",
                         each.id.value, each.deployment.value, to_text(each.state),
                         to_text(each.private_bytes + each.shared_bytes), each.devices.size()));
    }
  }
  std::map<DeploymentId, std::int32_t> placed;
  for (const core::InstanceSummary& each : summary.instances) {
    if (each.state != core::InstanceState::planned) {
      ++placed[each.deployment];
    } else {
      STOKER_INVARIANT(!could_hold(deployments_.at(each.deployment), true),
                       "L4 instance {} waits and there is room", each.id.value);
      continue;
    }
    STOKER_INVARIANT(each.state == core::InstanceState::ready, "L2 instance {} is {} for {} ns",
                     each.id.value, to_text(each.state), (world.now() - each.since).ns);
  }
  for (const core::DeploymentSummary& each : summary.deployments) {
    const Deployment& d = deployments_.at(each.id);
    STOKER_INVARIANT(
        d.by_hand || each.live_instances >= d.spec.scale.min_instances || !could_hold(d, false),
        "L4 deployment {} has {} of {}", each.id.value, each.live_instances,
        d.spec.scale.min_instances);
    const std::int32_t kept = d.removed ? 0 : d.spec.scale.min_instances;
    STOKER_INVARIANT(placed[each.id] <= kept, "L3 deployment {} keeps {}", each.id.value,
                     placed[each.id]);
  }
  for (const core::DeviceSummary& each : summary.devices) {
    const auto held = static_cast<std::int32_t>(devices_.at(each.id).residents.size());
    STOKER_INVARIANT(each.residents == held && (held > 0) == (each.reserved > Bytes{}),
                     "L6 device {} holds {} for {}", each.id.value, each.reserved.value, held);
  }
}

}  // namespace stoker::sim
