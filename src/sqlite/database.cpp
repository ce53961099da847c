#include "sqlite/database.h"

#include <fmt/format.h>
#include <sqlite3.h>

namespace stoker::sqlite {
namespace {

Error sqlite_error(sqlite3* db, std::string_view what) {
  const int code = db != nullptr ? sqlite3_errcode(db) : SQLITE_NOMEM;
  Error error{ErrorCode::unavailable,
              fmt::format("database: {}: {} ({})", what,
                          db != nullptr ? sqlite3_errmsg(db) : "out of memory", code),
              {}};
  if (code == SQLITE_FULL) error.code = ErrorCode::no_capacity;
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) error.code = ErrorCode::corrupt;
  return error;
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}
void Database::Close::operator()(sqlite3* db) const {
  sqlite3_close_v2(db);
}

void Statement::reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
  next_parameter_ = 1;
}

// A failed bind (out of memory, a parameter too many) leaves NULL, which step() then refuses or, in
// a filter, matches nothing; there is no need to check each one.
void Statement::bind(std::int64_t value) {
  sqlite3_bind_int64(statement_.get(), next_parameter_++, value);
}

void Statement::bind(std::string_view text) {
  // A null pointer would bind NULL.
  const char* bytes = text.data() != nullptr ? text.data() : "";
  sqlite3_bind_text64(statement_.get(), next_parameter_++, bytes, text.size(), SQLITE_STATIC,
                      SQLITE_UTF8);
}

void Statement::bind_blob(std::string_view bytes) {
  const char* data = bytes.data() != nullptr ? bytes.data() : "";
  sqlite3_bind_blob64(statement_.get(), next_parameter_++, data, bytes.size(), SQLITE_STATIC);
}

void Statement::bind_null() {
  sqlite3_bind_null(statement_.get(), next_parameter_++);
}

Result<bool> Statement::step() {
  next_column_ = 0;
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return tl::unexpected(sqlite_error(sqlite3_db_handle(statement_.get()), "statement failed"));
}

std::int64_t Statement::integer() {
  return sqlite3_column_int64(statement_.get(), next_column_++);
}

std::string Statement::text() {
  const int column = next_column_++;
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

std::optional<std::string> Statement::blob() {
  const int column = next_column_++;
  if (sqlite3_column_type(statement_.get(), column) == SQLITE_NULL) return std::nullopt;
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column));
  return bytes == nullptr ? std::string() : std::string(bytes, size);
}

std::optional<std::int64_t> Statement::optional_integer() {
  const int column = next_column_++;
  if (sqlite3_column_type(statement_.get(), column) == SQLITE_NULL) return std::nullopt;
  return sqlite3_column_int64(statement_.get(), column);
}

Result<Database> Database::open(const std::filesystem::path& file, Access access) {
  sqlite3* handle = nullptr;
  const int opened =
      sqlite3_open_v2(file.c_str(), &handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  Database db(handle);
  if (opened != SQLITE_OK) {
    return tl::unexpected(sqlite_error(handle, fmt::format("cannot open {}", file.native())));
  }
  sqlite3_busy_timeout(handle, 1000);
  Result<std::string> mode = db.text("PRAGMA journal_mode = WAL");
  if (!mode) return tl::unexpected(std::move(mode.error()));
  if (*mode != "wal") {
    return failure(ErrorCode::unavailable,
                   fmt::format("database: {} cannot use WAL", file.native()),
                   "put 'state_dir' on a local disk");
  }
  const char* settings = access == Access::query_only
                             ? "PRAGMA query_only = 1"
                             // The pages that every row touches are copied back seldom.
                             : "PRAGMA synchronous = FULL; PRAGMA trusted_schema = 0; "
                               "PRAGMA wal_autocheckpoint = 4000";
  if (Result<void> set = db.run(settings); !set) return tl::unexpected(std::move(set.error()));
  return db;
}

Result<void> Database::run(const char* sql) {
  if (sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return tl::unexpected(sqlite_error(db_.get(), std::string_view(sql).substr(0, 60)));
}

Result<Statement> Database::prepare(const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(db_.get(), sql.c_str(), static_cast<int>(sql.size() + 1),
                         SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK) {
    return tl::unexpected(sqlite_error(db_.get(), "cannot prepare a statement"));
  }
  return Statement(statement);
}

Result<std::int64_t> Database::integer(const char* sql) {
  Result<Statement> statement = prepare(sql);
  if (!statement) return tl::unexpected(std::move(statement.error()));
  return statement->step().map([&](bool row) { return row ? statement->integer() : 0; });
}

Result<std::string> Database::text(const char* sql) {
  Result<Statement> statement = prepare(sql);
  if (!statement) return tl::unexpected(std::move(statement.error()));
  return statement->step().map([&](bool row) { return row ? statement->text() : std::string(); });
}

std::int64_t Database::changed_rows() const {
  return sqlite3_changes64(db_.get());
}

}  // namespace stoker::sqlite
