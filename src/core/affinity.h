// Which ready instance takes a request: the one with the fewest in flight, or, for requests of one
// session or with one prompt prefix, always the same one as long as it is not overloaded, because
// its cache already holds what they share.
// Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018, over
// the rendezvous hashing of Thaler and Ravishankar, 1998, which needs no ring to be kept.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/units.h"

namespace stoker::core {

struct ReadyInstance {
  std::uint32_t number = 0;  // of its deployment's instances
  std::int32_t in_flight = 0;
};

/// Most an instance may carry of a keyed load before the next in the key's order takes over, in
/// percent of the mean.
inline constexpr std::int64_t bounded_load_percent = 125;

/// Gives: the index of the instance; nullopt if all have `concurrency` in flight. Key 0 means no
/// preference. Ties go to the lower number.   Needs: numbers ascending.   Cost: O(instances).
[[nodiscard]] std::optional<std::size_t> choose_instance(std::span<const ReadyInstance> ready,
                                                         std::int32_t concurrency,
                                                         std::uint64_t key);

}  // namespace stoker::core
