#include "sim/seed_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <map>
#include <memory>

#include "base/invariant.h"
#include "sim/checker.h"
#include "sim/metered_gateway.h"
#include "sim/observer_pair.h"

namespace stoker::sim {
namespace {

/// Draws the world of a seed and drives it.
class SeedRun {
 public:
  SeedRun(std::uint64_t seed, const SeedOptions& options)
      : options_(options),
        prng_(seed),
        faults_(options.with_faults ? draw_faults(prng_) : no_faults()),
        checker_(options.sweep_every, options.listener),
        gateway_(seed, faults_, options.sweep_every),
        both_(checker_, gateway_),
        world_(seed, faults_, &both_) {}

  void run() {
    checker_.set_trace(options_.trace);
    draw_devices();
    draw_deployments();
    while (sent_ < options_.requests) burst_or_pause();
    settle();
  }

  World& world() { return world_; }
  [[nodiscard]] StateCounts states() const {
    StateCounts sum = checker_.states();
    sum.add(gateway_.states());
    sum.add(world_.states);
    return sum;
  }

 private:
  template <class T>
  T draw(T least, T most) {
    return static_cast<T>(
        least + static_cast<T>(prng_.below(static_cast<std::uint64_t>(most - least) + 1)));
  }
  bool one_in(std::uint64_t n) { return prng_.below(n) == 0; }

  void draw_devices() {
    const auto nodes = draw<std::uint64_t>(1, 3);
    std::uint64_t id = 0;
    for (std::uint64_t node = 1; node <= nodes; ++node) {
      const auto on_node = draw<std::uint64_t>(1, 3);
      if (!one_in(4)) world_.add_node({NodeId{node}, mib(draw<std::int64_t>(20, 250))});
      for (std::uint64_t i = 0; i < on_node; ++i) {
        core::DeviceSpec device;
        device.id = DeviceId{++id};
        device.name = "d" + std::to_string(id);
        device.kind = core::DeviceKind::fake;
        device.memory = mib(draw<std::int64_t>(120, 400));
        device.slots = draw(1, 6);
        device.node = NodeId{node};
        if (one_in(2)) device.labels = {core::LabelId{1}};
        world_.add_device(device);
      }
    }
    if (one_in(3)) {
      has_pool_ = true;
      world_.add_pool(
          {PoolId{1}, "pool", draw(1, 4), one_in(2) ? seconds(draw(1, 20)) : Duration{}});
    }
  }

  void draw_deployments() {
    const auto count = draw<std::uint64_t>(1, 8);
    for (std::uint64_t id = 1; id <= count; ++id) add_deployment(DeploymentId{id});
  }

  void add_deployment(DeploymentId id) {
    core::DeploymentSpec d;
    d.id = id;
    d.name = "m" + std::to_string(id.value);
    d.scale.max_instances = draw(1, 4);
    d.scale.min_instances = one_in(3) ? draw(0, std::min(2, d.scale.max_instances)) : 0;
    d.scale.concurrency = draw(1, 4);
    d.scale.scale_up_threshold = draw(1, 5);
    if (one_in(3)) {
      d.scale.scale_down_delay.reset();
      d.scale.scale_to_zero_delay.reset();
      d.scale.keep_warm.policy = static_cast<core::KeepWarmPolicy>(draw(0, 2));
      d.scale.keep_warm.max = seconds(draw(5, 120));
      d.scale.keep_warm.min = one_in(3) ? seconds(draw(0, 5)) : Duration{};
      d.scale.keep_warm.wait_weight = draw(0, 30);
    } else {
      d.scale.scale_down_delay = seconds(draw(0, 20));
      d.scale.scale_to_zero_delay = seconds(draw(0, 20));
    }
    if (one_in(4)) d.scale.spare_instances = draw(1, 2);
    if (one_in(4)) d.scale.on.utilization = true;
    d.scale.target_utilization_percent = draw(30, 100);
    if (one_in(6)) d.scale.on.queue_wait = ms(draw(10, 5000));
    if (one_in(8)) d.scale.on.first_token = ms(draw(5, 2000));
    if (one_in(8)) d.scale.on.rate_milli = draw(200, 10'000);
    if (d.scale.on.any() && one_in(2)) d.scale.scale_up_threshold = 0;
    d.limits.max_queued = draw(1, 40);
    if (one_in(4)) d.limits.max_queued_per_tenant = draw(1, 10);
    d.limits.queue_timeout = seconds(draw(1, 30));
    d.limits.start_timeout = seconds(draw(2, 10));
    d.limits.load_stall_timeout = seconds(draw(2, 10));
    d.limits.cancel_grace = seconds(draw(1, 5));
    d.limits.drain_limit = seconds(draw(1, 20));
    d.estimate = {mib(draw<std::int64_t>(5, 60)), mib(draw<std::int64_t>(0, 50))};
    if (one_in(2)) d.weights = WeightsId{draw<std::uint64_t>(1, 3)};
    if (one_in(2)) {
      d.model.id = ModelId{draw<std::uint64_t>(1, 5)};
      if (one_in(2)) d.model.bytes = mib(draw<std::int64_t>(5, 60));
    }
    d.finish_abandoned_load = one_in(2);
    d.priority = one_in(4) ? draw(0, 2) : 0;
    if (one_in(8)) d.needs.devices = 2;
    if (one_in(8)) d.needs.exclusive = true;
    if (one_in(6)) d.needs.share_permille = draw(100, 700);
    if (one_in(8)) d.needs.labels = {core::LabelId{1}};
    if (has_pool_ && one_in(4)) {
      d.pool = PoolId{1};
      d.needs.devices = draw(1, 2);
    }
    d.scale.keep_warm.suspended_max = seconds(draw(5, 120));
    d.scale.keep_warm.host_cost_permille = one_in(3) ? draw(0, 2000) : 20;
    d.can_suspend = one_in(2);
    d.scale.keep_warm.suspend = !one_in(5);
    d.limits.suspend_timeout = seconds(draw(1, 6));
    if (one_in(3)) d.suspended_bytes = mib(draw<std::int64_t>(5, 80));
    if (one_in(3)) d.expected_resume = ms(draw(1, 3000));
    Behaviour behaviour;
    behaviour.start = ms(draw(5, 300));
    behaviour.load = ms(draw(10, 4000));
    behaviour.memory = d.estimate;
    if (one_in(5)) behaviour.memory.private_bytes += mib(draw<std::int64_t>(0, 30));
    behaviour.suspend = ms(draw(1, 1000));
    behaviour.resume = ms(draw(1, 1500));
    behaviour.suspended = behaviour.memory.private_bytes + behaviour.memory.shared_bytes;
    if (one_in(5)) behaviour.suspended += mib(draw<std::int64_t>(0, 60));
    if (options_.with_faults) {
      behaviour.broken = one_in(12);
      behaviour.missing = one_in(25);
    }
    world_.add_deployment(d, behaviour);
    service_[id] = ms(draw(1, one_in(4) ? 5000 : 400));
  }

  /// Draws are statements of their own: compilers differ in the order of a call's arguments.
  void burst_or_pause() {
    const std::uint64_t what = prng_.below(10);
    const DeploymentId one = any_deployment();
    const std::int32_t few = draw(20, 60);
    const std::int32_t many = draw(10, 120);
    const Duration gap = ms(draw(1, 400));
    switch (what) {
      case 0:  // everybody at once
        return arrive_all(many, Duration{}, one);
      case 1:  // one tenant floods
        flood_ = TenantId{draw<std::uint64_t>(1, 4)};
        arrive_all(few, ms(2), one);
        flood_ = {};
        return;
      case 2:  // two models in turn
        return in_turn(few / 2);
      case 3:  // nobody
        return pass(seconds(draw(1, 40)));
      case 4:
        return change_something();
      default:  // steady
        return arrive_all(many, gap, {});
    }
  }

  DeploymentId any_deployment() {
    const auto& all = world_.deployments();
    if (all.empty()) return DeploymentId{1};
    auto it = all.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(prng_.below(all.size())));
    return it->first;
  }

  void pass(Duration d) {
    world_.run_until(world_.now() + d);
    for (const RequestId each : gateway_.take_exhausted()) world_.give_up(each);
  }

  void arrive_all(std::int32_t count, Duration gap, DeploymentId only) {
    for (std::int32_t i = 0; i < count; ++i) {
      arrive(only ? only : any_deployment());
      if (gap.ns > 0) {
        pass(Duration{
            static_cast<std::int64_t>(prng_.below(2 * static_cast<std::uint64_t>(gap.ns)))});
      }
    }
  }

  void in_turn(std::int32_t rounds) {
    const DeploymentId a = any_deployment();
    const DeploymentId b = any_deployment();
    for (std::int32_t i = 0; i < rounds; ++i) {
      arrive(i % 2 == 0 ? a : b);
      pass(ms(draw(10, 3000)));
    }
  }

  void arrive(DeploymentId id) {
    Arrival arrival;
    arrival.request = RequestId{static_cast<std::uint64_t>(++sent_)};
    arrival.deployment = id;
    arrival.tenant = flood_ && !one_in(6) ? flood_ : TenantId{draw<std::uint64_t>(1, 4)};
    arrival.priority = one_in(5) ? draw(0, 2) : 0;
    const Duration mean = service_.contains(id) ? service_[id] : ms(100);
    arrival.service =
        Duration{mean.ns / 4 +
                 static_cast<std::int64_t>(prng_.below(2 * static_cast<std::uint64_t>(mean.ns)))};
    if (one_in(12)) arrival.gone_after = ms(draw(0, 6000));
    if (one_in(20)) arrival.gone_after = arrival.service + ms(1);  // close to its end
    if (one_in(15)) arrival.gone_after = ms(draw(1, 100));         // close to its dispatch
    if (one_in(15)) arrival.deadline = ms(draw(1, 5000));
    if (one_in(3)) arrival.cost = draw(1, 10);
    if (one_in(4)) arrival.affinity = draw<std::uint64_t>(1, 6);
    if (!world_.server_runs() || !gateway_.admit(world_.now(), arrival)) return;
    world_.arrive(arrival);
  }

  void change_something() {
    if (!world_.server_runs()) return pass(seconds(1));
    const DeploymentId id = any_deployment();
    if (one_in(3) && world_.deployments().size() > 1) {
      world_.remove_deployment(id);
      if (one_in(2)) {
        pass(seconds(draw(1, 40)));
        add_deployment(DeploymentId{100 + ++added_});
      }
      return;
    }
    if (one_in(3) && world_.deployments().contains(id)) {
      const std::int32_t most = draw(1, 4);
      const std::int32_t least = one_in(2) ? draw(0, most) : 0;
      world_.change_bounds(id, least, most);
      return;
    }
    if (one_in(3) && world_.deployments().contains(id)) {
      Behaviour behaviour = world_.behaviour(id);
      behaviour.broken = options_.with_faults && one_in(2);
      behaviour.missing = false;
      world_.set_behaviour(id, behaviour);
      world_.tell(core::WarmRequested{id});
      return;
    }
    if (world_.deployments().contains(id)) world_.tell(core::StopRequested{id, {}});
  }

  /// Nobody sends any more and nothing breaks any more: everything must end.
  void settle() {
    world_.stop_faults();
    gateway_.stop_faults();
    for (const auto& [id, spec] : world_.deployments()) {
      world_.tell(core::WarmRequested{id});  // forgets failures and rests
    }
    // Longer than any queue, any backoff, any keep-warm time and any unkillable process.
    pass(minutes(12));
    STOKER_INVARIANT(world_.server_runs(), "the server never came back");
    checker_.check_settled(world_.core(), world_);
    gateway_.check_settled(world_.now());
    if (one_in(2)) return;
    for (int i = 0; i < 20; ++i) arrive(any_deployment());
    pass(ms(draw(0, 3000)));
    world_.tell(core::ShutdownRequested{});
    for (int i = 0; i < 5; ++i) arrive(any_deployment());
    pass(minutes(3));
    STOKER_INVARIANT(world_.core().quiet() && world_.processes() == 0,
                     "L2 the server does not end: {} processes", world_.processes());
    STOKER_INVARIANT(world_.open_requests() == 0, "L1 {} requests never ended",
                     world_.open_requests());
    gateway_.check_settled(world_.now());
  }

  const SeedOptions options_;
  Prng prng_;
  const FaultPlan faults_;
  Checker checker_;
  MeteredGateway gateway_;
  ObserverPair both_;
  World world_;
  std::map<DeploymentId, Duration> service_;
  TenantId flood_;
  bool has_pool_ = false;
  std::int32_t sent_ = 0;
  std::uint64_t added_ = 0;
};

}  // namespace

SeedResult run_seed(std::uint64_t seed, const SeedOptions& options) {
  SeedResult result;
  result.seed = seed;
  const InvariantsThrow instead_of_ending_the_process;
  // On the heap: it is large, and it must outlive the exception to tell where it was.
  auto run = std::make_unique<SeedRun>(seed, options);
  try {
    run->run();
  } catch (const std::exception& broken) {  // an invariant, or what would have ended a server
    result.violation =
        fmt::format("at {:.6f} s, event {}: {}", static_cast<double>(run->world().now().ns) / 1e9,
                    run->world().totals().events, broken.what());
  }
  result.totals = run->world().totals();
  result.virtual_time = run->world().now() - Instant{};
  result.states = run->states();
  return result;
}

}  // namespace stoker::sim
