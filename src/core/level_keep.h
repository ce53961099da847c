// How long an instance beyond the first is worth keeping when requests no longer need it.
//
// Requests need level k while they fill more than k - 1 instances. When they fall below it, the
// k-th instance idles until they reach it again: one gap of that level. From the gaps that were
// seen, the k-th is kept for the time t that makes  E[min(gap, t)] + P(gap > t) x (t + cost of a
// start) smallest; with too few of them, for as long as a start costs (ski rental). Old gaps fade,
// and a gap without an end is always thought possible. Neighbours among high levels share what they
// learn.
//
// Level 1 is next_use's: it knows when the next request comes.   Source: docs/adr/0005.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/units.h"

namespace stoker::core {

class LevelKeep {
 public:
  /// Requests fill so many instances now.   Cost: O(change of the level).
  void demand(Instant now, std::int32_t level);
  [[nodiscard]] std::int32_t level() const { return level_; }

  /// Until when the instance of `level` is worth keeping if requests stay below it; nullopt:
  /// they need it now. {0}: they never did.   Needs: level >= 2.
  [[nodiscard]] std::optional<Instant> keep_until(std::int32_t level, Duration start_cost);

 private:
  static constexpr std::size_t bins = 44;  // by half octaves from an eighth of a second
  struct Gaps {
    std::array<double, bins + 1> count{};  // the last bin has no end
    std::array<double, bins + 1> sum_s{};
    double total = 0;
    double one = 1;      // what a new gap counts; grows instead of all others fading
    Duration known_for;  // the cost that `known` is of; {0}: of none
    Duration known;
  };

  [[nodiscard]] static std::size_t group_of(std::int32_t level);
  void learn(std::int32_t level, Duration gap);
  [[nodiscard]] Duration keep(std::int32_t level, Duration start_cost);
  [[nodiscard]] static Duration best(const Gaps& gaps, Duration start_cost);

  std::vector<Gaps> groups_;
  std::vector<Instant> fell_below_;  // of levels 2, 3, ...
  std::int32_t level_ = 0;
};

}  // namespace stoker::core
