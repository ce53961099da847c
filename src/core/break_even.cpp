#include "core/break_even.h"

#include <algorithm>

#include "base/int128.h"

namespace stoker::core {

Duration break_even(Duration start_time, std::int32_t wait_weight, NanoPrice idle_price_per_hour) {
  const std::int64_t price =
      idle_price_per_hour.value > 0 ? idle_price_per_hour.value : usual_price_per_hour.value;
  const Int128 waiting = Int128{start_time.ns} * wait_weight * usual_price_per_hour.value / price;
  return Duration{static_cast<std::int64_t>(
      std::min<Int128>(Int128{start_time.ns} + waiting, longest_break_even.ns))};
}

}  // namespace stoker::core
