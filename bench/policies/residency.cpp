#include "residency.h"

#include <algorithm>
#include <limits>
#include <set>
#include <vector>

#include "base/real_math.h"
#include "core/next_use.h"

namespace stoker::bench {
namespace {

/// Runs a policy: `touch(i, model, hit)` hears each request, `victim(residents, i)` gives the index
/// of the resident that goes.
template <class Touch, class Victim>
Misses run(const Arrivals& arrivals, std::int32_t resident, Touch touch, Victim victim) {
  std::vector<std::uint32_t> residents;
  std::vector<bool> is_resident(arrivals.models);
  Misses misses;
  for (std::size_t i = 0; i < arrivals.all.size(); ++i) {
    const std::uint32_t model = arrivals.all[i].model;
    const bool hit = is_resident[model];
    if (!hit) {
      ++misses.all;
      if (i >= arrivals.third()) ++misses.rest;
      if (static_cast<std::int32_t>(residents.size()) >= resident) {
        const std::size_t out = victim(residents, i);
        is_resident[residents[out]] = false;
        residents[out] = model;
      } else {
        residents.push_back(model);
      }
      is_resident[model] = true;
    }
    touch(i, model, hit);
  }
  return misses;
}

/// The resident of least value; of equal ones the first.
template <class Value>
std::size_t least(const std::vector<std::uint32_t>& residents, Value value) {
  std::size_t best = 0;
  double best_value = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < residents.size(); ++i) {
    const double each = value(residents[i]);
    if (each < best_value) {
      best = i;
      best_value = each;
    }
  }
  return best;
}

Misses lru(const Arrivals& a, std::int32_t resident) {
  std::vector<double> last(a.models);
  return run(
      a, resident, [&](std::size_t i, std::uint32_t m, bool) { last[m] = static_cast<double>(i); },
      [&](const auto& residents, std::size_t) {
        return least(residents, [&](std::uint32_t m) { return last[m]; });
      });
}

/// Size and cost are one here: priority = clock + uses since it came; uses die with the eviction.
Misses gdsf(const Arrivals& a, std::int32_t resident) {
  std::vector<double> priority(a.models);
  std::vector<double> uses(a.models);
  double clock = 0;
  return run(
      a, resident,
      [&](std::size_t, std::uint32_t m, bool hit) {
        uses[m] = hit ? uses[m] + 1 : 1;
        priority[m] = clock + uses[m];
      },
      [&](const auto& residents, std::size_t) {
        const std::size_t out = least(residents, [&](std::uint32_t m) { return priority[m]; });
        clock = priority[residents[out]];
        return out;
      });
}

/// Value = sum over its uses of 2^(-lambda x age in requests); it dies with the eviction.
Misses lrfu(const Arrivals& a, std::int32_t resident, double lambda, std::size_t until) {
  std::vector<double> value(a.models);
  std::vector<double> last(a.models);
  const auto now_value = [&](std::uint32_t m, double now) {
    return value[m] * real_math::exp2(-lambda * (now - last[m]));
  };
  Arrivals part;
  const Arrivals* used = &a;
  if (until < a.all.size()) {
    part.models = a.models;
    part.all.assign(a.all.begin(), a.all.begin() + static_cast<std::ptrdiff_t>(until));
    used = &part;
  }
  return run(
      *used, resident,
      [&](std::size_t i, std::uint32_t m, bool hit) {
        const auto now = static_cast<double>(i);
        value[m] = 1 + (hit ? now_value(m, now) : 0);
        last[m] = now;
      },
      [&](const auto& residents, std::size_t i) {
        return least(residents,
                     [&](std::uint32_t m) { return now_value(m, static_cast<double>(i)); });
      });
}

double tuned_lambda(const Arrivals& a, std::int32_t resident) {
  double best = 1;
  std::uint64_t best_misses = std::numeric_limits<std::uint64_t>::max();
  for (double lambda = 1; lambda > 1e-6; lambda /= 2) {
    const std::uint64_t misses = lrfu(a, resident, lambda, a.third()).all;
    if (misses >= best_misses) continue;
    best_misses = misses;
    best = lambda;
  }
  return best;
}

/// The production code: the same index that the core evicts by. Its constants are fixed.
Misses stoker(const Arrivals& a, std::int32_t resident) {
  core::NextUse next_use;
  std::vector<core::NextUse::Model> models(a.models);
  std::size_t silent = 0;
  return run(
      a, resident,
      [&](std::size_t i, std::uint32_t m, bool) {
        const Instant now = a.all[i].at;
        next_use.arrived(models[m], now);
        next_use.idle(models[m], now);
        next_use.silent(models[++silent % a.models], now);
      },
      [&](const auto& residents, std::size_t i) {
        return least(residents,
                     [&](std::uint32_t m) { return next_use.index(models[m], a.all[i].at); });
      });
}

Misses belady(const Arrivals& a, std::int32_t resident) {
  constexpr double never = std::numeric_limits<double>::infinity();
  std::vector<double> next(a.all.size(), never);
  std::vector<double> seen(a.models, never);
  for (std::size_t i = a.all.size(); i-- > 0;) {
    next[i] = seen[a.all[i].model];
    seen[a.all[i].model] = static_cast<double>(i);
  }
  std::vector<double> due(a.models, never);
  return run(
      a, resident, [&](std::size_t i, std::uint32_t m, bool) { due[m] = next[i]; },
      [&](const auto& residents, std::size_t) {
        return least(residents, [&](std::uint32_t m) { return -due[m]; });
      });
}

}  // namespace

Residency measure_residency(const Arrivals& arrivals, std::int32_t resident) {
  Residency result;
  result.resident = resident;
  result.lru = lru(arrivals, resident);
  result.gdsf = gdsf(arrivals, resident);
  result.lrfu_lambda = tuned_lambda(arrivals, resident);
  result.lrfu = lrfu(arrivals, resident, result.lrfu_lambda, arrivals.all.size());
  result.stoker = stoker(arrivals, resident);
  result.belady = belady(arrivals, resident);
  return result;
}

}  // namespace stoker::bench
