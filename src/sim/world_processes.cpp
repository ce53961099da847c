// The lives of the virtual worker processes: what the core's orders start, what they do, and what
// they tell.
#include <algorithm>
#include <utility>

#include "base/invariant.h"
#include "sim/world.h"

namespace stoker::sim {
namespace {

/// The first token of an answer comes after this part of the time that it takes.
constexpr std::int64_t first_token_part = 8;
constexpr Duration stop_takes = ms(20);
constexpr Duration kill_takes = ms(5);
constexpr Duration cancel_takes = ms(10);
constexpr Duration unkillable_told_after = seconds(5);
constexpr std::uint64_t load_steps = 4;
/// A load from host memory or from the remote store, beside one from disk.
constexpr std::int64_t host_speedup = 4;
constexpr std::int64_t remote_slowdown = 3;

}  // namespace

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
  process.subject = Subject::instance(order.deployment, ++starts_of_[order.deployment]);
  process.ordered_at = now_;
  process.devices = order.devices;
  const auto spec = deployments_.find(order.deployment);
  if (spec != deployments_.end()) process.model = spec->second.model.id;
  process.from_host = order.from == core::Tier::host;
  slots_.insert(order.generation, slot);
  return process;
}

/// It is gone: its time is counted, its place is free.
void World::forget(Process& process) {
  if (!process.running.empty()) totals_.serving = totals_.serving + (now_ - process.busy_since);
  if (!process.ready_seen) totals_.loading = totals_.loading + (now_ - process.ordered_at);
  totals_.alive = totals_.alive + (now_ - process.ordered_at);
  if (process.suspended_at) totals_.suspended = totals_.suspended + (now_ - *process.suspended_at);
  if (process.resuming_at) totals_.resuming = totals_.resuming + (now_ - *process.resuming_at);
  process.phase = Phase::gone;
  process.running.clear();
  process.held_back.clear();
  slots_.erase(process.generation);
  free_slots_.push_back(static_cast<std::uint32_t>(&process - processes_.data()));
  if (observer_ != nullptr) observer_->on_process_gone(now_, process.id);
}

void World::carry_out(const core::StartInstance& order) {
  ++totals_.starts;
  mix(order.instance.value);
  for (const DeviceId id : order.devices) mix(id.value);
  Process& process = new_process(order);
  const Behaviour& behaviour = behaviours_.at(order.deployment);
  const Duration start =
      chances_.any() ? chances_.around(behaviour.start, Roll::start_time, process.subject, 0)
                     : behaviour.start;
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
  if (kill && hits(Fault::process_unkillable, process->subject)) {
    process->outlives_kill = true;
    plan_in(unkillable_told_after, Happening::told_unkillable, order.generation.value);
    return die(*process, unkillable_told_after + seconds(chances_.below(Roll::unkillable_for,
                                                                        process->subject, 0, 60)));
  }
  if (kill) return die(*process, kill_takes);
  // A hung one does not hear of it: the backend kills it when its grace is over.
  die(*process, process->hung || process->paused ? order.grace + kill_takes : stop_takes);
}

void World::carry_out(const core::SuspendInstance& order) {
  ++totals_.suspends;
  mix(order.instance.value * 31 + static_cast<std::uint64_t>(order.reason));
  mix(static_cast<std::uint64_t>(order.host_bytes.value));
  Process* process = find(order.generation);
  if (process == nullptr || process->phase != Phase::ready) return;
  STOKER_INVARIANT(process->running.empty(), "V15 instance {} is suspended with {} requests",
                   order.instance.value, process->running.size());
  process->phase = Phase::suspending;
  const Duration takes = behaviours_.at(process->deployment).suspend;
  const std::uint32_t time = ++process->suspends;
  const Duration drawn =
      chances_.any()
          ? Duration{chances_.around(takes, Roll::suspend_time, process->subject, time).ns *
                     process->slowness}
          : takes;
  plan_in(drawn, Happening::suspend_done, order.generation.value);
}

void World::carry_out(const core::ResumeInstance& order) {
  ++totals_.resumes;
  mix(order.instance.value * 31 + static_cast<std::uint64_t>(order.reason));
  for (const DeviceId id : order.devices) mix(id.value);
  Process* process = find(order.generation);
  if (process == nullptr || process->phase != Phase::suspended) return;
  process->phase = Phase::resuming;
  if (process->suspended_at)
    totals_.suspended = totals_.suspended + (now_ - *process->suspended_at);
  process->suspended_at.reset();
  process->resuming_at = now_;
  const Duration takes = behaviours_.at(process->deployment).resume;
  const Duration drawn =
      chances_.any()
          ? Duration{chances_.around(takes, Roll::resume_time, process->subject, process->suspends)
                         .ns *
                     process->slowness}
          : takes;
  plan_in(drawn, Happening::resume_done, order.generation.value);
}

void World::suspend_done(Process& process) {
  const std::uint32_t time = process.suspends;
  const auto failed = [&](core::SuspendFailure failure) {
    say(Happening::told_suspend_failed, process, time, static_cast<std::uint64_t>(failure));
  };
  if (hits(Fault::suspend_refused, process.subject, time)) {
    process.phase = Phase::ready;
    return failed(core::SuspendFailure::refused);
  }
  process.phase = Phase::suspended;
  process.suspended_at = now_;
  if (hits(Fault::suspend_unknown, process.subject, time)) {
    return failed(core::SuspendFailure::outcome_unknown);
  }
  if (hits(Fault::suspend_larger, process.subject, time)) {
    behaviours_.at(process.deployment).suspended +=
        mib(chances_.below(Roll::suspended_larger, process.subject, time, 100));
  }
  const bool keeps = hits(Fault::suspend_keeps_memory, process.subject, time);
  say(Happening::told_suspended, process, time, keeps ? 1U << 20U : 0);
}

void World::resume_done(Process& process) {
  const std::uint32_t time = process.suspends;
  const bool refused = hits(Fault::resume_refused, process.subject, time);
  if (refused || hits(Fault::resume_unknown, process.subject, time)) {
    const auto failure =
        refused ? core::SuspendFailure::refused : core::SuspendFailure::outcome_unknown;
    return say(Happening::told_resume_failed, process, time, static_cast<std::uint64_t>(failure));
  }
  process.phase = Phase::ready;
  if (process.resuming_at) totals_.resuming = totals_.resuming + (now_ - *process.resuming_at);
  process.resuming_at.reset();
  say(Happening::told_resumed, process, time);
}

void World::carry_out(const core::Dispatch& order) {
  mix(order.request.value * 31 + order.instance.value);
  Open* open = open_.find(order.request);
  STOKER_INVARIANT(open != nullptr, "V2 request {} is dispatched after its end",
                   order.request.value);
  open->instance = order.generation;
  ++open->attempts;
  Process* process = find(order.generation);
  if (process == nullptr || process->phase != Phase::ready || process->unreachable) {
    const Duration tries =
        chances_.any() ? ms(chances_.below(Roll::delivery_tries, Subject::request(order.request),
                                           open->attempts, 300))
                       : ms(1);
    plan_in(tries, Happening::undeliverable, order.request.value, order.generation.value);
    return;
  }
  if (process->running.empty()) process->busy_since = now_;
  process->running.push_back(order.request);
  if (process->hung) return;
  const Duration service{open->arrival.service.ns * process->slowness};
  const auto spec = deployments_.find(process->deployment);
  if (spec != deployments_.end() && spec->second.scale.on.first_token) {
    plan_in(Duration{service.ns / first_token_part}, Happening::first_token, order.request.value,
            order.generation.value);
  }
  plan_in(service, Happening::request_done, order.request.value, order.generation.value);
}

void World::carry_out(const core::CancelRequest& order) {
  mix(order.request.value);
  const Process* process = find(order.generation);
  if (process == nullptr || process->hung || process->ignores_cancel) return;
  plan_in(cancel_takes, Happening::cancel_done, order.request.value, order.generation.value);
}

/// One of the steps of a load, with its report of progress.
void World::load_step(Process& process, std::uint64_t step_number) {
  const Behaviour& behaviour = behaviours_.at(process.deployment);
  const auto step_time = static_cast<std::uint32_t>(step_number);
  if (step_number > 0) say(Happening::told_progress, process, step_time);
  if (step_number == load_steps / 2 && behaviour.crashes) {
    process.phase = Phase::ending;
    return die(process, Duration{});
  }
  if (step_number > 0 && hits(Fault::load_fails_partly, process.subject, step_time)) {
    return load_failed(process, core::LoadFailure::internal);
  }
  const Duration takes = load_time(process);
  // A load from far away takes longer and tells of its progress as often.
  const std::uint64_t steps =
      load_steps * (takes > behaviour.load ? std::uint64_t{remote_slowdown} : 1);
  Duration step_takes{takes.ns / static_cast<std::int64_t>(steps)};
  if (chances_.any()) {
    step_takes = chances_.around(step_takes, Roll::load_step, process.subject, step_time);
    step_takes.ns *= process.slowness;
  }
  if (step_number + 1 >= steps) {
    plan_in(step_takes, Happening::load_done, process.generation.value);
  } else {
    plan_in(step_takes, Happening::load_step, process.generation.value, step_number + 1);
  }
}

void World::load_done(Process& process) {
  const Behaviour& behaviour = behaviours_.at(process.deployment);
  std::optional<core::LoadFailure> failure;
  if (behaviour.broken) failure = core::LoadFailure::model_broken;
  if (hits(Fault::load_fails_for_good, process.subject)) failure = core::LoadFailure::bad_option;
  if (hits(Fault::load_out_of_memory, process.subject)) {
    failure = core::LoadFailure::out_of_memory;
  }
  if (failure) return load_failed(process, *failure);
  process.phase = Phase::ready;
  totals_.loading = totals_.loading + (now_ - process.ordered_at);
  process.ready_seen = true;
  say(Happening::told_ready, process);
  const auto spec = deployments_.find(process.deployment);
  if (spec == deployments_.end() || !spec->second.model.id || process.devices.empty()) return;
  keep_model(spec->second.model.id, process);
}

/// Behaviour::load is from a disk; models of no store are always there.
Duration World::load_time(const Process& process) const {
  const Duration load = behaviours_.at(process.deployment).load;
  const auto spec = deployments_.find(process.deployment);
  if (spec == deployments_.end() || !spec->second.model.id || process.devices.empty()) return load;
  const auto store = stores_.find(node_of(process.devices.front()));
  const auto holds = [&](const std::vector<ModelId>& tier) {
    return std::count(tier.begin(), tier.end(), spec->second.model.id) > 0;
  };
  if (store != stores_.end() && holds(store->second.host)) return Duration{load.ns / host_speedup};
  if (store != stores_.end() && holds(store->second.disk)) return load;
  return Duration{load.ns * remote_slowdown};
}

NodeId World::node_of(DeviceId id) const {
  for (const core::DeviceSpec& each : devices_) {
    if (each.id == id) return each.node;
  }
  return {};
}

/// It says so and ends.
void World::load_failed(Process& process, core::LoadFailure failure) {
  process.phase = Phase::ending;
  say(Happening::told_load_failed, process, 0, static_cast<std::uint64_t>(failure));
  die(process, ms(1 + chances_.below(Roll::death_after_failure, process.subject, 0, 50)));
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
  tell_ended(request, generation, asked);
}

void World::let_go(Process& process, RequestId request) {
  std::erase(process.running, request);
  if (process.running.empty()) totals_.serving = totals_.serving + (now_ - process.busy_since);
}

/// Its end is certain; when it is known is another thing.
void World::die(Process& process, Duration after) {
  plan_in(after, Happening::process_gone, process.generation.value);
}

void World::process_gone(Generation generation) {
  catch_up();  // before anybody can know of it
  Process* const process = find(generation);
  if (process == nullptr) return;
  const InstanceId id = process->id;
  forget(*process);
  if (generation.value >> 32U == epoch_) {
    step(core::InstanceExited{id, generation, core::ExitKind::crashed});
  }
}

/// `time`: which of such messages it is, of this process.
void World::say(Happening kind, const Process& process, std::uint32_t time, std::uint64_t second) {
  send(kind, process.generation.value, second, process.subject, time);
}

void World::tell_ended(RequestId request, Generation generation, bool asked) {
  const Open* open = open_.find(request);
  const std::uint32_t attempts = open == nullptr ? 0 : open->attempts;
  send(Happening::told_ended, request.value, generation.value, Subject::request(request),
       attempts * 2 + (asked ? 1 : 0));
}

/// A message of a worker goes its way: it may be lost, doubled or late.
void World::send(Happening kind, std::uint64_t id, std::uint64_t second, Subject who,
                 std::uint32_t time) {
  if (!chances_.any()) return plan_in(Duration{}, kind, id, second);
  const std::uint32_t which = static_cast<std::uint32_t>(kind) << 16U | (time & 0xffffU);
  Duration after = us(chances_.below(Roll::delivery, who, which, 2'000));
  if (hits(Fault::message_lost, who, which)) return;
  if (hits(Fault::message_late, who, which)) {
    after = after + ms(chances_.below(Roll::lateness, who, which, 3'000));
  }
  if (hits(Fault::message_twice, who, which)) {
    plan_in(after + ms(chances_.below(Roll::redelivery, who, which, 500)), kind, id, second);
  }
  plan_in(after, kind, id, second);
}

/// Gives: true if it would be done by a process that is paused; it is done when that goes on.
bool World::holds_back(const Planned& planned) {
  Generation generation{planned.id};
  switch (planned.kind) {
    case Happening::process_up:
    case Happening::load_step:
    case Happening::load_done:
      break;
    case Happening::request_done:
    case Happening::cancel_done:
      generation = Generation{planned.second};
      break;
    default:
      return false;
  }
  Process* process = find(generation);
  if (process == nullptr || !process->paused) return false;
  process->held_back.push_back(planned);
  return true;
}

void World::go_on(Process& process) {
  process.paused = false;
  if (!process.held_back.empty()) state(State::paused_then_went_on);
  for (const Planned& each : std::exchange(process.held_back, {})) {
    plan_in(Duration{}, each.kind, each.id, each.second);
  }
}

}  // namespace stoker::sim
