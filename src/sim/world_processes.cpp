// The lives of the virtual worker processes: what the core's orders start, what they do, and what
// they tell.
#include <algorithm>

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
/// More are not kept: those that came first go.
constexpr std::size_t models_in_host = 2;
constexpr std::size_t models_on_disk = 3;

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
  if (process.suspended_at) totals_.suspended = totals_.suspended + (now_ - *process.suspended_at);
  if (process.resuming_at) totals_.resuming = totals_.resuming + (now_ - *process.resuming_at);
  process.phase = Phase::gone;
  process.running.clear();
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
  plan_in(faults_.any() ? Duration{around(takes).ns * process->slowness} : takes,
          Happening::suspend_done, order.generation.value);
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
  plan_in(faults_.any() ? Duration{around(takes).ns * process->slowness} : takes,
          Happening::resume_done, order.generation.value);
}

void World::suspend_done(Process& process) {
  const std::uint64_t key = process.generation.value;
  if (hits(Fault::suspend_refused)) {
    process.phase = Phase::ready;
    say(Happening::told_suspend_failed, key,
        static_cast<std::uint64_t>(core::SuspendFailure::refused));
    return;
  }
  process.phase = Phase::suspended;
  process.suspended_at = now_;
  if (hits(Fault::suspend_unknown)) {
    say(Happening::told_suspend_failed, key,
        static_cast<std::uint64_t>(core::SuspendFailure::outcome_unknown));
    return;
  }
  if (hits(Fault::suspend_larger)) {
    behaviours_.at(process.deployment).suspended +=
        mib(static_cast<std::int64_t>(prng_.below(100)));
  }
  const std::uint64_t kept = hits(Fault::suspend_keeps_memory) ? 1U << 20U : 0;
  say(Happening::told_suspended, key, kept);
}

void World::resume_done(Process& process) {
  const std::uint64_t key = process.generation.value;
  const bool refused = hits(Fault::resume_refused);
  if (refused || hits(Fault::resume_unknown)) {
    const auto failure =
        refused ? core::SuspendFailure::refused : core::SuspendFailure::outcome_unknown;
    say(Happening::told_resume_failed, key, static_cast<std::uint64_t>(failure));
    return;
  }
  process.phase = Phase::ready;
  if (process.resuming_at) totals_.resuming = totals_.resuming + (now_ - *process.resuming_at);
  process.resuming_at.reset();
  say(Happening::told_resumed, key);
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

/// One of the steps of a load, with its report of progress.
void World::load_step(Process& process, std::uint64_t step_number) {
  if (step_number > 0) say(Happening::told_progress, process.generation.value);
  const Duration takes = load_time(process);
  // A load from far away takes longer and tells of its progress as often.
  const bool far = takes > behaviours_.at(process.deployment).load;
  const std::uint64_t steps = load_steps * (far ? std::uint64_t{remote_slowdown} : 1);
  Duration step_takes{takes.ns / static_cast<std::int64_t>(steps)};
  if (faults_.any()) {
    step_takes = Duration{around(step_takes).ns * process.slowness};
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
  const auto spec = deployments_.find(process.deployment);
  if (spec == deployments_.end() || !spec->second.model.id || process.devices.empty()) return;
  keep_model(spec->second.model.id, node_of(process.devices.front()));
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

/// What was loaded lies on the node's disk afterwards, and in the host's page cache for a while.
void World::keep_model(ModelId model, NodeId node) {
  if (hits(Fault::store_full)) return;
  put_model(node, model, core::Tier::disk);
  put_model(node, model, core::Tier::host);
  Tiers& store = stores_[node];
  while (store.host.size() > models_in_host) take_model(node, store.host.front(), core::Tier::host);
  while (store.disk.size() > models_on_disk) take_model(node, store.disk.front(), core::Tier::disk);
}

void World::put_model(NodeId node, ModelId model, core::Tier tier) {
  std::vector<ModelId>& there = stores_[node].of(tier);
  std::erase(there, model);
  there.push_back(model);
  step(core::ModelInTier{node, model, tier});
}

void World::take_model(NodeId node, ModelId model, core::Tier tier) {
  std::erase(stores_[node].of(tier), model);
  step(core::ModelLost{node, model, tier});
}

NodeId World::node_of(DeviceId id) const {
  for (const core::DeviceSpec& each : devices_) {
    if (each.id == id) return each.node;
  }
  return {};
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

}  // namespace stoker::sim
