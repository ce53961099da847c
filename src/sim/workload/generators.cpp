#include "sim/workload/generators.h"

#include <fmt/format.h>

#include <numeric>

#include "base/invariant.h"
#include "sim/workload/request_maker.h"

namespace stoker::sim {
namespace {

/// Arrivals by a rate curve: gaps are drawn with mean 1 and used up at the rate of each step, so
/// that a step of rate 0 simply takes time.
class CurveSource final : public RequestSource {
 public:
  CurveSource(RateCurve curve, const GeneratorOptions& options)
      : maker_(options),
        curve_(std::move(curve)),
        arrivals_(seed_for(options.seed, "arrivals")),
        end_ns_(static_cast<double>(options.length.ns)) {}
  [[nodiscard]] const TraceWorld& world() const override { return maker_.world(); }

  [[nodiscard]] Result<bool> next(TraceRequest& out) override {
    double gap = exponential(arrivals_, 1.0);
    while (!(gap < left_)) {
      gap -= left_;
      if (step_end_ns_ >= end_ns_) return false;
      next_step();
    }
    left_ -= gap;
    at_ns_ += gap * ns_per_gap_;
    if (at_ns_ >= end_ns_) return false;
    maker_.make(Duration{static_cast<std::int64_t>(at_ns_)}, out);
    return true;
  }

 private:
  void next_step() {
    const RateStep step = curve_();
    STOKER_INVARIANT(step.length.ns > 0 && step.per_second >= 0, "a step of {} ns, {} a second",
                     step.length.ns, step.per_second);
    at_ns_ = step_end_ns_;
    step_end_ns_ += static_cast<double>(step.length.ns);
    left_ = static_cast<double>(step.length.ns) * 1e-9 * step.per_second;
    ns_per_gap_ = step.per_second > 0 ? 1e9 / step.per_second : 0;
  }

  RequestMaker maker_;
  RateCurve curve_;
  Prng arrivals_;
  double end_ns_;
  double at_ns_ = 0;
  double step_end_ns_ = 0;
  double left_ = 0;  // of the step, in mean gaps
  double ns_per_gap_ = 0;
};

class HerdSource final : public RequestSource {
 public:
  HerdSource(const Herd& herd, const GeneratorOptions& options)
      : maker_(options), herd_(herd), at_(herd.first), length_(options.length) {
    STOKER_INVARIANT(!herd.every || herd.every->ns > 0, "every {} ns", herd.every->ns);
  }
  [[nodiscard]] const TraceWorld& world() const override { return maker_.world(); }

  [[nodiscard]] Result<bool> next(TraceRequest& out) override {
    if (given_ == herd_.requests) {
      if (!herd_.every || herd_.requests == 0) return false;
      at_ = at_ + *herd_.every;
      given_ = 0;
    }
    if (at_ >= length_) return false;
    ++given_;
    maker_.make(at_, out);
    return true;
  }

 private:
  RequestMaker maker_;
  Herd herd_;
  Duration at_;
  Duration length_;
  std::int64_t given_ = 0;
};

}  // namespace

std::unique_ptr<RequestSource> follow(RateCurve curve, const GeneratorOptions& options) {
  return std::make_unique<CurveSource>(std::move(curve), options);
}

std::unique_ptr<RequestSource> poisson(double per_second, const GeneratorOptions& options) {
  return follow([=] { return RateStep{per_second, minutes(60)}; }, options);
}

std::unique_ptr<RequestSource> day_curve(const DayCurve& curve, const GeneratorOptions& options) {
  constexpr std::size_t steps_per_hour = 6;
  const double sum = std::accumulate(curve.hours.begin(), curve.hours.end(), 0.0);
  STOKER_INVARIANT(sum > 0, "all hours are 0");
  const double unit = curve.mean_per_second * static_cast<double>(curve.hours.size()) / sum;
  const Duration step{curve.day.ns / static_cast<std::int64_t>(24 * steps_per_hour)};
  return follow(
      [=, hours = curve.hours, at = std::size_t{0}]() mutable {
        const std::size_t hour = at / steps_per_hour % hours.size();
        // The middle of the step, so that the mean over the day is exact.
        const double part = (static_cast<double>(at % steps_per_hour) + 0.5) / steps_per_hour;
        const double from = hours[hour];
        const double to = hours[(hour + 1) % hours.size()];
        ++at;
        return RateStep{unit * (from + (to - from) * part), step};
      },
      options);
}

std::unique_ptr<RequestSource> burst(const Burst& burst, const GeneratorOptions& options) {
  STOKER_INVARIANT(burst.lasting < burst.every && burst.first.ns >= 0, "{} ns every {} ns",
                   burst.lasting.ns, burst.every.ns);
  const RateStep calm{burst.base_per_second, burst.every - burst.lasting};
  const RateStep busy{burst.base_per_second * burst.factor, burst.lasting};
  const RateStep before{burst.base_per_second, burst.first};
  return follow(
      [=, step = burst.first.ns > 0 ? 0 : 1]() mutable {
        const int now = step;
        step = now == 1 ? 2 : 1;
        return now == 0 ? before : now == 1 ? busy : calm;
      },
      options);
}

std::unique_ptr<RequestSource> on_off(const OnOff& on_off, const GeneratorOptions& options) {
  Prng prng(seed_for(options.seed, "on and off"));
  // It begins in either state as often as one would find it so.
  const double on_ns = static_cast<double>(on_off.mean_on.ns);
  const bool starts_on = bernoulli(prng, on_ns / (on_ns + static_cast<double>(on_off.mean_off.ns)));
  return follow(
      [=, on = starts_on]() mutable {
        const Duration mean = on ? on_off.mean_on : on_off.mean_off;
        const double length = exponential(prng, static_cast<double>(mean.ns));
        const RateStep step{on ? on_off.on_per_second : on_off.off_per_second,
                            Duration{static_cast<std::int64_t>(length) + 1}};
        on = !on;
        return step;
      },
      options);
}

std::unique_ptr<RequestSource> herd(const Herd& herd, const GeneratorOptions& options) {
  return std::make_unique<HerdSource>(herd, options);
}

std::unique_ptr<RequestSource> many_models(const ManyModels& models,
                                           const GeneratorOptions& options) {
  STOKER_INVARIANT(models.models > 0, "{} models", models.models);
  GeneratorOptions filled = options;
  const TraceDeployment like =
      options.world.deployments.empty() ? TraceDeployment{} : options.world.deployments.front();
  filled.world.deployments.assign(static_cast<std::size_t>(models.models), like);
  std::int32_t number = 0;
  for (TraceDeployment& deployment : filled.world.deployments) {
    deployment.name = fmt::format("model-{:04}", number++);
  }
  filled.deployment_weights =
      zipf_weights(static_cast<std::size_t>(models.models), models.exponent);
  return poisson(models.per_second, filled);
}

std::unique_ptr<RequestSource> huge_tenant(const HugeTenant& tenants,
                                           const GeneratorOptions& options) {
  STOKER_INVARIANT(tenants.small_tenants > 0 && tenants.huge_share >= 0 && tenants.huge_share <= 1,
                   "{} small tenants, share {}", tenants.small_tenants, tenants.huge_share);
  GeneratorOptions filled = options;
  filled.world.tenants = {"huge"};
  filled.tenant_weights = {tenants.huge_share};
  for (std::int32_t i = 0; i < tenants.small_tenants; ++i) {
    filled.world.tenants.push_back(fmt::format("small-{:02}", i));
    filled.tenant_weights.push_back((1 - tenants.huge_share) / tenants.small_tenants);
  }
  return poisson(tenants.per_second, filled);
}

}  // namespace stoker::sim
