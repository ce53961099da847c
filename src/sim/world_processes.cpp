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
  Duration step_takes{behaviour.load.ns / static_cast<std::int64_t>(load_steps)};
  if (chances_.any()) {
    step_takes = chances_.around(step_takes, Roll::load_step, process.subject, step_time);
    step_takes.ns *= process.slowness;
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
  if (hits(Fault::load_fails_for_good, process.subject)) failure = core::LoadFailure::bad_option;
  if (hits(Fault::load_out_of_memory, process.subject)) {
    failure = core::LoadFailure::out_of_memory;
  }
  if (failure) return load_failed(process, *failure);
  process.phase = Phase::ready;
  totals_.loading = totals_.loading + (now_ - process.ordered_at);
  process.ready_seen = true;
  say(Happening::told_ready, process);
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

void World::process_gone(Process& process) {
  const InstanceId id = process.id;
  const Generation generation = process.generation;
  forget(process);
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
