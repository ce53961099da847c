#include "sim/workload/token_lengths.h"

#include <algorithm>

#include "base/invariant.h"
#include "base/real_math.h"

namespace stoker::sim {
namespace {

constexpr std::size_t table_size = 1024;

/// The points that cut the normal distribution into equal parts, in their middles: its density,
/// added up in small steps. No formula gives them, and this needs no constants to be trusted.
std::vector<double> normal_quantiles(std::size_t count) {
  constexpr double step = 1.0 / 1024;
  constexpr double inverse_root_two_pi = 0.3989422804014327;
  std::vector<double> quantiles;
  quantiles.reserve(count);
  double below = 0.0;  // the share of what lies below x
  for (double x = -6.0; quantiles.size() < count && x < 6.0; x += step) {
    const double middle = x + step / 2;
    const double share = step * inverse_root_two_pi * real_math::exp(-0.5 * middle * middle);
    const auto wanted = [&] {
      return (static_cast<double>(quantiles.size()) + 0.5) / static_cast<double>(count);
    };
    while (quantiles.size() < count && below + share >= wanted()) {
      quantiles.push_back(x + step * (wanted() - below) / share);
    }
    below += share;
  }
  quantiles.resize(count, 6.0);
  return quantiles;
}

}  // namespace

TokenSampler::TokenSampler(const TokenLengths& lengths) {
  STOKER_INVARIANT(lengths.least >= 0 && lengths.least <= lengths.most && lengths.median > 0 &&
                       lengths.sigma >= 0 && lengths.sigma <= 10,
                   "token lengths from {} to {}, median {}, sigma {}", lengths.least, lengths.most,
                   lengths.median, lengths.sigma);
  static const std::vector<double> quantiles = normal_quantiles(table_size);
  table_.reserve(table_size);
  const auto least = static_cast<double>(lengths.least);
  const auto most = static_cast<double>(lengths.most);
  for (const double x : quantiles) {
    const double length = lengths.median * real_math::exp(lengths.sigma * x);
    table_.push_back(static_cast<std::int64_t>(std::clamp(length + 0.5, least, most)));
  }
}

}  // namespace stoker::sim
