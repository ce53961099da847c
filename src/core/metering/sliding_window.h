// What was used in the last minute or day, never too little: use is kept by step, 64 steps to a
// window, and counts for 64 whole steps beside the one it fell into. So no span of one window ever
// holds more than a limit that was kept at each grant; under a load that always presses, a limit
// gives 64/65 of itself. Only steps with use take memory.
//
// Rejected: a token bucket (GCRA), which lets twice the limit through in its first window or none
// of a large request, depending on its depth; a fixed window, which lets twice the limit through
// round its edge; the weighted pair of windows, which guesses.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

namespace stoker::core::metering {

/// Of so many kinds of use at once. Knows no time: its caller numbers the steps.
template <std::size_t kinds>
class SlidingWindow {
 public:
  using Use = std::array<std::int64_t, kinds>;
  static constexpr std::int64_t steps = 64;

  /// Forgets what no longer counts.   Needs: step >= each earlier step. Before each other call.
  void advance(std::int64_t step) {
    if (oldest_step_ < step - steps) forget_before(step - steps);
  }
  [[nodiscard]] std::int64_t sum(std::size_t kind) const { return sums_[kind]; }
  /// Needs: use >= 0.   Cost: O(1), amortised.
  void add(std::int64_t step, const Use& use);
  /// Takes back what was added at `step`; nothing if that does not count any more.
  /// Needs: amount <= what was added then.   Cost: O(steps since then).
  void take_back(std::int64_t step, std::size_t kind, std::int64_t amount);
  /// The step at which `amount` of the present sum will have gone.   Needs: 0 < amount <= sum.
  [[nodiscard]] std::int64_t step_without(std::size_t kind, std::int64_t amount) const;
  void check_invariants() const;

 private:
  struct Cell {
    std::int64_t step = 0;
    Use use{};
  };
  static constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
  void forget_before(std::int64_t step);
  void push_older(const Cell& cell);
  [[nodiscard]] Cell& older(std::size_t i) const { return cells_[(head_ + i) & (capacity_ - 1U)]; }

  std::int64_t oldest_step_ = never;  // of all cells; never: there is none
  Use sums_{};
  Cell newest_;
  std::unique_ptr<Cell[]> cells_;  // those before the newest: a ring, ascending by step
  std::uint8_t head_ = 0;
  std::uint8_t count_ = 0;
  std::uint8_t capacity_ = 0;  // a power of two, at most `steps`
};

}  // namespace stoker::core::metering
