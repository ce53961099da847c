// Counters of one worker process, shared by compute threads (which increment) and the control
// thread (which reports). Monotonic, except `active`.
#pragma once

#include <atomic>
#include <cstdint>

namespace stoker::worker {

struct WorkerCounters {
  /// Grows only from threads that compute: a decode step, a prefill batch, an inference. This is
  /// what tells a slow engine from a hung one, so nothing else may touch it.
  alignas(64) std::atomic<std::uint64_t> steps{0};
  /// Tokens (or results, for models without tokens) produced.
  alignas(64) std::atomic<std::uint64_t> tokens{0};
  /// Kept by the framework (by the relay in stoker-worker-exec): requests running now.
  alignas(64) std::atomic<std::uint64_t> active{0};
  /// Of those, kept by the runtime: not computed for, because their readers do not keep up.
  std::atomic<std::uint64_t> held_up{0};
  std::atomic<std::uint64_t> requests{0};   // begun
  std::atomic<std::uint64_t> cancelled{0};  // stopped before their end
};

inline void count_step(WorkerCounters& counters, std::uint64_t steps = 1) {
  counters.steps.fetch_add(steps, std::memory_order_relaxed);
}
inline void count_tokens(WorkerCounters& counters, std::uint64_t tokens = 1) {
  counters.tokens.fetch_add(tokens, std::memory_order_relaxed);
}

}  // namespace stoker::worker
