// What is written down about requests and instances: plain data, the same in the journal, in
// SQLite and in receipts. No behaviour.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "base/money.h"
#include "base/units.h"

namespace stoker::ledger {

/// Written once per life of the server, before it admits anything.
struct ServerStart {
  Epoch epoch;
  WallTime at;
  std::string config_fingerprint;
};

/// Written when a request is admitted.
struct Admission {
  RequestId request;
  WallTime accepted_at;
  std::string deployment;
  std::string tenant;
  std::string key;    // public id of the key that it came with; "" without keys
  std::string route;  // "chat", "completions", "embeddings", "infer", "invoke"
  bool stream = false;
  std::int32_t priority = 0;
  Prices prices;  // in force at admission; kept here so that it is never priced anew
};

/// Written when a request that nobody is connected for (a job's) goes to a worker: after a crash it
/// tells what may have run from what has not.
struct Dispatch {
  RequestId request;
};

/// The intervals of one request in order; they tile accept .. last byte exactly. Nanoseconds.
struct Phases {
  Duration queue;
  Duration allocate;
  Duration start;
  Duration load;
  Duration warmup;
  Duration ttft;
  Duration generate;
  [[nodiscard]] constexpr Duration total() const {
    return {queue.ns + allocate.ns + start.ns + load.ns + warmup.ns + ttft.ns + generate.ns};
  }
};

enum class StartKind : std::uint8_t { none, warm, cold, resumed };  // none: it never ran
enum class Outcome : std::uint8_t { completed, failed, cancelled, expired, refused, interrupted };
[[nodiscard]] const char* to_text(StartKind kind);
[[nodiscard]] const char* to_text(Outcome outcome);

/// Written when a request has ended; exactly one per admission.
struct Usage {
  RequestId request;
  WallTime ended_at;
  Outcome outcome = Outcome::failed;
  std::int32_t status = 0;  // HTTP status sent, 0 if none
  std::string reason;       // code of the error, empty if completed
  StartKind start = StartKind::none;
  std::string instance;  // "chat/3"
  std::string device;
  Phases phases;
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  std::int64_t cached_tokens = 0;
  bool usage_known = false;    // false: the engine could not say
  std::int64_t device_ms = 0;  // integral of dt / n(t), n = requests in flight on the instance
};

/// Written and synced before a worker is spawned.
struct InstanceStart {
  InstanceId instance;
  Generation generation;
  Epoch epoch;
  WallTime at;
  std::string deployment;
  std::string device;
  std::string nonce;
};
struct InstanceEnd {
  InstanceId instance;
  Generation generation;
  Epoch epoch;
  WallTime at;
  std::string how;  // "exit 0", "signal 9", "oom"
};

/// Everything that the journal can hold.
using Record = std::variant<ServerStart, Admission, Usage, InstanceStart, InstanceEnd, Dispatch>;

/// Reasons of requests that the server did not survive.
inline constexpr const char* interrupted_reason = "interrupted";
/// Of one with a Dispatch: a worker had it.
inline constexpr const char* interrupted_running_reason = "interrupted_running";

/// What one request costs.
/// Gives: nothing for a request that never ran (start none), whatever its prices.
/// Units: exact pico; nothing is rounded before the invoice line.
/// Needs: prices, tokens and device time below 2^62 each, so that the 128-bit sum cannot overflow.
[[nodiscard]] Pico amount_of(const Prices& prices, const Usage& usage);

}  // namespace stoker::ledger
