// What a queued request waits for, and for about how long: for people, no decision reads it.
#include <algorithm>

#include "core/core.h"

namespace stoker::core {
namespace {

constexpr std::int32_t counted = 1000;  // places; beyond, they are not worth the counting
constexpr Duration longest_service = minutes(60);

}  // namespace

std::optional<WaitSummary> Core::waiting(Instant now, RequestId id) const {
  const Request* const request = requests_.find(id);
  if (request == nullptr || request->state != RequestState::queued) return std::nullopt;
  const Deployment& d = *request->deployment;
  WaitSummary wait;
  wait.position = d.queue.position(request->tenant, request->priority, request->order, counted);
  wait.all_busy = d.counts.ready > 0;
  std::optional<Duration> first_slot = Duration{};  // from now
  if (!wait.all_busy) {
    const NextReady next = next_ready(now, d);
    if (next.instance != nullptr) {
      wait.awaits = next.instance->id;
      wait.state = next.instance->state;
    }
    first_slot = next.in;
  }
  if (wait.position == 0 || !first_slot) return wait;
  const std::int64_t concurrency = d.spec.scale.concurrency;
  const std::int64_t slots =
      concurrency * std::max(wait.all_busy ? d.counts.ready : d.counts.live, 1);
  const std::int64_t ahead = wait.position - 1;
  // Of full instances a slot comes free once in service_time / slots; a new one brings its own.
  const std::int64_t slots_awaited = wait.all_busy ? ahead + 1 : ahead / slots * slots;
  const std::int64_t service_ns = std::min(d.service_time.ns, longest_service.ns);
  wait.expected = *first_slot + Duration{service_ns / slots * slots_awaited};
  return wait;
}

/// The instance that should be ready first. Needs: none is.
Core::NextReady Core::next_ready(Instant now, const Deployment& d) const {
  NextReady best;
  const auto rank = [](const std::optional<Duration>& in) { return in ? in->ns : INT64_MAX; };
  for (const Instance* const each : d.instances) {
    std::optional<Duration> in;
    switch (each->state) {
      case InstanceState::planned:
        in = learned_start(*each);
        break;
      case InstanceState::starting:
      case InstanceState::loading:
        // A pool has not said yet where it is to be.
        if (const auto takes = learned_start(*each)) {
          in = (each->started_at == Instant{} ? now : each->started_at) + *takes - now;
        }
        break;
      case InstanceState::resuming:
        if (d.resume_time.known()) in = each->started_at + d.resume_time.get() - now;
        break;
      default:
        if (!each->wanted_back) continue;
        if (d.resume_time.known()) in = d.resume_time.get();
    }
    if (in && in->ns < 0) in.reset();  // it takes longer than it should
    if (best.instance == nullptr || rank(in) < rank(best.in)) best = {each, in};
  }
  // None is on its way while a failure is being waited out.
  if (best.instance == nullptr && now < d.failures.retry_at() && d.start_time.known()) {
    best.in = d.failures.retry_at() - now + soonest_start(d);
  }
  return best;
}

/// nullopt: neither its deployment nor enough others were seen to start.
std::optional<Duration> Core::learned_start(const Instance& instance) const {
  const Deployment& d = *instance.owner;
  if (instance.devices.empty()) {
    return d.start_time.known() ? std::optional(soonest_start(d)) : std::nullopt;
  }
  const DeviceKind kind = device(instance.devices.front()).kind;
  if (d.start_time.known()) return start_on(d, kind, instance.from);
  return load_times_.expected(kind, instance.from, weights_of(d, kind));
}

}  // namespace stoker::core
