#include "scaling.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "base/id_table.h"
#include "driven_world.h"
#include "fleet.h"
#include "peers.h"

namespace stoker::bench {
namespace {

double seconds_of(Duration d) {
  return static_cast<double>(d.ns) / 1e9;
}

/// Requests of each model, by time.
std::vector<std::vector<Arrival>> by_model(const Arrivals& arrivals) {
  std::vector<std::vector<Arrival>> models(arrivals.models);
  for (const Arrival& each : arrivals.all) models[each.model].push_back(each);
  return models;
}

/// What our settings are searched among.
struct OurSettings {
  Duration queue_wait;           // scale_on.queue_wait
  std::int32_t wait_weight = 0;  // keep_warm.wait_weight
  std::int32_t threshold = 0;    // scale_up_threshold; 0: only queue_wait starts a second one
  [[nodiscard]] std::string text() const {
    return fmt::format("queue_wait {:g} s, wait_weight {}{}", seconds_of(queue_wait), wait_weight,
                       threshold > 0 ? fmt::format(", threshold {}", threshold) : "");
  }
};

std::vector<OurSettings> our_choices() {
  std::vector<OurSettings> choices;
  for (const std::int64_t wait_ms : {500, 1200, 2500, 5000, 10'500, 18'000, 30'000, 61'000}) {
    for (const std::int32_t weight : {0, 2, 8, 30, 100}) {
      choices.push_back({ms(wait_ms), weight, 0});
    }
  }
  for (const std::int32_t weight : {0, 2, 8, 30, 100}) choices.push_back({ms(500), weight, 1});
  return choices;
}

/// Books what the world does for our core.
class Bookkeeper final : public sim::Observer {
 public:
  Bookkeeper(const FleetSetup& setup, ScalingBooks& books) : setup_(setup), books_(books) {}

  void on_arrival(Instant now, const sim::Arrival& arrival) override {
    arrived_.insert(arrival.request, now);
  }
  void on_action(Instant now, const core::Event&, const core::Action& action) override {
    if (const auto* start = std::get_if<core::StartInstance>(&action)) {
      ordered_.insert(start->instance, now);
    } else if (const auto* dispatch = std::get_if<core::Dispatch>(&action)) {
      const Instant at = *arrived_.find(dispatch->request);
      arrived_.erase(dispatch->request);
      books_.waited(setup_, at, now - at);
    }
  }
  void on_process_gone(Instant now, InstanceId instance) override {
    books_.pay(setup_, *ordered_.find(instance), now);
    ordered_.erase(instance);
  }
  void end() {
    ordered_.for_each_unordered(
        [&](InstanceId, const Instant& at) { books_.pay(setup_, at, setup_.end); });
  }

 private:
  const FleetSetup setup_;
  ScalingBooks& books_;
  IdTable<RequestId, Instant> arrived_;
  IdTable<InstanceId, Instant> ordered_;
};

ScalingBooks run_ours(const Arrivals& arrivals, const OurSettings& settings,
                      const FleetSetup& setup) {
  ScalingBooks books;
  Bookkeeper bookkeeper(setup, books);
  DrivenWorld world;
  world.memory = gib(1024);
  world.slots = 1'000'000;
  world.load = setup.start_time;
  world.until = setup.end + minutes(60);  // what waits still runs, and its wait counts
  world.shape = [&](core::DeploymentSpec& d) {
    d.scale.max_instances = 1000;
    d.scale.concurrency = setup.concurrency;
    d.scale.scale_up_threshold = settings.threshold;
    d.scale.on.queue_wait = settings.queue_wait;
    d.scale.scale_down_delay.reset();
    d.scale.scale_to_zero_delay.reset();
    d.scale.keep_warm.wait_weight = settings.wait_weight;
  };
  drive(arrivals, world, bookkeeper);
  bookkeeper.end();
  return books;
}

template <class Rule, class Settings>
ScalingBooks run_peer(const std::vector<std::vector<Arrival>>& models, const Settings& settings,
                      const FleetSetup& setup) {
  ScalingBooks books;
  for (const std::vector<Arrival>& requests : models) {
    Rule rule(settings);
    Fleet(setup, rule, books).run(requests);
  }
  return books;
}

/// Device time if no request waits and all is known: the k-th instance is up whenever requests fill
/// more than k - 1, stays up through a gap that is shorter than a start, and else is started ahead.
double clairvoyant(const std::vector<std::vector<Arrival>>& models, const FleetSetup& setup) {
  ScalingBooks books;
  for (const std::vector<Arrival>& requests : models) {
    std::vector<std::pair<Instant, std::int32_t>> changes;
    for (const Arrival& each : requests) {
      changes.emplace_back(each.at, 1);
      changes.emplace_back(each.at + each.service, -1);
    }
    std::sort(changes.begin(), changes.end());
    struct Level {
      Instant up;
      std::optional<Instant> fell;
    };
    std::vector<Level> levels;
    std::int32_t in_flight = 0;
    std::size_t level = 0;
    for (const auto& [at, change] : changes) {
      in_flight += change;
      const auto needed =
          static_cast<std::size_t>((in_flight + setup.concurrency - 1) / setup.concurrency);
      for (; level < needed; ++level) {
        if (level == levels.size()) levels.emplace_back();
        Level& each = levels[level];
        const bool kept = each.fell && at - *each.fell < setup.start_time;
        books.pay(setup, kept ? *each.fell : std::max(Instant{}, at - setup.start_time), at);
        each.up = at;
      }
      for (; level > needed; --level) {
        Level& each = levels[level - 1];
        books.pay(setup, each.up, at);
        each.fell = at;
      }
    }
  }
  return books.after.device_s;
}

struct Run {
  std::string settings;
  double device_s_before = 0;
  double p99_before = 0;
  ScalingScore after;
};

Run run_of(std::string settings, ScalingBooks books) {
  Run run;
  run.settings = settings;
  run.device_s_before = books.before.device_s;
  run.p99_before = books.before.percentile(0.99);
  run.after = {std::move(settings), books.after.device_s, books.after.percentile(0.5),
               books.after.percentile(0.99)};
  return run;
}

/// The cheapest on the first third with waits no longer than that; if there is none, the one with
/// the shortest waits.
const Run& choose(const std::vector<Run>& runs, double p99_before) {
  const Run* best = nullptr;
  for (const Run& each : runs) {
    if (each.p99_before > p99_before + 1e-3) continue;
    if (best == nullptr || each.device_s_before < best->device_s_before) best = &each;
  }
  if (best != nullptr) return *best;
  return *std::min_element(runs.begin(), runs.end(),
                           [](const Run& a, const Run& b) { return a.p99_before < b.p99_before; });
}

/// What is chosen on a third must hold on the rest, so the waits get a margin there. Of a wait that
/// is as long as a start, the start's own time does not vary: the margin is on what is beyond it.
double with_margin(double p99_s, std::int32_t start_s) {
  constexpr double part = 0.9;
  constexpr double same = 1e-3;
  return p99_s >= start_s - same ? start_s + part * std::max(p99_s - start_s, 0.0) : part * p99_s;
}

void compare(ScalingTable& table, const std::string& name, const std::vector<Run>& theirs,
             const std::vector<Run>& ours) {
  const auto add = [&](const char* how, const Run& peer) {
    ScalingCell cell;
    cell.peer = name + "_" + how;
    cell.theirs = peer.after;
    cell.ours = choose(ours, with_margin(peer.p99_before, table.start_s)).after;
    cell.best = cell.ours;
    bool found = false;
    for (const Run& each : ours) {
      if (each.after.p99_s > peer.after.p99_s + 1e-3) continue;
      if (!found || each.after.device_s < cell.best.device_s) cell.best = each.after;
      found = true;
    }
    table.cells.push_back(std::move(cell));
  };
  add("default", theirs.front());
  add("tuned", choose(theirs, theirs.front().p99_before));
}

}  // namespace

ScalingTable measure_scaling(const Arrivals& arrivals, std::int32_t start_s,
                             std::int32_t concurrency) {
  const FleetSetup setup{concurrency, seconds(start_s), arrivals.all[arrivals.third()].at,
                         arrivals.all.back().at};
  const std::vector<std::vector<Arrival>> models = by_model(arrivals);
  ScalingTable table;
  table.start_s = start_s;
  table.concurrency = concurrency;
  for (std::size_t i = arrivals.third(); i < arrivals.all.size(); ++i) {
    table.work_s += seconds_of(arrivals.all[i].service) / concurrency;
  }
  table.clairvoyant_s = clairvoyant(models, setup);
  std::vector<Run> ours;
  for (const OurSettings& each : our_choices()) {
    ours.push_back(run_of(each.text(), run_ours(arrivals, each, setup)));
  }
  std::vector<Run> kpa;
  for (const KpaSettings& each : kpa_choices()) {
    kpa.push_back(run_of(each.text(), run_peer<Kpa>(models, each, setup)));
  }
  std::vector<Run> ray;
  for (const RaySettings& each : ray_choices(concurrency)) {
    ray.push_back(run_of(each.text(), run_peer<Ray>(models, each, setup)));
  }
  compare(table, "kpa", kpa, ours);
  compare(table, "ray", ray, ours);
  return table;
}

}  // namespace stoker::bench
