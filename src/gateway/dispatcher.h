// What the gateway asks of whoever decides. Local today (orchestrator/), remote when there are
// several gateways. Owned by the gateway, implemented by the orchestrator.
//
// Life of a request here: admit() -> (dispatched | queued | rejected). Queued ones hear
// on_dispatched or on_rejected later, from another thread. A dispatched one is ended exactly once
// by ended(), or goes back to the queue with undelivered().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/units.h"
#include "net/http_client.h"

namespace stoker::gateway {

/// When the phases of an instance's start began; each one ends where the next begins. Instants of
/// the process-wide monotonic clock; {0} for a phase that has not begun.
struct StartTimeline {
  Instant wanted;        // the decision that an instance is needed: allocate begins
  Instant placed;        // memory reserved, spawn ordered: start begins
  Instant up;            // hello received: load begins
  Instant loaded;        // weights in place: warm-up begins
  Instant ready;         // first request may run
  bool resumed = false;  // it was suspended; there is no start, the load is the way back
};

/// Where a request is to run. Immutable, shared by all requests of one instance.
struct DispatchTarget {
  InstanceId instance;
  Generation generation;
  std::string name;          // "chat/3", for receipts and logs
  std::string device;        // "cpu0", "cuda0,cuda1"
  std::int32_t devices = 1;  // so many; it is billed for each of them
  net::Endpoint endpoint;
  bool speaks_contract = true;  // false: a foreign engine, usage is what it reports
  StartTimeline timeline;
};
using DispatchTargetPtr = std::shared_ptr<const DispatchTarget>;

/// Why a request was refused or dropped from the queue. Each maps to one status and one code.
enum class RejectReason : std::uint8_t {
  queue_full,     // 429
  rate_limited,   // 429: a limit of the key or its tenant
  unknown_key,    // 401: revoked since the head was looked at
  queue_timeout,  // 503: limits.queue_timeout passed
  load_failed,    // 503: the model cannot be loaded; message says why
  crash_loop,     // 503: five failures in a minute
  start_timeout,  // 503
  no_capacity,    // 503: it can never fit on any device
  draining,       // 503: the server is shutting down
  undeliverable,  // 503: no worker could be reached, twice
  storage,        // 503: the journal cannot be written
};
[[nodiscard]] const char* to_text(RejectReason reason);

struct Rejection {
  RejectReason reason = RejectReason::queue_full;
  Duration retry_after = seconds(1);  // {0}: waiting does not help
  std::string message;                // for people: what happened and what to do
};

/// What a worker says it used for one request.
struct WorkerUsage {
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  std::int64_t cached_tokens = 0;
  std::int64_t device_ms = 0;
  bool known = false;  // false: the worker never saw the request, or could not say
};

struct TokenCounts {
  std::int64_t input = 0;
  std::int64_t output = 0;
  std::int64_t cached = 0;  // of the input
};

/// How a key or its tenant, whichever is nearer to its end, stands against one limit.
struct Standing {
  std::int64_t most = 0;
  std::int64_t remaining = 0;
  Duration resets_in;  // until all of it is there again
};
/// nullopt: no such limit.
struct Standings {
  std::optional<Standing> requests;
  std::optional<Standing> input_tokens;
  std::optional<Standing> output_tokens;
};

/// The gateway's side of one request. Called from the orchestrator's threads; the implementation
/// posts to its own loop. Never called while a lock of the dispatcher is held.
class DispatchSink {
 public:
  virtual ~DispatchSink() = default;
  virtual void on_dispatched(DispatchTargetPtr target) = 0;
  virtual void on_rejected(Rejection rejection) = 0;
  /// The answer to cancel() of a running request: the worker has let go of it.
  virtual void on_worker_ended(WorkerUsage usage) = 0;
  /// The instance died or was killed with this request on it.
  virtual void on_instance_lost(std::string reason) = 0;
};

struct Arrival {
  RequestId request;
  DeploymentId deployment;
  TenantId tenant;
  KeyId key;
  std::int32_t priority = 0;   // larger is served first
  Instant deadline;            // latest dispatch; {0}: the deployment's queue_timeout
  TokenCounts estimate;        // what it may use, as far as that is known
  std::uint64_t affinity = 0;  // of its session or prompt, see session_affinity.h; 0: none
};

struct Queued {};
using Admission = std::variant<DispatchTargetPtr, Queued, Rejection>;

enum class EndState : std::uint8_t {
  completed,    // the answer went out whole
  failed,       // the engine or the way to it failed
  cancelled,    // the client left
  expired,      // a deadline passed
  refused,      // never ran
  interrupted,  // the server died with it open (written at the next start)
};
[[nodiscard]] const char* to_text(EndState state);

/// What a queued request waits for.
struct WaitState {
  /// As on a receipt. `queue`: instances are ready, and all of their slots are in use.
  enum class Phase : std::uint8_t { queue, allocate, start, load, warmup };
  Phase phase = Phase::queue;
  std::int32_t position = 0;  // from 1, in the queue of its deployment; 0: too far behind to count
  /// Until its turn, by the starts and requests that were seen; nullopt: it cannot be told.
  std::optional<Duration> expected;
  std::optional<double> load_fraction;  // of the load, as its worker has it
};
[[nodiscard]] const char* to_text(WaitState::Phase phase);

class Dispatcher {
 public:
  virtual ~Dispatcher() = default;
  /// Threads: any. Never 0, never given twice, larger in every later life of the server.
  virtual RequestId new_request_id() = 0;
  /// Threads: any. Holds the request against the limits of its key and tenant.
  /// Gives: nullopt, and what it may use is reserved until ended(), on_rejected, a rejection by
  ///        admit(), a cancel() that gives true, or release(); else why not.
  virtual std::optional<Rejection> reserve(const Arrival& arrival) = 0;
  /// A reserved request is not admitted after all.
  virtual void release(RequestId request) = 0;
  /// Threads: any. Decides now, on the calling thread.   Needs: it is reserved.
  virtual Admission admit(const Arrival& arrival, std::shared_ptr<DispatchSink> sink) = 0;
  /// The client left or a deadline passed. Gives true if the request was queued and is ended by
  /// this call. False: it runs; the worker is told, and on_worker_ended or on_instance_lost
  /// follows; the gateway then calls ended().
  virtual bool cancel(RequestId request, EndState why) = 0;
  /// The request provably never reached its worker. It goes back to the front of its queue: either
  /// on_dispatched or on_rejected follows.
  virtual void undelivered(RequestId request) = 0;
  /// The first token of a stream went out, `took` after its acceptance. To be told where
  /// Deployment::reports_first_token says so, at most once a run.
  virtual void first_token(RequestId request, Duration took) = 0;
  /// A running request has used more than was reserved for it.
  /// Gives: false if a limit forbids more: end it.
  virtual bool within_limits(RequestId request, const TokenCounts& used) = 0;
  /// A dispatched request is over. Its slot is free; after a cancel(), once its worker has let go.
  /// Gives: its device time in ms. Late and repeated calls are ignored.
  virtual std::int64_t ended(RequestId request, EndState state, const TokenCounts& used) = 0;
  /// Threads: any. How long the deployment's idle instances are to stay, within what its
  /// configuration allows; until the next wish. nullopt: as configured. {0}: not at all.
  virtual void keep(DeploymentId deployment, std::optional<Duration> idle) = 0;
  /// Threads: any. nullopt: it does not wait (any more).
  [[nodiscard]] virtual std::optional<WaitState> waiting(RequestId request) const = 0;
  /// Threads: any. For the x-ratelimit fields.
  virtual Standings standings(KeyId key) = 0;
};

}  // namespace stoker::gateway
