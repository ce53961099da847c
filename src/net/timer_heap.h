// Timers of one loop: a binary heap over reused slots, so that neither setting nor cancelling a
// timer allocates once the slots exist. Pure: time is an argument.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/units.h"

namespace stoker::net {

class TimerHeap {
 public:
  /// Gives an id that is never 0 and never given again.   Cost: O(log n).
  std::uint64_t add(Instant at, std::function<void()> action);
  /// Forgets a timer; one that ran or was cancelled before is ignored.   Cost: O(log n).
  void cancel(std::uint64_t id);
  [[nodiscard]] std::optional<Instant> earliest() const;
  /// Takes out the earliest timer if it is due; equal times in the order of adding. Gives an empty
  /// function if none is.
  std::function<void()> take_due(Instant now);
  [[nodiscard]] std::size_t size() const { return heap_.size(); }

 private:
  static constexpr std::uint32_t slot_bits = 24;  // 16 million timers at once
  static constexpr std::uint32_t not_in_heap = UINT32_MAX;
  struct Slot {
    Instant at;
    std::uint64_t order = 0;  // of adding; the upper part of the id
    std::uint32_t heap_index = not_in_heap;
    std::function<void()> action;
  };
  [[nodiscard]] bool before(std::uint32_t a, std::uint32_t b) const;
  void place(std::size_t index, std::uint32_t slot);
  void sift_up(std::size_t index);
  void sift_down(std::size_t index);
  std::function<void()> take_out(std::size_t index);

  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_slots_;
  std::vector<std::uint32_t> heap_;  // of slot numbers
  std::uint64_t next_order_ = 1;
};

}  // namespace stoker::net
