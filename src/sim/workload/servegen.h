// Arrivals of one ServeGen client: a renewal process whose rate and burstiness change every window.
//
// A window of the file gives a rate and the shape of the times between requests. A gap is drawn
// with mean 1 and the shape of the window it begins in, and is then used up at the windows' rates:
// in a window of rate r a second uses up r. So a gap may reach over windows, silent ones too, and
// the expected number of requests is exactly the sum of rate x length, however bursty they are.
//
// The scale in the file is not used. Where the fit was by moments it says the same as the rate;
// where it was by likelihood (Weibull) it does not, and would give a sixth more requests in all.
// The first gap is drawn as one finds it when one comes at a moment of no meaning (the equilibrium
// of the renewal process), else every client would be expected to begin with a burst.
#pragma once

#include <cstdint>
#include <vector>

#include "base/prng.h"
#include "base/random_variates.h"
#include "base/units.h"

namespace stoker::sim {

enum class GapLaw : std::uint8_t { gamma, weibull, exponential };

struct RateWindow {
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  double per_second = 0;  // above 0: silent windows are left out
  double shape = 1;
  GapLaw law = GapLaw::exponential;
};

class ClientArrivals {
 public:
  /// Needs: windows in order, not overlapping.
  ClientArrivals(std::vector<RateWindow> windows, std::uint64_t seed);
  /// Gives: false when there are no more.
  [[nodiscard]] bool next(std::int64_t& at_ns);

 private:
  [[nodiscard]] double draw_gap();
  [[nodiscard]] double draw_first_gap();
  void enter_window();

  std::vector<RateWindow> windows_;
  Prng prng_;
  std::size_t window_ = 0;
  double offset_ns_ = 0;  // from the window's begin
  double left_ = 0;       // of the window, in mean gaps
  double ns_per_gap_ = 0;
  Gamma gamma_{1, 1};  // of mean 1, where the window's law is gamma
  Weibull weibull_{1, 1};
  bool started_ = false;
};

}  // namespace stoker::sim
