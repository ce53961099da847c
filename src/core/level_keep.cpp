#include "core/level_keep.h"

#include <algorithm>

#include "base/invariant.h"

namespace stoker::core {
namespace {

/// A gap fades by this for each later one of its group: about the last 200 count.
constexpr double fade = 0.995;
/// Where the weight of a new gap is brought back to one, long before a double ends.
constexpr double heaviest = 1e6;
/// Of a gap without an end, so that a few short ones do not promise that the next is short too.
constexpr double endless_gap = 0.2;
constexpr double fewest_gaps = 3;
/// The kept time stays within these shares of a start's cost: beyond them a histogram of half
/// octaves says more than it knows.
constexpr double least_share = 0.25;
constexpr double most_share = 2;
constexpr double first_edge_s = 0.125;
constexpr double half_octave = 1.4142135623730951;

}  // namespace

/// 2, 3, 4, 5-6, 7-8, 9-12, 13-16, 17-24, ...
std::size_t LevelKeep::group_of(std::int32_t level) {
  if (level <= 4) return static_cast<std::size_t>(level - 2);
  std::size_t group = 3;
  std::int32_t last = 4;
  for (std::int32_t step = 2;; step *= 2) {
    for (int twice = 0; twice < 2; ++twice) {
      last += step;
      if (level <= last) return group;
      ++group;
    }
  }
}

void LevelKeep::demand(Instant now, std::int32_t level) {
  if (level == level_) return;
  if (level > level_) {
    for (std::int32_t k = std::max(level_ + 1, 2); k <= level; ++k) {
      const auto at = static_cast<std::size_t>(k - 2);
      if (at < fell_below_.size()) {
        learn(k, now - fell_below_[at]);
      } else {
        fell_below_.push_back(now);
      }
    }
  } else {
    for (std::int32_t k = std::max(level + 1, 2); k <= level_; ++k) {
      fell_below_[static_cast<std::size_t>(k - 2)] = now;
    }
  }
  level_ = level;
}

void LevelKeep::learn(std::int32_t level, Duration gap) {
  const std::size_t group = group_of(level);
  if (group >= groups_.size()) groups_.resize(group + 1);
  Gaps& gaps = groups_[group];
  const double gap_s = static_cast<double>(gap.ns) / 1e9;
  std::size_t bin = 0;
  for (double edge = first_edge_s; bin < bins && gap_s > edge; edge *= half_octave) ++bin;
  gaps.one /= fade;
  gaps.count[bin] += gaps.one;
  gaps.sum_s[bin] += gaps.one * gap_s;
  gaps.total += gaps.one;
  gaps.known_for = {};
  if (gaps.one < heaviest) return;
  for (std::size_t i = 0; i <= bins; ++i) {
    gaps.count[i] /= gaps.one;
    gaps.sum_s[i] /= gaps.one;
  }
  gaps.total /= gaps.one;
  gaps.one = 1;
}

Duration LevelKeep::best(const Gaps& gaps, Duration start_cost) {
  const double cost_s = static_cast<double>(start_cost.ns) / 1e9;
  const double one = gaps.one;
  if (gaps.total / one < fewest_gaps) return start_cost;
  double longer = gaps.total / one + endless_gap;  // gaps that are longer than the edge
  double least = longer * cost_s;                  // not kept at all
  double best_s = 0;
  double idled = 0;  // by those that are not
  double edge = first_edge_s;
  for (std::size_t i = 0; i < bins; ++i) {
    idled += gaps.sum_s[i] / one;
    longer = std::max(longer - gaps.count[i] / one, endless_gap);
    const double loss = idled + longer * (edge + cost_s);
    if (loss < least) {
      least = loss;
      best_s = edge;
    }
    edge *= half_octave;
  }
  best_s = std::clamp(best_s, least_share * cost_s, most_share * cost_s);
  return Duration{static_cast<std::int64_t>(best_s * 1e9)};
}

Duration LevelKeep::keep(std::int32_t level, Duration start_cost) {
  const std::size_t group = group_of(level);
  if (group >= groups_.size()) return start_cost;
  Gaps& gaps = groups_[group];
  if (gaps.known_for != start_cost || start_cost == Duration{}) {
    gaps.known = best(gaps, start_cost);
    gaps.known_for = start_cost;
  }
  return gaps.known;
}

std::optional<Instant> LevelKeep::keep_until(std::int32_t level, Duration start_cost) {
  STOKER_INVARIANT(level >= 2, "level {}", level);
  if (level <= level_) return std::nullopt;
  const auto at = static_cast<std::size_t>(level - 2);
  if (at >= fell_below_.size()) return Instant{};
  return fell_below_[at] + keep(level, start_cost);
}

}  // namespace stoker::core
