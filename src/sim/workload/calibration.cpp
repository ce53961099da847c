#include "sim/workload/calibration.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "base/text.h"

namespace stoker::sim {
namespace {

constexpr std::size_t most_starts = 64;
constexpr std::size_t most_requests = 512;
/// A speed that takes no time that anybody could measure.
constexpr double at_once = 1e12;

/// The epoch is in the number of each request (base/units.h).
std::uint64_t life_of(const std::string& id) {
  const std::optional<RequestId> number = parse_request_id(id);
  return number ? number->value >> 40U : 0;
}

template <class Number>
Number median(std::vector<Number> numbers) {
  const auto middle = numbers.begin() + static_cast<std::ptrdiff_t>(numbers.size() / 2);
  std::nth_element(numbers.begin(), middle, numbers.end());
  return *middle;
}

/// Nanoseconds: of each request, of a token in, of a token out.
using Terms = std::array<double, 3>;

double dot(const Terms& a, const Terms& b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

struct Observation {
  Terms terms{};  // 1, tokens in, tokens out
  double ns = 0;
};

/// Sums of the normal equations.
struct Sums {
  std::array<Terms, 3> products{};
  Terms with_ns{};
};

Sums sums_of(std::span<const Observation> observations) {
  Sums sums;
  for (const Observation& each : observations) {
    for (std::size_t i = 0; i < 3; ++i) {
      for (std::size_t j = 0; j < 3; ++j) sums.products[i][j] += each.terms[i] * each.terms[j];
      sums.with_ns[i] += each.terms[i] * each.ns;
    }
  }
  return sums;
}

/// Least squares with only the terms in `chosen`, the others 0; nullopt if they cannot be told
/// apart or one would be negative.   Source: Gauss-Jordan elimination of the normal equations.
std::optional<Terms> solve(const Sums& sums, std::span<const std::size_t> chosen) {
  std::array<Terms, 3> a = sums.products;
  Terms b = sums.with_ns;
  for (const std::size_t pivot : chosen) {
    if (a[pivot][pivot] <= sums.products[pivot][pivot] * 1e-9) return std::nullopt;
    for (const std::size_t row : chosen) {
      if (row == pivot) continue;
      const double factor = a[row][pivot] / a[pivot][pivot];
      for (const std::size_t column : chosen) a[row][column] -= factor * a[pivot][column];
      b[row] -= factor * b[pivot];
    }
  }
  Terms result{};
  for (const std::size_t i : chosen) {
    result[i] = b[i] / a[i][i];
    if (result[i] < 0) return std::nullopt;
  }
  return result;
}

double error_of(std::span<const Observation> observations, const Terms& terms) {
  double sum = 0;
  for (const Observation& each : observations) {
    const double off = each.ns - dot(terms, each.terms);
    sum += off * off;
  }
  return sum;
}

/// The best fit with no negative term; of equally good ones that with fewer terms.
/// Needs: at least one observation.
Terms best_fit(std::span<const Observation> observations) {
  constexpr std::array<std::array<std::size_t, 3>, 7> subsets = {
      {{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}, {0, 1, 2}}};
  constexpr std::array<std::size_t, 7> sizes = {1, 1, 1, 2, 2, 2, 3};
  const Sums sums = sums_of(observations);
  Terms best{};
  std::optional<double> least;
  for (std::size_t i = 0; i < subsets.size(); ++i) {
    const auto terms = solve(sums, std::span(subsets[i]).first(sizes[i]));
    if (!terms) continue;
    const double error = error_of(observations, *terms);
    if (least && error >= *least * (1 - 1e-6)) continue;
    best = *terms;
    least = error;
  }
  return best;
}

}  // namespace

void Calibration::observe(std::string_view deployment, const TraceRequest& request) {
  if (!request.receipt || request.receipt->start == TraceStart::none) return;
  const TraceReceipt& receipt = *request.receipt;
  auto known = deployments_.find(deployment);
  if (known == deployments_.end()) {
    known = deployments_.emplace(std::string(deployment), Deployment{}).first;
  }
  Deployment& d = known->second;
  if (receipt.start == TraceStart::cold && !receipt.instance.empty()) {
    const std::uint64_t life = life_of(request.id);
    auto start = std::find_if(d.starts.rbegin(), d.starts.rend(), [&](const Start& each) {
      return each.life == life && each.instance == receipt.instance;
    });
    if (start == d.starts.rend()) {
      if (d.starts.size() == most_starts) d.starts.pop_front();
      d.starts.push_back({life, receipt.instance, {}, {}});
      start = d.starts.rbegin();
    }
    start->start = std::max(start->start, receipt.starting);
    start->load = std::max(start->load, receipt.load + receipt.warmup);
  }
  if (request.outcome != TraceOutcome::completed || !request.service) return;
  const Sample sample{static_cast<double>(request.input_tokens),
                      static_cast<double>(request.output_tokens),
                      static_cast<double>(request.service->ns)};
  if (d.requests.size() < most_requests) {
    d.requests.push_back(sample);
  } else {
    d.requests[d.next_request] = sample;
    d.next_request = (d.next_request + 1) % most_requests;
  }
}

void Calibration::apply(TraceDeployment& deployment) const {
  const auto known = deployments_.find(deployment.name);
  if (known == deployments_.end()) return;
  std::vector<Duration> starts;
  std::vector<Duration> loads;
  for (const Start& each : known->second.starts) {
    starts.push_back(each.start);
    loads.push_back(each.load);
  }
  if (!starts.empty()) {
    deployment.start = median(std::move(starts));
    deployment.load = median(std::move(loads));
  }
  if (!known->second.requests.empty()) fit(known->second, deployment);
}

void Calibration::fit(const Deployment& from, TraceDeployment& into) {
  std::vector<Observation> observations;
  for (const Sample& each : from.requests) {
    observations.push_back({{1, each.input, each.output}, each.ns});
  }
  Terms terms = best_fit(observations);
  std::vector<double> off;
  const auto off_by = [&](const Observation& each) {
    const double difference = each.ns - dot(terms, each.terms);
    return difference < 0 ? -difference : difference;
  };
  for (const Observation& each : observations) off.push_back(off_by(each));
  // Five times the usual error, and a millisecond where all fit well, is no ordinary request.
  const double ordinary = 5 * median(std::move(off)) + 1e6;
  std::erase_if(observations, [&](const Observation& each) { return off_by(each) > ordinary; });
  if (!observations.empty()) terms = best_fit(observations);
  into.request = Duration{static_cast<std::int64_t>(terms[0])};
  into.prefill_tokens_per_s = terms[1] > 0 ? std::min(1e9 / terms[1], at_once) : at_once;
  into.decode_tokens_per_s = terms[2] > 0 ? std::min(1e9 / terms[2], at_once) : at_once;
}

Calibration::Seen Calibration::seen(std::string_view deployment) const {
  const auto known = deployments_.find(deployment);
  if (known == deployments_.end()) return {};
  return {known->second.starts.size(), known->second.requests.size()};
}

Result<Calibration> calibrate(RequestSource& source) {
  Calibration calibration;
  TraceRequest request;
  for (;;) {
    const Result<bool> more = source.next(request);
    if (!more) return tl::unexpected(more.error());
    if (!*more) return calibration;
    calibration.observe(source.world().deployments.at(request.deployment).name, request);
  }
}

}  // namespace stoker::sim
