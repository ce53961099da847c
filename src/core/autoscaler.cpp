#include "core/autoscaler.h"

#include <algorithm>

namespace stoker::core {
namespace {

/// Of the short window's demand over what is ready. Source: Knative, panic-threshold-percentage.
constexpr std::int32_t panic_factor = 2;

/// Needs: a >= 0, b > 0, no overflow of a + b.
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

/// ceil(x) within what a count holds; 0 for x <= 0.
std::int32_t ceil_count(double x) {
  constexpr double most = 1e6;
  if (x <= 0) return 0;
  if (x >= most) return static_cast<std::int32_t>(most);
  const auto whole = static_cast<std::int32_t>(x);
  return static_cast<double>(whole) < x ? whole + 1 : whole;
}

std::int32_t for_first_token(Duration objective, const LoadAverages& load, std::int32_t ready) {
  if (load.first_token.ns <= 0 || ready == 0) return 0;
  std::int64_t wanted = ready;
  if (load.first_token > objective) {
    // ready x mean / objective, rounded up; the ratio in thousandths, so that nothing overflows
    const std::int64_t ratio_milli =
        std::min<std::int64_t>(load.first_token.ns / std::max<std::int64_t>(objective.ns / 1000, 1),
                               std::int64_t{1000} * panic_factor);
    wanted = std::max<std::int64_t>(ceil_div(ready * ratio_milli, 1000), ready + 1);
  } else if (load.first_token.ns < objective.ns / 2) {
    wanted = ready - 1;
  }
  const std::int64_t at_most = ceil_div(load.slots_panic_milli, 1000);
  return static_cast<std::int32_t>(std::min(wanted, at_most));
}

}  // namespace

LoadDemand demand_of_load(const ScalePolicy& policy, const LoadAverages& load,
                          std::int32_t ready_instances) {
  LoadDemand demand;
  const auto consider = [&](std::int64_t stable, std::int64_t panic, StartReason reason) {
    if (std::max(stable, panic) > std::max(demand.stable, demand.panic)) demand.reason = reason;
    demand.stable = static_cast<std::int32_t>(std::max<std::int64_t>(demand.stable, stable));
    demand.panic = static_cast<std::int32_t>(std::max<std::int64_t>(demand.panic, panic));
  };
  if (policy.on.utilization) {
    // slots / (concurrency x target / 100), both in thousandths
    const std::int64_t per_instance =
        std::int64_t{policy.concurrency} * policy.target_utilization_percent * 10;
    consider(ceil_div(load.slots_stable_milli, per_instance),
             ceil_div(load.slots_panic_milli, per_instance), StartReason::utilization);
  }
  if (policy.on.rate_milli > 0) {
    consider(ceil_div(load.rate_stable_milli, policy.on.rate_milli),
             ceil_div(load.rate_panic_milli, policy.on.rate_milli), StartReason::request_rate);
  }
  demand.starts_panic =
      demand.panic > 0 && demand.panic >= panic_factor * std::max(ready_instances, 1);
  if (policy.on.first_token) {
    const std::int32_t wanted = for_first_token(*policy.on.first_token, load, ready_instances);
    consider(wanted, wanted, StartReason::first_token);
  }
  return demand;
}

ScaleDecision decide_scale(const ScalePolicy& policy, const Demand& demand) {
  ScaleDecision decision{demand.live_instances, StartReason::from_zero};
  const auto ask = [&](std::int64_t wanted, StartReason reason) {
    wanted = std::min<std::int64_t>(wanted, policy.max_instances);
    if (wanted <= decision.desired_instances) return;
    decision = {static_cast<std::int32_t>(wanted), reason};
  };
  const std::int64_t backlog = std::int64_t{demand.queued} - demand.free_slots;
  if (demand.live_instances == 0 && demand.queued > 0) {
    decision = {1, StartReason::from_zero};
  } else if (demand.live_instances > 0) {
    if (policy.scale_up_threshold > 0 && backlog > 0 && backlog >= policy.scale_up_threshold) {
      // ceil(backlog / (concurrency x target / 100)) without leaving the integers
      const std::int64_t per_instance_x100 =
          std::int64_t{policy.concurrency} * policy.target_utilization_percent;
      ask(demand.live_instances + ceil_div(backlog * 100, per_instance_x100),
          StartReason::queue_depth);
    }
    if (demand.wait_shortfall > 0) {
      ask(std::int64_t{demand.live_instances} + demand.wait_shortfall, StartReason::queue_wait);
    }
    if (!demand.cooling_down) {
      const LoadDemand load = demand_of_load(policy, demand.load, demand.ready_instances);
      ask(std::max(load.stable, load.panic), load.reason);
    }
    const std::int64_t requests = std::int64_t{demand.in_flight} + demand.queued;
    if (policy.spare_instances > 0 && requests > 0 && demand.ready_instances > 0 &&
        !demand.cooling_down) {
      ask(ceil_div(requests, policy.concurrency) + policy.spare_instances, StartReason::spare);
    }
  }
  if (!demand.minimum_suspended && decision.desired_instances < policy.min_instances) {
    decision = {policy.min_instances, StartReason::at_minimum};
  }
  if (decision.desired_instances > policy.max_instances) {
    decision.desired_instances = std::max(policy.max_instances, demand.live_instances);
  }
  return decision;
}

std::int32_t shortfall_for_wait(const WaitForecast& f) {
  const auto in_s = [](Duration d) { return static_cast<double>(d.ns) / 1e9; };
  const double service = std::max(in_s(f.service_time), 1e-3);
  const double slots = f.concurrency;
  // Requests that get a slot within `time` from now on.
  const auto served_within = [&](double time) {
    double served = f.ready_instances * slots * time / service;
    for (const Duration each : f.starting) {
      const double left = time - in_s(each);
      if (left >= 0) served += slots * (1 + left / service);
    }
    return served;
  };
  const double objective = in_s(f.objective);
  const double start = in_s(f.start_time);
  const double too_many = f.queued - served_within(objective);
  if (too_many <= 0) return 0;
  if (objective >= start) {
    return ceil_count(too_many / (slots * (1 + (objective - start) / service)));
  }
  const double rate = static_cast<double>(f.arrivals_per_second_milli) / 1e3;
  const double live = f.ready_instances + static_cast<double>(f.starting.size());
  const double waiting_then = f.queued + rate * start - served_within(start);
  const double late_then = waiting_then - live * slots * objective / service;
  if (late_then <= 0) return 0;
  const double by_queue = late_then / (slots * (1 + objective / service));
  const double by_rate = rate * service / slots - live;
  return std::max(ceil_count(std::min(by_queue, by_rate)), 1);
}

}  // namespace stoker::core
