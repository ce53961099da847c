#include "core/next_use_table.h"

#include <algorithm>

#include "core/next_use_ages.h"

namespace stoker::core::next_use {
namespace {

// Chosen on the workloads of next_use.h; half or double of any changes the result by less than 0.3
// %.

/// Weight of the prior, in gaps.
constexpr double prior_gaps = 4;
/// From here on older gaps are forgotten, so that a population may change.
constexpr double most_weight = 4096;
constexpr double forget = 0.985;
constexpr double most_hazard = 0.98;  // nothing is certain

/// The chance that a memoryless process of unknown rate, seen `gaps` times in `gaps` units of time,
/// ends in [from, from + width): Gamma-Poisson, so 1 / (1 + age / gaps) per unit.
double prior_hazard(double from, double width, double gaps) {
  const double z = width / (1 + (from + width * 0.5) / gaps);
  return z / (1 + z * 0.5);
}

}  // namespace

GapTable::GapTable(double scale_gaps) : scale_gaps_(scale_gaps) {
  estimate();
}

std::size_t GapTable::bin_of(double at) {
  return static_cast<std::size_t>(std::clamp(floor_of(at), -reach, reach) + reach);
}

void GapTable::ended(double at, std::optional<double> silent_to) {
  ended_[bin_of(at)] += 1;
  if (silent_to) open_[bin_of(*silent_to)] -= 1;
  weight_ += 1;
  changed();
}

void GapTable::silent(std::optional<double> before, double at) {
  if (before) open_[bin_of(*before)] -= 1;
  open_[bin_of(at)] += 1;
  changed();
}

void GapTable::changed() {
  if (--until_estimate_ > 0) return;
  estimate();
  until_estimate_ = static_cast<std::int32_t>(weight_ * (1.0 / 64)) + 1;
  if (weight_ <= most_weight) return;
  weight_ = 0;
  for (std::size_t i = 0; i < bins; ++i) {
    ended_[i] *= forget;
    open_[i] *= forget;
    weight_ += ended_[i];
  }
}

double GapTable::hazard(double at) const {
  const double place = at + reach;
  if (place <= 0) return hazard_[0];
  if (place >= bins - 1) return hazard_[bins - 1];
  const auto whole = static_cast<std::size_t>(place);
  const double part = place - static_cast<double>(whole);
  return hazard_[whole] + part * (hazard_[whole + 1] - hazard_[whole]);
}

void GapTable::estimate() {
  std::array<double, bins> reached{};
  double later = 0;
  for (std::size_t i = bins; i-- > 0;) {
    reached[i] = later + ended_[i] + 0.5 * open_[i];  // an open gap is half through its bin
    later += ended_[i] + open_[i];
  }
  for (std::size_t i = 0; i < bins; ++i) {
    // Smoothed 1-2-1: scales are estimates, so neighbouring bins are about the same thing.
    const std::size_t left = i == 0 ? i : i - 1;
    const std::size_t right = i == bins - 1 ? i : i + 1;
    const double ends = ended_[left] + 2 * ended_[i] + ended_[right];
    // Forgetting between a silent() and its ended() may leave less than there can be.
    const double reaches = std::max(ends, reached[left] + 2 * reached[i] + reached[right]);
    const double from = at_position(static_cast<int>(i) - reach);
    const double width = at_position(static_cast<int>(i) - reach + 1) - from;
    const double prior = prior_hazard(from, width, scale_gaps_);
    hazard_[i] =
        std::min((ends + 4 * prior_gaps * prior) / (reaches + 4 * prior_gaps), most_hazard);
  }
  hazard_[bins] = hazard_[bins - 1];
}

}  // namespace stoker::core::next_use
