// The production core with and without suspending: what idles on the devices, and what requests
// wait, where so many models fit on one device and host memory holds so many suspended ones.
#pragma once

#include <cstdint>

#include "arrivals.h"

namespace stoker::bench {

struct SuspendScore {
  double idle_s = 0;  // of a device: placed, and nothing runs
  double wait_s = 0;  // all requests together, arrival to dispatch
  double cold_s = 0;  // the part of it behind a start or a resume of their own model
  std::uint64_t starts = 0;
  std::uint64_t resumes = 0;
  double host_s = 0;  // suspended, all instances together
};
struct SuspendTable {
  std::int32_t resident = 0;  // models on the device
  std::int32_t start_s = 0;   // a resume takes a tenth
  std::int32_t asleep = 0;    // models that host memory holds
  SuspendScore without;
  SuspendScore with;
};
[[nodiscard]] SuspendTable measure_suspend(const Arrivals& arrivals, std::int32_t resident,
                                           std::int32_t start_s);

}  // namespace stoker::bench
