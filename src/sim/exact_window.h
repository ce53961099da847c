// What was granted within a window, grant by grant and to the nanosecond: what the checker holds
// the production window of 64 steps against.
#pragma once

#include <cstdint>
#include <deque>
#include <utility>

#include "base/units.h"

namespace stoker::sim {

class ExactWindow {
 public:
  explicit ExactWindow(Duration length = minutes(1)) : length_(length) {}

  void advance(Instant now) {
    for (; inside_ < end() && at(inside_).first <= now - length_; ++inside_) {
      sum_inside_ -= at(inside_).second;
    }
    while (!grants_.empty() && grants_.front().first <= now - longest()) {
      sum_counted_ -= grants_.front().second;
      grants_.pop_front();
      ++begin_;
    }
    inside_ = inside_ < begin_ ? begin_ : inside_;
  }
  /// Gives: the number of this grant.   Needs: advance(now).
  std::uint64_t grant(Instant now, std::int64_t amount) {
    grants_.emplace_back(now, amount);
    sum_inside_ += amount;
    sum_counted_ += amount;
    return end() - 1;
  }
  void take_back(std::uint64_t number, std::int64_t amount) {
    if (number < begin_) return;
    grants_[number - begin_].second -= amount;
    sum_counted_ -= amount;
    if (number >= inside_) sum_inside_ -= amount;
  }
  /// Within the length: a limit must hold for this.
  [[nodiscard]] std::int64_t sum_inside() const { return sum_inside_; }
  /// Within the length and a step: a limit may at most count this.
  [[nodiscard]] std::int64_t sum_counted() const { return sum_counted_; }
  /// Of the grants at or after `since`.
  [[nodiscard]] std::int64_t sum_since(Instant since) const {
    std::int64_t sum = 0;
    for (auto it = grants_.rbegin(); it != grants_.rend() && it->first >= since; ++it) {
      sum += it->second;
    }
    return sum;
  }
  [[nodiscard]] Duration length() const { return length_; }
  [[nodiscard]] Duration longest() const { return {length_.ns / 64 * 65}; }

 private:
  [[nodiscard]] std::uint64_t end() const { return begin_ + grants_.size(); }
  [[nodiscard]] const std::pair<Instant, std::int64_t>& at(std::uint64_t number) const {
    return grants_[number - begin_];
  }

  Duration length_;
  std::deque<std::pair<Instant, std::int64_t>> grants_;
  std::uint64_t begin_ = 0;   // number of the first that is kept
  std::uint64_t inside_ = 0;  // of the first within the length
  std::int64_t sum_inside_ = 0;
  std::int64_t sum_counted_ = 0;
};

}  // namespace stoker::sim
