#include "ledger/sqlite/database.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <new>
#include <optional>

#include "ledger/sqlite/pico_text.h"

namespace stoker::ledger {
namespace {

Error sqlite_error(sqlite3* db, std::string_view what) {
  const int code = db != nullptr ? sqlite3_errcode(db) : SQLITE_NOMEM;
  Error error{ErrorCode::unavailable,
              fmt::format("ledger database: {}: {} ({})", what,
                          db != nullptr ? sqlite3_errmsg(db) : "out of memory", code),
              {}};
  if (code == SQLITE_FULL) error.code = ErrorCode::no_capacity;
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) error.code = ErrorCode::corrupt;
  return error;
}

/// State of one running sum_pico(); SQLite gives the memory zeroed.
struct PicoSum {
  Int128 value;
};

PicoSum* pico_sum(sqlite3_context* context) {
  // SQLite aligns to 8, a 128-bit integer wants 16: keep a pointer there.
  auto** slot = static_cast<PicoSum**>(sqlite3_aggregate_context(context, sizeof(PicoSum*)));
  if (slot == nullptr) return nullptr;
  if (*slot == nullptr) *slot = new (std::nothrow) PicoSum{0};
  return *slot;
}

void sum_pico_step(sqlite3_context* context, int, sqlite3_value** values) {
  PicoSum* sum = pico_sum(context);
  if (sum == nullptr) return sqlite3_result_error_nomem(context);
  const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(*values));
  const std::optional<Pico> amount = parse_pico(text != nullptr ? text : "");
  if (!amount) return sqlite3_result_error(context, "not an amount", -1);
  if (__builtin_add_overflow(sum->value, amount->value, &sum->value)) {
    sqlite3_result_error(context, "the sum does not fit 128 bits", -1);
  }
}

void sum_pico_final(sqlite3_context* context) {
  const std::unique_ptr<PicoSum> sum(pico_sum(context));
  if (sum == nullptr) return sqlite3_result_error_nomem(context);
  const std::string text = pico_text({sum->value});
  sqlite3_result_text(context, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
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
                   fmt::format("ledger database: {} cannot use WAL", file.native()),
                   "put 'state_dir' on a local disk");
  }
  const char* settings = access == Access::query_only
                             ? "PRAGMA query_only = 1"
                             // The pages that every row touches are copied back seldom.
                             : "PRAGMA synchronous = FULL; PRAGMA trusted_schema = 0; "
                               "PRAGMA wal_autocheckpoint = 4000";
  if (Result<void> set = db.run(settings); !set) return tl::unexpected(std::move(set.error()));
  if (sqlite3_create_function(handle, "sum_pico", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, nullptr,
                              nullptr, sum_pico_step, sum_pico_final) != SQLITE_OK) {
    return tl::unexpected(sqlite_error(handle, "cannot add sum_pico"));
  }
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

}  // namespace stoker::ledger
