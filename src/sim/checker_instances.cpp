// Orders about instances and the rooms that they take: V3, V4, V15 to V17, V19, V22.
#include <algorithm>

#include "base/invariant.h"
#include "sim/checker.h"

namespace stoker::sim {
namespace {

using core::StopMode;
using core::StopReason;

Duration cool_down_of(const core::ScalePolicy& policy) {
  return policy.scale_down_delay.value_or(policy.keep_warm.min);
}

bool is_graceful_choice(StopReason reason) {
  return reason == StopReason::idle || reason == StopReason::make_room;
}

}  // namespace

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
  each.started_at = now;
  each.devices = each.started_on = a.devices;
  each.pool = a.pool;
  each.held = a.reserved;
  each.share_permille = d.spec.needs.share_permille;
  each.exclusive = d.spec.needs.exclusive;
  each.pool_devices = a.pool ? d.spec.needs.devices : 0;
  STOKER_INVARIANT(
      static_cast<std::int32_t>(a.devices.size()) == (a.pool ? 0 : d.spec.needs.devices),
      "instance {}", a.instance.value);
  STOKER_INVARIANT(a.pool || (a.reserved.private_bytes == d.need.private_bytes &&
                              a.reserved.shared_bytes == d.need.shared_bytes),
                   "instance {} is given {}, and such a one took {}", a.instance.value,
                   a.reserved.private_bytes.value, d.need.private_bytes.value);
  for (const auto& [id, other] : instances_) {
    if (other.deployment == a.deployment && other.stage == Stage::suspended) {
      reached(State::started_beside_suspended);
      break;
    }
  }
  const std::vector<DeviceId> devices = a.devices;
  instances_[a.instance] = std::move(each);
  take_devices(d, a.instance, devices);
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
      STOKER_INVARIANT(d.token_late || d.changed, "deployment {} starts one for late first tokens",
                       a.deployment.value);
      break;
    case core::StartReason::request_rate:
      reached(State::started_for_request_rate);
      break;
    case core::StartReason::spare:
      reached(State::started_as_spare);
      break;
  }
  check_cool_down(d, a.reason, a.deployment, a.wanted_at);
  check_tier(d, a);
  if (a.reason != core::StartReason::replace) d.scaled_up_at = now;
  // What a broken model may cost: with its backoff of 1, 2, 4, 8 ... 60 s, less a fifth, no more
  // than eight rounds of starts in a minute.
  std::erase_if(d.starts, [&](Instant at) { return now - at > seconds(60); });
  d.starts.push_back(now);
  STOKER_INVARIANT(static_cast<std::int32_t>(d.starts.size()) <= 8 * d.most_instances,
                   "V22 deployment {} was started {} times in a minute without success",
                   a.deployment.value, d.starts.size());
}

/// It says that it loads from where the weights really lie.
void Checker::check_tier(const Deployment& d, const core::StartInstance& a) {
  if (a.pool || !d.spec.model.id) return;
  const NodeId node = devices_.at(a.devices.front()).spec.node;
  core::Tier from = core::Tier::remote;
  for (const core::Tier tier : {core::Tier::disk, core::Tier::host}) {
    if (stored_.contains({d.spec.model.id, node, tier})) from = tier;
  }
  STOKER_INVARIANT(a.from == from, "instance {} loads from {}, its model is in {}",
                   a.instance.value, to_text(a.from), to_text(from));
  STOKER_INVARIANT(a.expected_start.ns >= 0, "instance {}", a.instance.value);
  reached(from == core::Tier::host   ? State::started_from_host_memory
          : from == core::Tier::disk ? State::started_from_disk
                                     : State::started_from_remote);
}

/// It takes places there: V3.
void Checker::take_devices(const Deployment& d, InstanceId instance,
                           const std::vector<DeviceId>& devices) {
  NodeId node;
  for (const DeviceId id : devices) {
    Device& device = devices_.at(id);
    STOKER_INVARIANT(!device.lost, "instance {} on the lost device {}", instance.value, id.value);
    STOKER_INVARIANT(id == devices.front() || device.spec.node == node, "instance {} on two nodes",
                     instance.value);
    node = device.spec.node;
    STOKER_INVARIANT(suits(device.spec, d.spec.needs), "instance {} on device {}", instance.value,
                     id.value);
    if (!d.spec.needs.labels.empty()) reached(State::labels_decided);
    for (const InstanceId other : device.residents) {
      if (instances_.at(other).deployment != d.spec.id)
        reached(State::two_models_on_a_device);
      else if (d.spec.weights)
        reached(State::shared_weights_resident);
    }
    device.residents.insert(instance);
  }
  for (const DeviceId id : devices) check_memory(id);
}

/// V19: one that was stopped for want of requests is missed at once only by requests that wait.
void Checker::check_cool_down(const Deployment& d, core::StartReason reason, DeploymentId id,
                              Instant wanted_at) const {
  if (!is_for_load(reason) || !d.scaled_down_at || d.changed) return;
  STOKER_INVARIANT(wanted_at - *d.scaled_down_at >= cool_down_of(d.spec.scale),
                   "V19 deployment {} starts one {} ns after it stopped one", id.value,
                   (wanted_at - *d.scaled_down_at).ns);
}

/// One that idled for long enough goes.
void Checker::idle_choice(Instant now, const Instance& each, Deployment& d, InstanceId id) {
  const core::ScalePolicy& policy = d.spec.scale;
  // Others may drain, which is not seen from here: the shorter of the two delays holds.
  if (policy.scale_down_delay && policy.scale_to_zero_delay && !d.changed) {
    const Duration least = std::min(*policy.scale_down_delay, *policy.scale_to_zero_delay);
    STOKER_INVARIANT(now - each.idle_since >= least, "V19 instance {} was idle for {} ns", id.value,
                     (now - each.idle_since).ns);
  }
  if (d.scaled_up_at && !d.changed) {
    const Duration least = std::min(policy.scale_down_delay.value_or(policy.keep_warm.min),
                                    policy.scale_to_zero_delay.value_or(policy.keep_warm.min));
    STOKER_INVARIANT(now - *d.scaled_up_at >= least,
                     "V19 deployment {} stops one {} ns after it started one",
                     each.deployment.value, (now - *d.scaled_up_at).ns);
  }
  d.scaled_down_at = now;
}

void Checker::note_level(Instant now, Deployment& d) {
  const core::ScalePolicy& policy = d.spec.scale;
  const std::int32_t level = std::min((d.open + policy.concurrency - 1) / policy.concurrency,
                                      std::max(policy.max_instances, 1));
  for (std::int32_t k = level + 1; k <= d.level; ++k) d.fell_below[k] = now;
  d.level = level;
}

/// Where no delay is written, one that requests filled is kept for a quarter of its break-even time
/// at least, by the price of its own devices.
void Checker::check_kept(Instant now, const Instance& each, const Deployment& d) {
  const core::ScalePolicy& policy = d.spec.scale;
  const core::KeepWarm& keep = policy.keep_warm;
  if (policy.scale_down_delay || policy.scale_to_zero_delay || policy.on.queue_wait || each.pool ||
      keep.policy == core::KeepWarmPolicy::fixed || d.changed || d.rebounded) {
    return;
  }
  // Those that drain count here and not there: then the bound is an earlier one.
  const std::int32_t warm = warm_of(each.deployment);
  const auto fell = d.fell_below.find(warm);
  if (warm < 2 || fell == d.fell_below.end()) return;  // the last one goes by the next request
  double price = 0;
  for (const DeviceId id : each.devices) {
    price += static_cast<double>(devices_.at(id).spec.price_per_hour.value) / 1e9;
  }
  const double weight = keep.wait_weight / (price > 0 ? price : 1);
  // What can be suspended comes back by a resume.
  const Duration back =
      d.spec.can_suspend ? std::min(d.shortest_start, d.shortest_resume) : d.shortest_start;
  const double quarter_ns = static_cast<double>(back.ns) * (1 + weight) / 4;
  const double kept_ns = static_cast<double>((now - fell->second).ns);
  if (now - each.idle_since >= keep.max) return;
  constexpr double rounding_ns = 1e6;
  STOKER_INVARIANT(kept_ns + rounding_ns >= quarter_ns,
                   "instance of deployment {} is kept for {} ns, a quarter of break-even is {}",
                   each.deployment.value, kept_ns, quarter_ns);
  if (price > 0 && price < 1) reached(State::kept_by_its_price);
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
    STOKER_INVARIANT(rests || warm_of(each.deployment) > d.spec.scale.min_instances,
                     "V16 deployment {} falls below its minimum", each.deployment.value);
  }
  if (a.reason == StopReason::idle) {
    const bool last = warm_of(each.deployment) == 1;
    check_kept(now, each, d);
    idle_choice(now, each, d, a.instance);
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
        each.at_most = each.held.private_bytes + each.held.shared_bytes;
        each.held = before_measured_;
      }
      measured_.reset();
      break;
    case StopReason::abandoned:
      reached(State::stopped_while_loading_abandoned);
      break;
    case StopReason::host_room:
      STOKER_INVARIANT(each.stage == Stage::suspended, "instance {} leaves no host memory",
                       a.instance.value);
      reached(State::host_room_made);
      break;
    case StopReason::unlikely:
      STOKER_INVARIANT(each.stage == Stage::suspended, "instance {} is not suspended",
                       a.instance.value);
      STOKER_INVARIANT(d.waiting == 0, "L1 instance {} is asked for and goes", a.instance.value);
      reached(State::suspended_until_unlikely);
      break;
    case StopReason::elsewhere:
      reached(State::started_elsewhere);
      break;
    case StopReason::host_overrun:
      reached(State::host_overrun);
      each.host = each.host_before;
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
                      a.reason != StopReason::memory_overrun &&
                      a.reason != StopReason::suspend_failed &&
                      a.reason != StopReason::resume_failed && a.reason != StopReason::host_room &&
                      a.reason != StopReason::host_overrun;
  const bool starts = each.stage == Stage::starting || each.stage == Stage::loading;
  if (failed && each.stage != Stage::leaving) {
    note_failure(now, d);
    if (starts) note_failed_start(now, each);
  }
  // What was given up on purpose did not fail.
  if (!failed && (starts || each.stage == Stage::leaving) && !d.starts.empty()) {
    d.starts.pop_back();
  }
  each.stage = Stage::leaving;
}

void Checker::on(Instant, const core::AwaitRoom& a) {
  check_distrust(a);
  reached(State::waited_for_room);
  const auto known = instances_.find(a.instance);
  if (known != instances_.end() && known->second.stage == Stage::suspended) {
    reached(State::waited_for_own_devices);
  }
  if (a.reason == core::WaitReason::all_busy) reached(State::all_busy);
  if (a.reason == core::WaitReason::quota) reached(State::pool_quota_reached);
  if (a.unfit[static_cast<std::size_t>(core::Unfit::distrusted)] > 0) {
    reached(State::device_distrusted);
  }
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

}  // namespace stoker::sim
