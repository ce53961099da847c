#include "core/next_use.h"

#include <algorithm>

namespace stoker::core {
namespace {

using next_use::age_buckets;
using next_use::ages;
using next_use::GapTable;
using next_use::Packed;

// Half or double of any of these changes misses and idling by less than 0.5 % on average, but for
// day_from: 30 s is within a session, and costs 9 % of idling where people talk by day.

/// Own gaps that a bucket remembers: counted at the bucket, so that rare long gaps are kept long.
constexpr double own_memory = 64;
/// Gaps' worth of the population's guess in a deployment's own. More, and a daily job takes weeks.
constexpr double own_prior = 2;
/// Weight that the experts share out anew per gap and region: so fast a worse one may come back.
constexpr double share = 0.002;
/// So much of the guess by time of day is the population's, so that no rate means no certainty.
constexpr double day_prior = 0.05;
/// Kept of the times of day per day: about a week.
constexpr double day_keep = 0.85;
/// Gaps within a session say nothing about the time of day; idle time counts from here on too.
constexpr Duration day_from = seconds(60);
constexpr std::int64_t most_days = 14;  // of one gap that are gone through
/// A start ahead of time is charged so much idling and so much of a cold start: the device is held
/// while it starts, and one more start is one more that may fail.
constexpr double early_start_s = 30;
constexpr double early_start_part = 0.1;
constexpr std::uint32_t gaps_before_early_start = 4;
/// Gaps of the whole population from which a deployment without any of its own can be judged.
constexpr double history = 16;
constexpr double least_hazard = 1e-4;  // of a plan: anything may come
constexpr double never = 1e300;

constexpr double most_hazard = 0.98;
/// Mean gaps below are not told apart; also what a run of short gaps counts as.
constexpr double least_scale_s = 0.5;
/// Gaps that the two mean gaps are over.
constexpr std::array<std::uint32_t, 2> scale_gaps = {4, 64};
/// Classes of the number of gaps behind a mean: 1, 2, 4, ... 64. Few gaps make a wide guess.
constexpr std::size_t classes = 7;
constexpr std::size_t region_buckets = 12;

constexpr std::int64_t day_ns = 86'400'000'000'000;

/// A quotient, because a product with 1e-9 is not exact at the edges of buckets.
double seconds_of(Duration d) {
  return static_cast<double>(d.ns) / 1e9;
}

Duration duration_of(double s) {
  return {static_cast<std::int64_t>(s * 1e9)};
}

/// About 1 - exp(-expected).
double chance_of(double expected) {
  return std::min(expected / (1 + expected * 0.5), most_hazard);
}

/// About exp(-x), for x >= 0.
double decay(double x) {
  double z = 1 + x * 0.125;
  z *= z;
  z *= z;
  z *= z;
  return 1 / z;
}

/// The middle of each bucket.
constexpr std::array<std::int64_t, age_buckets> middle_ns = [] {
  std::array<std::int64_t, age_buckets> all{};
  for (std::size_t b = 0; b < age_buckets; ++b) {
    all[b] = static_cast<std::int64_t>((ages[b] + ages[b + 1]) * 0.5e9);
  }
  return all;
}();

std::size_t bucket_of(double position) {
  return static_cast<std::size_t>(position);
}

/// The rest of the bucket that an age lies in.
struct Rest {
  std::size_t bucket = 0;
  double width_s = 0;
  double hazard = 0;  // given that the gap came to this age
};

Rest rest_of(double age_s, const std::array<Packed, age_buckets>& hazard) {
  Rest rest;
  rest.bucket = bucket_of(next_use::position_of_age(age_s));
  const double whole = ages[rest.bucket + 1] - ages[rest.bucket];
  rest.width_s = std::clamp(ages[rest.bucket + 1] - age_s, 1e-3, whole);
  const double part = rest.width_s / whole;
  const double q = hazard[rest.bucket].get();
  rest.hazard = q * part / (1 - q * (1 - part));
  return rest;
}

}  // namespace

/// What the experts need of a deployment for one run over its ages.
struct NextUse::View {
  std::array<const GapTable*, Model::scales> table{};
  std::array<double, Model::scales> scale{};  // position that the table's 0 stands for
  std::int64_t idle_since_ns = 0;
  std::array<double, Model::day_parts> day_rate{};  // gaps ending per idle second
};

NextUse::NextUse() : absolute_(1) {
  relative_.reserve(Model::scales * classes);
  for (std::size_t scale = 0; scale < Model::scales; ++scale) {
    for (std::size_t i = 0; i < classes; ++i) {
      // A mean of n gaps counts as 1.4 n: its class goes from n to 2 n.
      relative_.emplace_back(1.4 * static_cast<double>(1U << i));
    }
  }
}

/// Calls `visit(table, scale)` for the population's tables that this deployment belongs to. A
/// table's 0 is the position `scale` in seconds.
template <class Self, class Visit>
void NextUse::for_tables(Self& self, const Model& model, Visit&& visit) {
  if (model.gaps_ == 0) return;
  for (std::size_t i = 0; i < Model::scales; ++i) {
    std::size_t table = i * classes;
    for (std::uint32_t n = std::min(model.gaps_, scale_gaps[i]); n >= 2; n /= 2) ++table;
    visit(self.relative_[table],
          next_use::position_of(std::max(model.mean_gap_s_[i], least_scale_s)));
  }
}

NextUse::View NextUse::view_of(const Model& model, Instant idle_since) const {
  View view;
  view.idle_since_ns = idle_since.ns;
  view.table.fill(&absolute_);
  std::size_t next = 0;
  for_tables(*this, model, [&](const GapTable& table, double scale) {
    view.table[next] = &table;
    view.scale[next++] = scale;
  });
  double ends = 0;
  double idle_s = 0;
  for (std::size_t i = 0; i < Model::day_parts; ++i) {
    ends += model.day_ends_[i].get();
    idle_s += model.day_idle_s_[i];
  }
  // A part of the day of which little is known is like the mean of all.
  const double mean_s = (idle_s + 600) / (ends + 0.5);
  for (std::size_t i = 0; i < Model::day_parts; ++i) {
    view.day_rate[i] = (model.day_ends_[i].get() + 1) / (model.day_idle_s_[i] + mean_s);
  }
  return view;
}

NextUse::Guesses NextUse::guesses(const Model& model, const View& view, std::size_t age) {
  Guesses guess{};
  const auto position = static_cast<double>(age);
  guess[0] = view.table[0]->hazard(position - view.scale[0]);
  guess[1] = view.table[1]->hazard(position - view.scale[1]);
  const double others = (guess[0] + guess[1]) * 0.5;
  guess[2] = std::min(
      (model.ended_[age].get() + own_prior * others) / (model.reached_[age].get() + own_prior),
      most_hazard);
  const std::size_t part = Model::part_of_day(view.idle_since_ns + middle_ns[age]);
  const double expected = view.day_rate[part] * (ages[age + 1] - ages[age]);
  guess[3] = chance_of((1 - day_prior) * expected + day_prior * others);
  return guess;
}

/// One step of Bayes per region that the gap went through: the chance that each expert gave to
/// what happened there.   Needs: the gap ended in bucket `last`.
void NextUse::weigh(Model& model, const View& view, std::size_t last) {
  for (std::size_t from = 0; from <= last; from += region_buckets) {
    const std::size_t to = std::min(from + region_buckets - 1, last);
    Guesses likely;
    likely.fill(1);
    for (std::size_t age = from; age <= to; ++age) {
      const Guesses guess = guesses(model, view, age);
      for (std::size_t i = 0; i < experts; ++i) {
        likely[i] *= age < last ? 1 - guess[i] : guess[i];
      }
    }
    std::array<Packed, experts>& weight = model.weight_[from / region_buckets];
    double sum = 0;
    for (std::size_t i = 0; i < experts; ++i) {
      likely[i] = weight[i].get() * (likely[i] + 1e-9);
      sum += likely[i];
    }
    for (std::size_t i = 0; i < experts; ++i) {
      weight[i] = Packed((1 - share) * likely[i] / sum + share / experts);
    }
  }
}

/// Tells the population of a gap that ended.
void NextUse::count(Model& model, double position) {
  const auto tell = [&](GapTable& table, double scale) {
    std::optional<double> silent_to;
    if (model.silent_to_ > 0) silent_to = static_cast<double>(model.silent_to_) - scale;
    table.ended(position - scale, silent_to);
  };
  tell(absolute_, 0);
  for_tables(*this, model, tell);
  model.silent_to_ = 0;
}

void NextUse::silent(Model& model, Instant now) {
  if (!model.met_ || model.busy_) return;
  learn_short_gaps(model);
  const std::size_t bucket =
      bucket_of(next_use::position_of_age(seconds_of(now - model.idle_since_)));
  if (bucket <= model.silent_to_) return;
  const auto tell = [&](GapTable& table, double scale) {
    std::optional<double> before;
    if (model.silent_to_ > 0) before = static_cast<double>(model.silent_to_) - scale;
    table.silent(before, static_cast<double>(bucket) - scale);
  };
  tell(absolute_, 0);
  for_tables(*this, model, tell);
  model.silent_to_ = static_cast<std::uint8_t>(bucket);
}

void NextUse::idle(Model& model, Instant now) {
  if (!model.busy_) return;
  model.busy_ = false;
  model.idle_since_ = now;
  model.mixed_ = false;  // the time of day is another
}

void NextUse::learn(Model& model, Instant now) {
  learn_short_gaps(model);
  if (!model.met_) {
    model.met_ = true;
    return;
  }
  const Duration gap = now - model.idle_since_;
  const double position = next_use::position_of_age(seconds_of(gap));
  const std::size_t last = bucket_of(position);
  weigh(model, view_of(model, model.idle_since_), last);
  count(model, position);
  for (std::size_t b = 0; b <= last; ++b) {
    const double reached = model.reached_[b].get();
    model.reached_[b] = Packed(reached + 1 - reached * (1 / own_memory));
    const double ended = model.ended_[b].get() * (1 - 1 / own_memory);
    model.ended_[b] = Packed(b == last ? ended + 1 : ended);
  }
  model.count_gap(seconds_of(gap));
  model.count_time_of_day(gap, now);
}

/// A run of short gaps is one gap to the weights and to the population: else one busy deployment
/// would outvote all others.
void NextUse::learn_short_gaps(Model& model) {
  if (model.short_gaps_ == 0) return;
  const double gaps = model.short_gaps_;
  model.short_gaps_ = 0;
  weigh(model, view_of(model, model.idle_since_), 0);
  count(model, 0);
  const double kept = decay(gaps / own_memory);
  const double added = (1 - kept) * own_memory;
  model.reached_[0] = Packed(model.reached_[0].get() * kept + added);
  model.ended_[0] = Packed(model.ended_[0].get() * kept + added);
  model.count_gap(least_scale_s);
}

void NextUse::Model::count_gap(double gap_s) {
  mixed_ = false;
  // Behind the longest mean it makes no difference any more.
  gaps_ = std::min(gaps_ + 1, scale_gaps[scales - 1]);
  for (std::size_t i = 0; i < scales; ++i) {
    const auto over = static_cast<double>(std::min(gaps_, scale_gaps[i]));
    mean_gap_s_[i] += (gap_s - mean_gap_s_[i]) / over;
  }
}

std::size_t NextUse::Model::part_of_day(std::int64_t at_ns) {
  return static_cast<std::size_t>(at_ns % day_ns / (day_ns / std::int64_t{day_parts}));
}

void NextUse::Model::count_time_of_day(Duration gap, Instant now) {
  if (gap < day_from) return;
  const std::int64_t day = now.ns / day_ns;
  for (day_ = std::max(day_, day - most_days); day_ < day; ++day_) {
    for (std::size_t i = 0; i < day_parts; ++i) {
      day_ends_[i] = Packed(day_ends_[i].get() * day_keep);
      day_idle_s_[i] *= day_keep;
    }
  }
  constexpr std::int64_t part_ns = day_ns / std::int64_t{day_parts};
  std::int64_t at = std::max(now.ns - gap.ns + day_from.ns, now.ns - most_days * day_ns);
  for (; at / part_ns < now.ns / part_ns; at = (at / part_ns + 1) * part_ns) {
    day_idle_s_[part_of_day(at)] += seconds_of({(at / part_ns + 1) * part_ns - at});
  }
  const std::size_t part = part_of_day(now.ns);
  day_idle_s_[part] += seconds_of({now.ns - at});
  day_ends_[part] = Packed(day_ends_[part].get() + 1);
}

/// The experts' hazards by their weights, which move on along the ages of a region as if the gap
/// went through it: who foretold an end that did not come is heard less.
void NextUse::mix(Model& model, Instant idle_since) {
  const View view = view_of(model, idle_since);
  model.mixed_ = true;
  Guesses weight{};
  for (std::size_t age = 0; age < age_buckets; ++age) {
    if (age % region_buckets == 0) {
      for (std::size_t i = 0; i < experts; ++i) {
        weight[i] = model.weight_[age / region_buckets][i].get();
      }
    }
    const Guesses guess = guesses(model, view, age);
    double sum = 0;
    double hazard = 0;
    for (std::size_t i = 0; i < experts; ++i) {
      sum += weight[i];
      hazard += weight[i] * guess[i];
      weight[i] *= 1 - guess[i];
    }
    model.hazard_[age] = Packed(hazard / sum);
  }
}

/// Gives: since when it is idle.
Instant NextUse::refresh(Model& model, Instant now) {
  learn_short_gaps(model);
  const Instant idle_since = model.busy_ || !model.met_ ? now : model.idle_since_;
  if (!model.mixed_) mix(model, idle_since);
  return idle_since;
}

double NextUse::rate(const Model& model, Instant now) {
  if (model.gaps_ == 0) return 0;
  const double silence_s = model.busy_ ? 0 : seconds_of(now - model.idle_since_);
  return 1 / std::max({model.mean_gap_s_[Model::scales - 1], silence_s, least_scale_s});
}

double NextUse::index(Model& model, Instant now) {
  if (!model.met_) return 0;
  const Instant idle_since = refresh(model, now);
  const Rest rest = rest_of(seconds_of(now - idle_since), model.hazard_);
  double hazard = rest.hazard;
  double width_s = rest.width_s;
  double open = 1;        // chance that the gap comes to this age
  double uses = 0;        // expected, and
  double resident_s = 0;  // expected until the use or until here
  double best = 0;
  for (std::size_t age = rest.bucket;;) {
    const double ends = open * hazard;
    uses += ends;
    open -= ends;
    resident_s += width_s * (open + ends * 0.5);
    if (uses > best * resident_s) best = uses / resident_s;
    if (open <= 1e-3 || ++age == age_buckets) return best;
    hazard = model.hazard_[age].get();
    width_s = ages[age + 1] - ages[age];
  }
}

/// Dynamic programme from the last age back to this one: the least cost from the start of a bucket
/// on, in seconds of idling, if warm there and if cold.
KeepPlan NextUse::plan(Model& model, Instant now, Duration break_even) {
  const double cold_start_s = std::clamp(seconds_of(break_even), 0.0, ages[age_buckets]);
  const Instant idle_since = refresh(model, now);
  if (model.gaps_ == 0 && absolute_.weight() < history) {
    return {std::max(now, idle_since + duration_of(cold_start_s)), std::nullopt};
  }
  const Rest rest = rest_of(seconds_of(now - idle_since), model.hazard_);
  const bool may_start = model.gaps_ >= gaps_before_early_start;
  const double early_s = early_start_s + early_start_part * cold_start_s;
  std::array<bool, age_buckets> stay{};   // at the end of the bucket, if warm
  std::array<bool, age_buckets> start{};  // if cold
  double warm_s = never;
  double cold_s = cold_start_s;
  for (std::size_t age = age_buckets; age-- > rest.bucket;) {
    const bool first = age == rest.bucket;
    const double hazard = std::max(first ? rest.hazard : model.hazard_[age].get(), least_hazard);
    const double width_s = first ? rest.width_s : ages[age + 1] - ages[age];
    const double started_s = may_start ? early_s + warm_s : never;
    stay[age] = warm_s <= cold_s;
    start[age] = started_s < cold_s;
    const double then_warm_s = std::min(warm_s, cold_s);
    const double then_cold_s = std::min(started_s, cold_s);
    warm_s = (1 - hazard * 0.5) * width_s + (1 - hazard) * then_warm_s;
    cold_s = hazard * cold_start_s + (1 - hazard) * then_cold_s;
  }
  const auto end_of = [&](std::size_t age) { return idle_since + duration_of(ages[age + 1]); };
  KeepPlan plan{now, std::nullopt};
  std::size_t age = rest.bucket;
  if (warm_s <= cold_s) {
    while (age + 1 < age_buckets && stay[age]) ++age;
    plan.stop_at = std::max(now, end_of(age));
    ++age;
  }
  for (; age < age_buckets && !plan.start_at; ++age) {
    if (start[age]) plan.start_at = end_of(age);
  }
  return plan;
}

}  // namespace stoker::core
