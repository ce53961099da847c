// The ledger in one SQLite file (WAL). One thread reads synced records from the journal and writes
// them in batches, the journal position in the same transaction, so that a crash anywhere neither
// loses nor doubles a row. Triggers refuse UPDATE and DELETE of rows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include "base/result.h"
#include "base/units.h"
#include "ledger/journal.h"
#include "ledger/ledger.h"
#include "ledger/request_listener.h"

namespace stoker::ledger {

struct SqliteLedgerOptions {
  std::filesystem::path file;               // state_dir/ledger.db
  std::uint32_t max_batch_records = 32768;  // per transaction
  Duration batch_interval = ms(200);        // between transactions; flush() does not wait for it
  Duration retry_interval = seconds(1);     // after a failed write
  RequestListener* listener = nullptr;      // hears of each request; outlives the ledger
};

/// Opens or creates the file, catches up with the journal in the background from now on.
/// Needs:  `journal` outlives the ledger.
/// Gives:  a ledger. What its thread cannot write later stays in the journal; it opens the file
/// anew
///         and goes on from the position stored there.
/// Errors: corrupt (also: the file is ahead of the journal, so one of them is not the right one),
///         no_capacity, unavailable.
/// `on_trouble` hears each such trouble once, and of records that the journal no longer has and a
/// new or older file lacks. From the calling or the writer's thread.
[[nodiscard]] Result<std::unique_ptr<Ledger>> open_sqlite_ledger(
    const SqliteLedgerOptions& options, Journal& journal,
    std::function<void(const Error&)> on_trouble);

}  // namespace stoker::ledger
