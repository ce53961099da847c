// How fast the decision core decides. Two runs of the production core in the simulator's world,
// without faults:
//   scale    10,000 deployments with Zipf popularity on 1,000 devices that hold a tenth of them:
//            the time of each step, wake-ups included, and events per second of one core
//   replay   a ServeGen workload of ten million requests: requests per second of one core
// A step's time is that of Core::step alone; reading the clock twice (printed) is not taken off.
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/prng.h"
#include "base/random_variates.h"
#include "sim/workload/generators.h"
#include "sim/workload/open_trace.h"
#include "sim/world.h"

namespace stoker::bench {
namespace {

using Clock = std::chrono::steady_clock;

std::int64_t ns_since(Clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count();
}

/// Times each step until its first action is handed out, or its end.
class StepTimes final : public sim::Observer {
 public:
  explicit StepTimes(std::size_t expected) { times_.reserve(expected); }
  void before_step(Instant, const core::Event&) override {
    open_ = true;
    begin_ = Clock::now();
  }
  void on_action(Instant, const core::Event&, const core::Action&) override { end(); }
  void after_step(Instant, const core::Event&, const core::Core&) override { end(); }

  void forget() { times_.clear(); }
  std::vector<std::int64_t>& sorted() {
    std::sort(times_.begin(), times_.end());
    return times_;
  }

 private:
  void end() {
    if (!open_) return;
    open_ = false;
    times_.push_back(ns_since(begin_));
  }
  Clock::time_point begin_;
  bool open_ = false;
  std::vector<std::int64_t> times_;
};

double percentile(const std::vector<std::int64_t>& sorted, double share) {
  if (sorted.empty()) return 0;
  const auto at = static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1));
  return static_cast<double>(sorted[at]) / 1e3;
}

/// Exponentially distributed.
Duration around(Prng& prng, Duration mean) {
  return Duration{static_cast<std::int64_t>(exponential(prng, static_cast<double>(mean.ns)))};
}

std::size_t heap_bytes() {
  return mallinfo2().uordblks + mallinfo2().hblkhd;
}

core::DeploymentSpec deployment(std::uint64_t id, Prng& prng) {
  core::DeploymentSpec d;
  d.id = DeploymentId{id};
  d.name = "m" + std::to_string(id);
  d.scale.max_instances = 4;
  d.scale.concurrency = 4;
  d.scale.scale_down_delay.reset();
  d.scale.scale_to_zero_delay.reset();
  d.scale.keep_warm.max = minutes(15);
  d.estimate.private_bytes = gib(4 + static_cast<std::int64_t>(prng.below(16)));
  return d;
}

void fill(sim::World& world, std::uint64_t deployments, std::uint64_t devices) {
  for (std::uint64_t id = 1; id <= devices; ++id) {
    core::DeviceSpec device;
    device.id = DeviceId{id};
    device.name = "gpu" + std::to_string(id);
    device.kind = core::DeviceKind::fake;
    device.memory = gib(80);
    device.slots = 16;
    device.node = NodeId{(id + 7) / 8};
    world.add_device(device);
  }
  Prng prng(7);
  for (std::uint64_t id = 1; id <= deployments; ++id) {
    const core::DeploymentSpec spec = deployment(id, prng);
    world.add_deployment(spec, {ms(200), seconds(4), spec.estimate, false, false});
  }
}

struct Scale {
  std::uint64_t steps = 0;
  double p50_us = 0, p99_us = 0, p9999_us = 0, max_us = 0, mean_us = 0;
  double steps_per_s = 0;
  double bytes_per_deployment = 0;
  std::uint64_t starts = 0;
};

Scale measure_scale(std::uint64_t deployments, std::uint64_t devices, std::uint64_t requests) {
  Scale result;
  const std::size_t before = heap_bytes();
  {
    sim::World empty(1, sim::no_faults(), nullptr);
    fill(empty, deployments, devices);
    result.bytes_per_deployment =
        static_cast<double>(heap_bytes() - before) / static_cast<double>(deployments);
  }
  StepTimes times(requests * 3);
  sim::World world(1, sim::no_faults(), &times);
  fill(world, deployments, devices);
  Prng prng(11);
  const WeightedChoice popularity(zipf_weights(deployments, 1.0));
  std::uint64_t id = 0;
  const auto drive = [&](std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      world.run_until(world.now() + around(prng, us(200)));
      sim::Arrival arrival;
      arrival.request = RequestId{++id};
      arrival.deployment = DeploymentId{popularity.draw(prng) + 1};
      arrival.tenant = TenantId{1 + prng.below(100)};
      arrival.service = around(prng, ms(300));
      world.arrive(arrival);
    }
  };
  drive(requests / 4);  // until devices are full
  times.forget();
  const std::uint64_t starts = world.totals().starts;
  drive(requests);
  const std::vector<std::int64_t>& sorted = times.sorted();
  result.steps = sorted.size();
  result.starts = world.totals().starts - starts;
  double sum = 0;
  for (const std::int64_t each : sorted) sum += static_cast<double>(each);
  result.mean_us = sum / static_cast<double>(sorted.size()) / 1e3;
  result.steps_per_s = 1e6 / result.mean_us;
  result.p50_us = percentile(sorted, 0.50);
  result.p99_us = percentile(sorted, 0.99);
  result.p9999_us = percentile(sorted, 0.9999);
  result.max_us = percentile(sorted, 1.0);
  return result;
}

struct Replay {
  std::uint64_t requests = 0;
  std::uint64_t steps = 0;
  std::uint64_t starts = 0;
  double seconds = 0;
};

/// Every client of the trace a deployment with up to 64 instances of 16 slots on ample devices.
Replay measure_replay(sim::RequestSource& source, std::uint64_t most) {
  sim::World world(1, sim::no_faults(), nullptr);
  for (std::uint64_t id = 1; id <= 64; ++id) {
    core::DeviceSpec device;
    device.id = DeviceId{id};
    device.kind = core::DeviceKind::fake;
    device.memory = gib(640);
    device.slots = 64;
    world.add_device(device);
  }
  Prng prng(3);
  for (std::uint64_t id = 1; id <= source.world().deployments.size(); ++id) {
    core::DeploymentSpec spec = deployment(id, prng);
    spec.scale.max_instances = 64;
    spec.scale.concurrency = 16;
    spec.scale.scale_up_threshold = 4;
    spec.limits.max_queued = 100'000;
    world.add_deployment(spec, {ms(200), seconds(4), spec.estimate, false, false});
  }
  Replay result;
  sim::TraceRequest request;
  const Clock::time_point begin = Clock::now();
  while (result.requests < most) {
    const Result<bool> more = source.next(request);
    if (!more || !*more) break;
    world.run_until(Instant{} + request.at);
    sim::Arrival arrival;
    arrival.request = RequestId{++result.requests};
    arrival.deployment = DeploymentId{request.deployment + 1};
    arrival.tenant = TenantId{request.tenant + 1};
    arrival.service = sim::service_time(request, source.world().deployments[request.deployment]);
    world.arrive(arrival);
  }
  result.seconds = static_cast<double>(ns_since(begin)) / 1e9;
  result.steps = world.totals().events;
  result.starts = world.totals().starts;
  return result;
}

double clock_cost_ns() {
  std::int64_t sum = 0;
  for (int i = 0; i < 100'000; ++i) sum += ns_since(Clock::now());
  return static_cast<double>(sum) / 100'000;
}

int run(int argc, char** argv) {
  std::string trace;
  std::uint64_t requests = 2'000'000;
  std::uint64_t replayed = 10'000'000;
  double thin = 140;
  bool json = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--json") {
      json = true;
    } else if (i + 1 < argc && word == "--trace") {
      trace = argv[++i];
    } else if (i + 1 < argc && word == "--thin") {
      thin = std::atof(argv[++i]);
    } else if (i + 1 < argc && word == "--requests") {
      requests = std::strtoull(argv[++i], nullptr, 10);
    } else if (i + 1 < argc && word == "--replayed") {
      replayed = std::strtoull(argv[++i], nullptr, 10);
    } else {
      std::fprintf(stderr,
                   "usage: ./dev bench decisions [--requests N] [--trace FOLDER [--thin F] "
                   "[--replayed N]] [--json]\n");
      return 2;
    }
  }
  const Scale scale = measure_scale(10'000, 1'000, requests);
  Replay replay;
  if (!trace.empty()) {
    sim::TraceOptions options;
    options.servegen.thin = thin;
    auto source = sim::open_trace(trace, options);
    if (!source) {
      std::fprintf(stderr, "error: %s\n  fix: %s\n", source.error().message.c_str(),
                   source.error().hint.c_str());
      return 1;
    }
    replay = measure_replay(**source, replayed);
  }
  const double replay_per_s =
      replay.seconds > 0 ? static_cast<double>(replay.requests) / replay.seconds : 0;
  if (json) {
    std::printf(
        "{\"deployments\":10000,\"devices\":1000,\"steps\":%llu,\"starts\":%llu,\"p50_us\":%.3f,"
        "\"p99_us\":%.3f,\"p9999_us\":%.3f,\"max_us\":%.1f,\"mean_us\":%.3f,"
        "\"steps_per_second\":%.0f,\"bytes_per_deployment\":%.0f,\"replay_requests\":%llu,"
        "\"replay_requests_per_second\":%.0f}\n",
        static_cast<unsigned long long>(scale.steps), static_cast<unsigned long long>(scale.starts),
        scale.p50_us, scale.p99_us, scale.p9999_us, scale.max_us, scale.mean_us, scale.steps_per_s,
        scale.bytes_per_deployment, static_cast<unsigned long long>(replay.requests), replay_per_s);
    return 0;
  }
  std::printf("10,000 deployments, 1,000 devices: %llu steps, %llu of them began a start\n",
              static_cast<unsigned long long>(scale.steps),
              static_cast<unsigned long long>(scale.starts));
  std::printf(
      "  a step: p50 %.2f us, p99 %.2f, p99.99 %.1f, most %.0f, mean %.2f (the clock %.0f ns)\n",
      scale.p50_us, scale.p99_us, scale.p9999_us, scale.max_us, scale.mean_us, clock_cost_ns());
  std::printf(
      "  %.0f steps/s on one core; %.0f bytes a deployment, its share of devices included\n",
      scale.steps_per_s, scale.bytes_per_deployment);
  if (!trace.empty()) {
    std::printf(
        "replay of %s, thinned by %g: %llu requests in %.1f s = %.0f/s (%llu steps, %llu "
        "starts)\n",
        trace.c_str(), thin, static_cast<unsigned long long>(replay.requests), replay.seconds,
        replay_per_s, static_cast<unsigned long long>(replay.steps),
        static_cast<unsigned long long>(replay.starts));
  }
  return 0;
}

}  // namespace
}  // namespace stoker::bench

int main(int argc, char** argv) {
  return stoker::bench::run(argc, argv);
}
