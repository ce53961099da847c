// What a worker may say on its control channel, checked and turned into plain values at once, so
// that nothing behind the backend ever reads a worker's JSON. A worker is not trusted: whatever is
// not exactly a message of the contract is a breach. Unknown fields are ignored.
// Source: docs/worker-contract.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "base/units.h"

namespace stoker::backend {

inline constexpr std::int64_t worker_contract = 1;
inline constexpr std::size_t control_packet_bytes = 64 << 10;  // largest packet either way

struct WorkerHello {
  std::string worker;  // "llama", "onnx", "echo", "exec"
  std::string version;
  std::string nonce;
  std::int64_t pid = 0;  // as the worker sees itself: inside a sandbox not the machine's number
};
struct WorkerLoading {
  std::optional<double> fraction;  // 0..1; without it: loading, but the engine cannot say how far
  std::string detail;              // what it waits for, for people; may be ""
};
struct WorkerLoaded {
  Bytes private_bytes;
  Bytes shared_bytes;
};
struct WorkerReady {
  Bytes private_bytes;
  Bytes shared_bytes;
  std::string endpoint;  // as net::parse_endpoint reads it; the backend fills in the usual one
};
enum class LoadFailure : std::uint8_t {
  model_missing,
  model_broken,
  bad_option,
  out_of_memory,
  start_failed,
  internal,
};
[[nodiscard]] const char* to_text(LoadFailure failure);
struct WorkerLoadFailed {
  LoadFailure code = LoadFailure::internal;
  std::string message;
};
struct WorkerProgress {
  std::int64_t active = 0;  // requests running now
  std::int64_t steps = 0;   // grows only while computing
  std::int64_t tokens = 0;
};
enum class WorkEnd : std::uint8_t { cancelled, completed, failed, unknown };
struct WorkerEnded {
  std::string request;  // public id
  std::int64_t input = 0;
  std::int64_t output = 0;
  std::int64_t cached = 0;
  std::int64_t device_ms = 0;
  WorkEnd reason = WorkEnd::unknown;
};
struct WorkerUnloaded {};
struct WorkerSuspended {  // it holds so much of the host's memory, and nothing of its device
  Bytes private_bytes;
  Bytes shared_bytes;
};
struct WorkerResumed {  // as in `ready`
  Bytes private_bytes;
  Bytes shared_bytes;
};
struct WorkerError {
  std::string code;
  std::string message;
};
using WorkerMessage = std::variant<WorkerHello, WorkerLoading, WorkerLoaded, WorkerReady,
                                   WorkerLoadFailed, WorkerProgress, WorkerEnded, WorkerUnloaded,
                                   WorkerSuspended, WorkerResumed, WorkerError>;

/// Gives: the message in `packet`, with all fields of its type present, typed and in range
/// (counts and bytes are never negative, texts are at most 4 KiB).
/// Errors: invalid, with what is wrong; the packet itself is never quoted.
[[nodiscard]] Result<WorkerMessage> parse_worker_message(std::string_view packet);

}  // namespace stoker::backend
