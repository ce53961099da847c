#include "core/metering/limits.h"

#include <algorithm>

#include "base/invariant.h"

namespace stoker::core::metering {
namespace {

/// Nobody knows when a running request ends; its client may ask again so soon.
constexpr Duration concurrency_retry = seconds(1);

bool bars_longer(const LimitHit& a, const LimitHit& b) {
  if (!a.retry_after || !b.retry_after) return !a.retry_after && b.retry_after;
  return *a.retry_after > *b.retry_after;
}

}  // namespace

const char* to_text(LimitKind kind) {
  switch (kind) {
    case LimitKind::requests_per_minute:
      return "requests_per_minute";
    case LimitKind::input_tokens_per_minute:
      return "input_tokens_per_minute";
    case LimitKind::output_tokens_per_minute:
      return "output_tokens_per_minute";
    case LimitKind::device_time_per_day:
      return "device_time_per_day";
    case LimitKind::concurrent_requests:
      return "concurrent_requests";
    case LimitKind::budget:
      return "budget";
  }
  return "unknown";
}

void Meter::set_limits(const Limits& limits) {
  most_ = {limits.requests_per_minute, limits.input_tokens_per_minute,
           limits.output_tokens_per_minute, limits.device_ms_per_day};
  most_open_ = limits.concurrent_requests;
  for (const std::int64_t each : most_) STOKER_INVARIANT(each >= 0, "limit={}", each);
  STOKER_INVARIANT(most_open_ >= 0, "limit={}", most_open_);
}

bool Meter::admits(const Amounts& wish) const {
  if (wish.concurrent > 0 && open_ >= most_open_) return false;
  for (std::size_t kind = 0; kind < windowed_kinds; ++kind) {
    // A wish for nothing passes a limit that was overdrawn, or lowered below what was used.
    if (wish.used[kind] > 0 && wish.used[kind] > left(kind)) return false;
  }
  return true;
}

Duration Meter::until_without(Instant now, std::size_t kind, std::int64_t amount,
                              const Clock& clock) const {
  const std::int64_t step =
      kind < minute_kinds ? minute_.step_without(kind, amount) : day_.step_without(0, amount);
  return Instant{step * clock.step_of(kind).ns} - now;
}

LimitHit Meter::why_not(Instant now, const Amounts& wish, const Clock& clock) const {
  std::optional<LimitHit> worst;
  const auto consider = [&](const LimitHit& hit) {
    if (!worst || bars_longer(hit, *worst)) worst = hit;
  };
  for (std::size_t kind = 0; kind < windowed_kinds; ++kind) {
    if (wish.used[kind] <= 0 || wish.used[kind] <= left(kind)) continue;
    LimitHit hit{static_cast<LimitKind>(kind), Whose::key, std::nullopt, most_[kind],
                 std::max<std::int64_t>(left(kind), 0)};
    if (wish.used[kind] <= most_[kind]) {
      hit.retry_after = until_without(now, kind, wish.used[kind] - left(kind), clock);
    }
    consider(hit);
  }
  if (wish.concurrent > 0 && open_ >= most_open_) {
    consider({LimitKind::concurrent_requests, Whose::key,
              most_open_ > 0 ? std::optional(concurrency_retry) : std::nullopt, most_open_, 0});
  }
  STOKER_INVARIANT(worst.has_value(), "open={}", open_);
  return *worst;
}

void Meter::charge(const Amounts& granted, const Steps& steps) {
  minute_.add(steps.front(), {granted.used[0], granted.used[1], granted.used[2]});
  day_.add(steps.back(), {granted.used[3]});
  open_ += granted.concurrent;
}

void Meter::take_back(const Amounts& unused, const Steps& granted_at) {
  for (std::size_t kind = 0; kind < minute_kinds; ++kind) {
    minute_.take_back(granted_at[kind], kind, unused.used[kind]);
  }
  day_.take_back(granted_at.back(), 0, unused.used.back());
  open_ -= unused.concurrent;
  STOKER_INVARIANT(open_ >= 0, "open={}", open_);
}

Standing Meter::standing(Instant now, LimitKind kind, const Clock& clock) const {
  if (kind == LimitKind::concurrent_requests) {
    if (most_open_ == unlimited) return {};
    return {most_open_, std::max<std::int64_t>(most_open_ - open_, 0), {}};
  }
  const auto index = static_cast<std::size_t>(kind);
  STOKER_INVARIANT(index < windowed_kinds, "kind={}", index);
  if (most_[index] == unlimited) return {};
  Standing standing{most_[index], std::max<std::int64_t>(left(index), 0), {}};
  if (sum(index) > 0) standing.resets_in = until_without(now, index, sum(index), clock);
  return standing;
}

void Meter::check_invariants() const {
  minute_.check_invariants();
  day_.check_invariants();
  STOKER_INVARIANT(open_ >= 0, "open={}", open_);
}

}  // namespace stoker::core::metering
