// The SQL function sum_pico(text): adds decimal integers of up to 128 bits exactly.
#pragma once

#include "base/result.h"
#include "sqlite/database.h"

namespace stoker::ledger {

/// Opens the ledger's file and adds the function.   Errors: those of Database::open.
[[nodiscard]] Result<sqlite::Database> open_with_sum_pico(const std::filesystem::path& file,
                                                          sqlite::Database::Access access);

}  // namespace stoker::ledger
