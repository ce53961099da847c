// What breaks in the virtual world, and how it is mended.
#include <algorithm>

#include "sim/world.h"

namespace stoker::sim {
namespace {

constexpr Duration restart_takes = seconds(1);

}  // namespace

/// `times`: its rate is so much larger.
bool World::hits(Fault fault, Subject who, std::uint32_t time, std::int32_t times) {
  if (!chances_.hits(fault, who, time, times)) return false;
  struck(fault);
  return true;
}

World::Process* World::find(Subject subject) {
  for (Process& each : processes_) {
    if (each.phase != Phase::gone && each.subject == subject) return &each;
  }
  return nullptr;
}

void World::strike(const Strike& strike) {
  if (core_ == nullptr && strike.fault != Fault::device_returned) return;
  switch (strike.fault) {
    case Fault::device_lost:
      return lose_device(strike.device);
    case Fault::device_returned:
      return return_device(strike.device);
    case Fault::tier_lost:
    case Fault::model_lost:
      return lose_tier(strike);
    case Fault::server_crashes:
      struck(strike.fault);
      return crash_server();
    case Fault::server_sleeps:
      struck(strike.fault);
      asleep_until_ = now_ + Duration{strike.amount};
      return;
    default:
      break;
  }
  Process* const process = find(strike.instance);
  if (process != nullptr) strike_process(*process, strike);
}

void World::strike_process(Process& process, const Strike& strike) {
  struck(strike.fault);
  switch (strike.fault) {
    case Fault::process_dies:
      process.phase = Phase::ending;
      return die(process, Duration{});
    case Fault::process_dies_slowly:
      process.phase = Phase::ending;
      process.outlives_kill = true;
      return die(process, Duration{strike.amount});
    case Fault::process_hangs:
      process.hung = true;
      if (strike.amount == 1) {
        step(core::InstanceHung{process.id, process.generation, core::HangKind::no_progress});
      }
      return;
    case Fault::process_pauses:
      process.paused = true;
      return;
    case Fault::process_resumes:
      return go_on(process);
    case Fault::process_slow:
    case Fault::load_slow:
      process.slowness = static_cast<std::int32_t>(strike.amount);
      return;
    case Fault::ignores_cancel:
      process.ignores_cancel = true;
      return;
    case Fault::unreachable:
      process.unreachable = true;
      return;
    case Fault::load_larger:
      behaviours_.at(process.deployment).memory.private_bytes = Bytes{strike.amount};
      return;
    case Fault::spawn_fails_may_pass:
      return fail_start(process.generation, core::StartFailure::may_pass);
    case Fault::spawn_fails_will_stay:
      return fail_start(process.generation, core::StartFailure::will_stay);
    case Fault::spawn_outcome_unknown:
      return step(core::StartOutcomeUnknown{process.id, process.generation});
    case Fault::stale_message:
      return step(core::InstanceReady{
          process.id, Generation{process.generation.value + (std::uint64_t{1} << 40U)}, {}});
    default:  // it hits no process
      return;
  }
}

void World::fail_start(Generation generation, core::StartFailure failure) {
  catch_up();
  Process* const process = find(generation);
  if (process == nullptr) return;
  if (process->phase != Phase::starting && process->phase != Phase::pending) return;
  const InstanceId id = process->id;
  forget(*process);
  step(core::StartFailed{id, generation, failure});
}

/// Whatever runs there stops working at once; the core hears of the loss.
void World::lose_device(DeviceId id) {
  const bool is_there = std::any_of(devices_.begin(), devices_.end(),
                                    [&](const core::DeviceSpec& each) { return each.id == id; });
  if (!is_there || std::count(lost_devices_.begin(), lost_devices_.end(), id) > 0) return;
  struck(Fault::device_lost);
  lost_devices_.push_back(id);
  for (Process& each : processes_) {
    if (std::count(each.devices.begin(), each.devices.end(), id) > 0) each.hung = true;
  }
  step(core::DeviceLost{id});
}

void World::return_device(DeviceId id) {
  if (std::erase(lost_devices_, id) == 0) return;
  struck(Fault::device_returned);
  step(core::DeviceReturned{id});
}

void World::stop_by_hand(const StopByHand& order) {
  if (!deployments_.contains(order.deployment)) return;
  const Process* const process = order.instance ? find(order.instance) : nullptr;
  if (order.instance && process == nullptr) return;
  step(core::StopRequested{order.deployment, process == nullptr ? InstanceId{} : process->id});
}

void World::warm_by_hand(DeploymentId deployment) {
  if (deployments_.contains(deployment)) step(core::WarmRequested{deployment});
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
    if (process.outlives_kill) continue;
    die(process, ms(chances_.below(Roll::death_in_crash, process.subject, 0, 5'000)));
  }
  forget_moves();
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
  for (const core::NodeSpec& each : nodes_) step(core::NodeAdded{each});
  for (auto& [node, store] : stores_) {
    store.host.clear();  // of the last life nothing is cached
    if (store.filled_by_core) step(core::StoreAdded{store.filled_by_core->store});
    for (const ModelId model : store.disk) {
      step(core::ModelInTier{node, model, core::Tier::disk, size_of(model)});
    }
  }
  for (const core::PoolSpec& each : pools_) step(core::PoolAdded{each});
  for (const auto& [tenant, weight] : weights_) step(core::TenantWeighed{tenant, weight});
  for (const auto& [id, each] : deployments_) step(core::DeploymentAdded{each});
}

void World::stop_faults() {
  chances_.stop();
  asleep_until_.reset();
  for (auto& [id, behaviour] : behaviours_) {
    behaviour.broken = false;
    behaviour.missing = false;
    behaviour.crashes = false;
  }
  const std::vector<DeviceId> lost = lost_devices_;
  for (const DeviceId id : lost) return_device(id);
  std::vector<Process*> paused;
  for (Process& each : processes_) {
    if (each.phase != Phase::gone && each.paused) paused.push_back(&each);
  }
  // Not by their places, which others have had before them.
  std::sort(paused.begin(), paused.end(),
            [](const Process* a, const Process* b) { return a->generation < b->generation; });
  for (Process* each : paused) go_on(*each);
}

}  // namespace stoker::sim
