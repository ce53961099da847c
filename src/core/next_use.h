// When a deployment's next request will come, learned from its own past and from that of all
// others, and the two decisions that hang on it: whom to evict (the least index) and until when to
// keep an idle instance warm, and from when again (plan).
//
// Both read one thing: the hazard, the chance that a gap ends at an age that it has reached, per
// quarter octave of age. Four experts guess it: the population's gaps relative to the mean of this
// deployment's last 4, and of its last 64 (next_use_table.h); its own gaps; its rate at this time
// of day. Each deployment weighs them per age by how well they foretold it (fixed share: Herbster
// and Warmuth, "Tracking the Best Expert", 1998), so that a cron job, a session and a stream of
// people are each judged by what describes them, and a new deployment by what new ones did.
//
// A gap runs from the end of the last request in flight to the next arrival. Requests that come
// while others run find the instance in any case and teach nothing.
//
// Sources: the index is that of Gittins, "Bandit Processes and Dynamic Allocation Indices", 1979,
// for the job "be resident until the next use". The plan without any history is ski rental (Karlin
// et al., "Competitive Snoopy Caching", 1988): idle as long as a cold start is worth.
// Measured on 30 workloads for eviction and 25 for keep-warm, of an hour to two weeks. Rejected:
// LRU, GDSF, and LRFU tuned per workload (7 % more misses, taking the best of them for each); a
// fixed keep-warm time of 5 to 60 minutes (25 to 45 % more idling at equal cold starts); the
// histogram of Shahrad et al., "Serverless in the Wild", ATC 2020 (24 % more); one model per
// decision (no better at either by more than 0.3 %); time counted in requests of all deployments
// instead of own gaps (as good, but one busy deployment makes the others' past go by); experts for
// rates by the hour and for own gaps in two octaves (0.5 %, for twice the work).
//
// Must not: read a clock or know a time zone (the day is any 86,400 s of Instant; learning finds
// the phase), draw random numbers, or use libm. Decisions are the same bit for bit on any CPU: only
// + - * / and comparisons of doubles, built with -ffp-contract=off.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/units.h"
#include "core/next_use_ages.h"
#include "core/next_use_table.h"

namespace stoker::core {

/// What to do with the last idle instance if nothing arrives.
struct KeepPlan {
  Instant stop_at;
  std::optional<Instant> start_at;  // be ready again by then; nullopt: wait for the next request
};

/// What the gaps of all deployments have in common; 41 KB. One per core.
class NextUse {
 public:
  class Model;

  NextUse();

  /// A request arrived.   Needs: times of one model do not go back; now.ns within [0, 2^62].
  /// Cost: a few nanoseconds while busy or idle for less than 1.25 s; else about a microsecond.
  void arrived(Model& model, Instant now);
  /// The last request in flight ended. Says nothing if the model is idle already.   Cost: O(1).
  void idle(Model& model, Instant now);
  /// Nothing has come so far. To be said when a plan's time has come, and of one deployment after
  /// another now and then: else those that never come again teach nobody.   Cost: O(1).
  void silent(Model& model, Instant now);

  /// Expected uses per second of staying resident until the best time to give up. Times the cost of
  /// a cold start, over the bytes it holds, it is what a resident is worth.
  /// Gives: >= 0, finite; 0 before the first request.
  /// Cost: O(ages), about 2 us; 0.15 us if nothing happened since the last question.
  [[nodiscard]] double index(Model& model, Instant now);

  /// Uses per second in the long run: one over the mean of the last 64 gaps, or over the silence
  /// since the last use, whichever is longer. For what is moved rarely: index() rises and falls
  /// with every gap.
  /// Gives: >= 0, finite; 0 before the first gap.   Cost: O(1).
  [[nodiscard]] static double rate(const Model& model, Instant now);

  /// Needs: the instance is warm, or started now; break_even >= 0: the idling that costs as much as
  /// a cold start. Ask when the deployment falls idle, and again when start_at has come.
  /// Gives: now <= stop_at < start_at. With no gap to learn from, stop_at is when the deployment
  /// has idled for break_even. Early starts fall on edges of quarter octaves: that of a daily job
  /// is 4.5 hours wide, so one pays only if a cold start is worth hours of idling. Cost: as
  /// index().
  [[nodiscard]] KeepPlan plan(Model& model, Instant now, Duration break_even);

 private:
  struct View;
  static constexpr std::size_t experts = 4;
  using Guesses = std::array<double, experts>;

  void learn(Model& model, Instant now);
  void learn_short_gaps(Model& model);
  static void weigh(Model& model, const View& view, std::size_t last);
  void count(Model& model, double position);
  void mix(Model& model, Instant idle_since);
  Instant refresh(Model& model, Instant now);
  [[nodiscard]] View view_of(const Model& model, Instant idle_since) const;
  [[nodiscard]] static Guesses guesses(const Model& model, const View& view, std::size_t age);
  template <class Self, class Visit>
  static void for_tables(Self& self, const Model& model, Visit&& visit);

  next_use::GapTable absolute_;  // in seconds, for deployments without a scale of their own
  std::vector<next_use::GapTable> relative_;  // by scale and by the number of gaps behind it
};

/// What is known of one deployment; 0.7 KB. Opaque: only NextUse reads it.
class NextUse::Model {
 private:
  friend class NextUse;
  static constexpr std::size_t scales = 2;
  static constexpr std::size_t regions = 7;     // of age, three octaves each, that share weights
  static constexpr std::size_t day_parts = 12;  // of two hours

  void count_gap(double gap_s);
  void count_time_of_day(Duration gap, Instant now);
  static std::size_t part_of_day(std::int64_t at_ns);

  Instant idle_since_;
  std::uint32_t short_gaps_ = 0;  // that arrived() only counted
  std::uint32_t gaps_ = 0;        // learned; a run of short ones is one
  std::int64_t day_ = 0;          // up to which day_ends_ and day_idle_s_ are decayed
  std::uint8_t silent_to_ = 0;    // bucket up to which the open gap is counted; 0: not at all
  bool met_ = false;              // had a request
  bool busy_ = false;
  bool mixed_ = false;  // hazard_ holds
  std::array<double, scales> mean_gap_s_{};
  std::array<double, day_parts> day_idle_s_{};
  std::array<next_use::Packed, day_parts> day_ends_{};  // gaps that ended in that part of a day
  // Of the gaps that reached a bucket, newer ones counted more: how many, and how many ended in it.
  std::array<next_use::Packed, next_use::age_buckets> reached_{};
  std::array<next_use::Packed, next_use::age_buckets> ended_{};
  std::array<next_use::Packed, next_use::age_buckets> hazard_{};  // of the experts together
  std::array<std::array<next_use::Packed, experts>, regions> weight_;

 public:
  Model() {
    for (auto& region : weight_) region.fill(next_use::Packed(1.0 / experts));
  }
};

inline void NextUse::arrived(Model& model, Instant now) {
  if (model.busy_) return;
  model.busy_ = true;
  if (model.met_ && now - model.idle_since_ < next_use::first_age) {
    ++model.short_gaps_;
  } else {
    learn(model, now);
  }
}

}  // namespace stoker::core
