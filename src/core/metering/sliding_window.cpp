#include "core/metering/sliding_window.h"

#include <algorithm>
#include <utility>

#include "base/invariant.h"

namespace stoker::core::metering {

void SlidingWindow::forget_before(std::int64_t step) {
  while (count_ > 0 && older(0).step < step) {
    sum_ -= older(0).amount;
    head_ = (head_ + 1) & (capacity_ - 1);
    --count_;
  }
  if (count_ > 0) {
    oldest_step_ = older(0).step;
    return;
  }
  if (newest_.step < step) {
    STOKER_INVARIANT(sum_ == newest_.amount, "sum={} last={}", sum_, newest_.amount);
    newest_.amount = 0;
    sum_ = 0;
    oldest_step_ = never;
    return;
  }
  oldest_step_ = newest_.step;
}

void SlidingWindow::push_older(const Cell& cell) {
  if (count_ == capacity_) {
    const std::uint32_t larger = std::max<std::uint32_t>(4, capacity_ * 2);
    auto cells = std::make_unique<Cell[]>(larger);
    for (std::uint32_t i = 0; i < count_; ++i) cells[i] = older(i);
    cells_ = std::move(cells);
    capacity_ = larger;
    head_ = 0;
  }
  ++count_;
  older(count_ - 1) = cell;
}

void SlidingWindow::add(std::int64_t step, std::int64_t amount) {
  if (amount == 0) return;
  STOKER_INVARIANT(amount > 0, "amount={}", amount);
  const bool too_large = __builtin_add_overflow(sum_, amount, &sum_);
  STOKER_INVARIANT(!too_large, "amount={}", amount);
  if (oldest_step_ == never) {
    newest_ = {step, amount};
    oldest_step_ = step;
    return;
  }
  if (newest_.step == step) {
    newest_.amount += amount;
    return;
  }
  STOKER_INVARIANT(newest_.step < step, "step {} after {}", step, newest_.step);
  push_older(newest_);
  newest_ = {step, amount};
}

void SlidingWindow::take_back(std::int64_t step, std::int64_t amount) {
  if (amount == 0 || oldest_step_ == never || step < oldest_step_) return;
  Cell* cell = &newest_;
  if (step != newest_.step) {
    std::uint32_t first = 0;
    for (std::uint32_t length = count_; length > 0;) {
      const std::uint32_t half = length / 2;
      if (older(first + half).step < step) {
        first += half + 1;
        length -= half + 1;
      } else {
        length = half;
      }
    }
    STOKER_INVARIANT(first < count_ && older(first).step == step, "nothing at step {}", step);
    cell = &older(first);
  }
  STOKER_INVARIANT(0 < amount && amount <= cell->amount, "amount={} of {}", amount, cell->amount);
  cell->amount -= amount;
  sum_ -= amount;
}

std::int64_t SlidingWindow::step_without(std::int64_t amount) const {
  STOKER_INVARIANT(0 < amount && amount <= sum_, "amount={} of {}", amount, sum_);
  for (std::uint32_t i = 0; i < count_; ++i) {
    amount -= older(i).amount;
    if (amount <= 0) return older(i).step + steps + 1;
  }
  return newest_.step + steps + 1;
}

std::int64_t SlidingWindow::step_empty() const {
  return sum_ == 0 ? 0 : newest_.step + steps + 1;
}

void SlidingWindow::check_invariants() const {
  if (oldest_step_ == never) {
    STOKER_INVARIANT(sum_ == 0 && count_ == 0, "sum={} cells={}", sum_, count_);
    return;
  }
  std::int64_t sum = newest_.amount;
  std::int64_t last = newest_.step;
  for (std::uint32_t i = count_; i-- > 0;) {
    STOKER_INVARIANT(older(i).step < last && older(i).amount >= 0, "step {}", last);
    last = older(i).step;
    sum += older(i).amount;
  }
  STOKER_INVARIANT(sum == sum_ && last == oldest_step_, "sum={} counted {}", sum_, sum);
}

}  // namespace stoker::core::metering
