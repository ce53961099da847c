// How long a start takes, by device kind and by the tier that the weights come from.
//
// Per kind and tier all models share one line, seconds = fixed part + bytes / bandwidth, fitted by
// recursive least squares that forgets slowly, from priors. What one model was seen to take itself
// counts before the line; where only other tiers or kinds of it were seen, the line moves what was
// seen.
//
// Sources: the cost model of ServerlessLLM (OSDI 2024), SCHEDULING.md 1; Plackett, "Some theorems
// in least squares", 1950. Doubles, only + - * /: the same on any CPU.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/units.h"
#include "core/spec.h"
#include "core/start_estimate.h"

namespace stoker::core {

/// Of all models; one per core.
class LoadTimes {
 public:
  LoadTimes();
  void observed(DeviceKind kind, Tier from, Bytes bytes, Duration took);
  /// nullopt: too little was seen to believe the line rather than what is written.
  [[nodiscard]] std::optional<Duration> expected(DeviceKind kind, Tier from, Bytes bytes) const;
  /// The line as it is, however little was seen: at first its priors.   Gives: >= 0, <= 1e8 s.
  [[nodiscard]] Duration guess(DeviceKind kind, Tier from, Bytes bytes) const;

 private:
  struct Line {
    double fixed_s = 0;
    double s_per_gib = 0;
    double p00 = 0;  // covariance over that of one start
    double p01 = 0;
    double p11 = 0;
    std::int32_t seen = 0;
  };
  std::array<std::array<Line, tiers>, device_kinds> lines_;
};

/// What one deployment's starts took.
class OwnTimes {
 public:
  void observed(DeviceKind kind, Tier from, Duration took);
  /// `first_guess`: where neither it nor others were seen to start.   Gives: >= 0.
  [[nodiscard]] Duration expected(const LoadTimes& others, DeviceKind kind, Tier from, Bytes bytes,
                                  Duration first_guess) const;
  /// By how much a start from `here` is shorter than one from `below`: from its own starts where it
  /// was seen to start from both, else from the lines of all.   Gives: >= 0.
  [[nodiscard]] Duration saved(const LoadTimes& others, DeviceKind kind, Tier below, Tier here,
                               Bytes bytes) const;

 private:
  struct Seen {
    DeviceKind kind;
    Tier from;
    StartEstimate time;
  };
  [[nodiscard]] const Seen* find(DeviceKind kind, Tier from) const;

  std::vector<Seen> seen_;  // the newest last
};

}  // namespace stoker::core
