// Autoscalers of others as rules for a Fleet, from their sources. See SCHEDULING notes in
// docs/adr/0005.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "fleet.h"

namespace stoker::bench {

/// Knative's pod autoscaler. Defaults are its own; the tick is 2 s.
struct KpaSettings {
  double target_share = 0.7;  // of the concurrency
  std::int32_t stable_s = 60;
  std::int32_t panic_s = 6;
  Duration scale_to_zero_grace = seconds(30);
  [[nodiscard]] std::string text() const;
};
class Kpa final : public ScalingRule {
 public:
  explicit Kpa(const KpaSettings& settings) : settings_(settings) {}
  void arrived(Fleet& fleet) override;
  [[nodiscard]] std::optional<Instant> next_tick(const Fleet& fleet) const override;
  void tick(Fleet& fleet) override;

 private:
  static constexpr Duration period = seconds(2);
  static constexpr std::size_t most_samples = 32;  // of the longest window
  void sample(double requests);
  [[nodiscard]] double mean_of_last(std::int32_t window_s) const;

  const KpaSettings settings_;
  Instant next_ = Instant{} + period;
  std::array<double, most_samples> samples_{};
  std::int64_t sampled_ = 0;
  double request_s_ = 0;                // of the fleet, at the last tick
  std::optional<Instant> panic_since_;  // the last tick that was over the threshold
  std::int32_t panic_most_ = 0;
  std::optional<Instant> zero_since_;
};

/// Ray Serve's replica autoscaler. Defaults are its own; its loop runs once a second here.
struct RaySettings {
  double target_ongoing = 2;
  std::int32_t look_back_s = 30;
  std::int32_t metrics_interval_s = 10;
  std::int32_t upscale_delay_s = 30;
  std::int32_t downscale_delay_s = 600;
  [[nodiscard]] std::string text() const;
};
class Ray final : public ScalingRule {
 public:
  explicit Ray(const RaySettings& settings) : settings_(settings) {}
  void arrived(Fleet& fleet) override;
  [[nodiscard]] std::optional<Instant> next_tick(const Fleet& fleet) const override;
  void tick(Fleet& fleet) override;

 private:
  static constexpr Duration period = seconds(1);

  const RaySettings settings_;
  Instant next_ = Instant{} + period;
  Instant metrics_at_;
  std::deque<double> samples_;  // newest last
  double sum_ = 0;
  double request_s_ = 0;
  double metric_ = 0;
  std::int32_t wants_more_ = 0;  // ticks in a row
  std::int32_t wants_less_ = 0;
};

/// What a search over the first third of a trace tries; the defaults come first.
[[nodiscard]] std::vector<KpaSettings> kpa_choices();
[[nodiscard]] std::vector<RaySettings> ray_choices(std::int32_t concurrency);

}  // namespace stoker::bench
