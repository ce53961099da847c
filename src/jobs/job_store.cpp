#include "jobs/job_store.h"

#include <fmt/format.h>

#include <utility>

namespace stoker::jobs {
namespace {

using sqlite::Database;
using sqlite::Statement;

constexpr std::int64_t schema_version = 2;

constexpr const char* create_sql = R"sql(
BEGIN IMMEDIATE;
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  deployment TEXT NOT NULL,
  tenant TEXT NOT NULL,
  key INTEGER NOT NULL,
  target TEXT NOT NULL,
  body TEXT NOT NULL,
  stream INTEGER NOT NULL,
  webhook TEXT NOT NULL,
  low_priority INTEGER NOT NULL,
  execution_timeout_ns INTEGER NOT NULL,
  ttl_ns INTEGER NOT NULL,
  created_at_ns INTEGER NOT NULL,
  state TEXT NOT NULL,
  started_at_ns INTEGER,
  finished_at_ns INTEGER,
  request INTEGER NOT NULL,
  retries INTEGER NOT NULL,
  status INTEGER NOT NULL,
  output TEXT NOT NULL,
  error TEXT NOT NULL,
  worker TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_open ON jobs (number) WHERE state IN ('IN_QUEUE', 'IN_PROGRESS');
CREATE INDEX jobs_of ON jobs (deployment, tenant, number);
CREATE INDEX jobs_finished ON jobs (finished_at_ns) WHERE finished_at_ns IS NOT NULL;
CREATE TABLE repeats (
  tenant TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  job TEXT NOT NULL,
  created_at_ns INTEGER NOT NULL,
  PRIMARY KEY (tenant, idempotency_key)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
COMMIT;
)sql";

constexpr const char* add_webhooks_sql = R"sql(
BEGIN IMMEDIATE;
CREATE TABLE webhooks (
  id TEXT PRIMARY KEY,
  job TEXT NOT NULL,
  host TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  next_at_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX webhooks_due ON webhooks (next_at_ns);
CREATE INDEX webhooks_of ON webhooks (job);
PRAGMA user_version = 2;
COMMIT;
)sql";

/// `body` and `output` as they are, or empty.
std::string select_sql(bool body, bool output) {
  return fmt::format(
      "SELECT number, id, deployment, tenant, key, target, {}, stream, webhook, low_priority, "
      "execution_timeout_ns, ttl_ns, created_at_ns, state, started_at_ns, finished_at_ns, request, "
      "retries, status, {}, error, worker FROM jobs ",
      body ? "body" : "''", output ? "output" : "''");
}

std::optional<WallTime> time_of(std::optional<std::int64_t> ns) {
  return ns ? std::optional(WallTime{*ns}) : std::nullopt;
}

void bind_time(Statement& statement, const std::optional<WallTime>& time) {
  if (time) {
    statement.bind(time->ns);
  } else {
    statement.bind_null();
  }
}

Result<Job> read_job(Statement& row) {
  Job job;
  job.number = static_cast<std::uint64_t>(row.integer());
  job.id = row.text();
  job.deployment = row.text();
  job.tenant = row.text();
  job.key.value = static_cast<std::uint64_t>(row.integer());
  job.wish.target = row.text();
  job.wish.body = row.text();
  job.wish.stream = row.integer() != 0;
  job.wish.webhook = row.text();
  job.wish.low_priority = row.integer() != 0;
  job.wish.execution_timeout.ns = row.integer();
  job.wish.ttl.ns = row.integer();
  job.created_at.ns = row.integer();
  const std::optional<JobState> state = parse_job_state(row.text());
  if (!state) {
    return failure(ErrorCode::corrupt, fmt::format("the row of job {} cannot be read", job.id));
  }
  job.state = *state;
  job.started_at = time_of(row.optional_integer());
  job.finished_at = time_of(row.optional_integer());
  job.request.value = static_cast<std::uint64_t>(row.integer());
  job.retries = static_cast<std::int32_t>(row.integer());
  job.status = static_cast<int>(row.integer());
  job.output = row.text();
  job.error = row.text();
  job.worker = row.text();
  return job;
}

Result<void> run(Statement& statement) {
  return statement.step().map([](bool) {});
}

Result<std::optional<Job>> first_of(Result<std::vector<Job>> jobs) {
  if (!jobs) return tl::unexpected(std::move(jobs.error()));
  if (jobs->empty()) return std::nullopt;
  return std::optional(std::move(jobs->front()));
}

}  // namespace

Result<JobStore> JobStore::open(const std::filesystem::path& file) {
  Result<Database> db = Database::open(file, Database::Access::read_write);
  if (!db) return tl::unexpected(std::move(db.error()));
  const Result<std::int64_t> version = db->integer("PRAGMA user_version");
  if (!version) return tl::unexpected(version.error());
  if (*version > schema_version) {
    return failure(ErrorCode::corrupt,
                   fmt::format("jobs.db has version {} of its tables, this stoker knows {}",
                               *version, schema_version),
                   "start the stoker that wrote it");
  }
  if (*version < 1) {
    if (Result<void> made = db->run(create_sql); !made) return tl::unexpected(made.error());
  }
  if (*version < 2) {
    if (Result<void> made = db->run(add_webhooks_sql); !made) return tl::unexpected(made.error());
  }
  return JobStore(std::move(*db));
}

Result<void> JobStore::begin() {
  return db_.run("BEGIN IMMEDIATE");
}
Result<void> JobStore::commit() {
  return db_.run("COMMIT");
}
void JobStore::roll_back() {
  static_cast<void>(db_.run("ROLLBACK"));
}

Result<void> JobStore::insert(Job& job) {
  Result<Statement> insert = db_.prepare(
      "INSERT INTO jobs (id, deployment, tenant, key, target, body, stream, webhook, low_priority, "
      "execution_timeout_ns, ttl_ns, created_at_ns, state, request, retries, status, output, "
      "error, "
      "worker) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, '', '', '') "
      "RETURNING number");
  if (!insert) return tl::unexpected(insert.error());
  insert->bind(job.id);
  insert->bind(job.deployment);
  insert->bind(job.tenant);
  insert->bind(static_cast<std::int64_t>(job.key.value));
  insert->bind(job.wish.target);
  insert->bind(job.wish.body);
  insert->bind(std::int64_t{job.wish.stream});
  insert->bind(job.wish.webhook);
  insert->bind(std::int64_t{job.wish.low_priority});
  insert->bind(job.wish.execution_timeout.ns);
  insert->bind(job.wish.ttl.ns);
  insert->bind(job.created_at.ns);
  insert->bind(std::string_view(to_text(job.state)));
  const Result<bool> row = insert->step();
  if (!row) return tl::unexpected(row.error());
  job.number = static_cast<std::uint64_t>(insert->integer());
  return {};
}

Result<void> JobStore::update(const Job& job) {
  Result<Statement> update = db_.prepare(
      "UPDATE jobs SET state = ?, started_at_ns = ?, finished_at_ns = ?, request = ?, retries = ?, "
      "status = ?, output = ?, error = ?, worker = ? WHERE number = ?");
  if (!update) return tl::unexpected(update.error());
  update->bind(std::string_view(to_text(job.state)));
  bind_time(*update, job.started_at);
  bind_time(*update, job.finished_at);
  update->bind(static_cast<std::int64_t>(job.request.value));
  update->bind(std::int64_t{job.retries});
  update->bind(std::int64_t{job.status});
  update->bind(job.output);
  update->bind(job.error);
  update->bind(job.worker);
  update->bind(static_cast<std::int64_t>(job.number));
  return run(*update);
}

Result<std::optional<Job>> JobStore::find(std::string_view id, std::string_view tenant,
                                          std::string_view deployment) {
  return first_of(select(select_sql(false, true) + "WHERE id = ? AND tenant = ? AND deployment = ?",
                         {std::string(id), std::string(tenant), std::string(deployment)}));
}

Result<std::optional<Job>> JobStore::find(std::string_view id) {
  return first_of(select(select_sql(true, true) + "WHERE id = ?", {std::string(id)}));
}

Result<std::vector<Job>> JobStore::open_jobs() {
  return select(
      select_sql(false, false) + "WHERE state IN ('IN_QUEUE', 'IN_PROGRESS') ORDER BY number", {});
}

Result<std::vector<Job>> JobStore::list(std::string_view tenant, std::string_view deployment,
                                        std::int64_t limit) {
  return select(
      select_sql(false, false) + "WHERE tenant = ? AND deployment = ? ORDER BY number DESC LIMIT ?",
      {std::string(tenant), std::string(deployment)}, limit);
}

Result<std::vector<Job>> JobStore::select(const std::string& columns_and_where,
                                          const std::vector<std::string>& texts,
                                          std::optional<std::int64_t> number) {
  Result<Statement> statement = db_.prepare(columns_and_where);
  if (!statement) return tl::unexpected(statement.error());
  for (const std::string& text : texts) statement->bind(text);
  if (number) statement->bind(*number);
  std::vector<Job> jobs;
  while (true) {
    const Result<bool> row = statement->step();
    if (!row) return tl::unexpected(row.error());
    if (!*row) return jobs;
    Result<Job> job = read_job(*statement);
    if (!job) return tl::unexpected(job.error());
    jobs.push_back(std::move(*job));
  }
}

Result<std::optional<Repeat>> JobStore::repeat_of(std::string_view tenant,
                                                  std::string_view idempotency_key) {
  Result<Statement> statement =
      db_.prepare("SELECT fingerprint, job FROM repeats WHERE tenant = ? AND idempotency_key = ?");
  if (!statement) return tl::unexpected(statement.error());
  statement->bind(tenant);
  statement->bind(idempotency_key);
  const Result<bool> row = statement->step();
  if (!row) return tl::unexpected(row.error());
  if (!*row) return std::nullopt;
  Repeat repeat;
  repeat.fingerprint = statement->text();
  repeat.job = statement->text();
  return repeat;
}

Result<void> JobStore::remember(std::string_view tenant, std::string_view idempotency_key,
                                const Repeat& repeat, WallTime now) {
  Result<Statement> statement = db_.prepare(
      "INSERT INTO repeats (tenant, idempotency_key, fingerprint, job, created_at_ns) "
      "VALUES (?, ?, ?, ?, ?)");
  if (!statement) return tl::unexpected(statement.error());
  statement->bind(tenant);
  statement->bind(idempotency_key);
  statement->bind(repeat.fingerprint);
  statement->bind(repeat.job);
  statement->bind(now.ns);
  return run(*statement);
}

Result<void> JobStore::add_webhook(const Job& job, std::string_view host, WallTime now) {
  Result<Statement> insert = db_.prepare(
      "INSERT OR REPLACE INTO webhooks (id, job, host, attempts, next_at_ns) VALUES (?, ?, ?, 0, "
      "?)");
  if (!insert) return tl::unexpected(insert.error());
  const std::string id = fmt::format("{}.{}", job.id, job.retries);
  insert->bind(id);
  insert->bind(job.id);
  insert->bind(host);
  insert->bind(now.ns);
  return run(*insert);
}

Result<void> JobStore::drop_webhooks(std::string_view job) {
  Result<Statement> statement = db_.prepare("DELETE FROM webhooks WHERE job = ?");
  if (!statement) return tl::unexpected(statement.error());
  statement->bind(job);
  return run(*statement);
}

Result<std::vector<Webhook>> JobStore::due_webhooks(WallTime now,
                                                    const std::vector<std::string>& but_hosts,
                                                    std::int64_t limit) {
  std::string marks;
  for (std::size_t i = 0; i < but_hosts.size(); ++i) marks += i == 0 ? "?" : ", ?";
  Result<Statement> statement = db_.prepare(
      fmt::format("SELECT id, job, host, attempts FROM webhooks WHERE next_at_ns <= ? AND host NOT "
                  "IN ({}) ORDER BY next_at_ns LIMIT ?",
                  marks));
  if (!statement) return tl::unexpected(statement.error());
  statement->bind(now.ns);
  for (const std::string& host : but_hosts) statement->bind(host);
  statement->bind(limit);
  std::vector<Webhook> due;
  while (true) {
    const Result<bool> row = statement->step();
    if (!row) return tl::unexpected(row.error());
    if (!*row) return due;
    Webhook webhook;
    webhook.id = statement->text();
    webhook.job = statement->text();
    webhook.host = statement->text();
    webhook.attempts = statement->integer();
    due.push_back(std::move(webhook));
  }
}

Result<std::optional<WallTime>> JobStore::next_webhook_after(WallTime now) {
  Result<Statement> statement =
      db_.prepare("SELECT min(next_at_ns) FROM webhooks WHERE next_at_ns > ?");
  if (!statement) return tl::unexpected(statement.error());
  statement->bind(now.ns);
  const Result<bool> row = statement->step();
  if (!row) return tl::unexpected(row.error());
  return time_of(statement->optional_integer());
}

Result<void> JobStore::delay_webhook(std::string_view id, std::int64_t attempts, WallTime until) {
  Result<Statement> statement =
      db_.prepare("UPDATE webhooks SET attempts = ?, next_at_ns = ? WHERE id = ?");
  if (!statement) return tl::unexpected(statement.error());
  statement->bind(attempts);
  statement->bind(until.ns);
  statement->bind(id);
  return run(*statement);
}

Result<void> JobStore::end_webhook(std::string_view id) {
  Result<Statement> statement = db_.prepare("DELETE FROM webhooks WHERE id = ?");
  if (!statement) return tl::unexpected(statement.error());
  statement->bind(id);
  return run(*statement);
}

Result<std::int64_t> JobStore::forget(WallTime ended_before) {
  for (const char* sql : {"DELETE FROM repeats WHERE created_at_ns < ?",
                          "DELETE FROM jobs WHERE finished_at_ns < ?"}) {
    Result<Statement> statement = db_.prepare(sql);
    if (!statement) return tl::unexpected(statement.error());
    statement->bind(ended_before.ns);
    if (const Result<void> done = run(*statement); !done) return tl::unexpected(done.error());
  }
  return db_.changed_rows();
}

}  // namespace stoker::jobs
