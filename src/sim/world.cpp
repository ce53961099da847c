#include "sim/world.h"

#include <algorithm>

#include "base/invariant.h"
#include "base/overloaded.h"

namespace stoker::sim {
namespace {

/// The first token of an answer comes after this part of the time that it takes.
constexpr std::int64_t first_token_part = 8;
constexpr Duration stop_takes = ms(20);
constexpr Duration kill_takes = ms(5);
constexpr Duration cancel_takes = ms(10);
constexpr Duration unkillable_told_after = seconds(5);
constexpr Duration restart_takes = seconds(1);
constexpr std::uint64_t load_steps = 4;
/// Where answers may be lost, a client gives up some day.
constexpr Duration longest_patience = seconds(60);

InstanceId instance_of(Generation generation) {
  return InstanceId{generation.value & 0xffffffffU};
}

}  // namespace

World::World(std::uint64_t seed, FaultPlan faults, Observer* observer)
    : seed_(seed), faults_(faults), observer_(observer), prng_(seed ^ 0x5707e4ULL) {
  start_server();
  if (faults_.any()) plan_in(around(faults_.between_strikes), Happening::fault, 0);
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

void World::add_pool(const core::PoolSpec& pool) {
  pools_.push_back(pool);
  step(core::PoolAdded{pool});
}

void World::add_deployment(const core::DeploymentSpec& deployment, const Behaviour& behaviour) {
  deployments_[deployment.id] = deployment;
  behaviours_[deployment.id] = behaviour;
  step(core::DeploymentAdded{deployment});
}

void World::change_deployment(const core::DeploymentSpec& deployment) {
  deployments_[deployment.id] = deployment;
  if (core_ != nullptr) step(core::DeploymentChanged{deployment});
}

void World::change_bounds(DeploymentId deployment, std::int32_t min, std::int32_t max) {
  core::ScalePolicy& scale = deployments_.at(deployment).scale;
  scale.min_instances = min;
  scale.max_instances = max;
  if (core_ != nullptr) step(core::BoundsChanged{deployment, min, max});
}

void World::wish_to_keep(DeploymentId deployment, std::optional<Duration> idle) {
  if (core_ != nullptr) step(core::KeepWished{deployment, idle});
}

void World::remove_deployment(DeploymentId deployment) {
  deployments_.erase(deployment);
  if (core_ != nullptr) step(core::DeploymentRemoved{deployment});
}

void World::run_until(Instant until) {
  for (;;) {
    const std::optional<Instant> planned = queue_.next();
    std::optional<Instant> wakeup;
    if (core_ != nullptr) wakeup = core_->next_wakeup();
    if (wakeup && asleep_until_) wakeup = std::max(*wakeup, *asleep_until_);
    const bool wakes = wakeup && (!planned || *wakeup < *planned);
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
  open_.insert(arrival.request, Open{arrival, {}, false, now_, {}});
  if (arrival.gone_after.ns > 0) {
    plan_in(arrival.gone_after, Happening::client_leaves, arrival.request.value);
  } else if (faults_.any()) {
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

/// Between half and one and a half of `mean`.
Duration World::around(Duration mean) {
  if (mean.ns <= 0) return {};
  return Duration{mean.ns / 2 +
                  static_cast<std::int64_t>(prng_.below(static_cast<std::uint64_t>(mean.ns) + 1))};
}

World::Process* World::find(Generation generation) {
  const std::uint32_t* slot = slots_.find(generation);
  return slot == nullptr ? nullptr : &processes_[*slot];
}

World::Process& World::new_process(const core::StartInstance& order) {
  std::uint32_t slot = static_cast<std::uint32_t>(processes_.size());
  if (free_slots_.empty()) {
    processes_.emplace_back();
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  Process& process = processes_[slot];
  process = Process{};
  process.id = order.instance;
  process.generation = order.generation;
  process.deployment = order.deployment;
  process.ordered_at = now_;
  process.devices = order.devices;
  slots_.insert(order.generation, slot);
  return process;
}

/// It is gone: its time is counted, its place is free.
void World::forget(Process& process) {
  if (!process.running.empty()) totals_.serving = totals_.serving + (now_ - process.busy_since);
  if (!process.ready_seen) totals_.loading = totals_.loading + (now_ - process.ordered_at);
  totals_.alive = totals_.alive + (now_ - process.ordered_at);
  process.phase = Phase::gone;
  process.running.clear();
  slots_.erase(process.generation);
  free_slots_.push_back(static_cast<std::uint32_t>(&process - processes_.data()));
  if (observer_ != nullptr) observer_->on_process_gone(now_, process.id);
}

bool World::hits(Fault fault) {
  const std::int32_t rate = faults_.of(fault);
  if (rate == 0 || static_cast<std::int32_t>(prng_.below(10'000)) >= rate) return false;
  if (observer_ != nullptr) observer_->on_fault(now_, fault);
  return true;
}

void World::carry_out(const core::StartInstance& order) {
  ++totals_.starts;
  mix(order.instance.value);
  for (const DeviceId id : order.devices) mix(id.value);
  Process& process = new_process(order);
  const Behaviour& behaviour = behaviours_.at(order.deployment);
  const Duration start = faults_.any() ? around(behaviour.start) : behaviour.start;
  const std::uint64_t key = order.generation.value;
  process.phase = order.pool ? Phase::pending : Phase::starting;
  if (behaviour.missing) {
    plan_in(ms(1), Happening::told_start_failed, key,
            static_cast<std::uint64_t>(core::StartFailure::will_stay));
    return;
  }
  plan_in(start, order.pool ? Happening::told_placed : Happening::process_up, key);
}

void World::carry_out(const core::StopInstance& order) {
  mix(order.instance.value * 31 + static_cast<std::uint64_t>(order.mode));
  mix(static_cast<std::uint64_t>(order.reason));
  Process* process = find(order.generation);
  if (process == nullptr || process->outlives_kill) return;
  const bool kill = order.mode == core::StopMode::kill;
  if (process->phase == Phase::ending && !kill) return;
  process->phase = Phase::ending;
  if (kill && hits(Fault::process_unkillable)) {
    process->outlives_kill = true;
    plan_in(unkillable_told_after, Happening::told_unkillable, order.generation.value);
    return die(*process,
               unkillable_told_after + seconds(static_cast<std::int64_t>(prng_.below(60))));
  }
  if (kill) return die(*process, kill_takes);
  // A hung one does not hear of it: the backend kills it when its grace is over.
  die(*process, process->hung ? order.grace + kill_takes : stop_takes);
}

void World::carry_out(const core::Dispatch& order) {
  mix(order.request.value * 31 + order.instance.value);
  Open* open = open_.find(order.request);
  STOKER_INVARIANT(open != nullptr, "V2 request {} is dispatched after its end",
                   order.request.value);
  open->instance = order.generation;
  Process* process = find(order.generation);
  if (process == nullptr || process->phase != Phase::ready || process->unreachable) {
    const Duration tries = faults_.any() ? ms(static_cast<std::int64_t>(prng_.below(300))) : ms(1);
    plan_in(tries, Happening::undeliverable, order.request.value, order.generation.value);
    return;
  }
  if (process->running.empty()) process->busy_since = now_;
  process->running.push_back(order.request);
  if (process->hung) return;
  const Duration service{open->arrival.service.ns * process->slowness};
  open->first_token = now_ - open->arrived_at + Duration{service.ns / first_token_part};
  plan_in(service, Happening::request_done, order.request.value, order.generation.value);
}

void World::carry_out(const core::CancelRequest& order) {
  mix(order.request.value);
  const Process* process = find(order.generation);
  if (process == nullptr || process->hung || process->ignores_cancel) return;
  plan_in(cancel_takes, Happening::cancel_done, order.request.value, order.generation.value);
}

void World::happen(const Planned& planned) {
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
      say(Happening::told_up, planned.id);
      plan_in(Duration{}, Happening::load_step, planned.id, 0);
      return;
    case Happening::load_step:
      if (is_in(Phase::loading)) load_step(*process, planned.second);
      return;
    case Happening::load_done:
      if (is_in(Phase::loading)) load_done(*process);
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
      process = find(generation);
      if (process != nullptr) process_gone(*process);
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
    case Happening::told_load_failed:
      step(core::LoadFailed{instance, generation, static_cast<core::LoadFailure>(planned.second)});
      return;
    case Happening::told_start_failed:
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
      const Duration first_token = open->cancelled ? Duration{} : open->first_token;
      end(request, open->cancelled ? Ending::cancelled : Ending::completed);
      step(core::RequestEnded{request, 0, first_token});
      return;
    }
    case Happening::told_unkillable:
      if (find(generation) != nullptr) step(core::InstanceUnkillable{instance, generation});
      return;
    case Happening::told_placed:
      if (!is_in(Phase::pending)) return;
      process->phase = Phase::starting;
      plan_in(around(behaviours_.at(process->deployment).start), Happening::process_up, planned.id);
      step(core::InstancePlaced{instance, generation});
      return;
    case Happening::client_leaves:
      client_leaves(RequestId{planned.id});
      return;
    case Happening::fault:
      if (!faults_.any()) return;
      strike();
      plan_in(around(faults_.between_strikes), Happening::fault, 0);
      return;
    case Happening::restart:
      restart_server();
      return;
  }
}

/// One of the steps of a load, with its report of progress.
void World::load_step(Process& process, std::uint64_t step_number) {
  const Behaviour& behaviour = behaviours_.at(process.deployment);
  if (step_number > 0) say(Happening::told_progress, process.generation.value);
  Duration step_takes{behaviour.load.ns / static_cast<std::int64_t>(load_steps)};
  if (faults_.any()) {
    step_takes = Duration{around(step_takes).ns * process.slowness};
  }
  if (step_number + 1 >= load_steps) {
    plan_in(step_takes, Happening::load_done, process.generation.value);
  } else {
    plan_in(step_takes, Happening::load_step, process.generation.value, step_number + 1);
  }
}

void World::load_done(Process& process) {
  const Behaviour& behaviour = behaviours_.at(process.deployment);
  std::optional<core::LoadFailure> failure;
  if (behaviour.broken) failure = core::LoadFailure::model_broken;
  if (hits(Fault::load_fails_for_good)) failure = core::LoadFailure::bad_option;
  if (hits(Fault::load_out_of_memory)) failure = core::LoadFailure::out_of_memory;
  if (failure) {
    process.phase = Phase::ending;
    say(Happening::told_load_failed, process.generation.value,
        static_cast<std::uint64_t>(*failure));
    die(process, ms(1 + static_cast<std::int64_t>(prng_.below(50))));
    return;
  }
  process.phase = Phase::ready;
  totals_.loading = totals_.loading + (now_ - process.ordered_at);
  process.ready_seen = true;
  say(Happening::told_ready, process.generation.value);
}

/// `asked`: it was cancelled. A worker answers that even if it knows the request no more.
void World::request_done(RequestId request, Generation generation, bool asked) {
  Process* process = find(generation);
  if (process == nullptr || process->phase != Phase::ready || process->hung) return;
  const bool runs = std::find(process->running.begin(), process->running.end(), request) !=
                    process->running.end();
  if (!runs && !asked) return;  // it was cancelled before its end
  if (asked && !runs) state(State::cancel_crossed_the_end);
  if (runs) let_go(*process, request);
  say(Happening::told_ended, request.value, generation.value);
}

void World::let_go(Process& process, RequestId request) {
  std::erase(process.running, request);
  if (process.running.empty()) totals_.serving = totals_.serving + (now_ - process.busy_since);
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

/// Its end is certain; when it is known is another thing.
void World::die(Process& process, Duration after) {
  plan_in(after, Happening::process_gone, process.generation.value);
}

void World::process_gone(Process& process) {
  const InstanceId id = process.id;
  const Generation generation = process.generation;
  forget(process);
  if (generation.value >> 32U == epoch_) {
    step(core::InstanceExited{id, generation, core::ExitKind::crashed});
  }
}

/// A message of a worker goes its way: it may be lost, doubled or late.
void World::say(Happening kind, std::uint64_t id, std::uint64_t second) {
  Duration after;
  if (faults_.any()) {
    after = us(static_cast<std::int64_t>(prng_.below(2'000)));
    if (hits(Fault::message_lost)) return;
    if (hits(Fault::message_late)) {
      after = after + ms(static_cast<std::int64_t>(prng_.below(3'000)));
    }
    if (hits(Fault::message_twice)) {
      plan_in(after + ms(static_cast<std::int64_t>(prng_.below(500))), kind, id, second);
    }
  }
  plan_in(after, kind, id, second);
}

World::Process* World::any_process(bool (*wanted)(const Process&)) {
  if (processes_.empty()) return nullptr;
  const std::size_t from = prng_.below(processes_.size());
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    Process& process = processes_[(from + i) % processes_.size()];
    if (process.phase != Phase::gone && wanted(process)) return &process;
  }
  return nullptr;
}

void World::strike() {
  for (std::size_t i = 0; i < fault_count; ++i) {
    // Rates are per message or load where the fault belongs to one; strikes are scaled up.
    const std::int32_t rate = std::min(faults_.per_10k[i] * 8, 9'000);
    if (rate > 0 && static_cast<std::int32_t>(prng_.below(10'000)) < rate) {
      strike(static_cast<Fault>(i));
      if (core_ == nullptr) return;
    }
  }
}

void World::strike(Fault fault) {
  if (core_ == nullptr) return;
  const auto struck = [&] {
    if (observer_ != nullptr) observer_->on_fault(now_, fault);
  };
  const auto alive = [](const Process& p) { return p.phase != Phase::ending; };
  const auto ready = [](const Process& p) { return p.phase == Phase::ready; };
  const auto spawning = [](const Process& p) {
    return p.phase == Phase::starting || p.phase == Phase::pending;
  };
  const auto before_ready = [](const Process& p) {
    return p.phase == Phase::starting || p.phase == Phase::loading;
  };
  Process* process = nullptr;
  switch (fault) {
    case Fault::process_dies:
      process = any_process([](const Process&) { return true; });
      if (process == nullptr) return;
      struck();
      process->phase = Phase::ending;
      die(*process, Duration{});
      return;
    case Fault::process_dies_slowly:
      process = any_process(alive);
      if (process == nullptr) return;
      struck();
      process->phase = Phase::ending;
      process->outlives_kill = true;
      die(*process, seconds(static_cast<std::int64_t>(prng_.below(12))));
      return;
    case Fault::process_hangs:
      process = any_process([](const Process& p) {
        return p.phase != Phase::ending && p.phase != Phase::pending;  // no process yet
      });
      if (process == nullptr || process->hung) return;
      struck();
      process->hung = true;
      if (process->phase == Phase::ready && prng_.below(2) == 0) {
        const InstanceId id = process->id;
        step(core::InstanceHung{id, process->generation, core::HangKind::no_progress});
      }
      return;
    case Fault::process_slow:
      process = any_process(alive);
      if (process == nullptr) return;
      struck();
      process->slowness = prng_.below(2) == 0 ? 10 : 100;
      return;
    case Fault::ignores_cancel:
      process = any_process(ready);
      if (process == nullptr) return;
      struck();
      process->ignores_cancel = true;
      return;
    case Fault::unreachable:
      process = any_process(ready);
      if (process == nullptr) return;
      struck();
      process->unreachable = true;
      return;
    case Fault::load_slow:
      process = any_process(before_ready);
      if (process == nullptr) return;
      struck();
      process->slowness = 20;
      return;
    case Fault::load_larger: {
      process = any_process(before_ready);
      if (process == nullptr) return;
      struck();
      const auto spec = deployments_.find(process->deployment);
      if (spec == deployments_.end()) return;
      behaviours_[process->deployment].memory.private_bytes =
          spec->second.estimate.private_bytes + mib(static_cast<std::int64_t>(prng_.below(64)));
      return;
    }
    case Fault::spawn_fails_may_pass:
    case Fault::spawn_fails_will_stay: {
      process = any_process(spawning);
      if (process == nullptr) return;
      struck();
      const InstanceId id = process->id;
      const Generation generation = process->generation;
      forget(*process);
      step(core::StartFailed{id, generation,
                             fault == Fault::spawn_fails_may_pass ? core::StartFailure::may_pass
                                                                  : core::StartFailure::will_stay});
      return;
    }
    case Fault::spawn_outcome_unknown:
      process = any_process(spawning);
      if (process == nullptr) return;
      struck();
      step(core::StartOutcomeUnknown{process->id, process->generation});
      return;
    case Fault::device_lost: {
      if (devices_.empty()) return;
      const DeviceId id = devices_[prng_.below(devices_.size())].id;
      struck();
      if (const auto it = std::find(lost_devices_.begin(), lost_devices_.end(), id);
          it != lost_devices_.end()) {
        lost_devices_.erase(it);
        step(core::DeviceReturned{id});
        return;
      }
      lost_devices_.push_back(id);
      // Whatever runs there stops working at once; the core hears of the loss.
      for (Process& each : processes_) {
        if (std::count(each.devices.begin(), each.devices.end(), id) > 0) each.hung = true;
      }
      step(core::DeviceLost{id});
      return;
    }
    case Fault::server_crashes:
      struck();
      crash_server();
      return;
    case Fault::server_sleeps:
      struck();
      asleep_until_ = now_ + seconds(1 + static_cast<std::int64_t>(prng_.below(90)));
      return;
    case Fault::stale_message:
      process = any_process([](const Process&) { return true; });
      if (process == nullptr) return;
      struck();
      step(core::InstanceReady{
          process->id, Generation{process->generation.value + (std::uint64_t{1} << 40U)}, {}});
      return;
    case Fault::stop_by_hand:
    case Fault::warm_by_hand: {
      if (deployments_.empty()) return;
      auto it = deployments_.begin();
      std::advance(it, static_cast<std::ptrdiff_t>(prng_.below(deployments_.size())));
      const DeploymentId id = it->first;
      struck();
      if (fault == Fault::warm_by_hand) {
        step(core::WarmRequested{id});
      } else {
        process = prng_.below(2) == 0 ? any_process(alive) : nullptr;
        step(core::StopRequested{process == nullptr ? id : process->deployment,
                                 process == nullptr ? InstanceId{} : process->id});
      }
      return;
    }
    case Fault::deployment_changes: {
      if (deployments_.empty()) return;
      auto it = deployments_.begin();
      std::advance(it, static_cast<std::ptrdiff_t>(prng_.below(deployments_.size())));
      core::DeploymentSpec spec = it->second;
      struck();
      spec.scale.max_instances = 1 + static_cast<std::int32_t>(prng_.below(4));
      spec.scale.min_instances = std::min(spec.scale.min_instances, spec.scale.max_instances);
      spec.scale.concurrency = 1 + static_cast<std::int32_t>(prng_.below(4));
      spec.limits.max_queued = 1 + static_cast<std::int32_t>(prng_.below(20));
      change_deployment(spec);
      return;
    }
    case Fault::process_unkillable:  // met when it is killed
    case Fault::message_lost:        // met when it is sent
    case Fault::message_twice:
    case Fault::message_late:
    case Fault::load_fails_for_good:  // met when it ends
    case Fault::load_out_of_memory:
    case Fault::client_leaves:  // drawn with the request
    case Fault::report_lost:    // what happens to metering is met in MeteredGateway
    case Fault::report_twice:
    case Fault::report_late:
    case Fault::report_less:
    case Fault::prices_change:
    case Fault::limits_change:
    case Fault::count_:
      return;
  }
}

/// kill -9: what was admitted is interrupted, the workers see it and end.
void World::crash_server() {
  if (observer_ != nullptr) observer_->on_server_crash(now_);
  std::vector<RequestId> open;
  open_.for_each_unordered([&](RequestId id, const Open&) { open.push_back(id); });
  std::sort(open.begin(), open.end());
  for (const RequestId id : open) end(id, Ending::interrupted);
  core_.reset();
  asleep_until_.reset();
  for (Process& process : processes_) {
    if (process.phase == Phase::gone) continue;
    process.phase = Phase::ending;
    if (!process.outlives_kill) die(process, ms(static_cast<std::int64_t>(prng_.below(5'000))));
  }
  plan_in(restart_takes, Happening::restart, 0);
}

/// The next life begins when nothing of the last one is left: the backend waits for it.
void World::restart_server() {
  if (processes() > 0) {
    plan_in(ms(100), Happening::restart, 0);
    return;
  }
  ++epoch_;
  start_server();
  for (const core::DeviceSpec& each : devices_) step(core::DeviceAdded{each});
  for (const DeviceId id : lost_devices_) step(core::DeviceLost{id});
  for (const core::PoolSpec& each : pools_) step(core::PoolAdded{each});
  for (const auto& [id, each] : deployments_) step(core::DeploymentAdded{each});
}

void World::stop_faults() {
  faults_ = no_faults();
  asleep_until_.reset();
  for (auto& [id, behaviour] : behaviours_) {
    behaviour.broken = false;
    behaviour.missing = false;
  }
  const std::vector<DeviceId> lost = std::move(lost_devices_);
  lost_devices_.clear();
  for (const DeviceId id : lost) step(core::DeviceReturned{id});
}

}  // namespace stoker::sim
