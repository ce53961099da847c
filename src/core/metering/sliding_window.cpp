#include "core/metering/sliding_window.h"

#include <algorithm>
#include <utility>

#include "base/invariant.h"

namespace stoker::core::metering {

template <std::size_t kinds>
void SlidingWindow<kinds>::forget_before(std::int64_t step) {
  while (count_ > 0 && older(0).step < step) {
    for (std::size_t kind = 0; kind < kinds; ++kind) sums_[kind] -= older(0).use[kind];
    head_ = static_cast<std::uint8_t>((head_ + 1U) & (capacity_ - 1U));
    --count_;
  }
  if (count_ > 0) {
    oldest_step_ = older(0).step;
    return;
  }
  if (newest_.step < step) {
    STOKER_INVARIANT(sums_ == newest_.use, "sum={} last={}", sums_[0], newest_.use[0]);
    newest_.use = {};
    sums_ = {};
    oldest_step_ = never;
    return;
  }
  oldest_step_ = newest_.step;
}

template <std::size_t kinds>
void SlidingWindow<kinds>::push_older(const Cell& cell) {
  if (count_ == capacity_) {
    STOKER_INVARIANT(capacity_ < steps, "step {}", cell.step);
    const auto larger = static_cast<std::uint8_t>(std::max(4, capacity_ * 2));
    auto cells = std::make_unique<Cell[]>(larger);
    for (std::size_t i = 0; i < count_; ++i) cells[i] = older(i);
    cells_ = std::move(cells);
    capacity_ = larger;
    head_ = 0;
  }
  ++count_;
  older(count_ - 1U) = cell;
}

template <std::size_t kinds>
void SlidingWindow<kinds>::add(std::int64_t step, const Use& use) {
  std::int64_t any = 0;
  for (const std::int64_t each : use) any |= each;
  if (any == 0) return;
  for (std::size_t kind = 0; kind < kinds; ++kind) {
    const bool too_large = __builtin_add_overflow(sums_[kind], use[kind], &sums_[kind]);
    STOKER_INVARIANT(use[kind] >= 0 && !too_large, "amount={}", use[kind]);
  }
  if (oldest_step_ == never) {
    newest_ = {step, use};
    oldest_step_ = step;
    return;
  }
  if (newest_.step == step) {
    for (std::size_t kind = 0; kind < kinds; ++kind) newest_.use[kind] += use[kind];
    return;
  }
  STOKER_INVARIANT(newest_.step < step, "step {} after {}", step, newest_.step);
  push_older(newest_);
  newest_ = {step, use};
}

template <std::size_t kinds>
void SlidingWindow<kinds>::take_back(std::int64_t step, std::size_t kind, std::int64_t amount) {
  if (amount == 0 || oldest_step_ == never || step < oldest_step_) return;
  Cell* cell = &newest_;
  if (step != newest_.step) {
    std::size_t i = count_;  // from the end: most requests are short
    while (i > 0 && older(i - 1).step > step) --i;
    STOKER_INVARIANT(i > 0 && older(i - 1).step == step, "nothing at step {}", step);
    cell = &older(i - 1);
  }
  std::int64_t& used = cell->use[kind];
  STOKER_INVARIANT(0 < amount && amount <= used, "amount={} of {}", amount, used);
  used -= amount;
  sums_[kind] -= amount;
}

template <std::size_t kinds>
std::int64_t SlidingWindow<kinds>::step_without(std::size_t kind, std::int64_t amount) const {
  STOKER_INVARIANT(0 < amount && amount <= sums_[kind], "amount={} of {}", amount, sums_[kind]);
  for (std::size_t i = 0; i < count_; ++i) {
    amount -= older(i).use[kind];
    if (amount <= 0) return older(i).step + steps + 1;
  }
  return newest_.step + steps + 1;
}

template <std::size_t kinds>
void SlidingWindow<kinds>::check_invariants() const {
  if (oldest_step_ == never) {
    STOKER_INVARIANT(sums_ == Use{} && count_ == 0, "sum={} cells={}", sums_[0], count_);
    return;
  }
  Use sums = newest_.use;
  std::int64_t last = newest_.step;
  for (std::size_t i = count_; i-- > 0;) {
    STOKER_INVARIANT(older(i).step < last, "step {}", last);
    last = older(i).step;
    for (std::size_t kind = 0; kind < kinds; ++kind) {
      STOKER_INVARIANT(older(i).use[kind] >= 0, "step {}", last);
      sums[kind] += older(i).use[kind];
    }
  }
  STOKER_INVARIANT(sums == sums_ && last == oldest_step_, "sum={} counted {}", sums_[0], sums[0]);
}

template class SlidingWindow<1>;
template class SlidingWindow<3>;

}  // namespace stoker::core::metering
