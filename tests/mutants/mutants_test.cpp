// Plants one bug after another in the decision core and asks whether the simulator sees it: each
// must be found within 1,000 small worlds. What finds nothing proves nothing.
#include <gtest/gtest.h>

#include <cstdio>

#include "planted.h"
#include "sim/seed_run.h"

namespace stoker::sim {
namespace {

constexpr std::uint64_t most_seeds = 1000;

/// The number of worlds it took; most_seeds + 1: it was not found.
std::uint64_t seeds_until_found(const SeedOptions& options) {
  for (std::uint64_t seed = 1; seed <= most_seeds; ++seed) {
    if (run_seed(seed, options).violation) return seed;
  }
  return most_seeds + 1;
}

TEST(Mutants, EachIsFoundWithinAThousandSmallWorlds) {
  const SeedOptions small{.requests = 400, .sweep_every = 16, .with_faults = true, .trace = {}};
  ASSERT_GE(core::planted_bugs, 25);
  core::planted_bug = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    const SeedResult sound = run_seed(seed, small);
    ASSERT_FALSE(sound.violation) << "without a bug, seed " << seed << ": " << *sound.violation;
  }
  for (int bug = 1; bug <= core::planted_bugs; ++bug) {
    core::planted_bug = bug;
    const std::uint64_t seeds = seeds_until_found(small);
    core::planted_bug = 0;
    EXPECT_LE(seeds, most_seeds) << core::planted_names[bug - 1];
    std::printf("%5llu  %s\n", static_cast<unsigned long long>(seeds),
                core::planted_names[bug - 1]);
  }
}

}  // namespace
}  // namespace stoker::sim
