#include "ledger/sqlite/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "ledger/sqlite/pico_text.h"

namespace stoker::ledger {
namespace {

constexpr std::int64_t schema_version = 1;

constexpr const char* create_sql = R"sql(
BEGIN IMMEDIATE;
CREATE TABLE requests (
  request_id INTEGER PRIMARY KEY,
  accepted_at_ns INTEGER NOT NULL,
  deployment TEXT NOT NULL,
  tenant TEXT NOT NULL,
  route TEXT NOT NULL,
  stream INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  per_request_nano INTEGER NOT NULL,
  per_device_second_nano INTEGER NOT NULL,
  per_1k_input_tokens_nano INTEGER NOT NULL,
  per_1k_output_tokens_nano INTEGER NOT NULL,
  ended_at_ns INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  status INTEGER NOT NULL,
  reason TEXT NOT NULL,
  start_kind TEXT NOT NULL,
  instance TEXT NOT NULL,
  device TEXT NOT NULL,
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
  usage_known INTEGER NOT NULL,
  device_ms INTEGER NOT NULL,
  amount_pico TEXT NOT NULL
) STRICT;
CREATE INDEX requests_ended ON requests (ended_at_ns);
CREATE INDEX requests_deployment ON requests (deployment, request_id);
CREATE TRIGGER requests_no_update BEFORE UPDATE ON requests
  BEGIN SELECT RAISE(ABORT, 'rows of the ledger are never changed'); END;
CREATE TRIGGER requests_no_delete BEFORE DELETE ON requests
  BEGIN SELECT RAISE(ABORT, 'rows of the ledger are never deleted'); END;
CREATE TABLE journal_position (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  applied_sequence INTEGER NOT NULL
) STRICT;
INSERT INTO journal_position VALUES (1, 0);
PRAGMA user_version = 1;
COMMIT;
)sql";

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
                   "a newer stoker wrote it: start that version");
  }
  return db.run(create_sql);
}

Result<Sequence> load_position(Database& db) {
  return db.integer("SELECT applied_sequence FROM journal_position").map([](std::int64_t applied) {
    return Sequence{static_cast<std::uint64_t>(applied)};
  });
}

const char* const request_columns =
    "request_id, accepted_at_ns, deployment, tenant, route, stream, priority, per_request_nano, "
    "per_device_second_nano, per_1k_input_tokens_nano, per_1k_output_tokens_nano, ended_at_ns, "
    "outcome, status, reason, start_kind, instance, device, queue_ns, allocate_ns, start_ns, "
    "load_ns, warmup_ns, ttft_ns, generate_ns, input_tokens, output_tokens, cached_tokens, "
    "usage_known, device_ms, amount_pico";

std::string insert_sql() {
  const std::string_view columns = request_columns;
  std::string marks = "?";
  for (auto i = std::ranges::count(columns, ','); i > 0; --i) marks += ",?";
  return fmt::format("INSERT INTO requests ({}) VALUES ({}) ON CONFLICT (request_id) DO NOTHING",
                     columns, marks);
}

Result<void> write_row(Statement& insert, const RequestRow& row) {
  const Admission& a = row.admission;
  const Usage& u = row.usage;
  const std::string amount = pico_text(row.amount);
  insert.reset();
  insert.bind(static_cast<std::int64_t>(a.request.value));
  insert.bind(a.accepted_at.ns);
  insert.bind(a.deployment);
  insert.bind(a.tenant);
  insert.bind(a.route);
  insert.bind(std::int64_t{a.stream});
  insert.bind(std::int64_t{a.priority});
  insert.bind(a.prices.per_request.value);
  insert.bind(a.prices.per_device_second.value);
  insert.bind(a.prices.per_1k_input_tokens.value);
  insert.bind(a.prices.per_1k_output_tokens.value);
  insert.bind(u.ended_at.ns);
  insert.bind(std::string_view(to_text(u.outcome)));
  insert.bind(std::int64_t{u.status});
  insert.bind(u.reason);
  insert.bind(std::string_view(to_text(u.start)));
  insert.bind(u.instance);
  insert.bind(u.device);
  for (const Duration phase : {u.phases.queue, u.phases.allocate, u.phases.start, u.phases.load,
                               u.phases.warmup, u.phases.ttft, u.phases.generate}) {
    insert.bind(phase.ns);
  }
  insert.bind(u.input_tokens);
  insert.bind(u.output_tokens);
  insert.bind(u.cached_tokens);
  insert.bind(std::int64_t{u.usage_known});
  insert.bind(u.device_ms);
  insert.bind(amount);
  return insert.step().map([](bool) {});
}

Result<RequestRow> read_row(Statement& select) {
  RequestRow row;
  Admission& a = row.admission;
  Usage& u = row.usage;
  a.request.value = static_cast<std::uint64_t>(select.integer());
  a.accepted_at.ns = select.integer();
  a.deployment = select.text();
  a.tenant = select.text();
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
