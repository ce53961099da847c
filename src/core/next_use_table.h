// How long gaps last that are expected to last about so long: the hazard, the chance that a gap
// ends at an age that it has reached, by age relative to a scale, learned from the gaps of all
// deployments. A deployment with few gaps of its own is judged by what such gaps did elsewhere.
//
// Kaplan and Meier's estimate ("Nonparametric Estimation from Incomplete Observations", JASA 1958):
// a gap that is still open counts among those that reached its age. Else deployments that were
// left, and those that come once a week, would be taken for ones that always come soon.
// Rejected: a fitted family (Gamma, log-normal), which is wrong for cron jobs and sessions alike.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace stoker::core::next_use {

class GapTable {
 public:
  /// `scale_gaps`: the number of gaps that the scale is a mean of; few make the prior's tail heavy.
  explicit GapTable(double scale_gaps);

  /// A gap ended at this position (next_use_ages.h), relative to the scale's. `silent_to` is what
  /// was last said of it by silent().   Cost: O(1); every 64th of its weight, about a microsecond.
  void ended(double at, std::optional<double> silent_to);
  /// A gap that is still open reached this position.
  void silent(std::optional<double> before, double at);

  /// The chance that a gap ends within the quarter octave from here on, having come here.
  /// Gives: within (0, 0.98].   Cost: O(1).
  [[nodiscard]] double hazard(double at) const;
  /// Gaps that ended, newer ones counted more.
  [[nodiscard]] double weight() const { return weight_; }

 private:
  static constexpr int reach = 56;  // 14 octaves to both sides of the scale
  static constexpr std::size_t bins = 2 * reach + 1;
  static std::size_t bin_of(double at);
  void changed();
  void estimate();

  std::array<double, bins> ended_{};
  std::array<double, bins> open_{};
  std::array<double, bins + 1> hazard_{};  // one more, so that the last may be interpolated
  double scale_gaps_;
  double weight_ = 0;
  std::int32_t until_estimate_ = 0;
};

}  // namespace stoker::core::next_use
