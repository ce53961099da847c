// What will happen in the virtual world, ordered by time and then by the order of being planned, so
// that equal runs stay equal. Small values in a 4-ary heap; what was planned is never taken back:
// whoever is called looks whether it still applies.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/units.h"

namespace stoker::sim {

/// In brackets what `id` and `second` name: an instance by its generation, unique over all lives of
/// the server.
enum class Happening : std::uint8_t {
  process_up,           // (instance)
  load_step,            // (instance, number of the step)
  load_done,            // (instance)
  request_done,         // (request, instance)
  cancel_done,          // (request, instance)
  undeliverable,        // (request, instance)
  suspend_done,         // (instance)
  resume_done,          // (instance)
  process_gone,         // (instance)
  told_up,              // (instance): the core hears of it, and so on
  told_progress,        // (instance)
  told_ready,           // (instance)
  told_load_failed,     // (instance, failure)
  told_start_failed,    // (instance, failure)
  told_ended,           // (request, instance)
  first_token,          // (request, instance)
  told_unkillable,      // (instance)
  told_placed,          // (instance)
  told_suspended,       // (instance, bytes that it still holds of its devices)
  told_resumed,         // (instance)
  told_suspend_failed,  // (instance, failure)
  told_resume_failed,   // (instance, failure)
  client_leaves,        // (request)
  gateway_due,          // what is on its way to the gateway arrives
  restart,              // the server comes back
  move_done,            // (move of a model in a store)
  told_moved,           // (move of a model in a store)
  // From outside, so after everything else of the same instant: then it can be done again at the
  // time alone.
  fault,            // draws what breaks next
  swizzle_device,   // (device, 1 if it comes back)
  swizzle_process,  // (instance, 1 if it goes on)
};
inline constexpr Happening first_from_outside = Happening::fault;

struct Planned {
  Instant at;
  std::uint64_t order = 0;
  std::uint64_t id = 0;
  std::uint64_t second = 0;
  Happening kind = Happening::fault;

  [[nodiscard]] bool before(const Planned& other) const {
    return at != other.at ? at < other.at : order < other.order;
  }
};

class EventQueue {
 public:
  void plan(Instant at, Happening kind, std::uint64_t id, std::uint64_t second = 0) {
    heap_.push_back({});
    std::size_t place = heap_.size() - 1;
    const std::uint64_t order = next_order_++ | (kind >= first_from_outside ? last_of_all : 0);
    const Planned planned{at, order, id, second, kind};
    while (place > 0) {
      const std::size_t parent = (place - 1) / fan_out;
      if (heap_[parent].before(planned)) break;
      heap_[place] = heap_[parent];
      place = parent;
    }
    heap_[place] = planned;
  }
  [[nodiscard]] std::optional<Instant> next() const {
    if (heap_.empty()) return std::nullopt;
    return heap_.front().at;
  }
  /// Needs: not empty.
  Planned take() {
    const Planned first = heap_.front();
    const Planned last = heap_.back();
    heap_.pop_back();
    if (heap_.empty()) return first;
    std::size_t place = 0;
    for (;;) {
      const std::size_t from = place * fan_out + 1;
      if (from >= heap_.size()) break;
      const std::size_t to = std::min(from + fan_out, heap_.size());
      std::size_t least = from;
      for (std::size_t child = from + 1; child < to; ++child) {
        if (heap_[child].before(heap_[least])) least = child;
      }
      if (last.before(heap_[least])) break;
      heap_[place] = heap_[least];
      place = least;
    }
    heap_[place] = last;
    return first;
  }
  [[nodiscard]] std::size_t size() const { return heap_.size(); }
  [[nodiscard]] bool empty() const { return heap_.empty(); }

 private:
  static constexpr std::size_t fan_out = 4;
  static constexpr std::uint64_t last_of_all = std::uint64_t{1} << 63U;
  std::vector<Planned> heap_;
  std::uint64_t next_order_ = 1;
};

}  // namespace stoker::sim
