#include "core/metering/device_time.h"

#include "base/invariant.h"

namespace stoker::core::metering {
namespace {

constexpr std::int64_t ns_per_ms = 1'000'000;

std::int64_t ns_of(Uint128 clock_time) {
  return static_cast<std::int64_t>(clock_time >> 32U);
}

}  // namespace

DeviceTime::InstanceClock& DeviceTime::advance(const Run& run, Instant now) {
  InstanceClock& clock = clocks_[run.clock];
  STOKER_INVARIANT(clock.instance && now >= clock.last, "V21 instance {}", clock.instance.value);
  if (clock.running > 0) {
    const Uint128 elapsed = static_cast<Uint128>((now - clock.last).ns) << 32U;
    clock.time += elapsed / static_cast<Uint128>(clock.running);
  }
  clock.last = now;
  return clock;
}

DeviceTime::Run DeviceTime::begin(Instant now, InstanceId instance, std::int32_t devices) {
  STOKER_INVARIANT(instance && devices >= 1, "instance {} devices={}", instance.value, devices);
  const std::uint32_t* known = by_instance_.find(instance);
  Run run;
  if (known != nullptr) {
    run.clock = *known;
  } else if (!free_.empty()) {
    run.clock = free_.back();
    free_.pop_back();
  } else {
    run.clock = static_cast<std::uint32_t>(clocks_.size());
    clocks_.emplace_back();
  }
  if (known == nullptr) {
    by_instance_.insert(instance, run.clock);
    clocks_[run.clock] = {};
    clocks_[run.clock].instance = instance;
    clocks_[run.clock].last = now;
    clocks_[run.clock].devices = devices;
  }
  InstanceClock& clock = advance(run, now);
  ++clock.running;
  ++running_;
  run.begun_at = clock.time;
  return run;
}

std::int64_t DeviceTime::so_far_ms(const Run& run, Instant now) {
  const InstanceClock& clock = advance(run, now);
  return ns_of(clock.time - run.begun_at) / ns_per_ms * clock.devices;
}

std::int64_t DeviceTime::end_ms(const Run& run, Instant now, TenantId tenant) {
  InstanceClock& clock = advance(run, now);
  std::int64_t* rest_ns = clock.rests_ns.find(tenant);
  if (rest_ns == nullptr) rest_ns = &clock.rests_ns.insert(tenant, 0);
  const std::int64_t owed_ns = *rest_ns + ns_of(clock.time - run.begun_at);
  *rest_ns = owed_ns % ns_per_ms;
  const std::int64_t billed_ms = owed_ns / ns_per_ms * clock.devices;
  leave(clock, run.clock);
  return billed_ms;
}

void DeviceTime::drop(const Run& run, Instant now) {
  leave(advance(run, now), run.clock);
}

void DeviceTime::leave(InstanceClock& clock, std::uint32_t index) {
  STOKER_INVARIANT(clock.running > 0, "instance {}", clock.instance.value);
  --clock.running;
  --running_;
  if (clock.gone && clock.running == 0) forget(index);
}

void DeviceTime::instance_gone(InstanceId instance) {
  const std::uint32_t* index = by_instance_.find(instance);
  if (index == nullptr) return;
  clocks_[*index].gone = true;
  if (clocks_[*index].running == 0) forget(*index);
}

void DeviceTime::forget(std::uint32_t index) {
  by_instance_.erase(clocks_[index].instance);
  clocks_[index] = {};
  free_.push_back(index);
}

}  // namespace stoker::core::metering
