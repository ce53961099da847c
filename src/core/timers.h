// Due times of the core, ordered by time, then kind, then id, so that equal inputs fire equally.
// One time per (kind, id). A 4-ary heap with the place of each timer beside it, because a tree
// costs an allocation per timer, and a queued request sets and clears one. Source: Johnson,
// "Priority queues with update and finding minimum spanning trees", 1975.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/id_table.h"
#include "base/units.h"

namespace stoker::core {

enum class TimerKind : std::uint8_t {
  queue_deadline,  // request
  cancel_grace,    // request
  start_deadline,  // instance: hello, or progress of its load, is overdue
  keep_check,      // instance: its keep-warm time may be over
  drain_limit,     // instance
  stop_overdue,    // instance
  retry,           // deployment: its backoff is over
  healthy,         // deployment: its failures are forgotten
  prewarm,         // deployment: its next request is expected
  load_check,      // deployment: averages over time may ask for more instances, or for fewer
  swap,            // device: a busy instance has had its stay while others wait
  pool_swap,       // pool: an idle instance has had its stay while others wait
  device_trust,    // device: a half-dead one may be tried again
  shutdown_limit,  // the server, id 1
  suspend_check,   // instance: being suspended may not be worth it any more
  cache_round,     // all stores, id 1: what lies where may be worth a change
};
inline constexpr std::size_t timer_kinds = 16;

class Timers {
 public:
  struct Due {
    Instant at;
    TimerKind kind;
    std::uint64_t id;
    auto operator<=>(const Due&) const = default;
  };
  /// Replaces an earlier time of the same (kind, id).  Needs: id != 0.   Cost: O(log n).
  void set(TimerKind kind, std::uint64_t id, Instant at);
  /// The same, unless an earlier time is set already.
  void set_earlier(TimerKind kind, std::uint64_t id, Instant at) {
    const std::size_t* known = places(kind).find(Id<Timers>{id});
    if (known == nullptr || at < heap_[*known].at) set(kind, id, at);
  }
  void clear(TimerKind kind, std::uint64_t id);
  [[nodiscard]] bool is_set(TimerKind kind, std::uint64_t id) const {
    return places(kind).find(Id<Timers>{id}) != nullptr;
  }
  [[nodiscard]] std::optional<Instant> next() const {
    if (heap_.empty()) return std::nullopt;
    return heap_.front().at;
  }
  /// Takes the first timer due at or before `now`.
  [[nodiscard]] std::optional<Due> take_due(Instant now);
  [[nodiscard]] std::size_t size() const { return heap_.size(); }

 private:
  using Places = IdTable<Id<Timers>, std::size_t>;
  [[nodiscard]] Places& places(TimerKind kind) { return places_[static_cast<std::size_t>(kind)]; }
  [[nodiscard]] const Places& places(TimerKind kind) const {
    return places_[static_cast<std::size_t>(kind)];
  }
  void put(std::size_t place, const Due& due);
  void sift_up(std::size_t place, const Due& due);
  void sift_down(std::size_t place, const Due& due);
  void remove_at(std::size_t place);

  std::vector<Due> heap_;
  std::array<Places, timer_kinds> places_;
};

}  // namespace stoker::core
