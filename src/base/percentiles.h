// Exact percentiles of many durations: eight bytes each, sorted once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/units.h"

namespace stoker {

class Percentiles {
 public:
  void add(Duration duration) {
    values_.push_back(duration.ns);
    sorted_ = false;
  }
  [[nodiscard]] std::size_t count() const { return values_.size(); }
  /// The smallest value that at least `percent` of all do not exceed (nearest rank); 0 if there are
  /// none.   Needs: 0 <= percent <= 100.
  [[nodiscard]] Duration at(int percent) const {
    if (values_.empty()) return {};
    if (!sorted_) std::sort(values_.begin(), values_.end());
    sorted_ = true;
    const std::size_t rank = (values_.size() * static_cast<std::size_t>(percent) + 99) / 100;
    return {values_[rank == 0 ? 0 : rank - 1]};
  }

 private:
  mutable std::vector<std::int64_t> values_;
  mutable bool sorted_ = true;
};

}  // namespace stoker
