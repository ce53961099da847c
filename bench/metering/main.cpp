// What metering costs a request: admit and settle, and with dispatched and one report between them,
// with five limits and a budget on each key and each tenant, beside the least that anything could
// do in its place: look up a counter by key in a hash map, compare, add one, and later take one
// off. The same keys in the same order, so many requests open at a time. Times are of all calls of
// one request together, CPU time of the thread.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/prng.h"
#include "core/metering/metering.h"

namespace stoker::bench {
namespace {

namespace metering = core::metering;

struct Options {
  std::uint64_t keys = 100'000;
  std::uint64_t tenants = 1'000;
  std::uint64_t requests = 2'000'000;
  std::uint64_t open = 1'000;
  std::int32_t rounds = 5;
  bool json = false;
};

struct Times {
  double ns_per_request = 0;
  std::uint64_t admitted = 0;
};

/// Of this thread alone: what other programs take does not count.
std::int64_t cpu_ns() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

double ns_each(std::int64_t begin, std::uint64_t requests) {
  return static_cast<double>(cpu_ns() - begin) / static_cast<double>(requests);
}

std::vector<std::uint64_t> draw_keys(const Options& options) {
  Prng prng(5);
  std::vector<std::uint64_t> keys(options.requests);
  for (std::uint64_t& each : keys) each = 1 + prng.below(options.keys);
  return keys;
}

/// `step`: how much time passes from one request to the next.
Times measure_metering(const Options& options, const std::vector<std::uint64_t>& keys,
                       Duration step, bool whole, bool& right) {
  metering::Metering state(metering::MeteringConfig{});
  metering::Limits limits;
  limits.requests_per_minute = 1'000'000;
  limits.input_tokens_per_minute = 1'000'000'000;
  limits.output_tokens_per_minute = 1'000'000'000;
  limits.concurrent_requests = 100'000;
  limits.device_ms_per_day = 1'000'000'000'000;
  limits.budget = Pico{Int128{1} << 90U};
  for (std::uint64_t id = 1; id <= options.tenants; ++id) state.set_tenant(TenantId{id}, limits);
  for (std::uint64_t id = 1; id <= options.keys; ++id) {
    state.set_key(KeyId{id}, TenantId{1 + id % options.tenants}, limits);
  }
  state.set_prices(DeploymentId{1}, {{1'000'000}, {100'000}, {1'000'000}, {2'000'000}});
  std::deque<metering::ReservationId> open;
  Pico billed;
  Times times;
  std::uint64_t records = 0;
  Instant now;
  const auto settle = [&] {
    const metering::ReservationId id = open.front();
    open.pop_front();
    if (whole) {
      (void)state.report(now, id, {1, 1, {.input_tokens = 100, .output_tokens = 150}});
    }
    const metering::UsageRecord record = state.settle(now, id, metering::Billing::billed);
    billed = billed + record.charge.total();
    ++records;
  };
  const std::int64_t begin = cpu_ns();
  for (std::uint64_t i = 0; i < options.requests; ++i) {
    now = now + step;
    const metering::Admission answer =
        state.admit(now, {RequestId{i + 1},
                          KeyId{keys[i]},
                          DeploymentId{1},
                          {.input_tokens = 100, .output_tokens = 200, .device_ms = 3'600'000}});
    if (const auto* id = std::get_if<metering::ReservationId>(&answer)) {
      ++times.admitted;
      if (whole) state.dispatched(now, *id, InstanceId{1 + i % 64});
      open.push_back(*id);
    }
    if (open.size() > options.open) settle();
  }
  times.ns_per_request = ns_each(begin, options.requests);
  while (!open.empty()) settle();
  Pico owed;
  for (std::uint64_t id = 1; id <= options.tenants; ++id) owed = owed + state.balance(TenantId{id});
  state.check_invariants();
  right = right && owed == billed && records == times.admitted;
  return times;
}

Times measure_counters(const Options& options, const std::vector<std::uint64_t>& keys,
                       bool& right) {
  std::unordered_map<std::uint64_t, std::int64_t> counters;
  counters.reserve(options.keys);
  for (std::uint64_t id = 1; id <= options.keys; ++id) counters[id] = 0;
  std::deque<std::uint64_t> open;
  Times times;
  const std::int64_t begin = cpu_ns();
  for (std::uint64_t i = 0; i < options.requests; ++i) {
    std::int64_t& counter = counters[keys[i]];
    if (counter < 100'000) {
      ++counter;
      ++times.admitted;
      open.push_back(keys[i]);
    }
    if (open.size() > options.open) {
      --counters[open.front()];
      open.pop_front();
    }
  }
  times.ns_per_request = ns_each(begin, options.requests);
  std::int64_t left = 0;
  for (const auto& [key, count] : counters) left += count;
  right = right && left == static_cast<std::int64_t>(open.size());
  return times;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int run(const Options& options) {
  const std::vector<std::uint64_t> keys = draw_keys(options);
  struct Pace {
    const char* name;
    Duration step;
  };
  const Pace paces[] = {{"100,000 requests/s", us(10)}, {"1,000 requests/s", ms(1)}};
  if (!options.json) {
    std::printf("%llu keys of %llu tenants, %llu requests, %llu open, median of %d rounds\n",
                static_cast<unsigned long long>(options.keys),
                static_cast<unsigned long long>(options.tenants),
                static_cast<unsigned long long>(options.requests),
                static_cast<unsigned long long>(options.open), options.rounds);
  }
  for (const Pace& pace : paces) {
    std::vector<double> pair, life, counter;
    bool right = true;
    for (std::int32_t round = 0; round < options.rounds; ++round) {
      const Times two = measure_metering(options, keys, pace.step, false, right);
      const Times four = measure_metering(options, keys, pace.step, true, right);
      const Times peer = measure_counters(options, keys, right);
      for (const Times& each : {two, four, peer})
        right = right && each.admitted == options.requests;
      pair.push_back(two.ns_per_request);
      life.push_back(four.ns_per_request);
      counter.push_back(peer.ns_per_request);
    }
    if (!right) {
      std::fprintf(stderr, "error: the books do not hold what was billed\n");
      return 1;
    }
    const double peer_ns = median(counter);
    std::printf(options.json
                    ? "{\"pace\":\"%s\",\"admit_settle_ns\":%.1f,\"whole_ns\":%.1f,"
                      "\"counter_ns\":%.1f,\"admit_settle_ratio\":%.2f,\"whole_ratio\":%.2f}\n"
                    : "  %s: admit + settle %.0f ns, with dispatch and report %.0f ns; hash-map "
                      "counter %.0f ns; ratios %.1f and %.1f\n",
                pace.name, median(pair), median(life), peer_ns, median(pair) / peer_ns,
                median(life) / peer_ns);
  }
  return 0;
}

}  // namespace
}  // namespace stoker::bench

int main(int argc, char** argv) {
  stoker::bench::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--json") {
      options.json = true;
    } else if (i + 1 < argc && word == "--keys") {
      options.keys = std::strtoull(argv[++i], nullptr, 10);
    } else if (i + 1 < argc && word == "--requests") {
      options.requests = std::strtoull(argv[++i], nullptr, 10);
    } else if (i + 1 < argc && word == "--open") {
      options.open = std::strtoull(argv[++i], nullptr, 10);
    } else {
      std::fprintf(stderr,
                   "usage: ./dev bench metering [--keys N] [--requests N] [--open N] [--json]\n");
      return 2;
    }
  }
  if (options.keys == 0 || options.requests == 0) return 2;
  return stoker::bench::run(options);
}
