// Lengths of prompts and answers for sources that have none recorded: lognormal, as observed
// traffic is by and large, cut at both ends.
#pragma once

#include <cstdint>
#include <vector>

#include "base/prng.h"

namespace stoker::sim {

struct TokenLengths {
  double median = 256;
  double sigma = 1.0;  // of the logarithm; 0: all are the median
  std::int64_t least = 1;
  std::int64_t most = 8192;
};

/// Draws from a table of 1,024 equally likely lengths, which costs a hundredth of a real draw and
/// leaves out only what is rarer than one in two thousand.
class TokenSampler {
 public:
  /// Needs: 0 <= least <= most, median > 0, 0 <= sigma <= 10.
  explicit TokenSampler(const TokenLengths& lengths);
  [[nodiscard]] std::int64_t draw(Prng& prng) const { return table_[prng.next() >> 54]; }

 private:
  std::vector<std::int64_t> table_;
};

}  // namespace stoker::sim
