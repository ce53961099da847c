// A binary heap whose smallest item can be replaced in place: a merge of n streams does that once
// per item, and std::priority_queue can only pop and push.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace stoker::sim {

/// Needs: operator< of Item orders all items totally, so that the order out does not depend on the
/// order in.
template <class Item>
class MinHeap {
 public:
  [[nodiscard]] bool empty() const { return items_.empty(); }
  [[nodiscard]] std::size_t size() const { return items_.size(); }
  /// Needs: not empty.
  [[nodiscard]] const Item& top() const { return items_.front(); }

  void push(Item item) {
    items_.push_back(std::move(item));
    std::size_t at = items_.size() - 1;
    while (at > 0 && items_[at] < items_[(at - 1) / 2]) {
      std::swap(items_[at], items_[(at - 1) / 2]);
      at = (at - 1) / 2;
    }
  }
  /// Needs: not empty.
  void replace_top(Item item) {
    const std::size_t size = items_.size();
    std::size_t at = 0;
    for (std::size_t child = 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && items_[child + 1] < items_[child]) ++child;
      if (!(items_[child] < item)) break;
      items_[at] = std::move(items_[child]);
      at = child;
    }
    items_[at] = std::move(item);
  }
  /// Needs: not empty.
  Item pop() {
    Item top = std::move(items_.front());
    Item last = std::move(items_.back());
    items_.pop_back();
    if (!items_.empty()) replace_top(std::move(last));
    return top;
  }

 private:
  std::vector<Item> items_;
};

}  // namespace stoker::sim
