// The ledger in one SQLite file (WAL). One thread reads synced records from the journal and writes
// them in batches, the journal position in the same transaction, so that a crash anywhere neither
// loses nor doubles a row. Triggers refuse UPDATE and DELETE of rows.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "base/result.h"
#include "ledger/journal.h"
#include "ledger/ledger.h"

namespace stoker::ledger {

struct SqliteLedgerOptions {
  std::filesystem::path file;              // state_dir/ledger.db
  std::uint32_t max_batch_records = 2048;  // per transaction
};

/// Opens or creates the file, catches up with the journal in the background from now on.
/// Needs:  `journal` outlives the ledger.
/// Errors: corrupt, unavailable. A later write failure is retried once a second (the journal keeps
///         everything until then) and told to `on_trouble`, at most once per trouble, from the
///         writer's thread.
[[nodiscard]] Result<std::unique_ptr<Ledger>> open_sqlite_ledger(
    const SqliteLedgerOptions& options, Journal& journal,
    std::function<void(const Error&)> on_trouble);

}  // namespace stoker::ledger
