// Chance in the virtual world. What it does depends on the seed and on what it does it to, not on
// what was drawn before: a run without some of its inputs is the same for the others.
//
// Which faults it brings is drawn by the rates of a plan, and noted; or it is read from such a
// note.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/prng.h"
#include "base/units.h"
#include "sim/faults.h"
#include "sim/inputs.h"

namespace stoker::sim {

/// What is drawn, beside faults.
enum class Roll : std::uint8_t {
  start_time,
  load_step,
  delivery,
  lateness,
  redelivery,
  delivery_tries,
  death_after_failure,
  death_in_crash,
  unkillable_for,
  strike_time,
  suspend_time,
  resume_time,
  suspended_larger,
  prices,
  limits,
  usage,
  fault_first,  // and one for each fault
};

/// A fault that hit: what, whom, and which of the times that it could.
struct Hit {
  Fault fault = Fault::count_;
  Subject who;
  std::uint32_t time = 0;
  auto operator<=>(const Hit&) const = default;
};

class Chances {
 public:
  /// By the rates of the plan.
  Chances(std::uint64_t seed, const FaultPlan& plan)
      : seed_(seed), plan_(plan), varied_(plan.any()) {}
  /// As noted. `varied`: times vary as in a run with faults.
  Chances(std::uint64_t seed, bool varied, const std::vector<Hit>& hits)
      : seed_(seed), varied_(varied), noted_(true), hits_(hits) {
    std::sort(hits_.begin(), hits_.end());
  }

  /// Times vary, and messages take time.
  [[nodiscard]] bool any() const { return varied_; }
  [[nodiscard]] const FaultPlan& plan() const { return plan_; }
  void stop() {
    varied_ = false;
    stopped_ = true;
  }
  /// The faults that hit so far, if they were drawn.
  [[nodiscard]] const std::vector<Hit>& hits() const { return hits_; }

  /// `times`: the rate is so much larger, up to 90 %.
  bool hits(Fault fault, Subject who, std::uint32_t time, std::int32_t times = 1) {
    if (stopped_) return false;
    if (noted_) return std::binary_search(hits_.begin(), hits_.end(), Hit{fault, who, time});
    std::int64_t rate = plan_.of(fault);
    if (rate == 0) return false;
    if (times > 1) rate = std::min<std::int64_t>(rate * times, 9'000);
    const auto roll =
        static_cast<std::uint8_t>(static_cast<int>(Roll::fault_first) + static_cast<int>(fault));
    if (static_cast<std::int64_t>(draws(static_cast<Roll>(roll), who, time).below(10'000)) >=
        rate) {
      return false;
    }
    hits_.push_back({fault, who, time});
    return true;
  }
  /// All that is drawn for one thing at one time.
  [[nodiscard]] Prng draws(Roll roll, Subject who, std::uint32_t time = 0) const {
    const std::uint64_t of_subject = Prng(seed_ ^ who.value * 0x9e3779b97f4a7c15ULL).next();
    return Prng(of_subject ^ (std::uint64_t{time} << 8U | static_cast<std::uint64_t>(roll)));
  }
  [[nodiscard]] std::int64_t below(Roll roll, Subject who, std::uint32_t time,
                                   std::int64_t bound) const {
    return static_cast<std::int64_t>(
        draws(roll, who, time).below(static_cast<std::uint64_t>(bound)));
  }
  /// Between half and one and a half of `mean`.
  [[nodiscard]] Duration around(Duration mean, Roll roll, Subject who, std::uint32_t time) const {
    if (mean.ns <= 0) return {};
    return Duration{mean.ns / 2 + below(roll, who, time, mean.ns + 1)};
  }

 private:
  const std::uint64_t seed_;
  const FaultPlan plan_;
  bool varied_;
  const bool noted_ = false;
  bool stopped_ = false;
  std::vector<Hit> hits_;  // ordered, if they are noted
};

}  // namespace stoker::sim
