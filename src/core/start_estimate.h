// How long a deployment's instance takes from its start to ready, learned from the starts that were
// seen. Used for Retry-After, for the stay of a model that others wait for, and for break-even.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/units.h"

namespace stoker::core {

class StartEstimate {
 public:
  explicit StartEstimate(Duration first_guess = seconds(5)) : estimate_(first_guess) {}

  /// Weighs the newest start by a quarter: a few starts forget a first guess, one slow start does
  /// not decide alone.   Needs: took >= 0.
  void observed(Duration took) {
    estimate_ = known_ ? Duration{estimate_.ns + (took.ns - estimate_.ns) / 4} : took;
    known_ = true;
  }
  [[nodiscard]] Duration get() const { return estimate_; }
  [[nodiscard]] bool known() const { return known_; }

 private:
  Duration estimate_;
  bool known_ = false;
};

}  // namespace stoker::core
