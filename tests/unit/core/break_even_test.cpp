// What a cold start is worth in idling, and that a dearer device never keeps an instance longer.
#include "core/break_even.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <optional>
#include <utility>
#include <vector>

#include "core/core.h"

namespace stoker::core {
namespace {

constexpr NanoPrice per_hour(std::int64_t milli) {
  return {milli * 1'000'000};
}

TEST(BreakEven, Table) {
  struct Case {
    const char* name;
    Duration start;
    std::int32_t wait_weight;
    NanoPrice price;
    Duration want;
  };
  const Case cases[] = {
      {"no price: start x (1 + weight)", seconds(2), 30, {}, seconds(62)},
      {"one unit an hour is the same", seconds(2), 30, per_hour(1000), seconds(62)},
      {"a dear one is kept shorter", seconds(2), 30, per_hour(4000), seconds(17)},
      {"a cheap one longer", seconds(2), 30, per_hour(100), seconds(602)},
      {"waiting is worth nothing", seconds(2), 0, per_hour(4000), seconds(2)},
      {"at no price less than the start itself", seconds(2), 30, {1LL << 62}, seconds(2)},
      {"no start, no cost", {}, 30, per_hour(4000), {}},
      {"bounded", minutes(600), 1'000'000, {1}, longest_break_even},
  };
  for (const Case& each : cases) {
    const Duration got = break_even(each.start, each.wait_weight, each.price);
    EXPECT_EQ(whole_ms(got), whole_ms(each.want)) << each.name;
  }
}

TEST(BreakEven, IsNeverLongerOnADearerDevice) {
  rc::check("dearer, so no longer; and more waiting at stake, so no shorter", [] {
    const Duration start{*rc::gen::inRange<std::int64_t>(0, minutes(60).ns)};
    const std::int32_t weight = *rc::gen::inRange(0, 1'000'000);
    const NanoPrice price{*rc::gen::inRange<std::int64_t>(1, 1LL << 50)};
    const NanoPrice dearer{price.value + *rc::gen::inRange<std::int64_t>(0, 1LL << 50)};
    const Duration kept = break_even(start, weight, price);
    RC_ASSERT(break_even(start, weight, dearer) <= kept);
    RC_ASSERT(break_even(start, weight + 1, price) >= kept);
    RC_ASSERT(kept >= start && kept <= longest_break_even);
  });
}

/// One deployment on one device of that price, and the traffic that is told to it.
class OnDevice {
 public:
  OnDevice(NanoPrice price, KeepWarmPolicy policy, std::int32_t max_instances) {
    DeviceSpec device;
    device.id = DeviceId{1};
    device.memory = gib(1);
    device.slots = 100;
    device.price_per_hour = price;
    step(DeviceAdded{device});
    DeploymentSpec d;
    d.id = DeploymentId{1};
    d.scale.max_instances = max_instances;
    d.scale.scale_down_delay.reset();
    d.scale.scale_to_zero_delay.reset();
    d.scale.keep_warm.policy = policy;
    d.scale.keep_warm.max = minutes(24 * 60);
    d.estimate.private_bytes = mib(1);
    step(DeploymentAdded{d});
  }

  void pass(Duration pause) {
    const Instant until = now_ + pause;
    for (auto due = core_.next_wakeup(); due && *due <= until; due = core_.next_wakeup()) {
      now_ = std::max(now_, *due);
      step(WokeUp{});
    }
    now_ = until;
  }
  /// So many requests at once; each ends as soon as it may.
  void burst(std::int32_t requests) {
    for (std::int32_t i = 0; i < requests; ++i) {
      step(RequestArrived{RequestId{++last_request_}, DeploymentId{1}, {}, 0, {}, 1, 0});
    }
    pass(seconds(1));
    while (!running_.empty()) {
      const std::vector<RequestId> running = std::exchange(running_, {});
      for (const RequestId each : running) step(RequestEnded{each, 0});
    }
  }
  [[nodiscard]] std::optional<Instant> first_idle_stop() const { return first_idle_stop_; }

 private:
  void step(const Event& event) {
    Actions actions;
    core_.step(now_, event, actions);
    for (const Action& action : actions) {
      if (const auto* start = std::get_if<StartInstance>(&action)) {
        step(InstanceUp{start->instance, start->generation});
        pass(ms(500));
        step(InstanceReady{start->instance, start->generation, start->reserved});
      } else if (const auto* dispatch = std::get_if<Dispatch>(&action)) {
        running_.push_back(dispatch->request);
      } else if (const auto* stop = std::get_if<StopInstance>(&action)) {
        if (stop->reason == StopReason::idle && !first_idle_stop_) first_idle_stop_ = now_;
        step(InstanceExited{stop->instance, stop->generation, ExitKind::clean});
      }
    }
  }

  Core core_{CoreConfig{}};
  Instant now_ = Instant{} + seconds(1);
  std::uint64_t last_request_ = 0;
  std::vector<RequestId> running_;
  std::optional<Instant> first_idle_stop_;
};

TEST(BreakEven, NoInstanceIsKeptLongerOnADearerDevice) {
  rc::check("the first stop comes no later", [] {
    const auto policy = *rc::gen::element(KeepWarmPolicy::break_even, KeepWarmPolicy::adaptive);
    const auto most = *rc::gen::inRange(1, 4);
    const auto milli = *rc::gen::inRange<std::int64_t>(1, 10'000);
    const auto more = *rc::gen::inRange<std::int64_t>(0, 50'000);
    OnDevice cheap(per_hour(milli), policy, most);
    OnDevice dear(per_hour(milli + more), policy, most);
    const auto traffic = *rc::gen::container<std::vector<std::pair<std::int32_t, std::int32_t>>>(
        rc::gen::pair(rc::gen::inRange(1, 5), rc::gen::inRange(1, 3'000)));
    for (const auto& [requests, pause] : traffic) {
      for (OnDevice* each : {&cheap, &dear}) {
        each->burst(requests);
        each->pass(seconds(pause));
      }
      if (dear.first_idle_stop()) break;  // from here on they live different lives
    }
    if (!cheap.first_idle_stop()) return;
    RC_ASSERT(dear.first_idle_stop().has_value());
    RC_ASSERT(*dear.first_idle_stop() <= *cheap.first_idle_stop());
  });
}

}  // namespace
}  // namespace stoker::core
