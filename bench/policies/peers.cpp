#include "peers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace stoker::bench {
namespace {

/// What is left of a mean by rounding when nothing runs.
constexpr double nothing = 1e-7;

double seconds_of(Duration d) {
  return static_cast<double>(d.ns) / 1e9;
}

/// Ticks of `period` between `next` and `now` that nobody looked at.
std::int64_t missed_ticks(Instant next, Instant now, Duration period) {
  return next < now ? ((now - next).ns + period.ns - 1) / period.ns : 0;
}

}  // namespace

std::string KpaSettings::text() const {
  return fmt::format("target {:g}%, windows {}/{} s, grace {} s", target_share * 100, stable_s,
                     panic_s, scale_to_zero_grace.ns / 1'000'000'000);
}

/// At zero its activator starts one at once.
void Kpa::arrived(Fleet& fleet) {
  if (fleet.live() > 0) return;
  const std::int64_t missed = missed_ticks(next_, fleet.now(), period);
  for (std::int64_t i = 0; i < std::min<std::int64_t>(missed, most_samples); ++i) sample(0);
  next_ = next_ + Duration{missed * period.ns};
  if (missed > 0) request_s_ = fleet.request_seconds();
  zero_since_.reset();
  fleet.start(1);
}

std::optional<Instant> Kpa::next_tick(const Fleet& fleet) const {
  if (fleet.live() == 0 && fleet.requests() == 0) return std::nullopt;
  return next_;
}

void Kpa::sample(double requests) {
  samples_[static_cast<std::size_t>(sampled_++) % most_samples] = requests;
}

double Kpa::mean_of_last(std::int32_t window_s) const {
  const std::int64_t wanted = std::max<std::int64_t>(window_s / 2, 1);
  const std::int64_t count = std::min(wanted, sampled_);
  double sum = 0;
  for (std::int64_t i = 1; i <= count; ++i) {
    sum += samples_[static_cast<std::size_t>(sampled_ - i) % most_samples];
  }
  const double mean = sum / static_cast<double>(std::max<std::int64_t>(count, 1));
  return mean < nothing ? 0 : mean;
}

void Kpa::tick(Fleet& fleet) {
  sample((fleet.request_seconds() - request_s_) / seconds_of(period));
  request_s_ = fleet.request_seconds();
  next_ = next_ + period;
  const double target = settings_.target_share * fleet.concurrency();
  const double ready = std::max(1, fleet.ready());
  const double most_up = std::ceil(1000.0 * ready);
  const double most_down = std::floor(ready / 2.0);
  const double stable_wants = std::ceil(mean_of_last(settings_.stable_s) / target);
  const double panic_wants = std::ceil(mean_of_last(settings_.panic_s) / target);
  auto desired = static_cast<std::int32_t>(std::clamp(stable_wants, most_down, most_up));
  if (panic_wants / ready >= 2) {
    if (!panic_since_) panic_most_ = 0;
    panic_since_ = fleet.now();
  } else if (panic_since_ && fleet.now() - *panic_since_ > seconds(settings_.stable_s)) {
    panic_since_.reset();
  }
  if (panic_since_) {
    const auto panic = static_cast<std::int32_t>(std::clamp(panic_wants, most_down, most_up));
    panic_most_ = std::max({panic_most_, desired, panic});
    desired = panic_most_;
  }
  const std::int32_t live = fleet.live();
  if (desired > 0) {
    zero_since_.reset();
  } else {
    if (!zero_since_) zero_since_ = fleet.now();
    if (fleet.now() - *zero_since_ < settings_.scale_to_zero_grace) desired = std::min(live, 1);
  }
  if (desired > live) fleet.start(desired - live);
  if (desired < live) fleet.stop(live - desired);
}

std::string RaySettings::text() const {
  return fmt::format("target {:g}, look back {} s, up {} s, down {} s", target_ongoing, look_back_s,
                     upscale_delay_s, downscale_delay_s);
}

/// From zero it does not wait for its delays.
void Ray::arrived(Fleet& fleet) {
  if (fleet.live() > 0) return;
  const std::int64_t missed = missed_ticks(next_, fleet.now(), period);
  if (missed > 0) {
    next_ = next_ + Duration{missed * period.ns};
    samples_.assign(static_cast<std::size_t>(std::min<std::int64_t>(missed, settings_.look_back_s)),
                    0.0);
    sum_ = 0;
    metric_ = 0;
    metrics_at_ = next_;
    request_s_ = fleet.request_seconds();
  }
  const double wanted = std::ceil(fleet.waiting() / settings_.target_ongoing);
  fleet.start(std::max(1, static_cast<std::int32_t>(wanted)));
  wants_more_ = 0;
  wants_less_ = 0;
}

std::optional<Instant> Ray::next_tick(const Fleet& fleet) const {
  if (fleet.live() == 0 && fleet.requests() == 0) return std::nullopt;
  return next_;
}

void Ray::tick(Fleet& fleet) {
  samples_.push_back((fleet.request_seconds() - request_s_) / seconds_of(period));
  sum_ += samples_.back();
  request_s_ = fleet.request_seconds();
  while (samples_.size() > static_cast<std::size_t>(settings_.look_back_s)) {
    sum_ -= samples_.front();
    samples_.pop_front();
  }
  next_ = next_ + period;
  if (fleet.now() >= metrics_at_) {
    metric_ = sum_ / static_cast<double>(samples_.size());
    if (metric_ < nothing) metric_ = 0;
    metrics_at_ = fleet.now() + seconds(settings_.metrics_interval_s);
  }
  const std::int32_t live = fleet.live();
  const auto desired =
      static_cast<std::int32_t>(std::ceil(metric_ / settings_.target_ongoing - nothing));
  if (live == 0) {
    fleet.start(std::max(1, desired));
    return;
  }
  wants_more_ = desired > live ? wants_more_ + 1 : 0;
  wants_less_ = desired < live ? wants_less_ + 1 : 0;
  if (wants_more_ > settings_.upscale_delay_s) {
    fleet.start(desired - live);
    wants_more_ = 0;
  }
  if (wants_less_ > settings_.downscale_delay_s) {
    fleet.stop(live - desired);
    wants_less_ = 0;
  }
}

std::vector<KpaSettings> kpa_choices() {
  std::vector<KpaSettings> choices = {KpaSettings{}};
  for (const double target : {0.5, 0.7, 1.0}) {
    for (const std::int32_t stable : {6, 20, 60}) {
      for (const Duration grace : {Duration{}, seconds(30)}) {
        choices.push_back({target, stable, std::max(2, stable / 10), grace});
      }
    }
  }
  return choices;
}

std::vector<RaySettings> ray_choices(std::int32_t concurrency) {
  std::vector<RaySettings> choices = {RaySettings{}};
  for (const double share : {0.5, 0.75, 1.0, 1.5}) {
    for (const std::int32_t up : {0, 30}) {
      for (const std::int32_t down : {10, 60, 600}) {
        for (const std::int32_t look_back : {10, 30}) {
          choices.push_back({share * concurrency, look_back, look_back < 20 ? 1 : 10, up, down});
        }
      }
    }
  }
  return choices;
}

}  // namespace stoker::bench
