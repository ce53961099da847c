// Carries records from the journal into the tables, from wherever the tables are, until the first
// failure; then it is thrown away and a new one starts from what the disk says.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <utility>

#include "base/result.h"
#include "ledger/journal.h"
#include "ledger/journal_reader.h"
#include "ledger/sqlite/row_writer.h"
#include "ledger/sqlite/sqlite_ledger.h"
#include "sqlite/database.h"

namespace stoker::ledger {

class Feed {
 public:
  /// Reads the journal from its oldest record on, to know the admissions that are still open.
  /// Gives:  position() = what the file accounts for; `gap` hears of records missing between both.
  [[nodiscard]] static Result<Feed> open(const SqliteLedgerOptions& options, Journal& journal,
                                         const std::function<void(const Error&)>& gap);

  /// One transaction: at most max_batch_records, none after `last`; they are on the disk then, and
  /// the journal is told.   Needs: this feed has not failed before.
  [[nodiscard]] Result<void> store(Sequence last);
  [[nodiscard]] Sequence position() const { return position_; }

 private:
  Feed(const SqliteLedgerOptions& options, Journal& journal, Database db, RowWriter rows,
       Statement move_position, JournalReader reader)
      : max_batch_records_(options.max_batch_records),
        listener_(options.listener),
        journal_(&journal),
        db_(std::move(db)),
        rows_(std::move(rows)),
        move_position_(std::move(move_position)),
        reader_(std::move(reader)) {}

  [[nodiscard]] Result<void> skip_to(Sequence position);
  [[nodiscard]] Result<void> store_batch(Sequence last);
  /// entry_, whose admission or ending is moved away.
  [[nodiscard]] Result<void> apply(bool with_rows);

  std::uint32_t max_batch_records_;
  RequestListener* listener_;
  Journal* journal_;
  Database db_;  // before its statements, which must go first
  RowWriter rows_;
  Statement move_position_;
  JournalReader reader_;
  JournalEntry entry_;  // the last one read
  Sequence position_;
  std::unordered_map<std::uint64_t, Admission> open_;
};

}  // namespace stoker::ledger
