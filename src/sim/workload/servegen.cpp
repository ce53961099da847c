#include "sim/workload/servegen.h"

#include <algorithm>

#include "base/real_math.h"

namespace stoker::sim {

ClientArrivals::ClientArrivals(std::vector<RateWindow> windows, std::uint64_t seed)
    : windows_(std::move(windows)), prng_(seed) {
  if (!windows_.empty()) enter_window();
}

void ClientArrivals::enter_window() {
  const RateWindow& window = windows_[window_];
  ns_per_gap_ = 1e9 / window.per_second;
  left_ = static_cast<double>(window.end_ns - window.begin_ns) / ns_per_gap_;
  offset_ns_ = 0;
  if (window.law == GapLaw::gamma) gamma_ = Gamma(window.shape, 1.0 / window.shape);
  if (window.law == GapLaw::weibull) {
    weibull_ = Weibull(window.shape, 1.0 / real_math::gamma(1.0 + 1.0 / window.shape));
  }
}

double ClientArrivals::draw_gap() {
  switch (windows_[window_].law) {
    case GapLaw::gamma:
      return gamma_.draw(prng_);
    case GapLaw::weibull:
      return weibull_.draw(prng_);
    case GapLaw::exponential:
      break;
  }
  return exponential(prng_, 1.0);
}

double ClientArrivals::draw_first_gap() {
  // A uniform part of a gap that was met in proportion to its length: density x f(x). For both laws
  // that is a gamma law again.
  const double shape = windows_[window_].shape;
  switch (windows_[window_].law) {
    case GapLaw::gamma:
      return uniform_unit(prng_) * Gamma(shape + 1.0, 1.0 / shape).draw(prng_);
    case GapLaw::weibull: {
      const double inverse = 1.0 / shape;
      const double met = real_math::pow(Gamma(1.0 + inverse, 1.0).draw(prng_), inverse);
      return uniform_unit(prng_) * met / real_math::gamma(1.0 + inverse);
    }
    case GapLaw::exponential:
      break;
  }
  return exponential(prng_, 1.0);
}

bool ClientArrivals::next(std::int64_t& at_ns) {
  if (window_ == windows_.size()) return false;
  double gap = started_ ? draw_gap() : draw_first_gap();
  started_ = true;
  while (!(gap < left_)) {
    gap -= left_;
    if (++window_ == windows_.size()) return false;
    enter_window();
  }
  left_ -= gap;
  offset_ns_ += gap * ns_per_gap_;
  const RateWindow& window = windows_[window_];
  // Rounding must not carry it over the end, where the next window begins.
  at_ns = std::min(window.begin_ns + static_cast<std::int64_t>(offset_ns_), window.end_ns - 1);
  return true;
}

}  // namespace stoker::sim
