// What breaks in the virtual world, and how it is mended.
#include <algorithm>

#include "sim/world.h"

namespace stoker::sim {
namespace {

constexpr Duration restart_takes = seconds(1);

}  // namespace

/// Between half and one and a half of `mean`.
Duration World::around(Duration mean) {
  if (mean.ns <= 0) return {};
  return Duration{mean.ns / 2 +
                  static_cast<std::int64_t>(prng_.below(static_cast<std::uint64_t>(mean.ns) + 1))};
}

bool World::hits(Fault fault) {
  const std::int32_t rate = faults_.of(fault);
  if (rate == 0 || static_cast<std::int32_t>(prng_.below(10'000)) >= rate) return false;
  if (observer_ != nullptr) observer_->on_fault(now_, fault);
  return true;
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
      if ((process->phase == Phase::ready || process->phase == Phase::suspended) &&
          prng_.below(2) == 0) {
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
    case Fault::tier_lost:
    case Fault::model_lost: {
      if (stores_.empty()) return;
      auto it = stores_.begin();
      std::advance(it, static_cast<std::ptrdiff_t>(prng_.below(stores_.size())));
      const NodeId node = it->first;
      const core::Tier tier = prng_.below(2) == 0 ? core::Tier::host : core::Tier::disk;
      std::vector<ModelId>& there = it->second.of(tier);
      if (there.empty()) return;
      struck();
      if (fault == Fault::model_lost) return take_model(node, there.front(), tier);
      there.clear();
      step(core::TierLost{node, tier});
      return;
    }
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
    case Fault::store_full:       // met when a model would be kept
    case Fault::suspend_refused:  // met when it ends
    case Fault::suspend_unknown:
    case Fault::suspend_keeps_memory:
    case Fault::suspend_larger:
    case Fault::resume_refused:
    case Fault::resume_unknown:
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
  for (const core::NodeSpec& each : nodes_) step(core::NodeAdded{each});
  for (auto& [node, store] : stores_) {
    store.host.clear();  // of the last life nothing is cached
    for (const ModelId model : store.disk) {
      step(core::ModelInTier{node, model, core::Tier::disk});
    }
  }
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
