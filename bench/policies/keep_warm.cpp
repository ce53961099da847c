#include "keep_warm.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <queue>
#include <tuple>

#include "base/real_math.h"
#include "core/next_use.h"

namespace stoker::bench {
namespace {

constexpr Duration never = minutes(60 * 24 * 365 * 10);

/// A time without a request of one model, from the end of the last in flight to the next arrival.
struct Gap {
  Instant from;
  Instant to;  // of the last one of a model: the end of the trace
  std::uint32_t model = 0;
  bool ends = false;    // by an arrival
  bool scored = false;  // that arrival is after the first third
};

struct Gaps {
  std::vector<Gap> all;  // by their end
  std::uint32_t models = 0;
  std::uint64_t first_arrivals = 0;  // scored ones: cold whatever the policy
};

Gaps gaps_of(const Arrivals& arrivals) {
  Gaps gaps;
  gaps.models = arrivals.models;
  std::vector<std::optional<Instant>> busy_until(arrivals.models);
  Instant end;
  for (std::size_t i = 0; i < arrivals.all.size(); ++i) {
    const Arrival& a = arrivals.all[i];
    std::optional<Instant>& until = busy_until[a.model];
    const bool scored = i >= arrivals.third();
    if (!until) {
      gaps.first_arrivals += scored ? 1 : 0;
    } else if (a.at > *until) {
      gaps.all.push_back({*until, a.at, a.model, true, scored});
    }
    until = std::max(until.value_or(a.at), a.at + a.service);
    end = std::max(end, a.at);
  }
  for (std::uint32_t m = 0; m < arrivals.models; ++m) {
    if (busy_until[m] && *busy_until[m] < end)
      gaps.all.push_back({*busy_until[m], end, m, false, true});
  }
  std::stable_sort(gaps.all.begin(), gaps.all.end(),
                   [](const Gap& a, const Gap& b) { return a.to < b.to; });
  return gaps;
}

double seconds_of(Duration d) {
  return static_cast<double>(d.ns) / 1e9;
}

/// `keep(gap)`: how long it is kept, and from when it is warm again.
template <class Keep>
KeepWarmScore score(const Gaps& gaps, Keep keep) {
  KeepWarmScore result;
  result.cold_starts = gaps.first_arrivals;
  for (const Gap& gap : gaps.all) {
    const auto [kept, again] = keep(gap);
    if (!gap.scored) continue;
    const Duration length = gap.to - gap.from;
    Duration idle = std::min(kept, length);
    bool warm = length <= kept;
    if (!warm && again && *again < length) {
      idle = idle + (length - *again);
      warm = true;
    }
    result.idle_s += seconds_of(idle);
    result.cold_starts += gap.ends && !warm ? 1 : 0;
  }
  return result;
}
using Kept = std::pair<Duration, std::optional<Duration>>;

/// Histogram of idle times in minutes over four hours, per model; the branch for what is mostly
/// out of bounds forecasts by a mean instead of ARIMA.   Source: SCHEDULING.md 2.1.
KeepWarmScore hybrid(const Gaps& gaps) {
  constexpr std::size_t bins = 240;
  struct Histogram {
    std::array<std::uint32_t, bins> count{};
    std::uint32_t inside = 0;
    std::uint32_t outside = 0;
    double mean_min = 0;
  };
  std::vector<Histogram> models(gaps.models);
  const auto percentile = [](const Histogram& h, double share) {
    double left = share * h.inside;
    for (std::size_t i = 0; i < bins; ++i) {
      left -= h.count[i];
      if (left <= 0) return i;
    }
    return bins - 1;
  };
  return score(gaps, [&](const Gap& gap) -> Kept {
    Histogram& h = models[gap.model];
    const double total = h.inside + h.outside;
    Kept kept{minutes(240), std::nullopt};
    if (total > 0 && h.outside / total >= 0.5) {
      const auto at = [&](double share) {
        return Duration{static_cast<std::int64_t>(share * h.mean_min * 60e9)};
      };
      kept = {Duration{}, at(0.85)};
    } else if (h.inside > 0) {
      const double mean = h.inside / static_cast<double>(bins);
      double variance = 0;
      for (const std::uint32_t each : h.count) variance += (each - mean) * (each - mean) / bins;
      if (real_math::sqrt(variance) / mean >= 2) {
        const auto p5 = static_cast<std::int64_t>(percentile(h, 0.05));
        const auto p99 = static_cast<std::int64_t>(percentile(h, 0.99)) + 1;
        const Duration prewarm{p5 * 54'000'000'000};
        const Duration until{p99 * 66'000'000'000};
        if (prewarm.ns == 0) {
          kept = {until, std::nullopt};
        } else if (gap.to - gap.from <= until) {
          kept = {Duration{}, prewarm};
        } else {  // warm in between, and cold again when the request comes
          kept = {until - prewarm, std::nullopt};
        }
      }
    }
    if (gap.ends) {
      const double gap_min = seconds_of(gap.to - gap.from) / 60;
      h.mean_min += 0.3 * (gap_min - h.mean_min);
      if (gap_min < bins) {
        ++h.count[static_cast<std::size_t>(gap_min)];
        ++h.inside;
      } else {
        ++h.outside;
      }
    }
    return kept;
  });
}

/// The production code, asked in the order of time, as the core asks it.
KeepWarmScore stoker_policy(const Arrivals& arrivals, Duration break_even) {
  struct Model {
    core::NextUse::Model next_use;
    Instant busy_until;
    Instant warm_since;  // of an idle warm time
    std::uint64_t plan = 0;
    bool met = false;
    bool busy = false;
    bool warm = false;
    std::optional<Instant> start_at;
  };
  enum class What : std::uint8_t { ends, stop, start };
  using Due = std::tuple<Instant, std::uint32_t, What, std::uint64_t>;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due;
  core::NextUse next_use;
  std::vector<Model> models(arrivals.models);
  KeepWarmScore result;
  bool scored = false;
  Instant score_from;
  std::size_t silent = 0;
  const auto count_idle = [&](const Model& m, Instant now) {
    if (scored) result.idle_s += seconds_of(now - std::max(m.warm_since, score_from));
  };
  const auto plan = [&](std::uint32_t id, Instant now) {
    Model& m = models[id];
    const core::KeepPlan decided = next_use.plan(m.next_use, now, break_even);
    ++m.plan;
    m.start_at = decided.start_at;
    due.emplace(decided.stop_at, id, What::stop, m.plan);
  };
  const auto pass = [&](Instant now) {
    while (!due.empty() && std::get<0>(due.top()) <= now) {
      const auto [at, id, what, number] = due.top();
      due.pop();
      Model& m = models[id];
      if (what == What::ends) {
        if (!m.busy || at < m.busy_until) continue;
        m.busy = false;
        m.warm = true;
        m.warm_since = at;
        next_use.idle(m.next_use, at);
        plan(id, at);
      } else if (number == m.plan && !m.busy) {
        next_use.silent(m.next_use, at);
        if (what == What::stop) {
          count_idle(m, at);
          m.warm = false;
          if (m.start_at) due.emplace(*m.start_at, id, What::start, m.plan);
        } else {
          m.warm = true;
          m.warm_since = at;
          plan(id, at);
        }
      }
    }
  };
  for (std::size_t i = 0; i < arrivals.all.size(); ++i) {
    const Arrival& a = arrivals.all[i];
    // What is due at the very instant of an arrival comes after it: that request is served warm.
    pass(a.at - Duration{1});
    if (i == arrivals.third()) {
      scored = true;
      score_from = a.at;
    }
    Model& m = models[a.model];
    const bool ends_now = m.busy && m.busy_until < a.at;
    if (ends_now) pass(a.at);
    if (!m.busy) {
      if (m.warm) {
        count_idle(m, a.at);
      } else if (scored) {
        ++result.cold_starts;
      }
      ++m.plan;
      m.warm = true;
    }
    m.met = true;
    m.busy = true;
    next_use.arrived(m.next_use, a.at);
    next_use.silent(models[++silent % arrivals.models].next_use, a.at);
    m.busy_until = std::max(m.busy_until, a.at + a.service);
    due.emplace(m.busy_until, a.model, What::ends, 0);
  }
  if (arrivals.all.empty()) return result;
  const Instant end = arrivals.all.back().at;
  pass(end);
  for (const Model& m : models) {
    if (m.warm && !m.busy && m.warm_since < end) count_idle(m, end);
  }
  return result;
}

}  // namespace

double idle_at(const std::vector<NamedScore>& curve, std::uint64_t cold_starts) {
  std::vector<std::pair<double, double>> points;
  for (const NamedScore& each : curve) {
    points.emplace_back(static_cast<double>(each.score.cold_starts), each.score.idle_s);
  }
  std::sort(points.begin(), points.end());
  const auto x = static_cast<double>(cold_starts);
  double best = -1;
  const auto take = [&](double idle) { best = best < 0 ? idle : std::min(best, idle); };
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (points[i].first <= x) take(points[i].second);
    if (i == 0 || points[i - 1].first > x || points[i].first < x) continue;
    const double width = points[i].first - points[i - 1].first;
    const double share = width > 0 ? (x - points[i - 1].first) / width : 1;
    take(points[i - 1].second + share * (points[i].second - points[i - 1].second));
  }
  return best < 0 && !points.empty() ? points.front().second : best;
}

KeepWarm measure_keep_warm(const Arrivals& arrivals) {
  const Gaps gaps = gaps_of(arrivals);
  KeepWarm result;
  for (const std::int64_t time : {1, 2, 5, 10, 15, 20, 30, 60, 120}) {
    result.fixed.push_back({fmt::format("ttl_{}min", time), score(gaps, [&](const Gap&) -> Kept {
                              return {minutes(time), std::nullopt};
                            })});
    result.clairvoyant.push_back(
        {fmt::format("clairvoyant_{}min", time), score(gaps, [&](const Gap& gap) -> Kept {
           const bool again = gap.ends && gap.to - gap.from <= minutes(time);
           return {again ? never : Duration{}, std::nullopt};
         })});
  }
  result.hybrid = hybrid(gaps);
  double worth_s = 10;
  for (int i = 0; i < 24; ++i, worth_s *= 1.4) {
    const Duration break_even{static_cast<std::int64_t>(worth_s * 1e9)};
    result.stoker.push_back(
        {fmt::format("stoker_{:.0f}s", worth_s), stoker_policy(arrivals, break_even)});
  }
  for (const NamedScore& each : result.fixed) {
    if (each.name != "ttl_20min" || each.score.idle_s <= 0) continue;
    result.stoker_over_fixed_20min =
        idle_at(result.stoker, each.score.cold_starts) / each.score.idle_s;
  }
  return result;
}

}  // namespace stoker::bench
