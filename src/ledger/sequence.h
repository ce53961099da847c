// The place of a record in the journal.
#pragma once

#include <compare>
#include <cstdint>

namespace stoker::ledger {

/// Number of a record: 1, 2, 3, ... over all lives of the server, without a gap.
struct Sequence {
  std::uint64_t value = 0;
  auto operator<=>(const Sequence&) const = default;
};

}  // namespace stoker::ledger
