// Where starts and ends of instances are written down. Owned by the orchestrator, implemented over
// the journal (ledger/).
#pragma once

#include "base/result.h"
#include "ledger/record.h"

namespace stoker::orchestrator {

class InstanceJournal {
 public:
  virtual ~InstanceJournal() = default;
  /// The intent to start, on disk when this returns. Blocks; called on the starter thread.
  virtual Result<void> started(const ledger::InstanceStart& start) = 0;
  /// Threads: the loop's. Does not block.
  virtual void ended(const ledger::InstanceEnd& end) = 0;
};

}  // namespace stoker::orchestrator
