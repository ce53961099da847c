#include "core/load_windows.h"

#include <algorithm>

namespace stoker::core {

void LoadWindows::advance(Instant now, std::int32_t slots_in_use) {
  if (now - bucket_since_ >= Duration{bucket_length.ns * static_cast<std::int64_t>(kept)}) {
    // All that is known is older than the windows; what was in use until now fills them.
    buckets_.fill({bucket_length.ns * slots_in_use, 0});
    at_ = 0;
    buckets_[at_] = {};
    bucket_since_ = now;
    told_until_ = now;
    return;
  }
  while (now - bucket_since_ >= bucket_length) {
    const Instant end = bucket_since_ + bucket_length;
    current().slot_ns += (end - told_until_).ns * slots_in_use;
    at_ = (at_ + 1) % kept;
    buckets_[at_] = {};
    bucket_since_ = end;
    told_until_ = end;
  }
  current().slot_ns += (now - told_until_).ns * slots_in_use;
  told_until_ = now;
}

/// The newest weighs a quarter.
void LoadWindows::first_token(Duration took) {
  first_token_ =
      first_token_.ns == 0 ? took : Duration{first_token_.ns + (took.ns - first_token_.ns) / 4};
}

LoadWindows::Bucket LoadWindows::last(std::int32_t full) const {
  Bucket sum;
  std::size_t at = at_;
  for (std::int32_t i = 0; i <= full; ++i) {
    sum.slot_ns += buckets_[at].slot_ns;
    sum.arrivals += buckets_[at].arrivals;
    at = (at + kept - 1) % kept;
  }
  return sum;
}

LoadAverages LoadWindows::averages() const {
  const Bucket stable = last(stable_buckets);
  const Bucket panic = last(panic_buckets);
  const std::int64_t stable_us = length_of(stable_buckets) / 1000;
  const std::int64_t panic_us = length_of(panic_buckets) / 1000;
  // slot_ns / ns in thousandths, and arrivals / s in thousandths
  return {stable.slot_ns / stable_us, panic.slot_ns / panic_us,
          stable.arrivals * 1'000'000'000 / stable_us, panic.arrivals * 1'000'000'000 / panic_us,
          first_token_};
}

std::int64_t LoadWindows::rate_milli(Duration window) const {
  const auto full = static_cast<std::int32_t>(
      std::clamp<std::int64_t>(window.ns / bucket_length.ns, 1, stable_buckets));
  return last(full).arrivals * 1'000'000'000 / (length_of(full) / 1000);
}

}  // namespace stoker::core
