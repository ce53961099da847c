// RecordSink over the journal.
#pragma once

#include "gateway/record_sink.h"
#include "ledger/journal.h"

namespace stoker::gateway {

class JournalSink final : public RecordSink {
 public:
  /// `durability` is the one that the journal was opened with; the journal outlives the sink.
  JournalSink(ledger::Journal& journal, ledger::Durability durability)
      : journal_(journal), durability_(durability) {}

  Result<void> admitted(const ledger::Admission& admission) override;
  Result<void> dispatched(RequestId request) override;
  Recorded ended(const ledger::Usage& usage, std::shared_ptr<DurableListener> listener) override;

 private:
  ledger::Journal& journal_;
  ledger::Durability durability_;
};

}  // namespace stoker::gateway
