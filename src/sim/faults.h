// What can break, and how often in one run. Two levels as in RELIABILITY.md 4: calm runs reach deep
// ordinary states, rough ones reach what should never happen twice at once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/prng.h"
#include "base/units.h"

namespace stoker::sim {

enum class Fault : std::uint8_t {
  process_dies,
  process_hangs,
  process_slow,
  process_unkillable,
  process_dies_slowly,
  process_pauses,   // it stands still, as after SIGSTOP
  process_resumes,  // not drawn by a rate of its own
  ignores_cancel,
  unreachable,
  message_lost,
  message_twice,
  message_late,
  load_fails_for_good,
  load_fails_partly,
  load_out_of_memory,
  load_slow,
  load_larger,
  spawn_fails_may_pass,
  spawn_fails_will_stay,
  spawn_outcome_unknown,
  device_lost,
  device_returned,  // not drawn by a rate of its own
  swizzle,          // some are stopped one by one and let go in another order
  clock_steps,      // the wall clock: all schedules jump
  client_leaves,
  server_crashes,
  server_sleeps,
  stale_message,
  stop_by_hand,
  warm_by_hand,
  deployment_changes,
  suspend_refused,
  suspend_unknown,
  suspend_keeps_memory,
  suspend_larger,
  resume_refused,
  resume_unknown,
  tier_lost,
  model_lost,
  store_full,
  report_lost,
  report_twice,
  report_late,
  report_less,
  prices_change,
  limits_change,
  count_
};
inline constexpr std::size_t fault_count = static_cast<std::size_t>(Fault::count_);

[[nodiscard]] const char* to_text(Fault fault);

/// For each fault how likely it is, in 1/10,000: per process, load, message or strike.
struct FaultPlan {
  std::array<std::int32_t, fault_count> per_10k{};
  Duration between_strikes;  // mean; {0}: nothing strikes

  [[nodiscard]] bool any() const { return between_strikes.ns > 0; }
  [[nodiscard]] std::int32_t of(Fault fault) const {
    return per_10k[static_cast<std::size_t>(fault)];
  }
};

inline FaultPlan no_faults() {
  return {};
}

/// Each fault is switched on or off by the seed; half of the plans are calm, half rough.
inline FaultPlan draw_faults(Prng& prng) {
  FaultPlan plan;
  const bool rough = prng.below(2) == 0;
  for (std::int32_t& each : plan.per_10k) {
    if (prng.below(2) == 0) continue;
    each = static_cast<std::int32_t>(rough ? 100 + prng.below(1500) : 10 + prng.below(150));
  }
  plan.between_strikes = rough ? ms(500 + static_cast<std::int64_t>(prng.below(4000)))
                               : seconds(5 + static_cast<std::int64_t>(prng.below(60)));
  return plan;
}

}  // namespace stoker::sim
