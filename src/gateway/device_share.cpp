#include "gateway/device_share.h"

#include "base/invariant.h"

namespace stoker::gateway {

void DeviceShare::advance(Instant now) {
  // Loops read the clock before they take the lock, so `now` may be a little older than last_.
  if (now <= last_) return;
  if (running_ > 0) {
    const Uint128 elapsed = static_cast<Uint128>((now - last_).ns) << 32U;
    virtual_time_ += elapsed / static_cast<Uint128>(running_);
  }
  last_ = now;
}

DeviceShare::Mark DeviceShare::begin(Instant now) {
  const std::lock_guard lock(mutex_);
  advance(now);
  ++running_;
  return {virtual_time_};
}

Duration DeviceShare::end(Mark mark, Instant now) {
  const std::lock_guard lock(mutex_);
  advance(now);
  STOKER_INVARIANT(running_ > 0, "running={}", running_);
  --running_;
  return {static_cast<std::int64_t>((virtual_time_ - mark.at) >> 32U)};
}

}  // namespace stoker::gateway
