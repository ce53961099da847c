#include "cli/sim_seeds.h"

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

namespace stoker::cli {

ManyResult run_seeds(const ManyOptions& options,
                     const std::function<void(const ManyResult&)>& progress) {
  ManyResult sum;
  std::mutex mutex;
  std::atomic<std::uint64_t> next = 0;
  std::atomic<bool> stop = false;
  std::vector<std::uint64_t> hashes(options.seeds);
  const auto work = [&] {
    for (;;) {
      const std::uint64_t i = next.fetch_add(1);
      if (i >= options.seeds || stop.load()) return;
      sim::SeedResult one = sim::run_seed(options.first_seed + i, options.each);
      if (options.recheck_every > 0 && i % options.recheck_every == 0 && !one.violation) {
        const sim::SeedResult again = sim::run_seed(one.seed, options.each);
        if (again.totals.action_hash != one.totals.action_hash) {
          one.violation = "the same seed gave other actions the second time";
        }
      }
      hashes[i] = one.totals.action_hash;
      const std::lock_guard lock(mutex);
      ++sum.seeds;
      sum.requests += one.totals.arrivals;
      sum.events += one.totals.events;
      sum.virtual_time = sum.virtual_time + one.virtual_time;
      sum.states.add(one.states);
      sum.decisions_compared += one.decisions_compared;
      if (progress) progress(sum);
      if (!one.violation) continue;
      ++sum.violations;
      stop = true;
      if (!sum.first_violation || one.seed < sum.first_violation->seed) sum.first_violation = one;
    }
  };
  std::vector<std::thread> threads;
  for (std::int32_t i = 1; i < options.threads; ++i) threads.emplace_back(work);
  work();
  for (std::thread& each : threads) each.join();
  sum.action_hash = sim::empty_hash;
  for (const std::uint64_t each : hashes) {
    sum.action_hash = sim::add_to_hash(sum.action_hash, each);
  }
  return sum;
}

}  // namespace stoker::cli
