#include "orchestrator/meter.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "base/overloaded.h"
#include "net/clock.h"

namespace stoker::orchestrator {
namespace {

namespace metering = core::metering;

constexpr std::int64_t ms_per_second = 1000;
/// A new measurement is an eighth of the usual device time.
constexpr std::int64_t smoothing = 8;

metering::Limits limits_of(const access::Limits& limits) {
  const auto or_none = [](const std::optional<std::int64_t>& value) {
    return value.value_or(metering::unlimited);
  };
  metering::Limits out;
  out.requests_per_minute = or_none(limits.requests_per_minute);
  out.input_tokens_per_minute = or_none(limits.input_tokens_per_minute);
  out.output_tokens_per_minute = or_none(limits.output_tokens_per_minute);
  out.concurrent_requests = or_none(limits.concurrent_requests);
  if (limits.gpu_seconds_per_day) {
    out.device_ms_per_day = *limits.gpu_seconds_per_day * ms_per_second;
  }
  return out;
}

std::string limit_text(const metering::LimitHit& hit) {
  const char* const whose = hit.whose == metering::Whose::key ? "this key" : "this tenant";
  switch (hit.kind) {
    case metering::LimitKind::requests_per_minute:
      return fmt::format("{} may make {} requests a minute", whose, hit.most);
    case metering::LimitKind::input_tokens_per_minute:
      return fmt::format("{} may send {} tokens a minute, {} are left", whose, hit.most,
                         hit.remaining);
    case metering::LimitKind::output_tokens_per_minute:
      return fmt::format("{} may receive {} tokens a minute, {} are left", whose, hit.most,
                         hit.remaining);
    case metering::LimitKind::device_time_per_day:
      return fmt::format("{} may use {} device seconds in 24 hours", whose,
                         hit.most / ms_per_second);
    case metering::LimitKind::concurrent_requests:
      return fmt::format("{} may have {} requests at a time", whose, hit.most);
    case metering::LimitKind::budget:
      return fmt::format("the budget of {} is used up", whose);
  }
  return "a limit is reached";
}

gateway::Rejection rejection_of(const metering::LimitHit& hit) {
  gateway::Rejection rejection{gateway::RejectReason::rate_limited, {}, limit_text(hit)};
  if (hit.retry_after) {
    rejection.retry_after = *hit.retry_after;
  } else if (hit.kind == metering::LimitKind::concurrent_requests) {
    rejection.retry_after = seconds(1);  // when one of them ends, which nobody knows
  } else {
    rejection.message += "; this request alone is larger than that";
  }
  return rejection;
}

gateway::Rejection unknown_key() {
  return {gateway::RejectReason::unknown_key, {}, "the key was revoked"};
}

metering::Units units_of(const gateway::TokenCounts& counts) {
  const auto sound = [](std::int64_t n) {
    return std::clamp<std::int64_t>(n, 0, metering::most_units);
  };
  return {sound(counts.input), sound(counts.output), 0, sound(counts.cached)};
}

}  // namespace

Meter::Meter() : metering_(metering::MeteringConfig{}) {}

/// Needs: mutex_ is held.
Instant Meter::now() {
  return latest_ = std::max(latest_, net::monotonic_now());
}

void Meter::set_keys(const access::KeyRing& keys) {
  const std::lock_guard lock(mutex_);
  for (auto& [id, admitted] : known_) {
    if (admitted && keys.find(id) == nullptr) {
      metering_.remove_key(id);
      admitted = false;
    }
  }
  for (const access::KeyPtr& key : keys.all()) {
    metering_.set_tenant(key->tenant, limits_of(key->tenant_limits));
    metering_.set_key(key->id, key->tenant, limits_of(key->limits));
    known_[key->id] = true;
  }
}

void Meter::set_prices(DeploymentId deployment, const Prices& prices) {
  const std::lock_guard lock(mutex_);
  metering_.set_prices(deployment, prices);
  usual_ms_.try_emplace(deployment, 0);
}

std::optional<gateway::Rejection> Meter::reserve(const gateway::Arrival& arrival) {
  const std::lock_guard lock(mutex_);
  metering::AdmissionWish wish{arrival.request, arrival.key, arrival.deployment,
                               units_of(arrival.estimate)};
  if (const auto usual = usual_ms_.find(arrival.deployment); usual != usual_ms_.end()) {
    wish.estimate.device_ms = usual->second;
  }
  const metering::Admission admission = metering_.admit(now(), wish);
  return std::visit(
      Overloaded{
          [&](metering::ReservationId id) -> std::optional<gateway::Rejection> {
            open_.insert(arrival.request, Open{id, arrival.deployment, 0, false});
            return std::nullopt;
          },
          [](const metering::LimitHit& hit) -> std::optional<gateway::Rejection> {
            return rejection_of(hit);
          },
          [](metering::UnknownKey) -> std::optional<gateway::Rejection> { return unknown_key(); },
      },
      admission);
}

void Meter::dispatched(RequestId request, InstanceId instance, std::int32_t devices) {
  const std::lock_guard lock(mutex_);
  Open* const open = open_.find(request);
  if (open == nullptr) return;
  open->ran = true;
  metering_.dispatched(now(), open->reservation, instance, devices);
}

void Meter::undelivered(RequestId request) {
  const std::lock_guard lock(mutex_);
  const Open* const open = open_.find(request);
  if (open != nullptr) metering_.undelivered(now(), open->reservation);
}

bool Meter::within_limits(RequestId request, const gateway::TokenCounts& used) {
  const std::lock_guard lock(mutex_);
  Open* const open = open_.find(request);
  if (open == nullptr) return true;
  const metering::Reported reported =
      metering_.report(now(), open->reservation, {1, ++open->reports, units_of(used)});
  return !reported.exhausted;
}

std::int64_t Meter::settle(RequestId request, const gateway::TokenCounts& used) {
  const std::lock_guard lock(mutex_);
  Open* const open = open_.find(request);
  if (open == nullptr) return 0;
  const Instant at = now();
  static_cast<void>(metering_.report(at, open->reservation, {1, ++open->reports, units_of(used)}));
  const metering::UsageRecord record =
      metering_.settle(at, open->reservation, metering::Billing::billed);
  if (const auto usual = usual_ms_.find(open->deployment); usual != usual_ms_.end()) {
    usual->second += (record.used.device_ms - usual->second) / smoothing;
  }
  open_.erase(request);
  return record.used.device_ms;
}

void Meter::release(RequestId request) {
  const std::lock_guard lock(mutex_);
  const Open* const open = open_.find(request);
  if (open == nullptr) return;
  if (open->ran) {  // and came back undelivered: nobody is billed
    static_cast<void>(metering_.settle(now(), open->reservation, metering::Billing::free));
  } else {
    metering_.release(now(), open->reservation);
  }
  open_.erase(request);
}

void Meter::instance_gone(InstanceId instance) {
  const std::lock_guard lock(mutex_);
  metering_.instance_gone(instance);
}

gateway::Standings Meter::standings(KeyId key) {
  const std::lock_guard lock(mutex_);
  const Instant at = now();
  const auto one = [&](metering::LimitKind kind) -> std::optional<gateway::Standing> {
    const std::optional<metering::Standing> standing = metering_.standing(at, key, kind);
    if (!standing) return std::nullopt;
    return gateway::Standing{standing->most, standing->remaining, standing->resets_in};
  };
  return {one(metering::LimitKind::requests_per_minute),
          one(metering::LimitKind::input_tokens_per_minute),
          one(metering::LimitKind::output_tokens_per_minute)};
}

void Meter::count_again(KeyId key, Duration ago, const gateway::TokenCounts& used,
                        std::int64_t device_ms) {
  const std::lock_guard lock(mutex_);
  metering::Units units = units_of(used);
  units.device_ms = device_ms;
  latest_ = std::max(latest_, net::monotonic_now() - ago);
  metering_.count_again(latest_, key, units);
}

}  // namespace stoker::orchestrator
