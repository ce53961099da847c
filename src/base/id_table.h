// A hash table from ids to values for look-ups only: it offers no iteration order, so that no
// decision can depend on one. Open addressing with linear probing and backward-shift deletion;
// no allocation per entry.   Source: Knuth, TAOCP vol. 3, 6.4, algorithm R.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace stoker {

template <class Key, class Value>
class IdTable {
 public:
  [[nodiscard]] std::size_t size() const { return size_; }

  /// Gives: the value, or nullptr. Valid until the next insert or erase.
  [[nodiscard]] Value* find(Key key) {
    if (size_ == 0) return nullptr;
    for (std::size_t i = home(key);; i = next(i)) {
      if (slots_[i].key == Key{}) return nullptr;
      if (slots_[i].key == key) return &slots_[i].value;
    }
  }
  [[nodiscard]] const Value* find(Key key) const { return const_cast<IdTable*>(this)->find(key); }

  /// Needs: key is not zero and not in the table.
  Value& insert(Key key, Value value) {
    if ((size_ + 1) * 4 > slots_.size() * 3) grow();
    std::size_t i = home(key);
    while (slots_[i].key != Key{}) i = next(i);
    slots_[i] = Slot{key, std::move(value)};
    ++size_;
    return slots_[i].value;
  }

  /// Gives: true if the key was there.
  bool erase(Key key) {
    if (size_ == 0) return false;
    std::size_t hole = home(key);
    while (slots_[hole].key != key) {
      if (slots_[hole].key == Key{}) return false;
      hole = next(hole);
    }
    for (std::size_t i = next(hole); slots_[i].key != Key{}; i = next(i)) {
      const std::size_t distance_home = (i - home(slots_[i].key)) & mask();
      if (distance_home >= ((i - hole) & mask())) {
        slots_[hole] = std::move(slots_[i]);
        hole = i;
      }
    }
    slots_[hole] = Slot{};
    --size_;
    return true;
  }

  /// Calls `visit(key, value)` for each entry in an order without meaning: for checks and sums.
  template <class Visit>
  void for_each_unordered(Visit&& visit) const {
    for (const Slot& slot : slots_) {
      if (slot.key != Key{}) visit(slot.key, slot.value);
    }
  }

 private:
  struct Slot {
    Key key{};
    Value value{};
  };
  [[nodiscard]] std::size_t mask() const { return slots_.size() - 1; }
  [[nodiscard]] std::size_t next(std::size_t i) const { return (i + 1) & mask(); }
  [[nodiscard]] std::size_t home(Key key) const {
    return static_cast<std::size_t>(key.value * 0x9e3779b97f4a7c15ULL >> 20) & mask();
  }
  void grow() {
    std::vector<Slot> old = std::move(slots_);
    slots_ = std::vector<Slot>(old.empty() ? 64 : old.size() * 2);
    size_ = 0;
    for (Slot& slot : old) {
      if (slot.key != Key{}) insert(slot.key, std::move(slot.value));
    }
  }

  std::vector<Slot> slots_;
  std::size_t size_ = 0;
};

}  // namespace stoker
