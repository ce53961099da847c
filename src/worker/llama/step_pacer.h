// How many prompt tokens one decode step may take, so that a step stays short: a step cannot be
// interrupted, so its length bounds how soon a cancel works and how long a stream beside it stalls.
// The cost of a token spans three orders of magnitude between models and devices, so the bound is
// measured, not configured. Rejected: n_batch alone; it is fixed before anything was measured, and
// a value safe for a 2 GB model on one core is ten times too slow for a small one.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/units.h"

namespace stoker::worker {

class StepPacer {
 public:
  /// `target`: what a step should take. Needs: max_tokens > 0.
  StepPacer(std::int32_t max_tokens, Duration target) : max_tokens_(max_tokens), target_(target) {}

  [[nodiscard]] std::int32_t bound() const { return bound_; }

  /// One step of `tokens` took `took`. Gives: the bound for the next step, at most doubled and at
  /// least halved, so that one slow step (a page fault, a busy machine) does not ruin it.
  std::int32_t after_step(std::int32_t tokens, Duration took) {
    if (tokens <= 0 || took.ns <= 0) return bound_;
    if (tokens == 1) single_ns_ = single_ns_ == 0 ? took.ns : (3 * single_ns_ + took.ns) / 4;
    // Short steps are bound by reading the weights and say nothing about prompt tokens.
    if (2 * tokens < bound_) return bound_;
    // Where one token alone takes longer than the target, a step may cost about two of them.
    const std::int64_t allowed_ns = std::max(target_.ns, single_ns_ * 3 / 2);
    const std::int64_t affordable = (tokens * allowed_ns + took.ns - 1) / took.ns;
    const std::int64_t low = std::max(bound_ / 2, 1);
    const std::int64_t high = std::min<std::int64_t>(std::int64_t{bound_} * 2, max_tokens_);
    bound_ = static_cast<std::int32_t>(std::clamp(affordable, low, high));
    return bound_;
  }

 private:
  const std::int32_t max_tokens_;
  const Duration target_;
  std::int32_t bound_ = 1;      // 512 is reached in nine steps
  std::int64_t single_ns_ = 0;  // of a step of one token, smoothed; 0: none yet
};

}  // namespace stoker::worker
