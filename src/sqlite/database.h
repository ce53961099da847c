// The least of SQLite's C interface that we need, with owners and Result.
// Errors of all functions: corrupt (the file is damaged or no database), no_capacity (disk full),
// unavailable (everything else), with SQLite's own words.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace stoker::sqlite {

/// One prepared statement. Parameters and columns count from 0, in the order in which they are
/// bound or read: the SQL text and the calls list the same things in the same order.
class Statement {
 public:
  /// Begins a new run: forgets rows and bindings.
  void reset();
  void bind(std::int64_t value);
  /// The text must live until the next reset().
  void bind(std::string_view text);
  void bind_blob(std::string_view bytes);
  void bind_null();
  /// Gives: true if there is a row to read, false at the end.
  [[nodiscard]] Result<bool> step();
  [[nodiscard]] std::int64_t integer();
  [[nodiscard]] std::string text();
  /// Whatever bytes the column holds; NULL as nullopt.
  [[nodiscard]] std::optional<std::string> blob();
  [[nodiscard]] std::optional<std::int64_t> optional_integer();

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int next_parameter_ = 1;
  int next_column_ = 0;
};

/// One connection. Threads: one at a time.
class Database {
 public:
  enum class Access : std::uint8_t { read_write, query_only };

  /// Opens or creates; WAL; every commit is synced; waits up to 1 s for another process's lock.
  /// Errors: also unavailable where the file system cannot share memory, as WAL must.
  [[nodiscard]] static Result<Database> open(const std::filesystem::path& file, Access access);

  /// Runs statements that give no rows.
  [[nodiscard]] Result<void> run(const char* sql);
  [[nodiscard]] Result<Statement> prepare(const std::string& sql);
  /// The first column of the first row as an integer.
  [[nodiscard]] Result<std::int64_t> integer(const char* sql);
  [[nodiscard]] Result<std::string> text(const char* sql);
  /// Rows that the last statement changed.
  [[nodiscard]] std::int64_t changed_rows() const;
  /// For SQLite's own functions; stays owned by this.
  [[nodiscard]] sqlite3* handle() const { return db_.get(); }

 private:
  struct Close {
    void operator()(sqlite3* db) const;
  };
  explicit Database(sqlite3* db) : db_(db) {}

  std::unique_ptr<sqlite3, Close> db_;
};

}  // namespace stoker::sqlite
