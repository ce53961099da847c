// Due times of the core, ordered by time, then kind, then id, so that equal inputs fire equally.
// One time per (kind, id).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/units.h"

namespace stoker::core {

enum class TimerKind : std::uint8_t {
  queue_deadline,  // request
  cancel_grace,    // request
  start_deadline,  // instance: hello, or progress of its load, is overdue
  idle_check,      // instance
  drain_limit,     // instance
  stop_overdue,    // instance
  retry,           // deployment: its backoff is over
  healthy,         // deployment: its failures are forgotten
  shutdown_limit,  // the server
};

class Timers {
 public:
  struct Due {
    Instant at;
    TimerKind kind;
    std::uint64_t id;
    auto operator<=>(const Due&) const = default;
  };
  void set(TimerKind kind, std::uint64_t id, Instant at) {
    clear(kind, id);
    at_[{kind, id}] = at;
    due_.insert({at, kind, id});
  }
  void clear(TimerKind kind, std::uint64_t id) {
    const auto it = at_.find({kind, id});
    if (it == at_.end()) return;
    due_.erase({it->second, kind, id});
    at_.erase(it);
  }
  [[nodiscard]] bool is_set(TimerKind kind, std::uint64_t id) const {
    return at_.contains({kind, id});
  }
  [[nodiscard]] std::optional<Instant> next() const {
    if (due_.empty()) return std::nullopt;
    return due_.begin()->at;
  }
  /// Takes the first timer due at or before `now`.
  [[nodiscard]] std::optional<Due> take_due(Instant now) {
    if (due_.empty() || due_.begin()->at > now) return std::nullopt;
    const Due due = *due_.begin();
    clear(due.kind, due.id);
    return due;
  }

 private:
  std::map<std::pair<TimerKind, std::uint64_t>, Instant> at_;
  std::set<Due> due_;
};

}  // namespace stoker::core
