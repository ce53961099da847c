// Writes rows of requests: what many of them share goes to tables of its own, once.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "base/result.h"
#include "ledger/ledger.h"
#include "sqlite/database.h"

namespace stoker::ledger {

using sqlite::Database;
using sqlite::Statement;

/// A table of combinations of values, each with a number. What was seen is remembered, so a
/// transaction that fails must be followed by a new object.
class SharedValues {
 public:
  /// `columns`: comma separated, all of `table` but its id.
  [[nodiscard]] static Result<SharedValues> open(Database& db, const char* table,
                                                 const char* columns);

  /// Begins a combination; the values follow in the order of the columns.
  void begin() { key_.clear(); }
  void add(std::int64_t value);
  void add(std::string_view text);
  /// Its number; written down if it is new.
  [[nodiscard]] Result<std::int64_t> number();

 private:
  SharedValues(Statement select, Statement insert)
      : select_(std::move(select)), insert_(std::move(insert)) {}

  void bind_key_to(Statement& statement) const;

  Statement select_;
  Statement insert_;
  std::string key_;  // kind, then 8 bytes of a number, or of a length and then the text; repeated
  std::unordered_map<std::string, std::int64_t> known_;
};

class RowWriter {
 public:
  [[nodiscard]] static Result<RowWriter> open(Database& db);

  /// A row that is there already stays as it is.   Needs: a transaction has begun.
  [[nodiscard]] Result<void> write(const Admission& a, const Usage& u);
  /// Before the transaction is committed: notes what was written since the last call.
  [[nodiscard]] Result<void> end_batch();

 private:
  struct Span {
    RequestId last_request;
    RequestId first_request;
    WallTime last_ended_at;
  };
  RowWriter(Statement insert, Statement insert_span, SharedValues terms, SharedValues endings,
            SharedValues places)
      : insert_(std::move(insert)),
        insert_span_(std::move(insert_span)),
        terms_(std::move(terms)),
        endings_(std::move(endings)),
        places_(std::move(places)) {}

  Statement insert_;
  Statement insert_span_;
  SharedValues terms_;
  SharedValues endings_;
  SharedValues places_;
  std::unordered_map<std::int64_t, Span> spans_;  // of this batch, by number of the terms
};

}  // namespace stoker::ledger
