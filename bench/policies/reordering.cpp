#include "reordering.h"

#include <algorithm>
#include <variant>
#include <vector>

#include "base/id_table.h"
#include "driven_world.h"

namespace stoker::bench {
namespace {

/// How long each request waited, in seconds beyond one load.
class Waits final : public sim::Observer {
 public:
  explicit Waits(Duration load) : load_(load) {}
  void on_arrival(Instant now, const sim::Arrival& arrival) override {
    arrived_.insert(arrival.request, now);
  }
  void on_action(Instant now, const core::Event&, const core::Action& action) override {
    const auto* dispatch = std::get_if<core::Dispatch>(&action);
    if (dispatch == nullptr) return;
    const Duration extra = now - *arrived_.find(dispatch->request) - load_;
    arrived_.erase(dispatch->request);
    extra_s_.push_back(static_cast<float>(std::max<std::int64_t>(extra.ns, 0)) / 1e9F);
  }
  std::vector<float>& extra_s() { return extra_s_; }

 private:
  const Duration load_;
  IdTable<RequestId, Instant> arrived_;
  std::vector<float> extra_s_;
};

}  // namespace

Reordering measure_reordering(const Arrivals& arrivals, std::int32_t resident, std::int32_t load_s,
                              std::uint64_t loads_in_order) {
  const Duration load = seconds(load_s);
  Waits waits(load);
  DrivenWorld world;
  world.memory = mib(resident);
  world.slots = resident;
  world.load = load;
  world.service = ms(1);
  world.until = arrivals.all.back().at + minutes(24 * 60);  // what waits is served
  world.shape = [](core::DeploymentSpec& d) {
    d.scale.concurrency = 1000;
    d.scale.scale_up_threshold = 1'000'000;
    // Only others make one leave.
    d.scale.scale_down_delay = d.scale.scale_to_zero_delay = minutes(100 * 24 * 60);
  };
  const sim::WorldTotals totals = drive(arrivals, world, waits);
  Reordering result;
  result.resident = resident;
  result.load_s = load_s;
  result.loads_in_order = loads_in_order;
  result.loads = totals.starts;
  std::vector<float>& extra_s = waits.extra_s();
  std::sort(extra_s.begin(), extra_s.end());
  if (extra_s.empty()) return result;
  result.waited_longer = static_cast<std::uint64_t>(
      extra_s.end() - std::upper_bound(extra_s.begin(), extra_s.end(), 0.5F));
  result.p99_extra_s = extra_s[(extra_s.size() - 1) * 99 / 100];
  result.largest_extra_s = extra_s.back();
  return result;
}

}  // namespace stoker::bench
