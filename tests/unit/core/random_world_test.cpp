// A small random world round the core: every order is followed, delayed, or met by a fault. After
// each event all invariants hold; when faults stop, everything that was admitted ends.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <set>
#include <vector>

#include "base/overloaded.h"
#include "base/prng.h"
#include "core/core.h"

namespace stoker::core {
namespace {

class World {
 public:
  explicit World(std::uint64_t seed) : prng_(seed), core_({Epoch{3}, seed, seconds(30)}) {
    const std::uint64_t devices = 1 + prng_.below(3);
    for (std::uint64_t i = 1; i <= devices; ++i) {
      step(DeviceAdded{{DeviceId{i},
                        "d",
                        DeviceKind::cpu,
                        mib(100 + static_cast<std::int64_t>(prng_.below(200))),
                        1 + static_cast<std::int32_t>(prng_.below(6)),
                        {},
                        {},
                        0}});
    }
    deployments_ = 1 + prng_.below(6);
    for (std::uint64_t i = 1; i <= deployments_; ++i) add_deployment(i);
  }

  void run(int events) {
    for (int i = 0; i < events; ++i) {
      now_ = now_ + ms(static_cast<std::int64_t>(prng_.below(400)));
      random_event();
    }
  }

  /// No more faults, no more arrivals: everything must end.
  void settle() {
    faults_ = false;
    step(ShutdownRequested{});
    for (int i = 0; i < 10'000 && !core_.quiet(); ++i) {
      while (!live_.empty() || !running_.empty()) {
        const auto before = std::pair(live_.size(), running_.size());
        finish_something();
        if (before == std::pair(live_.size(), running_.size())) break;
      }
      const auto due = core_.next_wakeup();
      if (!due) break;
      now_ = std::max(now_, *due);
      step(WokeUp{});
    }
    EXPECT_TRUE(core_.quiet());
    EXPECT_TRUE(open_.empty()) << open_.size() << " requests never ended";
    for (const DeviceSummary& device : core_.summary().devices) {
      EXPECT_EQ(device.reserved, Bytes{});
    }
  }

  std::uint64_t hash = 1469598103934665603ULL;

 private:
  enum class Phase { starting, loading, ready, stopping };
  struct Live {
    Generation generation;
    Phase phase = Phase::starting;
    MemoryNeed reserved;
  };

  void add_deployment(std::uint64_t i) {
    DeploymentSpec d;
    d.id = DeploymentId{i};
    d.scale.max_instances = 1 + static_cast<std::int32_t>(prng_.below(4));
    d.scale.min_instances = static_cast<std::int32_t>(
        prng_.below(static_cast<std::uint64_t>(std::min(2, d.scale.max_instances) + 1)));
    if (d.scale.min_instances > d.scale.max_instances) d.scale.min_instances = 0;
    d.scale.concurrency = 1 + static_cast<std::int32_t>(prng_.below(4));
    d.scale.scale_up_threshold = 1 + static_cast<std::int32_t>(prng_.below(5));
    d.scale.scale_down_delay = seconds(static_cast<std::int64_t>(prng_.below(20)));
    d.scale.scale_to_zero_delay = seconds(static_cast<std::int64_t>(prng_.below(20)));
    d.limits.max_queued = 1 + static_cast<std::int32_t>(prng_.below(12));
    d.limits.queue_timeout = seconds(1 + static_cast<std::int64_t>(prng_.below(30)));
    d.limits.start_timeout = seconds(5);
    d.limits.load_stall_timeout = seconds(5);
    d.limits.cancel_grace = seconds(2);
    d.limits.drain_limit = seconds(5);
    d.estimate = {mib(10 + static_cast<std::int64_t>(prng_.below(80))),
                  mib(static_cast<std::int64_t>(prng_.below(40)))};
    if (prng_.below(2) == 0) d.weights = WeightsId{1 + prng_.below(3)};
    d.finish_abandoned_load = prng_.below(2) == 0;
    step(DeploymentAdded{d});
  }

  void random_event() {
    switch (prng_.below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        return arrive();
      case 5:
      case 6:
        return end_one();
      case 7:
        if (!open_.empty()) step(RequestCancelled{pick(open_)});
        return;
      case 8:
      case 9:
      case 10:
      case 11:
        return advance_one();
      case 12:
        return fault();
      case 13:
        return step(WokeUp{});
      case 14:
        if (prng_.below(4) == 0) step(WarmRequested{any_deployment()});
        return;
      default:
        if (prng_.below(6) == 0) step(StopRequested{any_deployment(), {}});
        return;
    }
  }

  DeploymentId any_deployment() { return DeploymentId{1 + prng_.below(deployments_)}; }

  template <class Set>
  std::iter_value_t<typename Set::const_iterator> pick(const Set& set) {
    auto it = set.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(prng_.below(set.size())));
    return *it;
  }

  void arrive() {
    const RequestId id{++next_request_};
    open_.insert(id);
    step(RequestArrived{
        id, any_deployment(), {}, static_cast<std::int32_t>(prng_.below(3)), {}, 1, 0});
  }

  void end_one() {
    if (running_.empty()) return;
    const RequestId id = pick(running_).first;
    if (prng_.below(20) == 0 && faults_) {
      running_.erase(id);
      return step(RequestUndelivered{id});
    }
    end(id);
  }

  /// Reports the end of a request; of one that does not run it must change nothing.
  void end(RequestId id) {
    if (running_.erase(id) == 1) open_.erase(id);
    step(RequestEnded{id, 0});
  }

  void advance_one() {
    if (live_.empty()) return;
    const InstanceId id = pick(live_).first;
    Live& live = live_[id];
    const Generation generation = live.generation;
    switch (live.phase) {
      case Phase::starting:
        live.phase = Phase::loading;
        return step(InstanceUp{id, generation});
      case Phase::loading: {
        live.phase = Phase::ready;
        MemoryNeed measured = live.reserved;
        if (prng_.below(4) == 0)
          measured.private_bytes += mib(static_cast<std::int64_t>(prng_.below(60)));
        return step(InstanceReady{id, generation, measured});
      }
      case Phase::ready:
        return;
      case Phase::stopping:
        return gone(id);
    }
  }

  void gone(InstanceId id, ExitKind kind = ExitKind::clean) {
    const Generation generation = live_.at(id).generation;
    live_.erase(id);
    std::erase_if(running_, [&](const auto& entry) { return entry.second == id; });
    step(InstanceExited{id, generation, kind});
  }

  void never_started(InstanceId id) {
    if (live_.at(id).phase == Phase::loading || live_.at(id).phase == Phase::ready) return;
    const Generation generation = live_.at(id).generation;
    live_.erase(id);
    step(StartFailed{id, generation,
                     prng_.below(2) == 0 ? StartFailure::may_pass : StartFailure::will_stay});
  }

  void fault() {
    if (live_.empty() || !faults_) return;
    const InstanceId id = pick(live_).first;
    const Generation generation = live_[id].generation;
    switch (prng_.below(8)) {
      case 0:
        return gone(id, ExitKind::crashed);
      case 1:
        return step(LoadFailed{id, generation, LoadFailure::model_broken});
      case 2:
        return step(InstanceHung{id, generation, HangKind::no_progress});
      case 3:
        return step(InstanceReady{id, Generation{generation.value + 1}, {}});  // stale
      case 4:
        return step(LoadFailed{id, generation, LoadFailure::out_of_memory});
      case 5:
        return end(RequestId{1 + prng_.below(next_request_ + 1)});
      case 6:
        return never_started(id);
      default:
        now_ = now_ + seconds(static_cast<std::int64_t>(prng_.below(90)));
        return;
    }
  }

  void finish_something() {
    if (!running_.empty()) return end_one();
    for (const auto& [id, live] : live_) {
      if (live.phase == Phase::stopping) return gone(id);
      if (live.phase != Phase::ready) return advance_one();
    }
  }

  void step(const Event& event) {
    Actions actions;
    core_.step(now_, event, actions);
    for (const Action& action : actions) apply(action);
    core_.check_invariants();
    if (std::holds_alternative<RequestCancelled>(event)) {
      const RequestId id = std::get<RequestCancelled>(event).request;
      if (!running_.contains(id)) open_.erase(id);
    }
  }

  void mix(std::uint64_t value) { hash = (hash ^ value) * 1099511628211ULL; }

  void apply(const Action& action) {
    mix(action.index());
    std::visit(Overloaded{
                   [&](const StartInstance& a) {
                     mix(a.instance.value * 31 + a.devices.front().value);
                     live_[a.instance] = {a.generation, Phase::starting, a.reserved};
                   },
                   [&](const StopInstance& a) {
                     mix(a.instance.value);
                     const auto it = live_.find(a.instance);
                     if (it != live_.end() && it->second.generation == a.generation) {
                       it->second.phase = Phase::stopping;
                     }
                   },
                   [&](const Dispatch& a) {
                     mix(a.request.value * 31 + a.instance.value);
                     EXPECT_TRUE(open_.contains(a.request)) << "dispatched after its end";
                     EXPECT_TRUE(running_.emplace(a.request, a.instance).second);
                     EXPECT_EQ(live_.at(a.instance).phase, Phase::ready);
                   },
                   [&](const Refuse& a) {
                     mix(a.request.value);
                     EXPECT_EQ(open_.erase(a.request), 1U) << "ended twice";
                     EXPECT_FALSE(running_.contains(a.request));
                   },
                   [&](const FailRequest& a) {
                     mix(a.request.value);
                     EXPECT_EQ(open_.erase(a.request), 1U) << "ended twice";
                   },
                   [&](const CancelRequest& a) { mix(a.request.value); },
                   [&](const AwaitRoom& a) { mix(a.instance.value); },
               },
               action);
  }

  Prng prng_;
  Core core_;
  Instant now_;
  bool faults_ = true;
  std::uint64_t deployments_ = 0;
  std::uint64_t next_request_ = 0;
  std::set<RequestId> open_;
  std::map<RequestId, InstanceId> running_;
  std::map<InstanceId, Live> live_;
};

TEST(RandomWorld, InvariantsHoldAndEverythingEnds) {
  // `./dev sim SEED` runs one seed, longer.
  const char* only = std::getenv("STOKER_SIM_SEED");
  const bool one = only != nullptr && *only != '\0';
  const std::uint64_t first = one ? std::strtoull(only, nullptr, 10) : 1;
  const std::uint64_t last = one ? first : 4000;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed);
    world.run(400);
    world.settle();
    if (testing::Test::HasFailure()) return;
  }
}

TEST(RandomWorld, SameSeedSameActions) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    World a(seed);
    World b(seed);
    a.run(300);
    b.run(300);
    EXPECT_EQ(a.hash, b.hash) << "seed " << seed;
  }
}

}  // namespace
}  // namespace stoker::core
