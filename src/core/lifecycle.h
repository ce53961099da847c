// The life of an instance as a table. Only Core::advance moves along it.
#pragma once

#include <cstdint>
#include <optional>

namespace stoker::core {

/// planned: wanted, waits for room, holds no memory and has no process.
/// failed: broken but its process may still be there; memory stays reserved until it is gone.
/// suspending: takes no more requests; holds host memory beside that of its devices until the
/// worker has let go of them. suspended: holds host memory only. resuming: holds both again.
enum class InstanceState : std::uint8_t {
  planned,
  starting,
  loading,
  ready,
  draining,
  stopping,
  failed,
  gone,
  suspending,
  suspended,
  resuming
};
enum class InstanceInput : std::uint8_t {
  placed,
  up,
  became_ready,
  drain,
  stop,
  broke,
  exited,
  dropped,
  suspend,
  was_suspended,
  resume
};

[[nodiscard]] const char* to_text(InstanceState state);

namespace lifecycle {
using enum InstanceState;
using enum InstanceInput;

struct Transition {
  InstanceState from;
  InstanceInput on;
  InstanceState to;
};

inline constexpr Transition transitions[] = {
    {planned, placed, starting},
    {planned, dropped, gone},
    {starting, up, loading},
    {loading, became_ready, ready},
    {ready, drain, draining},
    {draining, stop, stopping},
    {ready, stop, stopping},
    {starting, stop, stopping},
    {loading, stop, stopping},
    {starting, broke, failed},
    {loading, broke, failed},
    {ready, broke, failed},
    {draining, broke, failed},
    {starting, exited, gone},
    {loading, exited, gone},
    {ready, exited, gone},
    {draining, exited, gone},
    {stopping, exited, gone},
    {failed, exited, gone},
    {ready, suspend, suspending},
    {suspending, was_suspended, suspended},
    {suspended, resume, resuming},
    {resuming, became_ready, ready},
    {suspending, stop, stopping},
    {suspended, stop, stopping},
    {resuming, stop, stopping},
    {suspending, broke, failed},
    {suspended, broke, failed},
    {resuming, broke, failed},
    {suspending, exited, gone},
    {suspended, exited, gone},
    {resuming, exited, gone},
};

/// nullopt: not in the table, so a stale message or a bug; the caller decides.
constexpr std::optional<InstanceState> next_state(InstanceState from, InstanceInput on) {
  for (const Transition& t : transitions) {
    if (t.from == from && t.on == on) return t.to;
  }
  return std::nullopt;
}
static_assert(next_state(ready, drain) == draining);
static_assert(!next_state(gone, up));
static_assert(!next_state(draining, suspend) && !next_state(suspending, became_ready));

}  // namespace lifecycle
}  // namespace stoker::core
