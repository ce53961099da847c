// Hears of requests from the ledger's own thread, as it carries them from the journal, in the
// journal's order. For what is derived from them and may be lost: the recorded trace.
#pragma once

#include "ledger/record.h"
#include "ledger/sequence.h"

namespace stoker::ledger {

/// Must not block for long: the rows of the ledger wait meanwhile. After a start, and after trouble
/// with the ledger's file, the journal is read again from the oldest record that it still has, so
/// everything may be told several times.
/// Threads: one at a time; the one that opens the ledger, then the ledger's.
class RequestListener {
 public:
  virtual ~RequestListener() = default;
  /// `record`: the number of the admission in the journal, the same each time that it is told.
  virtual void admitted(Sequence record, const Admission& admission) = 0;
  /// `stored_before`: the ledger had it already when it began to read.
  virtual void ended(const Admission& admission, const Usage& usage, bool stored_before) = 0;
  /// Nothing more for now.
  virtual void batch_ended() = 0;
};

}  // namespace stoker::ledger
