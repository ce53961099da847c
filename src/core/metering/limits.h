// What one key or one tenant may use, what it has used, and why a wish beyond that is refused.
// Grants are stamped with the time at which they are made and are made before the use, so that
// neither concurrent nor long requests get past a limit. Money is not here: see accounts.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

#include "base/money.h"
#include "base/units.h"
#include "core/metering/sliding_window.h"
#include "core/metering/units.h"

namespace stoker::core::metering {

inline constexpr std::int64_t unlimited = std::numeric_limits<std::int64_t>::max();

/// A minute and a day slide; lengths are those of MeteringConfig.
struct Limits {
  std::int64_t requests_per_minute = unlimited;
  std::int64_t input_tokens_per_minute = unlimited;
  std::int64_t output_tokens_per_minute = unlimited;
  std::int64_t device_ms_per_day = unlimited;
  std::int64_t concurrent_requests = unlimited;
  std::optional<Pico> budget;  // of what is owed and what is reserved together
};

enum class LimitKind : std::uint8_t {
  requests_per_minute,
  input_tokens_per_minute,
  output_tokens_per_minute,
  device_time_per_day,
  concurrent_requests,
  budget
};
inline constexpr std::size_t windowed_kinds = 4;  // the first of them
inline constexpr std::size_t minute_kinds = 3;    // and of those
inline constexpr std::int64_t window_steps = SlidingWindow<1>::steps;
[[nodiscard]] const char* to_text(LimitKind kind);

enum class Whose : std::uint8_t { key, tenant };

/// Why something was not granted.
struct LimitHit {
  LimitKind kind = LimitKind::requests_per_minute;
  Whose whose = Whose::key;
  /// When the same wish would pass if nobody else used anything. nullopt: time alone does not help
  /// (the wish is larger than the limit; the budget is used up).
  std::optional<Duration> retry_after;
  std::int64_t most = 0;       // the limit; 0 for a budget
  std::int64_t remaining = 0;  // of it now; 0 for a budget
};

/// For the headers x-ratelimit-limit-*, -remaining-* and -reset-*.
struct Standing {
  std::int64_t most = unlimited;
  std::int64_t remaining = unlimited;
  Duration resets_in;  // until nothing that was used counts any more; {0} for a count of requests
};

/// How long the windows are.
struct Clock {
  Duration minute;
  Duration day;
  [[nodiscard]] Duration step_of(std::size_t kind) const {
    const Duration window =
        kind == static_cast<std::size_t>(LimitKind::device_time_per_day) ? day : minute;
    return {window.ns / window_steps};
  }
};

/// What is wished for, granted or taken back at once.
struct Amounts {
  std::array<std::int64_t, windowed_kinds> used{};  // requests, input, output, device time
  std::int64_t concurrent = 0;
};
[[nodiscard]] constexpr Amounts amounts_of(std::int64_t requests, const Units& units) {
  return {{requests, units.input_tokens, units.output_tokens, units.device_ms}, requests};
}

/// The step of each window.
using Steps = std::array<std::int64_t, windowed_kinds>;

class Meter {
 public:
  void set_limits(const Limits& limits);

  /// Needs: steps never fall. Before all that follow.
  void advance(const Steps& steps) {
    minute_.advance(steps.front());
    day_.advance(steps.back());
  }
  [[nodiscard]] bool admits(const Amounts& wish) const;
  /// The limit that bars the wish for longest.   Needs: !admits(wish); `now` is in `steps`.
  [[nodiscard]] LimitHit why_not(Instant now, const Amounts& wish, const Clock& clock) const;
  /// Grants it, whatever the limits are: what was used was used.
  void charge(const Amounts& granted, const Steps& steps);
  /// Takes back at the steps of the grants what a request did not use.
  void take_back(const Amounts& unused, const Steps& granted_at);
  [[nodiscard]] Standing standing(Instant now, LimitKind kind, const Clock& clock) const;
  [[nodiscard]] std::int64_t open() const { return open_; }
  void check_invariants() const;

 private:
  [[nodiscard]] std::int64_t sum(std::size_t kind) const {
    return kind < minute_kinds ? minute_.sum(kind) : day_.sum(0);
  }
  [[nodiscard]] std::int64_t left(std::size_t kind) const { return most_[kind] - sum(kind); }
  [[nodiscard]] Duration until_without(Instant now, std::size_t kind, std::int64_t amount,
                                       const Clock& clock) const;

  SlidingWindow<minute_kinds> minute_;
  SlidingWindow<1> day_;
  std::array<std::int64_t, windowed_kinds> most_{unlimited, unlimited, unlimited, unlimited};
  std::int64_t open_ = 0;
  std::int64_t most_open_ = unlimited;
};

}  // namespace stoker::core::metering
