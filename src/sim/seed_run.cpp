#include "sim/seed_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <exception>
#include <map>
#include <memory>
#include <vector>

#include "base/invariant.h"
#include "sim/decision_log.h"

namespace stoker::sim {
namespace {

/// In a paired run: the deployment that never comes up, who asks for it, where it lies, and how
/// its devices differ from those of the others.
constexpr DeploymentId looping_deployment{90};
constexpr TenantId looping_tenant{5};
constexpr NodeId looping_node{9};
constexpr PoolId looping_pool{2};
constexpr core::DeviceKind looping_kind = core::DeviceKind::cuda;

bool is_paired(std::uint64_t seed, const SeedOptions& options) {
  return options.paired_in > 0 && Prng(seed ^ 0x9a12edULL).below(options.paired_in) == 0;
}

/// Draws the world of a seed and drives it.
class SeedRun {
 public:
  /// `listener`: hears events and orders beside the checkers; may be null.
  SeedRun(std::uint64_t seed, const SeedOptions& options, Observer* listener)
      : seed_(seed),
        options_(options),
        prng_(seed),
        price_prng_(seed ^ 0x9121ceULL),
        weight_prng_(seed ^ 0x3e19475ULL),
        store_prng_(seed ^ 0x570135ULL),
        has_stores_(store_prng_.below(3) == 1),
        paired_(is_paired(seed, options)),
        faults_(draw_plan()),
        scene_(seed, faults_, options.sweep_every, {options.trace, listener}) {}

  void run() {
    draw_devices();
    draw_stores();
    draw_weights();
    draw_deployments();
    if (paired_) add_looping();
    while (sent_ < options_.requests) burst_or_pause();
    settle();
  }

  Scene& scene() { return scene_; }
  [[nodiscard]] bool paired() const { return paired_; }
  /// What a script says beside its steps.
  [[nodiscard]] Script header() const {
    Script script;
    script.seed = seed_;
    script.varied = faults_.any();
    script.between_strikes = faults_.between_strikes;
    script.sweep_every = options_.sweep_every;
    if (paired_) script.looping = looping_deployment;
    return script;
  }

 private:
  template <class T>
  T draw(T least, T most) {
    return static_cast<T>(
        least + static_cast<T>(prng_.below(static_cast<std::uint64_t>(most - least) + 1)));
  }
  bool one_in(std::uint64_t n) { return prng_.below(n) == 0; }

  FaultPlan draw_plan() {
    FaultPlan plan = no_faults();
    if (options_.with_faults) plan = draw_faults(prng_, has_stores_ ? &store_prng_ : nullptr);
    if (paired_) {
      // Shared by all: the wait for the last process of a life, and who wakes a sleeping server.
      for (const Fault fault : {Fault::server_crashes, Fault::server_sleeps}) {
        plan.per_10k[static_cast<std::size_t>(fault)] = 0;
      }
    }
    return plan;
  }

  World& world() { return scene_.world(); }

  /// Half of the worlds have prices, from a cheap processor's to a large GPU's.
  NanoPrice draw_price() {
    constexpr std::array<std::int64_t, 6> milli = {0, 20, 100, 500, 4'000, 30'000};
    return {has_prices_ ? milli[price_prng_.below(milli.size())] * 1'000'000 : 0};
  }

  void draw_devices() {
    has_prices_ = price_prng_.below(2) == 0;
    nodes_ = draw<std::uint64_t>(1, 3);
    std::uint64_t id = 0;
    for (std::uint64_t node = 1; node <= nodes_; ++node) {
      const auto on_node = draw<std::uint64_t>(1, 3);
      if (!one_in(4)) {
        scene_.perform(AddNode{{NodeId{node}, mib(draw<std::int64_t>(20, 250))}});
      }
      for (std::uint64_t i = 0; i < on_node; ++i) {
        core::DeviceSpec device;
        device.id = DeviceId{++id};
        device.name = "d" + std::to_string(id);
        device.kind = core::DeviceKind::fake;
        device.memory = mib(draw<std::int64_t>(120, 400));
        device.slots = draw(1, 6);
        device.node = NodeId{node};
        if (one_in(2)) device.labels = {core::LabelId{1}};
        device.price_per_hour = draw_price();
        scene_.perform(AddDevice{device});
      }
    }
    if (one_in(3)) {
      has_pool_ = true;
      core::PoolSpec pool{PoolId{1}, "pool", draw(1, 4), {}};
      if (one_in(2)) pool.pending_limit = seconds(draw(1, 20));
      scene_.perform(AddPool{pool});
    }
  }

  /// In a third of the worlds, on most nodes, the core fills a store.
  void draw_stores() {
    if (!has_stores_) return;
    // So small that they swap, or large enough for all.
    const std::int64_t most_mib = store_prng_.below(4) == 0 ? 600 : 120;
    const std::int32_t rest_s = 2 + static_cast<std::int32_t>(store_prng_.below(60));
    const std::int32_t speed = 1 + static_cast<std::int32_t>(store_prng_.below(100));
    for (std::uint64_t node = 1; node <= nodes_; ++node) {
      if (store_prng_.below(5) == 0) continue;
      AddStore added;
      added.store.node = NodeId{node};
      added.store.disk = mib(20 + draw_store(most_mib));
      added.store.host_memory = mib(draw_store(most_mib / 2));
      added.store.rest = seconds(rest_s);
      added.fetch_mib_per_s = speed;
      stores_.push_back(added);
      scene_.perform(added);
    }
  }
  std::int64_t draw_store(std::int64_t bound) {
    return static_cast<std::int64_t>(store_prng_.below(static_cast<std::uint64_t>(bound)));
  }
  /// Of each model one, or not known.
  Bytes draw_model_bytes(core::ModelId model) {
    const std::uint64_t drawn = Prng(seed_ ^ model.value * 0x5172eULL).below(56);
    return drawn < 8 ? Bytes{} : mib(static_cast<std::int64_t>(drawn));
  }
  void draw_stored_model(core::DeploymentSpec& d) {
    if (store_prng_.below(3) > 0) d.model.id = core::ModelId{1 + store_prng_.below(8)};
    if (!d.model.id) return;
    d.model.bytes = draw_model_bytes(d.model.id);
    d.model.pinned.reset();
    if (store_prng_.below(8) == 0) {
      d.model.pinned = store_prng_.below(2) == 0 ? core::Tier::host : core::Tier::disk;
    }
  }
  /// It is given other sizes while it is used.
  void resize_store() {
    if (stores_.empty()) return;
    AddStore& one = stores_[store_prng_.below(stores_.size())];
    one.store.disk = mib(20 + draw_store(120));
    one.store.host_memory = mib(draw_store(60));
    scene_.perform(one);
  }

  /// In half of the worlds, some tenants have paid for more than others.
  void draw_weights() {
    if (weight_prng_.below(2) == 0) return;
    for (std::uint64_t tenant = 1; tenant <= 4; ++tenant) {
      const auto weight = static_cast<std::int32_t>(1 + weight_prng_.below(4));
      if (weight > 1) scene_.perform(WeighTenant{TenantId{tenant}, weight});
    }
  }

  void draw_deployments() {
    const auto count = draw<std::uint64_t>(1, 8);
    for (std::uint64_t id = 1; id <= count; ++id) add_deployment(DeploymentId{id});
  }

  void add_deployment(DeploymentId id) {
    AddDeployment added = draw_deployment(id);
    if (paired_) added.deployment.needs.kinds = {core::DeviceKind::fake};
    scene_.perform(added);
  }

  /// On devices of its own, or on a pool of its own; nobody else's requests are its tenant's.
  void add_looping() {
    AddDeployment added = draw_deployment(looping_deployment);
    core::DeploymentSpec& d = added.deployment;
    d.needs = {};
    d.needs.kinds = {looping_kind};
    d.weights = {};
    d.pool = {};
    if (one_in(3)) {
      scene_.perform(AddPool{{looping_pool, "looping", draw(1, 4), {}}});
      d.pool = looping_pool;
    } else {
      const std::int32_t devices = draw(1, 2);
      for (std::int32_t i = 0; i < devices; ++i) {
        core::DeviceSpec device;
        device.id = DeviceId{90 + static_cast<std::uint64_t>(i)};
        device.name = "x" + std::to_string(i);
        device.kind = looping_kind;
        device.memory = mib(400);
        device.slots = draw(1, 4);
        device.node = looping_node;
        device.price_per_hour = draw_price();
        scene_.perform(AddDevice{device});
      }
    }
    added.behaviour.broken = added.behaviour.missing = added.behaviour.crashes = false;
    switch (draw(0, 2)) {
      case 0:
        added.behaviour.broken = true;
        break;
      case 1:
        added.behaviour.missing = true;
        break;
      default:
        added.behaviour.crashes = true;
    }
    scene_.perform(added);
  }

  AddDeployment draw_deployment(DeploymentId id) {
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
    if (has_stores_) draw_stored_model(d);
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
      behaviour.crashes = one_in(25);
    }
    service_[id] = ms(draw(1, one_in(4) ? 5000 : 400));
    return {d, behaviour};
  }

  /// Draws are statements of their own: compilers differ in the order of a call's arguments.
  void burst_or_pause() {
    const std::uint64_t what = prng_.below(11);
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
      case 5:  // all of them at once
        return herd(few);
      default:  // steady
        return arrive_all(many, gap, {});
    }
  }

  void herd(std::int32_t count) {
    std::vector<DeploymentId> all;
    for (const auto& [id, spec] : world().deployments()) all.push_back(id);
    for (std::int32_t i = 0; i < count && !all.empty(); ++i) {
      arrive(all[static_cast<std::size_t>(i) % all.size()]);
    }
    pass(ms(draw(1, 2000)));
  }

  DeploymentId any_deployment() {
    const auto& all = world().deployments();
    if (all.empty()) return DeploymentId{1};
    auto it = all.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(prng_.below(all.size())));
    return it->first;
  }

  void pass(Duration d) { scene_.run_until(world().now() + d); }

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
    if (id == looping_deployment) arrival.tenant = looping_tenant;
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
    scene_.perform(arrival);
  }

  void change_something() {
    if (!world().server_runs()) return pass(seconds(1));
    if (has_stores_ && store_prng_.below(4) == 0) resize_store();
    const DeploymentId id = any_deployment();
    if (one_in(3) && world().deployments().size() > 1 && id != looping_deployment) {
      scene_.perform(RemoveDeployment{id});
      if (one_in(2)) {
        pass(seconds(draw(1, 40)));
        add_deployment(DeploymentId{100 + ++added_});
      }
      return;
    }
    if (one_in(3) && world().deployments().contains(id)) {
      const std::int32_t most = draw(1, 4);
      const std::int32_t least = one_in(2) ? draw(0, most) : 0;
      scene_.perform(ChangeBounds{id, least, most});
      return;
    }
    if (one_in(3) && world().deployments().contains(id)) {
      Behaviour behaviour = world().behaviour(id);
      if (id != looping_deployment) {
        behaviour.broken = options_.with_faults && one_in(2);
        behaviour.missing = behaviour.crashes = false;
      }
      scene_.perform(ChangeBehaviour{id, behaviour});
      scene_.perform(WarmByHand{id});
      return;
    }
    scene_.perform(StopByHand{id, {}});
  }

  /// Nobody sends any more and nothing breaks any more: everything must end.
  void settle() {
    if (paired_) scene_.perform(RemoveDeployment{looping_deployment});  // else it would be mended
    scene_.perform(EndFaults{});
    // Longer than any queue, any backoff, any keep-warm time and any unkillable process.
    pass(minutes(12));
    scene_.perform(CheckSettled{});
    if (one_in(2)) return;
    for (int i = 0; i < 20; ++i) arrive(any_deployment());
    pass(ms(draw(0, 3000)));
    scene_.perform(ShutDown{});
    for (int i = 0; i < 5; ++i) arrive(any_deployment());
    pass(minutes(3));
    scene_.perform(CheckEnded{});
  }

  const std::uint64_t seed_;
  const SeedOptions options_;
  Prng prng_;
  Prng price_prng_;  // of their own, so that they change nothing else of a world
  Prng weight_prng_;
  Prng store_prng_;
  const bool has_stores_;
  std::vector<AddStore> stores_;
  std::uint64_t nodes_ = 0;
  bool has_prices_ = false;
  const bool paired_;
  const FaultPlan faults_;
  Scene scene_;
  std::map<DeploymentId, Duration> service_;
  TenantId flood_;
  bool has_pool_ = false;
  std::int32_t sent_ = 0;
  std::uint64_t added_ = 0;
};

/// Runs it, and says what broke.
void run_guarded(SeedResult& result, Scene& scene, const std::function<void()>& run) {
  const InvariantsThrow instead_of_ending_the_process;
  try {
    run();
  } catch (const std::exception& broken) {  // an invariant, or what would have ended a server
    result.violation =
        fmt::format("at {:.6f} s, event {}: {}", static_cast<double>(scene.world().now().ns) / 1e9,
                    scene.world().totals().events, broken.what());
  }
  result.totals = scene.world().totals();
  result.virtual_time = scene.world().now() - Instant{};
  result.states = scene.states();
}

void play(Scene& scene, const Script& script) {
  for (const Step& step : script.steps) {
    scene.run_until(step.at);
    scene.perform(step.what);
  }
  scene.world().run_until(script.until);  // to the end of that instant
}

/// V22: what was decided about the others, `decided`, is what is decided without the looping one.
void compare_without(SeedResult& result, const Script& script, const DecisionLog& decided) {
  const Script rest = without(script, script.looping);
  DecisionLog alone(script.looping);
  auto scene = std::make_unique<Scene>(rest, SceneOptions{{}, &alone});
  SeedResult second;
  run_guarded(second, *scene, [&] { play(*scene, rest); });
  if (second.violation) {
    result.violation =
        "V22 without deployment " + std::to_string(script.looping.value) + ", " + *second.violation;
    return;
  }
  result.decisions_compared = decided.size();
  result.states.reached(State::looped_beside_others);
  if (const std::optional<std::string> difference = first_difference(decided, alone)) {
    result.violation =
        fmt::format("V22 deployment {} never comes up and shares nothing with the others, yet {}",
                    script.looping.value, *difference);
  }
}

}  // namespace

SeedResult run_seed(std::uint64_t seed, const SeedOptions& options, Script* script) {
  SeedResult result;
  result.seed = seed;
  DecisionLog decided(looping_deployment, options.listener);
  // On the heap: it is large, and it must outlive the exception to tell where it was.
  auto run = std::make_unique<SeedRun>(seed, options,
                                       is_paired(seed, options) ? &decided : options.listener);
  Script own;
  Script& kept = script == nullptr ? own : *script;
  const bool recorded = script != nullptr || run->paired();
  kept = run->header();
  if (recorded) run->scene().record(kept);
  run_guarded(result, run->scene(), [&] { run->run(); });
  if (recorded) run->scene().end_record();
  if (run->paired() && !result.violation) compare_without(result, kept, decided);
  return result;
}

SeedResult run_script(const Script& script, const SceneOptions& options) {
  SeedResult result;
  result.seed = script.seed;
  DecisionLog decided(script.looping, options.listener);
  SceneOptions logged = options;
  if (script.looping) logged.listener = &decided;
  auto scene = std::make_unique<Scene>(script, logged);
  run_guarded(result, *scene, [&] { play(*scene, script); });
  if (script.looping && !result.violation) compare_without(result, script, decided);
  return result;
}

}  // namespace stoker::sim
