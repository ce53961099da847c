// Draws what breaks in the virtual world, and when. All of it is done as an input (inputs.h), which
// is told first to whoever records.
#include <algorithm>
#include <iterator>
#include <utility>

#include "sim/world.h"

namespace stoker::sim {
namespace {

constexpr std::int64_t most_swizzled = 6;

}  // namespace

World::Process* World::any_process(bool (*wanted)(const Process&)) {
  if (processes_.empty()) return nullptr;
  const std::size_t from = prng_.below(processes_.size());
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    Process& process = processes_[(from + i) % processes_.size()];
    if (process.phase != Phase::gone && wanted(process)) return &process;
  }
  return nullptr;
}

std::optional<DeploymentId> World::any_deployment() {
  if (deployments_.empty()) return std::nullopt;
  auto it = deployments_.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(prng_.below(deployments_.size())));
  return it->first;
}

void World::do_strike(const Strike& each) {
  if (on_strike_) on_strike_(each);
  strike(each);
}

void World::draw_strikes() {
  for (std::size_t i = 0; i < fault_count && core_ != nullptr; ++i) {
    // Rates are per message or load where the fault belongs to one; strikes are scaled up.
    const std::int32_t rate = std::min(chances_.plan().per_10k[i] * 8, 9'000);
    if (rate == 0 || static_cast<std::int32_t>(prng_.below(10'000)) >= rate) continue;
    const auto fault = static_cast<Fault>(i);
    switch (fault) {
      case Fault::stop_by_hand:
      case Fault::warm_by_hand:
        draw_by_hand(fault);
        break;
      case Fault::deployment_changes:
        draw_change();
        break;
      case Fault::clock_steps:
        draw_clock_step();
        break;
      case Fault::swizzle:
        draw_swizzle();
        break;
      default:
        if (const std::optional<Strike> strike = draw_strike(fault)) do_strike(*strike);
    }
  }
}

/// Nullopt: there is nothing that it could hit, or it is met elsewhere.
std::optional<Strike> World::draw_strike(Fault fault) {
  const auto any = [](const Process&) { return true; };
  const auto alive = [](const Process& p) { return p.phase != Phase::ending; };
  const auto ready = [](const Process& p) { return p.phase == Phase::ready; };
  const auto spawning = [](const Process& p) {
    return p.phase == Phase::starting || p.phase == Phase::pending;
  };
  const auto before_ready = [](const Process& p) {
    return p.phase == Phase::starting || p.phase == Phase::loading;
  };
  Strike strike;
  strike.fault = fault;
  const Process* process = nullptr;
  switch (fault) {
    case Fault::process_dies:
    case Fault::stale_message:
      process = any_process(any);
      break;
    case Fault::process_dies_slowly:
      process = any_process(alive);
      strike.amount = seconds(static_cast<std::int64_t>(prng_.below(12))).ns;
      break;
    case Fault::process_hangs:
      process = any_process([](const Process& p) {
        return p.phase != Phase::ending && p.phase != Phase::pending && !p.hung;
      });
      if (process != nullptr &&
          (process->phase == Phase::ready || process->phase == Phase::suspended)) {
        strike.amount = static_cast<std::int64_t>(prng_.below(2));
      }
      break;
    case Fault::process_slow:
      process = any_process(alive);
      strike.amount = prng_.below(2) == 0 ? 10 : 100;
      break;
    case Fault::ignores_cancel:
    case Fault::unreachable:
      process = any_process(ready);
      break;
    case Fault::load_slow:
      process = any_process(before_ready);
      strike.amount = 20;
      break;
    case Fault::load_larger: {
      process = any_process(before_ready);
      if (process == nullptr) return std::nullopt;
      const auto spec = deployments_.find(process->deployment);
      if (spec == deployments_.end()) return std::nullopt;
      strike.amount =
          (spec->second.estimate.private_bytes + mib(static_cast<std::int64_t>(prng_.below(64))))
              .value;
      break;
    }
    case Fault::spawn_fails_may_pass:
    case Fault::spawn_fails_will_stay:
    case Fault::spawn_outcome_unknown:
      process = any_process(spawning);
      break;
    case Fault::device_lost:
      if (devices_.empty()) return std::nullopt;
      strike.device = devices_[prng_.below(devices_.size())].id;
      if (std::count(lost_devices_.begin(), lost_devices_.end(), strike.device) > 0) {
        strike.fault = Fault::device_returned;
      }
      return strike;
    case Fault::tier_lost:
    case Fault::model_lost: {
      if (stores_.empty()) return std::nullopt;
      auto it = stores_.begin();
      std::advance(it, static_cast<std::ptrdiff_t>(prng_.below(stores_.size())));
      strike.node = it->first;
      strike.amount =
          static_cast<std::int64_t>(prng_.below(2) == 0 ? core::Tier::host : core::Tier::disk);
      return strike;
    }
    case Fault::server_crashes:
      return strike;
    case Fault::server_sleeps:
      strike.amount = seconds(1 + static_cast<std::int64_t>(prng_.below(90))).ns;
      return strike;
    default:  // met when a process is killed, a message sent, a load ends; with a request; or in
              // MeteredGateway
      return std::nullopt;
  }
  if (process == nullptr) return std::nullopt;
  strike.instance = process->subject;
  return strike;
}

void World::draw_by_hand(Fault fault) {
  const std::optional<DeploymentId> id = any_deployment();
  if (!id) return;
  struck(fault);
  if (fault == Fault::warm_by_hand) {
    if (on_strike_) on_strike_(WarmByHand{*id});
    return warm_by_hand(*id);
  }
  StopByHand order{*id, {}};
  const Process* const process =
      prng_.below(2) == 0 ? any_process([](const Process& p) { return p.phase != Phase::ending; })
                          : nullptr;
  if (process != nullptr) order = {process->deployment, process->subject};
  if (on_strike_) on_strike_(order);
  stop_by_hand(order);
}

void World::draw_change() {
  const std::optional<DeploymentId> id = any_deployment();
  if (!id) return;
  struck(Fault::deployment_changes);
  core::DeploymentSpec spec = deployments_.at(*id);
  spec.scale.max_instances = 1 + static_cast<std::int32_t>(prng_.below(4));
  spec.scale.min_instances = std::min(spec.scale.min_instances, spec.scale.max_instances);
  spec.scale.concurrency = 1 + static_cast<std::int32_t>(prng_.below(4));
  spec.limits.max_queued = 1 + static_cast<std::int32_t>(prng_.below(20));
  if (on_strike_) on_strike_(ChangeDeployment{spec});
  change_deployment(spec);
}

/// The wall clock jumps, and every schedule with it: bounds change all at once, and at once back if
/// somebody sets it right. The core's own time knows nothing of it.
void World::draw_clock_step() {
  std::vector<ChangeBounds> back;
  std::vector<ChangeBounds> jump;
  for (const auto& [id, spec] : deployments_) {
    if (prng_.below(2) == 0) continue;
    const auto most = 1 + static_cast<std::int32_t>(prng_.below(4));
    const auto least =
        static_cast<std::int32_t>(prng_.below(static_cast<std::uint64_t>(most) + 1)) / 2;
    jump.push_back({id, least, most});
    back.push_back({id, spec.scale.min_instances, spec.scale.max_instances});
  }
  if (jump.empty()) return;
  struck(Fault::clock_steps);
  if (prng_.below(2) == 0) jump.insert(jump.end(), back.begin(), back.end());
  for (const ChangeBounds& each : jump) {
    if (on_strike_) on_strike_(each);
    change_bounds(each.deployment, each.min_instances, each.max_instances);
  }
}

/// Stops a random few one by one and lets them go in another order: devices, or processes.
void World::draw_swizzle() {
  if (swizzles_left_ > 0) return;  // one at a time
  std::vector<std::uint64_t> chosen;
  const bool devices = devices_.size() > 1 && prng_.below(2) == 0;
  if (devices) {
    for (const core::DeviceSpec& each : devices_) chosen.push_back(each.id.value);
  } else {
    for (const Process& each : processes_) {
      const bool can = each.phase != Phase::gone && each.phase != Phase::ending && !each.hung;
      if (can) chosen.push_back(each.generation.value);
    }
  }
  if (chosen.size() < 2) return;
  const auto shuffle = [&] {
    for (std::size_t i = chosen.size(); i > 1; --i)
      std::swap(chosen[i - 1], chosen[prng_.below(i)]);
  };
  const auto kind = devices ? Happening::swizzle_device : Happening::swizzle_process;
  shuffle();
  chosen.resize(2 + prng_.below(std::min<std::uint64_t>(chosen.size(), most_swizzled) - 1));
  struck(Fault::swizzle);
  swizzles_left_ = 2 * static_cast<std::int32_t>(chosen.size());
  Duration at = ms(1);
  for (const std::uint64_t each : chosen) {
    plan_in(at, kind, each, 0);
    at = at + ms(1 + static_cast<std::int64_t>(prng_.below(1'500)));
  }
  at = at + ms(static_cast<std::int64_t>(prng_.below(8'000)));
  shuffle();
  for (const std::uint64_t each : chosen) {
    plan_in(at, kind, each, 1);
    at = at + ms(1 + static_cast<std::int64_t>(prng_.below(1'500)));
  }
}

void World::swizzle(const Planned& planned) {
  const bool goes_on = planned.second == 1;
  const bool devices = planned.kind == Happening::swizzle_device;
  Strike strike;
  if (devices) {
    strike.fault = goes_on ? Fault::device_returned : Fault::device_lost;
    strike.device = DeviceId{planned.id};
  } else {
    strike.fault = goes_on ? Fault::process_resumes : Fault::process_pauses;
    if (const Process* process = find(Generation{planned.id})) strike.instance = process->subject;
  }
  if (devices || strike.instance) do_strike(strike);
  if (--swizzles_left_ == 0) {
    state(devices ? State::devices_swizzled : State::processes_swizzled);
  }
}

}  // namespace stoker::sim
