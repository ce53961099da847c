// Where the gateway writes that a request was admitted and how it ended. Owned by the gateway,
// implemented over the journal (ledger/). Exactly one ended() follows each admitted(), before the
// last byte of the answer goes out (DESIGN.md 4.9, 4.11).
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "ledger/record.h"

namespace stoker::gateway {

/// Told when an ending is on disk. Called once, from any thread.
class DurableListener {
 public:
  virtual ~DurableListener() = default;
  virtual void on_durable(bool written) = 0;  // false: the store failed; the ending is not safe
};

enum class Recorded : std::uint8_t {
  durable,  // as safe as the configured durability asks; on_durable is not called
  pending,  // on_durable follows
  failed,   // not written; on_durable is not called
};

class RecordSink {
 public:
  virtual ~RecordSink() = default;
  /// Threads: any; must not block on the disk. An error refuses the request (503 `storage`).
  virtual Result<void> admitted(const ledger::Admission& admission) = 0;
  /// A request that nobody is connected for goes to a worker.   Threads: any; must not block.
  virtual Result<void> dispatched(RequestId request) = 0;
  /// Threads: any; must not block on the disk. `listener` is kept only for `pending`.
  virtual Recorded ended(const ledger::Usage& usage, std::shared_ptr<DurableListener> listener) = 0;
};

}  // namespace stoker::gateway
