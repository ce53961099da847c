#include "core/affinity.h"

#include <algorithm>

#include "base/prng.h"

namespace stoker::core {
namespace {

std::uint64_t weight_of(std::uint64_t key, std::uint32_t number) {
  return Prng(key ^ (number * 0x9e3779b97f4a7c15ULL)).next();
}

std::optional<std::size_t> least_loaded(std::span<const ReadyInstance> ready,
                                        std::int32_t concurrency) {
  std::optional<std::size_t> best;
  std::int32_t best_load = concurrency;
  for (std::size_t i = 0; i < ready.size(); ++i) {
    if (ready[i].in_flight >= best_load) continue;
    best = i;
    best_load = ready[i].in_flight;
  }
  return best;
}

}  // namespace

std::optional<std::size_t> choose_instance(std::span<const ReadyInstance> ready,
                                           std::int32_t concurrency, std::uint64_t key) {
  if (key == 0) return least_loaded(ready, concurrency);
  std::int64_t in_flight = 1;  // with the new one
  for (const ReadyInstance& each : ready) in_flight += each.in_flight;
  const std::int64_t parts = static_cast<std::int64_t>(ready.size()) * 100;
  if (parts == 0) return std::nullopt;
  const std::int64_t bound =
      std::min<std::int64_t>((in_flight * bounded_load_percent + parts - 1) / parts, concurrency);
  std::optional<std::size_t> best;
  std::uint64_t best_weight = 0;
  for (std::size_t i = 0; i < ready.size(); ++i) {
    if (ready[i].in_flight >= bound) continue;
    const std::uint64_t weight = weight_of(key, ready[i].number);
    if (best && weight <= best_weight) continue;
    best = i;
    best_weight = weight;
  }
  return best;
}

}  // namespace stoker::core
