#include "core/suspend_policy.h"

#include <algorithm>
#include <utility>

namespace stoker::core {

double host_cost(Bytes bytes, Bytes capacity, std::int32_t cost_permille) {
  return static_cast<double>(bytes.value) / static_cast<double>(capacity.value) * cost_permille /
         1000;
}

std::optional<std::vector<InstanceId>> choose_sleepers(double worth, Bytes needed, Bytes free,
                                                       std::vector<Sleeper> sleepers) {
  std::sort(sleepers.begin(), sleepers.end(), [](const Sleeper& a, const Sleeper& b) {
    const double worth_a = a.worth * static_cast<double>(b.bytes.value);
    const double worth_b = b.worth * static_cast<double>(a.bytes.value);
    if (worth_a < worth_b) return true;
    if (worth_b < worth_a) return false;
    return std::pair(a.since, a.instance) < std::pair(b.since, b.instance);
  });
  std::vector<Sleeper> leave;
  for (const Sleeper& each : sleepers) {
    if (needed <= free) break;
    free += each.bytes;
    leave.push_back(each);
  }
  if (needed > free) return std::nullopt;
  std::erase_if(leave, [&](const Sleeper& each) {
    if (needed > free - each.bytes) return false;
    free -= each.bytes;
    return true;
  });
  double lost = 0;
  for (const Sleeper& each : leave) lost += each.worth;
  if (!leave.empty() && worth <= lost * host_swap_margin) return std::nullopt;
  std::vector<InstanceId> ids;
  for (const Sleeper& each : leave) ids.push_back(each.instance);
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace stoker::core
