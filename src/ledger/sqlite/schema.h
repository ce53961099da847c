// Tables of ledger.db and the order of the columns that rows are written and read in.
#pragma once

#include "base/result.h"
#include "ledger/ledger.h"
#include "ledger/sequence.h"
#include "sqlite/database.h"

namespace stoker::ledger {

using sqlite::Database;
using sqlite::Statement;

/// Makes the tables in a new file.
/// Errors: corrupt (the file holds something else or a newer version's tables), and Database's.
[[nodiscard]] Result<void> ensure_schema(Database& db);

/// Number of the last journal record that the rows account for.
[[nodiscard]] Result<Sequence> load_position(Database& db);

/// Columns of the view `requests`, comma separated, in the order in which read_row() takes them.
extern const char* const request_columns;
/// Errors: corrupt (a value that no stoker wrote).
[[nodiscard]] Result<RequestRow> read_row(Statement& select);

}  // namespace stoker::ledger
