// What a deployment that keeps failing may cost: exponential backoff with seeded jitter, and a
// crash-loop state that refuses requests at once. Pure.
#pragma once

#include <array>
#include <cstdint>

#include "base/prng.h"
#include "base/units.h"

namespace stoker::core {

inline constexpr Duration backoff_first = seconds(1);
inline constexpr Duration backoff_most = seconds(60);
inline constexpr std::int32_t crash_loop_failures = 5;
inline constexpr Duration crash_loop_window = seconds(60);
inline constexpr Duration healthy_reset = minutes(10);

enum class FailureKind : std::uint8_t {
  load_refused,  // the model cannot be loaded, or its worker not be run; waiting would not help
  start_failed,  // it died, hung or never came up before it was ready
  crashed,       // it died or hung after it was ready
};

class FailureState {
 public:
  /// Backoff 1, 2, 4 .. 60 s, each times 0.8 .. 1.2. The fifth failure within 60 s is a crash
  /// loop, as is every later one until the state was cleared.   Source: RELIABILITY.md W15.
  void failed(Instant now, FailureKind kind, Prng& prng);
  /// Healthy for healthy_reset, newly deployed, or warmed by hand.
  void clear() { *this = FailureState{}; }

  [[nodiscard]] bool any() const { return consecutive_ > 0; }
  [[nodiscard]] bool crash_loop() const { return crash_loop_; }
  [[nodiscard]] std::int32_t consecutive() const { return consecutive_; }
  [[nodiscard]] FailureKind last_kind() const { return last_kind_; }
  /// No start before this.
  [[nodiscard]] Instant retry_at() const { return retry_at_; }

 private:
  std::array<Instant, crash_loop_failures> times_{};  // ring of the last failures
  std::int32_t consecutive_ = 0;
  bool crash_loop_ = false;
  FailureKind last_kind_ = FailureKind::start_failed;
  Instant retry_at_;
};

}  // namespace stoker::core
