#include "suspend.h"

#include "base/id_table.h"
#include "driven_world.h"

namespace stoker::bench {
namespace {

constexpr std::int64_t model_mib = 1024;
/// Host memory is taken to hold so many times what the device holds.
constexpr std::int32_t host_per_device = 4;

double seconds_of(Duration d) {
  return static_cast<double>(d.ns) / 1e9;
}

class Waits final : public sim::Observer {
 public:
  explicit Waits(SuspendScore& score) : score_(score) {}
  void on_arrival(Instant now, const sim::Arrival& arrival) override {
    arrived_.insert(arrival.request, now);
  }
  void on_action(Instant now, const core::Event& cause, const core::Action& action) override {
    const auto* dispatch = std::get_if<core::Dispatch>(&action);
    if (dispatch == nullptr) return;
    const double wait_s = seconds_of(now - *arrived_.find(dispatch->request));
    arrived_.erase(dispatch->request);
    score_.wait_s += wait_s;
    if (std::holds_alternative<core::InstanceReady>(cause) ||
        std::holds_alternative<core::InstanceResumed>(cause)) {
      score_.cold_s += wait_s;
    }
  }

 private:
  SuspendScore& score_;
  IdTable<RequestId, Instant> arrived_;
};

SuspendScore run(const Arrivals& arrivals, const SuspendTable& setup, bool suspend) {
  SuspendScore score;
  Waits waits(score);
  DrivenWorld world;
  world.memory = mib(model_mib * setup.resident);
  world.host_memory = mib(model_mib * setup.asleep);
  world.slots = 1'000'000;
  world.load = seconds(setup.start_s);
  // All have ended by then, and nothing is kept.
  world.until = arrivals.all.back().at + minutes(24 * 60 * 2);
  world.shape = [&](core::DeploymentSpec& d) {
    d.scale.max_instances = 1;
    d.scale.concurrency = 64;
    d.scale.scale_down_delay.reset();
    d.scale.scale_to_zero_delay.reset();
    d.scale.keep_warm.suspend = suspend;
    d.estimate.private_bytes = mib(model_mib);
    d.expected_start = seconds(setup.start_s);
    d.can_suspend = true;
  };
  world.behave = [&](sim::Behaviour& behaviour) {
    behaviour.suspend = ms(setup.start_s * 50);
    behaviour.resume = ms(setup.start_s * 100);
    behaviour.suspended = mib(model_mib);
  };
  const sim::WorldTotals totals = drive(arrivals, world, waits);
  const Duration placed = totals.alive - totals.suspended;
  score.idle_s = seconds_of(placed - totals.serving - totals.loading - totals.resuming);
  score.host_s = seconds_of(totals.suspended);
  score.starts = totals.starts;
  score.resumes = totals.resumes;
  return score;
}

}  // namespace

SuspendTable measure_suspend(const Arrivals& arrivals, std::int32_t resident,
                             std::int32_t start_s) {
  SuspendTable table;
  table.resident = resident;
  table.start_s = start_s;
  table.asleep = resident * host_per_device;
  table.without = run(arrivals, table, false);
  table.with = run(arrivals, table, true);
  return table;
}

}  // namespace stoker::bench
