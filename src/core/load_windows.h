// What a deployment's instances had to do lately: slots in use and requests that came, averaged
// over a long and a short window, and the time to first token. Pure; kept only where a signal asks.
#pragma once

#include <array>
#include <cstdint>

#include "base/units.h"
#include "core/autoscaler.h"

namespace stoker::core {

class LoadWindows {
 public:
  /// Before `now` there was nothing: that counts as load of zero.
  explicit LoadWindows(Instant now) : bucket_since_(now), told_until_(now) {}

  /// Since the last call so many slots were in use. Before every change of that number.
  /// Needs: now never goes back.   Cost: O(1) but after a pause, then O(buckets).
  void advance(Instant now, std::int32_t slots_in_use);
  void request_arrived() { ++current().arrivals; }
  void first_token(Duration took);

  /// Of the last 60 and 6 s up to the last advance().
  [[nodiscard]] LoadAverages averages() const;
  /// Requests/s, in thousandths, over about `window`, at most 60 s.
  [[nodiscard]] std::int64_t rate_milli(Duration window) const;

  static constexpr Duration bucket_length = seconds(1);

 private:
  struct Bucket {
    std::int64_t slot_ns = 0;
    std::int64_t arrivals = 0;
  };
  static constexpr std::int32_t stable_buckets = 60;
  static constexpr std::int32_t panic_buckets = 6;
  static constexpr std::size_t kept = stable_buckets + 1;  // and the one that fills now

  Bucket& current() { return buckets_[at_]; }
  /// Of the last `full` buckets and the one that fills.
  [[nodiscard]] Bucket last(std::int32_t full) const;
  [[nodiscard]] std::int64_t length_of(std::int32_t full) const {
    return full * bucket_length.ns + (told_until_ - bucket_since_).ns;
  }

  std::array<Bucket, kept> buckets_{};
  std::size_t at_ = 0;
  Instant bucket_since_;
  Instant told_until_;
  Duration first_token_;  // moving mean
};

}  // namespace stoker::core
