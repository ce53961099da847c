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
  // of a store that the core fills
  fetch_fails,
  fetch_slow,
  drop_fails,
  count_
};
inline constexpr std::size_t fault_count = static_cast<std::size_t>(Fault::count_);
inline constexpr std::size_t first_of_store = static_cast<std::size_t>(Fault::fetch_fails);

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
/// `store`: draws those of stores, so that worlds without one are as they were; null: there is
/// none.
inline FaultPlan draw_faults(Prng& prng, Prng* store = nullptr) {
  FaultPlan plan;
  const bool rough = prng.below(2) == 0;
  const auto rate = [rough](Prng& from) {
    if (from.below(2) == 0) return 0;
    return static_cast<std::int32_t>(rough ? 100 + from.below(1500) : 10 + from.below(150));
  };
  for (std::size_t i = 0; i < first_of_store; ++i) plan.per_10k[i] = rate(prng);
  for (std::size_t i = first_of_store; i < fault_count && store != nullptr; ++i) {
    plan.per_10k[i] = rate(*store);
  }
  plan.between_strikes = rough ? ms(500 + static_cast<std::int64_t>(prng.below(4000)))
                               : seconds(5 + static_cast<std::int64_t>(prng.below(60)));
  return plan;
}

}  // namespace stoker::sim
