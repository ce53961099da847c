#include "sim/world.h"

#include <algorithm>

#include "base/invariant.h"
#include "base/overloaded.h"

namespace stoker::sim {
namespace {

/// Where answers may be lost, a client gives up some day.
constexpr Duration longest_patience = seconds(60);

InstanceId instance_of(Generation generation) {
  return InstanceId{generation.value & 0xffffffffU};
}

}  // namespace

World::World(std::uint64_t seed, const Chances& chances, Observer* observer)
    : seed_(seed), chances_(chances), observer_(observer), prng_(seed ^ 0x5707e4ULL) {
  start_server();
  if (chances_.plan().any()) plan_in(chances_.plan().between_strikes, Happening::fault, 0);
}

void World::start_server() {
  const core::CoreConfig config{Epoch{epoch_}, seed_ + epoch_, seconds(30)};
  if (observer_ != nullptr) observer_->on_server_start(now_, config);
  core_ = std::make_unique<core::Core>(config);
}

void World::add_device(const core::DeviceSpec& device) {
  devices_.push_back(device);
  step(core::DeviceAdded{device});
}

void World::add_node(const core::NodeSpec& node) {
  nodes_.push_back(node);
  step(core::NodeAdded{node});
}

void World::add_pool(const core::PoolSpec& pool) {
  pools_.push_back(pool);
  step(core::PoolAdded{pool});
}

void World::weigh_tenant(TenantId tenant, std::int32_t weight) {
  weights_[tenant] = weight;
  step(core::TenantWeighed{tenant, weight});
}

void World::add_deployment(const core::DeploymentSpec& deployment, const Behaviour& behaviour) {
  deployments_[deployment.id] = deployment;
  behaviours_[deployment.id] = behaviour;
  if (deployment.model.bytes > Bytes{}) sizes_.emplace(deployment.model.id, deployment.model.bytes);
  step(core::DeploymentAdded{deployment});
}

void World::change_deployment(const core::DeploymentSpec& deployment) {
  if (!deployments_.contains(deployment.id)) return;
  deployments_[deployment.id] = deployment;
  if (core_ != nullptr) step(core::DeploymentChanged{deployment});
}

void World::change_bounds(DeploymentId deployment, std::int32_t min, std::int32_t max) {
  const auto it = deployments_.find(deployment);
  if (it == deployments_.end()) return;
  core::ScalePolicy& scale = it->second.scale;
  scale.min_instances = min;
  scale.max_instances = max;
  if (core_ != nullptr) step(core::BoundsChanged{deployment, min, max});
}

void World::remove_deployment(DeploymentId deployment) {
  if (deployments_.erase(deployment) == 0) return;
  if (core_ != nullptr) step(core::DeploymentRemoved{deployment});
}

void World::run_until(Instant until) {
  for (;;) {
    const std::optional<Instant> planned = queue_.next();
    std::optional<Instant> wakeup;
    if (core_ != nullptr) wakeup = core_->next_wakeup();
    if (wakeup && asleep_until_) wakeup = std::max(*wakeup, *asleep_until_);
    const bool wakes = wakeup && (!planned || *wakeup <= *planned);
    const std::optional<Instant> next = wakes ? wakeup : planned;
    if (!next || *next > until) break;
    now_ = std::max(now_, *next);
    if (wakes) {
      if (asleep_until_ && *asleep_until_ <= now_) asleep_until_.reset();
      step(core::WokeUp{});
    } else {
      happen(queue_.take());
    }
  }
  now_ = std::max(now_, until);
}

void World::arrive(const Arrival& arrival) {
  if (core_ == nullptr) return;  // nobody listens: never admitted
  catch_up();
  ++totals_.arrivals;
  if (observer_ != nullptr) observer_->on_arrival(now_, arrival);
  open_.insert(arrival.request, Open{arrival, {}, false, 0, now_});
  if (arrival.gone_after.ns > 0) {
    plan_in(arrival.gone_after, Happening::client_leaves, arrival.request.value);
  } else if (chances_.any()) {
    plan_in(longest_patience, Happening::client_leaves, arrival.request.value);
  }
  step(core::RequestArrived{arrival.request, arrival.deployment, arrival.tenant, arrival.priority,
                            arrival.deadline.ns > 0 ? now_ + arrival.deadline : Instant{},
                            arrival.cost, arrival.affinity});
}

void World::step(const core::Event& event) {
  if (core_ == nullptr) return;
  if (!std::holds_alternative<core::WokeUp>(event)) catch_up();
  ++totals_.events;
  if (observer_ != nullptr) observer_->before_step(now_, event);
  actions_.clear();
  core_->step(now_, event, actions_);
  // An order may bring an event of its own later, never inside of this step.
  for (const core::Action& action : actions_) apply(event, action);
  if (observer_ != nullptr) observer_->after_step(now_, event, *core_);
}

/// What is overdue comes before an event, as it does inside of one step; so an observer sees them
/// one by one.
void World::catch_up() {
  if (core_ == nullptr) return;
  const std::optional<Instant> due = core_->next_wakeup();
  if (due && *due <= now_) step(core::WokeUp{});
}

void World::apply(const core::Event& cause, const core::Action& action) {
  if (observer_ != nullptr) observer_->on_action(now_, cause, action);
  mix(static_cast<std::uint64_t>(now_.ns));
  mix(action.index());
  std::visit(Overloaded{
                 [&](const core::StartInstance& a) { carry_out(a); },
                 [&](const core::StopInstance& a) { carry_out(a); },
                 [&](const core::SuspendInstance& a) { carry_out(a); },
                 [&](const core::ResumeInstance& a) { carry_out(a); },
                 [&](const core::PrefetchModel& a) { carry_out(a); },
                 [&](const core::DropModel& a) { carry_out(a); },
                 [&](const core::PinModel& a) { mix(a.model.value * 31 + (a.pinned ? 1 : 0)); },
                 [&](const core::RefuseCopy& a) {
                   mix(a.model.value * 31 + static_cast<std::uint64_t>(a.reason));
                 },
                 [&](const core::Dispatch& a) { carry_out(a); },
                 [&](const core::CancelRequest& a) { carry_out(a); },
                 [&](const core::Refuse& a) {
                   mix(a.request.value * 31 + static_cast<std::uint64_t>(a.reason));
                   mix(static_cast<std::uint64_t>(a.retry_after.ns));
                   end(a.request, Ending::refused);
                 },
                 [&](const core::FailRequest& a) {
                   mix(a.request.value);
                   end(a.request, Ending::failed);
                 },
                 [&](const core::AwaitRoom& a) {
                   mix(a.instance.value * 31 + static_cast<std::uint64_t>(a.reason));
                 },
             },
             action);
}

void World::happen(const Planned& planned) {
  if (holds_back(planned)) return;
  const Generation generation{planned.id};
  const InstanceId instance = instance_of(generation);
  Process* process = nullptr;
  const auto is_in = [&](Phase phase) {
    process = find(generation);
    return process != nullptr && process->phase == phase && !process->hung;
  };
  switch (planned.kind) {
    case Happening::process_up:
      if (!is_in(Phase::starting)) return;
      process->phase = Phase::loading;
      say(Happening::told_up, *process);
      plan_in(Duration{}, Happening::load_step, planned.id, 0);
      return;
    case Happening::load_step:
      if (is_in(Phase::loading)) load_step(*process, planned.second);
      return;
    case Happening::load_done:
      if (is_in(Phase::loading)) load_done(*process);
      return;
    case Happening::suspend_done:
      if (is_in(Phase::suspending)) suspend_done(*process);
      return;
    case Happening::resume_done:
      if (is_in(Phase::resuming)) resume_done(*process);
      return;
    case Happening::request_done:
      request_done(RequestId{planned.id}, Generation{planned.second}, false);
      return;
    case Happening::cancel_done:
      request_done(RequestId{planned.id}, Generation{planned.second}, true);
      return;
    case Happening::undeliverable: {
      const RequestId request{planned.id};
      catch_up();
      Open* open = open_.find(request);
      if (open == nullptr || open->instance != Generation{planned.second}) return;
      open->instance = {};
      step(core::RequestUndelivered{request});
      return;
    }
    case Happening::process_gone:
      process_gone(generation);
      return;
    // A message of a process that is gone by now was on its way: the core must not believe it.
    case Happening::told_up:
      step(core::InstanceUp{instance, generation});
      return;
    case Happening::told_progress:
      step(core::LoadProgressed{instance, generation});
      return;
    case Happening::told_ready:
      process = find(generation);
      step(core::InstanceReady{
          instance, generation,
          process == nullptr ? core::MemoryNeed{} : behaviours_.at(process->deployment).memory});
      return;
    case Happening::told_suspended:
      process = find(generation);
      step(core::InstanceSuspended{
          instance, generation,
          process == nullptr ? Bytes{} : behaviours_.at(process->deployment).suspended,
          Bytes{static_cast<std::int64_t>(planned.second)}});
      return;
    case Happening::told_resumed:
      process = find(generation);
      step(core::InstanceResumed{
          instance, generation,
          process == nullptr ? core::MemoryNeed{} : behaviours_.at(process->deployment).memory});
      return;
    case Happening::told_suspend_failed:
      step(core::SuspendFailed{instance, generation,
                               static_cast<core::SuspendFailure>(planned.second)});
      return;
    case Happening::told_resume_failed:
      step(core::ResumeFailed{instance, generation,
                              static_cast<core::SuspendFailure>(planned.second)});
      return;
    case Happening::told_load_failed:
      step(core::LoadFailed{instance, generation, static_cast<core::LoadFailure>(planned.second)});
      return;
    case Happening::told_start_failed:
      catch_up();
      process = find(generation);
      if (process == nullptr) return;
      forget(*process);
      step(
          core::StartFailed{instance, generation, static_cast<core::StartFailure>(planned.second)});
      return;
    case Happening::told_ended: {
      const RequestId request{planned.id};
      catch_up();
      Open* open = open_.find(request);
      if (open == nullptr || open->instance != Generation{planned.second}) {
        state(find(Generation{planned.second}) != nullptr ? State::ended_twice
                                                          : State::end_told_after_death);
        // Nobody waits for it any more, or it runs elsewhere: a shell tells by the instance.
        if (open == nullptr) step(core::RequestEnded{request, 0});
        return;
      }
      // It ends here first, so that what the step orders finds it ended.
      end(request, open->cancelled ? Ending::cancelled : Ending::completed);
      step(core::RequestEnded{request, 0});
      return;
    }
    case Happening::first_token: {
      catch_up();
      const Open* open = open_.find(RequestId{planned.id});
      process = find(Generation{planned.second});
      // Of one that died, hangs, or lets go of a cancelled request nothing more goes out.
      if (open == nullptr || open->cancelled || open->instance != Generation{planned.second} ||
          process == nullptr || process->phase != Phase::ready || process->hung) {
        return;
      }
      step(core::FirstTokenSent{RequestId{planned.id}, now_ - open->arrived_at});
      return;
    }
    case Happening::told_unkillable:
      if (find(generation) != nullptr) step(core::InstanceUnkillable{instance, generation});
      return;
    case Happening::told_placed:
      if (!is_in(Phase::pending)) return;
      process->phase = Phase::starting;
      plan_in(chances_.around(behaviours_.at(process->deployment).start, Roll::start_time,
                              process->subject, 1),
              Happening::process_up, planned.id);
      step(core::InstancePlaced{instance, generation});
      return;
    case Happening::client_leaves:
      client_leaves(RequestId{planned.id});
      return;
    case Happening::fault:
      if (!chances_.any()) return;
      draw_strikes();
      plan_in(chances_.around(chances_.plan().between_strikes, Roll::strike_time,
                              Subject::strike(++strike_times_), 0),
              Happening::fault, 0);
      return;
    case Happening::swizzle_device:
    case Happening::swizzle_process:
      if (chances_.any()) swizzle(planned);
      return;
    case Happening::gateway_due:
      if (on_gateway_due_) on_gateway_due_();
      return;
    case Happening::restart:
      restart_server();
      return;
    case Happening::move_done:
      move_done(core::MoveId{planned.id});
      return;
    case Happening::told_moved:
      told_moved(core::MoveId{planned.id});
      return;
  }
}

void World::client_leaves(RequestId request) {
  catch_up();
  Open* open = open_.find(request);
  if (open == nullptr || open->cancelled || core_ == nullptr) return;
  if (observer_ != nullptr) observer_->on_fault(now_, Fault::client_leaves);
  open->cancelled = true;
  // A queued one is gone at once, without an action.
  if (!open->instance) end(request, Ending::cancelled);
  step(core::RequestCancelled{request});
}

void World::end(RequestId request, Ending ending) {
  if (!open_.erase(request)) {
    STOKER_INVARIANT(false, "V2 request {} ends twice", request.value);
  }
  switch (ending) {
    case Ending::completed:
      ++totals_.completed;
      break;
    case Ending::cancelled:
      ++totals_.cancelled;
      break;
    case Ending::refused:
      ++totals_.refused;
      break;
    case Ending::failed:
      ++totals_.failed;
      break;
    case Ending::interrupted:
      ++totals_.interrupted;
      break;
  }
  if (observer_ != nullptr) observer_->on_ended(now_, request, ending);
}

}  // namespace stoker::sim
