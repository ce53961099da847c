#include "core/load_times.h"

#include <algorithm>

namespace stoker::core {
namespace {

/// Seconds per GiB until some were seen: 5, 1 and 0.1 GiB/s.
constexpr std::array<double, tiers> prior_s_per_gib = {0.2, 1.0, 10.0};
constexpr double prior_fixed_s = 2;
/// Squares of how wrong the priors may be, over that of one start (half a second).
constexpr double prior_p00 = 16;
constexpr double prior_p11_factor = 16;
/// Kept of what was known per start: about 50 starts are remembered.
constexpr double kept = 0.98;
/// Of a line, before it is believed.
constexpr std::int32_t enough = 3;
/// What was seen elsewhere is moved down to a tenth at most.
constexpr std::int64_t least_part = 10;

double gib_of(Bytes bytes) {
  return static_cast<double>(bytes.value) / (1024.0 * 1024 * 1024);
}

double seconds_of(Duration d) {
  return static_cast<double>(d.ns) / 1e9;
}

}  // namespace

LoadTimes::LoadTimes() {
  for (auto& of_kind : lines_) {
    for (std::size_t tier = 0; tier < tiers; ++tier) {
      const double per_gib = prior_s_per_gib[tier];
      of_kind[tier] = {
          prior_fixed_s, per_gib, prior_p00, 0, prior_p11_factor * per_gib * per_gib, 0};
    }
  }
}

void LoadTimes::observed(DeviceKind kind, Tier from, Bytes bytes, Duration took) {
  Line& line = lines_[static_cast<std::size_t>(kind)][static_cast<std::size_t>(from)];
  const double x = gib_of(bytes);
  const double px0 = line.p00 + line.p01 * x;
  const double px1 = line.p01 + line.p11 * x;
  const double gain = 1 / (kept + px0 + px1 * x);
  const double error = seconds_of(took) - (line.fixed_s + line.s_per_gib * x);
  line.fixed_s += px0 * gain * error;
  line.s_per_gib += px1 * gain * error;
  const double p00 = (line.p00 - px0 * px0 * gain) / kept;
  const double p01 = (line.p01 - px0 * px1 * gain) / kept;
  const double p11 = (line.p11 - px1 * px1 * gain) / kept;
  // Starts of one size say nothing about the slope: what is forgotten of it never grows beyond the
  // prior's doubt.
  const double per_gib = prior_s_per_gib[static_cast<std::size_t>(from)];
  const double most11 = prior_p11_factor * per_gib * per_gib;
  if (p00 <= prior_p00 && p11 <= most11) {
    line.p00 = p00;
    line.p01 = p01;
    line.p11 = p11;
  }
  ++line.seen;
}

std::optional<Duration> LoadTimes::expected(DeviceKind kind, Tier from, Bytes bytes) const {
  const Line& line = lines_[static_cast<std::size_t>(kind)][static_cast<std::size_t>(from)];
  if (line.seen < enough) return std::nullopt;
  return guess(kind, from, bytes);
}

Duration LoadTimes::guess(DeviceKind kind, Tier from, Bytes bytes) const {
  const Line& line = lines_[static_cast<std::size_t>(kind)][static_cast<std::size_t>(from)];
  const double s = std::max(line.fixed_s + line.s_per_gib * gib_of(bytes), 0.0);
  return Duration{static_cast<std::int64_t>(std::min(s, 1e8) * 1e9)};
}

void OwnTimes::observed(DeviceKind kind, Tier from, Duration took) {
  auto at = std::find_if(seen_.begin(), seen_.end(),
                         [&](const Seen& each) { return each.kind == kind && each.from == from; });
  if (at == seen_.end()) at = seen_.insert(seen_.end(), {kind, from, StartEstimate{}});
  at->time.observed(took);
  std::rotate(at, at + 1, seen_.end());
}

const OwnTimes::Seen* OwnTimes::find(DeviceKind kind, Tier from) const {
  const auto it = std::find_if(seen_.begin(), seen_.end(), [&](const Seen& each) {
    return each.kind == kind && each.from == from;
  });
  return it == seen_.end() ? nullptr : &*it;
}

Duration OwnTimes::saved(const LoadTimes& others, DeviceKind kind, Tier below, Tier here,
                         Bytes bytes) const {
  const Seen* const from_below = find(kind, below);
  const Seen* const from_here = find(kind, here);
  const bool both = from_below != nullptr && from_here != nullptr;
  const Duration saved = both ? from_below->time.get() - from_here->time.get()
                              : others.guess(kind, below, bytes) - others.guess(kind, here, bytes);
  return std::max(saved, Duration{});
}

Duration OwnTimes::expected(const LoadTimes& others, DeviceKind kind, Tier from, Bytes bytes,
                            Duration first_guess) const {
  if (const Seen* const own = find(kind, from)) return own->time.get();
  const std::optional<Duration> line = others.expected(kind, from, bytes);
  if (seen_.empty()) return line.value_or(first_guess);
  const Seen& newest = seen_.back();
  const Duration took = newest.time.get();
  const std::optional<Duration> line_there = others.expected(newest.kind, newest.from, bytes);
  if (!line || !line_there) return took;
  return std::max(took + *line - *line_there, Duration{took.ns / least_part});
}

}  // namespace stoker::core
