#include "ledger/sqlite/schema.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "ledger/sqlite/pico_text.h"

namespace stoker::ledger {
namespace {

constexpr std::int64_t schema_version = 3;

// What many requests have in common stands in a table of its own, and `requests` puts the rows
// together again. Instead of an index with an entry for each row there are spans: each batch that
// is stored notes, for each of its terms, between which requests its rows lie and when they ended.
constexpr const char* create_sql = R"sql(
BEGIN IMMEDIATE;
CREATE TABLE request_terms (
  id INTEGER PRIMARY KEY,
  deployment TEXT NOT NULL,
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,
  route TEXT NOT NULL,
  stream INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  per_request_nano INTEGER NOT NULL,
  per_device_second_nano INTEGER NOT NULL,
  per_1k_input_tokens_nano INTEGER NOT NULL,
  per_1k_output_tokens_nano INTEGER NOT NULL,
  UNIQUE (deployment, tenant, key, route, stream, priority, per_request_nano,
          per_device_second_nano, per_1k_input_tokens_nano, per_1k_output_tokens_nano)
) STRICT;
CREATE TABLE request_endings (
  id INTEGER PRIMARY KEY,
  outcome TEXT NOT NULL,
  status INTEGER NOT NULL,
  reason TEXT NOT NULL,
  start_kind TEXT NOT NULL,
  usage_known INTEGER NOT NULL,
  UNIQUE (outcome, status, reason, start_kind, usage_known)
) STRICT;
CREATE TABLE request_places (
  id INTEGER PRIMARY KEY,
  instance TEXT NOT NULL,
  device TEXT NOT NULL,
  UNIQUE (instance, device)
) STRICT;
CREATE TABLE ended_requests (
  request_id INTEGER PRIMARY KEY,
  terms INTEGER NOT NULL,
  ending INTEGER NOT NULL,
  place INTEGER NOT NULL,
  accepted_at_ns INTEGER NOT NULL,
  ended_at_ns INTEGER NOT NULL,
  queue_ns INTEGER NOT NULL,
  allocate_ns INTEGER NOT NULL,
  start_ns INTEGER NOT NULL,
  load_ns INTEGER NOT NULL,
  warmup_ns INTEGER NOT NULL,
  ttft_ns INTEGER NOT NULL,
  generate_ns INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  device_ms INTEGER NOT NULL,
  amount_pico TEXT NOT NULL
) STRICT;
CREATE VIEW requests AS
  SELECT request_id, accepted_at_ns, deployment, tenant, key, route, stream, priority, per_request_nano,
         per_device_second_nano, per_1k_input_tokens_nano, per_1k_output_tokens_nano, ended_at_ns,
         outcome, status, reason, start_kind, instance, device, queue_ns, allocate_ns, start_ns,
         load_ns, warmup_ns, ttft_ns, generate_ns, input_tokens, output_tokens, cached_tokens,
         usage_known, device_ms, amount_pico, terms
  FROM ended_requests
    CROSS JOIN request_terms ON request_terms.id = terms
    CROSS JOIN request_endings ON request_endings.id = ending
    CROSS JOIN request_places ON request_places.id = place;
CREATE TABLE request_spans (
  terms INTEGER NOT NULL,
  last_request_id INTEGER NOT NULL,
  first_request_id INTEGER NOT NULL,
  last_ended_at_ns INTEGER NOT NULL,
  PRIMARY KEY (terms, last_request_id, first_request_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_spans_ended ON request_spans (last_ended_at_ns, first_request_id);
CREATE TABLE journal_position (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  applied_sequence INTEGER NOT NULL
) STRICT;
INSERT INTO journal_position VALUES (1, 0);
PRAGMA user_version = 3;
)sql";

/// Tables whose rows stay as they were written.
constexpr std::array frozen_tables = {"ended_requests", "request_terms", "request_endings",
                                      "request_places"};

std::string freeze_sql(const char* table) {
  std::string sql;
  for (const auto& [word, past] :
       {std::pair{"UPDATE", "changed"}, std::pair{"DELETE", "deleted"}}) {
    sql += fmt::format(
        "CREATE TRIGGER {0}_no_{1} BEFORE {1} ON {0}\n"
        "  BEGIN SELECT RAISE(ABORT, 'rows of the ledger are never {2}'); END;\n",
        table, word, past);
  }
  return sql;
}

template <class Enum>
std::optional<Enum> parse_enum(std::string_view text, Enum last) {
  for (std::uint8_t i = 0; i <= static_cast<std::uint8_t>(last); ++i) {
    if (text == to_text(static_cast<Enum>(i))) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

}  // namespace

Result<void> ensure_schema(Database& db) {
  Result<std::int64_t> version = db.integer("PRAGMA user_version");
  if (!version) return tl::unexpected(std::move(version.error()));
  if (*version == schema_version) return {};
  if (*version != 0) {
    return failure(ErrorCode::corrupt,
                   fmt::format("ledger database: version {} of the tables, this stoker knows {}",
                               *version, schema_version),
                   *version > schema_version
                       ? "a newer stoker wrote it: start that version"
                       : "an older stoker wrote it: move ledger.db away; a new one is filled from "
                         "the journal as far as that goes back");
  }
  std::string sql = create_sql;
  for (const char* table : frozen_tables) sql += freeze_sql(table);
  return db.run((sql + "COMMIT;").c_str());
}

Result<Sequence> load_position(Database& db) {
  return db.integer("SELECT applied_sequence FROM journal_position").map([](std::int64_t applied) {
    return Sequence{static_cast<std::uint64_t>(applied)};
  });
}

const char* const request_columns =
    "request_id, accepted_at_ns, deployment, tenant, key, route, stream, priority, "
    "per_request_nano, "
    "per_device_second_nano, per_1k_input_tokens_nano, per_1k_output_tokens_nano, ended_at_ns, "
    "outcome, status, reason, start_kind, instance, device, queue_ns, allocate_ns, start_ns, "
    "load_ns, warmup_ns, ttft_ns, generate_ns, input_tokens, output_tokens, cached_tokens, "
    "usage_known, device_ms, amount_pico";

Result<RequestRow> read_row(Statement& select) {
  RequestRow row;
  Admission& a = row.admission;
  Usage& u = row.usage;
  a.request.value = static_cast<std::uint64_t>(select.integer());
  a.accepted_at.ns = select.integer();
  a.deployment = select.text();
  a.tenant = select.text();
  a.key = select.text();
  a.route = select.text();
  a.stream = select.integer() != 0;
  a.priority = static_cast<std::int32_t>(select.integer());
  a.prices.per_request.value = select.integer();
  a.prices.per_device_second.value = select.integer();
  a.prices.per_1k_input_tokens.value = select.integer();
  a.prices.per_1k_output_tokens.value = select.integer();
  u.request = a.request;
  u.ended_at.ns = select.integer();
  const std::optional<Outcome> outcome = parse_enum(select.text(), Outcome::interrupted);
  u.status = static_cast<std::int32_t>(select.integer());
  u.reason = select.text();
  const std::optional<StartKind> start = parse_enum(select.text(), StartKind::resumed);
  u.instance = select.text();
  u.device = select.text();
  for (Duration* phase : {&u.phases.queue, &u.phases.allocate, &u.phases.start, &u.phases.load,
                          &u.phases.warmup, &u.phases.ttft, &u.phases.generate}) {
    phase->ns = select.integer();
  }
  u.input_tokens = select.integer();
  u.output_tokens = select.integer();
  u.cached_tokens = select.integer();
  u.usage_known = select.integer() != 0;
  u.device_ms = select.integer();
  const std::optional<Pico> amount = parse_pico(select.text());
  if (!outcome || !start || !amount) {
    return failure(
        ErrorCode::corrupt,
        fmt::format("ledger database: the row of request {} cannot be read", a.request.value));
  }
  u.outcome = *outcome;
  u.start = *start;
  row.amount = *amount;
  return row;
}

}  // namespace stoker::ledger
