#include "net/timer_heap.h"

#include "base/invariant.h"

namespace stoker::net {

bool TimerHeap::before(std::uint32_t a, std::uint32_t b) const {
  const Slot& left = slots_[a];
  const Slot& right = slots_[b];
  return left.at != right.at ? left.at < right.at : left.order < right.order;
}

void TimerHeap::place(std::size_t index, std::uint32_t slot) {
  heap_[index] = slot;
  slots_[slot].heap_index = static_cast<std::uint32_t>(index);
}

void TimerHeap::sift_up(std::size_t index) {
  const std::uint32_t slot = heap_[index];
  while (index > 0) {
    const std::size_t parent = (index - 1) / 2;
    if (!before(slot, heap_[parent])) break;
    place(index, heap_[parent]);
    index = parent;
  }
  place(index, slot);
}

void TimerHeap::sift_down(std::size_t index) {
  const std::uint32_t slot = heap_[index];
  while (true) {
    std::size_t child = 2 * index + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && before(heap_[child + 1], heap_[child])) ++child;
    if (!before(heap_[child], slot)) break;
    place(index, heap_[child]);
    index = child;
  }
  place(index, slot);
}

std::uint64_t TimerHeap::add(Instant at, std::function<void()> action) {
  if (free_slots_.empty()) {
    STOKER_INVARIANT(slots_.size() < (std::size_t{1} << slot_bits), "{} timers", slots_.size());
    free_slots_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const std::uint32_t number = free_slots_.back();
  free_slots_.pop_back();
  Slot& slot = slots_[number];
  slot.at = at;
  slot.order = next_order_++;
  slot.action = std::move(action);
  heap_.push_back(number);
  sift_up(heap_.size() - 1);
  return (slot.order << slot_bits) | number;
}

std::function<void()> TimerHeap::take_out(std::size_t index) {
  const std::uint32_t number = heap_[index];
  std::function<void()> action = std::move(slots_[number].action);
  slots_[number].action = nullptr;
  slots_[number].heap_index = not_in_heap;
  free_slots_.push_back(number);
  const std::uint32_t last = heap_.back();
  heap_.pop_back();
  if (index < heap_.size()) {
    place(index, last);
    sift_up(index);
    sift_down(slots_[last].heap_index);
  }
  return action;
}

void TimerHeap::cancel(std::uint64_t id) {
  const std::uint64_t number = id & ((std::uint64_t{1} << slot_bits) - 1);
  if (number >= slots_.size()) return;
  const Slot& slot = slots_[number];
  if (slot.heap_index == not_in_heap || slot.order != id >> slot_bits) return;
  take_out(slot.heap_index);
}

std::optional<Instant> TimerHeap::earliest() const {
  if (heap_.empty()) return std::nullopt;
  return slots_[heap_.front()].at;
}

std::function<void()> TimerHeap::take_due(Instant now) {
  if (heap_.empty() || slots_[heap_.front()].at > now) return nullptr;
  return take_out(0);
}

}  // namespace stoker::net
