#include "core/timers.h"

#include <algorithm>

#include "base/invariant.h"

namespace stoker::core {
namespace {
constexpr std::size_t fan_out = 4;
}

void Timers::set(TimerKind kind, std::uint64_t id, Instant at) {
  STOKER_INVARIANT(id != 0, "timer kind {}", static_cast<int>(kind));
  const Due due{at, kind, id};
  if (const std::size_t* known = places(kind).find(Id<Timers>{id})) {
    const std::size_t place = *known;
    if (due < heap_[place]) {
      sift_up(place, due);
    } else {
      sift_down(place, due);
    }
    return;
  }
  places(kind).insert(Id<Timers>{id}, heap_.size());
  heap_.push_back(due);
  sift_up(heap_.size() - 1, due);
}

void Timers::clear(TimerKind kind, std::uint64_t id) {
  const std::size_t* place = places(kind).find(Id<Timers>{id});
  if (place != nullptr) remove_at(*place);
}

std::optional<Timers::Due> Timers::take_due(Instant now) {
  if (heap_.empty() || heap_.front().at > now) return std::nullopt;
  const Due due = heap_.front();
  remove_at(0);
  return due;
}

void Timers::put(std::size_t place, const Due& due) {
  heap_[place] = due;
  *places(due.kind).find(Id<Timers>{due.id}) = place;
}

void Timers::sift_up(std::size_t place, const Due& due) {
  while (place > 0) {
    const std::size_t parent = (place - 1) / fan_out;
    if (heap_[parent] <= due) break;
    put(place, heap_[parent]);
    place = parent;
  }
  put(place, due);
}

void Timers::sift_down(std::size_t place, const Due& due) {
  for (;;) {
    const std::size_t first = place * fan_out + 1;
    if (first >= heap_.size()) break;
    const std::size_t last = std::min(first + fan_out, heap_.size());
    std::size_t least = first;
    for (std::size_t child = first + 1; child < last; ++child) {
      if (heap_[child] < heap_[least]) least = child;
    }
    if (heap_[least] >= due) break;
    put(place, heap_[least]);
    place = least;
  }
  put(place, due);
}

void Timers::remove_at(std::size_t place) {
  const Due removed = heap_[place];
  places(removed.kind).erase(Id<Timers>{removed.id});
  const Due last = heap_.back();
  heap_.pop_back();
  if (place == heap_.size()) return;
  if (last < removed) {
    sift_up(place, last);
  } else {
    sift_down(place, last);
  }
}

}  // namespace stoker::core
