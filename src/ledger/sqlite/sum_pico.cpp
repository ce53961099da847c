#include "ledger/sqlite/sum_pico.h"

#include <sqlite3.h>

#include <memory>
#include <new>
#include <optional>
#include <string>

#include "base/int128.h"
#include "ledger/sqlite/pico_text.h"

namespace stoker::ledger {
namespace {

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

Result<sqlite::Database> open_with_sum_pico(const std::filesystem::path& file,
                                            sqlite::Database::Access access) {
  Result<sqlite::Database> db = sqlite::Database::open(file, access);
  if (db && sqlite3_create_function(db->handle(), "sum_pico", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC,
                                    nullptr, nullptr, sum_pico_step, sum_pico_final) != SQLITE_OK) {
    return failure(ErrorCode::unavailable, "cannot add sum_pico to the ledger database");
  }
  return db;
}

}  // namespace stoker::ledger
