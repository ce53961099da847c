#include "answers/answer_store.h"

#include <fmt/format.h>

#include <utility>

namespace stoker::answers {
namespace {

using sqlite::Database;
using sqlite::Statement;

constexpr std::int64_t schema_version = 1;

constexpr const char* create_sql = R"sql(
BEGIN IMMEDIATE;
CREATE TABLE answers (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  owner INTEGER NOT NULL,
  idempotency_key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  status INTEGER NOT NULL,
  fields TEXT NOT NULL,
  body BLOB NOT NULL,
  kept_at_ns INTEGER NOT NULL,
  UNIQUE (owner, idempotency_key)
) STRICT;
CREATE INDEX answers_kept_at ON answers (kept_at_ns);
PRAGMA user_version = 1;
COMMIT;
)sql";

Result<void> run(Statement& statement) {
  return statement.step().map([](bool) {});
}

}  // namespace

Result<AnswerStore> AnswerStore::open(const std::filesystem::path& file) {
  Result<Database> db = Database::open(file, Database::Access::read_write);
  if (!db) return tl::unexpected(std::move(db.error()));
  const Result<std::int64_t> version = db->integer("PRAGMA user_version");
  if (!version) return tl::unexpected(version.error());
  if (*version == 0) {
    if (Result<void> made = db->run(create_sql); !made) return tl::unexpected(made.error());
  } else if (*version != schema_version) {
    return failure(ErrorCode::corrupt,
                   fmt::format("answers.db has version {} of its tables, this stoker knows {}",
                               *version, schema_version),
                   "start the stoker that wrote it, or delete the file");
  }
  return AnswerStore(std::move(*db));
}

Result<void> AnswerStore::begin() {
  return db_.run("BEGIN IMMEDIATE");
}
Result<void> AnswerStore::commit() {
  return db_.run("COMMIT");
}
void AnswerStore::roll_back() {
  static_cast<void>(db_.run("ROLLBACK"));
}

Result<std::optional<Kept>> AnswerStore::find(KeyId owner, std::string_view idempotency_key) {
  Result<Statement> statement = db_.prepare(
      "SELECT fingerprint, status, fields, body FROM answers WHERE owner = ? AND idempotency_key = "
      "?");
  if (!statement) return tl::unexpected(statement.error());
  statement->bind(static_cast<std::int64_t>(owner.value));
  statement->bind(idempotency_key);
  const Result<bool> row = statement->step();
  if (!row) return tl::unexpected(row.error());
  if (!*row) return std::nullopt;
  Kept kept;
  kept.fingerprint = statement->text();
  kept.answer.status = static_cast<int>(statement->integer());
  kept.answer.fields = statement->text();
  kept.answer.body = statement->blob().value_or(std::string());
  return kept;
}

Result<void> AnswerStore::insert(const gateway::AnswerClaim& claim,
                                 const gateway::KeptAnswer& answer, WallTime now) {
  Result<Statement> statement = db_.prepare(
      "INSERT OR REPLACE INTO answers (owner, idempotency_key, fingerprint, status, fields, body, "
      "kept_at_ns) VALUES (?, ?, ?, ?, ?, ?, ?)");
  if (!statement) return tl::unexpected(statement.error());
  statement->bind(static_cast<std::int64_t>(claim.owner.value));
  statement->bind(claim.idempotency_key);
  statement->bind(claim.fingerprint);
  statement->bind(std::int64_t{answer.status});
  statement->bind(answer.fields);
  statement->bind_blob(answer.body);
  statement->bind(now.ns);
  return run(*statement);
}

Result<void> AnswerStore::forget(WallTime kept_before, std::int64_t most_bytes) {
  Result<Statement> old = db_.prepare("DELETE FROM answers WHERE kept_at_ns < ?");
  if (!old) return tl::unexpected(old.error());
  old->bind(kept_before.ns);
  if (const Result<void> done = run(*old); !done) return done;
  Result<Statement> large = db_.prepare(
      "DELETE FROM answers WHERE number <= (SELECT max(number) FROM (SELECT number, "
      "sum(length(body)) OVER (ORDER BY number DESC) AS size FROM answers) WHERE size > ?)");
  if (!large) return tl::unexpected(large.error());
  large->bind(most_bytes);
  return run(*large);
}

}  // namespace stoker::answers
