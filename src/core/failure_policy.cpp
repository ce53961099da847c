#include "core/failure_policy.h"

#include <algorithm>

namespace stoker::core {

void FailureState::failed(Instant now, FailureKind kind, Prng& prng) {
  times_[static_cast<std::size_t>(consecutive_ % crash_loop_failures)] = now;
  ++consecutive_;
  last_kind_ = kind;
  if (consecutive_ >= crash_loop_failures) {
    const Instant oldest = times_[static_cast<std::size_t>(consecutive_ % crash_loop_failures)];
    crash_loop_ = crash_loop_ || now - oldest <= crash_loop_window;
  }
  Duration backoff = backoff_first;
  for (std::int32_t i = 1; i < consecutive_ && backoff < backoff_most; ++i) backoff.ns *= 2;
  backoff = crash_loop_ ? backoff_most : std::min(backoff, backoff_most);
  const std::int64_t jitter_permille = 800 + static_cast<std::int64_t>(prng.below(401));
  retry_at_ = now + Duration{backoff.ns / 1000 * jitter_permille};
}

}  // namespace stoker::core
