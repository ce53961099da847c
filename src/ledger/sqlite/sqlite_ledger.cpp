#include "ledger/sqlite/sqlite_ledger.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <iterator>
#include <limits>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "ledger/sqlite/feed.h"
#include "ledger/sqlite/pico_text.h"
#include "ledger/sqlite/schema.h"
#include "ledger/sqlite/sum_pico.h"
#include "sqlite/database.h"

namespace stoker::ledger {
namespace {

using OnTrouble = std::function<void(const Error&)>;

/// Conditions of a query and the values of their question marks.
class Where {
 public:
  void add(const char* condition, std::int64_t value) { add_any(condition, value); }
  void add(const char* condition, std::string value) { add_any(condition, std::move(value)); }
  void add_one_of(const char* column, const std::vector<std::string>& values) {
    begin_condition();
    sql_ += column;
    for (std::size_t i = 0; i < values.size(); ++i) sql_ += i == 0 ? " IN (?" : ", ?";
    sql_ += ")";
    values_.insert(values_.end(), values.begin(), values.end());
  }
  [[nodiscard]] const std::string& sql() const { return sql_; }
  void bind_to(Statement& statement) const {
    for (const auto& value : values_) {
      std::visit([&](const auto& v) { statement.bind(v); }, value);
    }
  }

 private:
  void add_any(const char* condition, std::variant<std::int64_t, std::string> value) {
    begin_condition();
    sql_ += condition;
    values_.push_back(std::move(value));
  }
  void begin_condition() { sql_ += sql_.empty() ? " WHERE " : " AND "; }

  std::string sql_;
  std::vector<std::variant<std::int64_t, std::string>> values_;
};

template <class Query>
void add_times(Where& where, const Query& query) {
  if (query.since) {
    where.add("ended_at_ns >= ?", query.since->ns);
    where.add(
        "request_id >= (SELECT coalesce(min(first_request_id), 9223372036854775807) "
        "FROM request_spans WHERE last_ended_at_ns >= ?)",
        query.since->ns);
  }
  if (query.until) where.add("ended_at_ns < ?", query.until->ns);
}

template <class Query>
Where terms_conditions(const Query& query) {
  Where where;
  if (query.deployment) where.add("deployment = ?", *query.deployment);
  if (query.tenant) where.add("tenant = ?", *query.tenant);
  if (!query.within.empty()) where.add_one_of("deployment", query.within);
  return where;
}

class SqliteLedger final : public Ledger {
 public:
  SqliteLedger(const SqliteLedgerOptions& options, Journal& journal, OnTrouble on_trouble,
               Feed feed, Database reading)
      : options_(options),
        journal_(journal),
        on_trouble_(std::move(on_trouble)),
        reading_(std::move(reading)),
        stored_(feed.position()),
        thread_([this, feed = std::optional(std::move(feed))](std::stop_token stop) mutable {
          run(std::move(feed), std::move(stop));
        }) {}

  Result<std::optional<RequestRow>> find(RequestId request) override;
  Result<std::vector<RequestRow>> list(const RequestFilter& filter) override;
  Result<std::vector<UsageTotals>> totals(const TotalsQuery& query) override;
  Result<std::int64_t> count() override;
  Result<std::vector<KeyUse>> uses(WallTime since, WallTime each_since) override;
  Result<void> flush() override;

 private:
  // Both need: reading_mutex_ is held.
  Result<std::vector<RequestRow>> rows(const Where& where, std::uint32_t max_rows);
  Result<std::vector<RequestRow>> rows_in_spans(const RequestFilter& filter, const Where& where);
  Result<UsageTotals> read_totals(Statement& statement);

  void run(std::optional<Feed> feed, std::stop_token stop);
  Result<void> store_next(std::optional<Feed>& feed, const std::stop_token& stop);
  void publish(Sequence stored);
  void pause(Duration duration, const std::stop_token& stop);

  const SqliteLedgerOptions options_;
  Journal& journal_;
  const OnTrouble on_trouble_;

  std::mutex reading_mutex_;
  Database reading_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable_any changed_;
  Sequence stored_;
  Sequence wanted_;  // flush() waits for this one
  std::uint64_t failures_ = 0;
  Error last_failure_;

  std::jthread thread_;  // last: it uses all of the above
};

// --- Reading -----------------------------------------------------------------------------------

Result<std::vector<RequestRow>> SqliteLedger::rows(const Where& where, std::uint32_t max_rows) {
  Result<Statement> statement =
      reading_.prepare(fmt::format("SELECT {} FROM requests{} ORDER BY request_id DESC LIMIT {}",
                                   request_columns, where.sql(), max_rows));
  if (!statement) return tl::unexpected(std::move(statement.error()));
  where.bind_to(*statement);
  std::vector<RequestRow> rows;
  while (true) {
    const Result<bool> more = statement->step();
    if (!more) return tl::unexpected(more.error());
    if (!*more) return rows;
    Result<RequestRow> row = read_row(*statement);
    if (!row) return tl::unexpected(std::move(row.error()));
    rows.push_back(std::move(*row));
  }
}

Result<std::optional<RequestRow>> SqliteLedger::find(RequestId request) {
  Where where;
  where.add("request_id = ?", static_cast<std::int64_t>(request.value));
  const auto look = [&] {
    const std::scoped_lock lock(reading_mutex_);
    return rows(where, 1).map([](std::vector<RequestRow> found) {
      return found.empty() ? std::nullopt : std::optional(std::move(found.front()));
    });
  };
  Result<std::optional<RequestRow>> row = look();
  if (!row || *row || journal_.is_open(request)) return row;
  {
    const std::scoped_lock lock(mutex_);
    if (stored_ == journal_.stats().appended) return row;
  }
  if (Result<void> flushed = flush(); !flushed) return tl::unexpected(std::move(flushed.error()));
  return look();
}

Result<std::vector<RequestRow>> SqliteLedger::list(const RequestFilter& filter) {
  if (filter.max_rows < 1 || filter.max_rows > 10'000) {
    return failure(ErrorCode::invalid, fmt::format("max_rows {}: 1 .. 10000", filter.max_rows));
  }
  Where where = terms_conditions(filter);
  add_times(where, filter);
  if (filter.outcome) where.add("outcome = ?", std::string(to_text(*filter.outcome)));
  if (filter.before) {
    where.add("request_id < ?", static_cast<std::int64_t>(filter.before->value));
  }
  const std::scoped_lock lock(reading_mutex_);
  if (!filter.deployment && !filter.tenant && filter.within.empty()) {
    return rows(where, filter.max_rows);
  }
  return rows_in_spans(filter, where);
}

/// Looks only where rows of this deployment or tenant lie, newest first, until there are enough.
Result<std::vector<RequestRow>> SqliteLedger::rows_in_spans(const RequestFilter& filter,
                                                            const Where& where) {
  const Where terms = terms_conditions(filter);
  Result<Statement> spans = reading_.prepare(
      fmt::format("SELECT first_request_id, last_request_id FROM request_spans WHERE terms IN "
                  "(SELECT id FROM request_terms{}) ORDER BY last_request_id DESC",
                  terms.sql()));
  if (!spans) return tl::unexpected(std::move(spans.error()));
  terms.bind_to(*spans);
  std::vector<RequestRow> found;
  // All above was looked at: spans overlap, as slow requests end in later batches.
  std::int64_t open_below = filter.before ? static_cast<std::int64_t>(filter.before->value)
                                          : std::numeric_limits<std::int64_t>::max();
  while (found.size() < filter.max_rows) {
    const Result<bool> more = spans->step();
    if (!more) return tl::unexpected(more.error());
    if (!*more) break;
    const std::int64_t first = spans->integer();
    const std::int64_t last = std::min(spans->integer(), open_below - 1);
    if (first > last) continue;
    open_below = first;
    Where in_span = where;
    in_span.add("request_id >= ?", first);
    in_span.add("request_id <= ?", last);
    Result<std::vector<RequestRow>> some =
        rows(in_span, filter.max_rows - static_cast<std::uint32_t>(found.size()));
    if (!some) return some;
    std::ranges::move(*some, std::back_inserter(found));
  }
  return found;
}

Result<UsageTotals> SqliteLedger::read_totals(Statement& statement) {
  UsageTotals totals;
  totals.day = statement.text();
  totals.deployment = statement.text();
  totals.tenant = statement.text();
  totals.requests = statement.integer();
  totals.completed = statement.integer();
  totals.input_tokens = statement.integer();
  totals.output_tokens = statement.integer();
  totals.cached_tokens = statement.integer();
  totals.device_ms = statement.integer();
  const std::optional<Pico> amount = parse_pico(statement.text());
  if (!amount) return failure(ErrorCode::corrupt, "ledger database: a sum is not a number");
  totals.amount = *amount;
  return totals;
}

Result<std::vector<UsageTotals>> SqliteLedger::totals(const TotalsQuery& query) {
  Where where = terms_conditions(query);
  add_times(where, query);
  std::string groups;
  const auto group = [&](bool wanted, const char* name) {
    if (wanted) groups += (groups.empty() ? " GROUP BY " : ", ") + std::string(name);
  };
  group(query.by_day, "day_text");
  group(query.by_deployment, "deployment_text");
  group(query.by_tenant, "tenant_text");
  const std::string sql = fmt::format(
      "SELECT {} AS day_text, {} AS deployment_text, {} AS tenant_text, count(*), "
      "sum(outcome = 'completed'), sum(input_tokens), sum(output_tokens), sum(cached_tokens), "
      "sum(device_ms), sum_pico(amount_pico) FROM requests{}{}{}",
      query.by_day ? "strftime('%Y-%m-%d', ended_at_ns / 1000000000, 'unixepoch')" : "''",
      query.by_deployment ? "deployment" : "''", query.by_tenant ? "tenant" : "''", where.sql(),
      groups, groups.empty() ? "" : " ORDER BY 1, 2, 3");

  const std::scoped_lock lock(reading_mutex_);
  Result<Statement> statement = reading_.prepare(sql);
  if (!statement) return tl::unexpected(std::move(statement.error()));
  where.bind_to(*statement);
  std::vector<UsageTotals> lines;
  while (true) {
    const Result<bool> more = statement->step();
    if (!more) return tl::unexpected(more.error());
    if (!*more) return lines;
    Result<UsageTotals> line = read_totals(*statement);
    if (!line) return tl::unexpected(std::move(line.error()));
    lines.push_back(std::move(*line));
  }
}

Result<std::vector<KeyUse>> SqliteLedger::uses(WallTime since, WallTime each_since) {
  constexpr std::int64_t quarter_hour_ns = std::int64_t{15} * 60 * 1'000'000'000;
  struct {
    std::optional<WallTime> since, until;
  } const times{since, {}};
  Where where;
  add_times(where, times);
  where.add("key <> ?", std::string());
  where.add("start_kind <> ?", std::string(to_text(StartKind::none)));
  const std::string sql = fmt::format(
      "SELECT key, max(ended_at_ns) AS at, sum(input_tokens), sum(output_tokens), "
      "sum(cached_tokens), sum(device_ms) FROM requests{} GROUP BY key, "
      "CASE WHEN ended_at_ns >= {} THEN request_id ELSE -(ended_at_ns / {}) END ORDER BY at",
      where.sql(), each_since.ns, quarter_hour_ns);
  const std::scoped_lock lock(reading_mutex_);
  Result<Statement> statement = reading_.prepare(sql);
  if (!statement) return tl::unexpected(std::move(statement.error()));
  where.bind_to(*statement);
  std::vector<KeyUse> uses;
  while (true) {
    const Result<bool> more = statement->step();
    if (!more) return tl::unexpected(more.error());
    if (!*more) return uses;
    KeyUse& use = uses.emplace_back();
    use.key = statement->text();
    use.at.ns = statement->integer();
    use.input_tokens = statement->integer();
    use.output_tokens = statement->integer();
    use.cached_tokens = statement->integer();
    use.device_ms = statement->integer();
  }
}

Result<std::int64_t> SqliteLedger::count() {
  const std::scoped_lock lock(reading_mutex_);
  return reading_.integer("SELECT count(*) FROM ended_requests");
}

Result<void> SqliteLedger::flush() {
  const Sequence target = journal_.stats().appended;
  if (Result<void> synced = journal_.sync(); !synced) return synced;
  std::unique_lock lock(mutex_);
  wanted_ = std::max(wanted_, target);
  changed_.notify_all();
  // A failure that began before this call is not an answer to it.
  const std::uint64_t failures = failures_;
  changed_.wait(lock, [&] { return stored_ >= target || failures_ > failures; });
  if (stored_ < target) return tl::unexpected(last_failure_);
  return {};
}

// --- Writing -----------------------------------------------------------------------------------

void SqliteLedger::run(std::optional<Feed> feed, std::stop_token stop) {
  ::pthread_setname_np(::pthread_self(), "ledger");
  bool in_trouble = false;
  while (!stop.stop_requested()) {
    Result<void> stored = store_next(feed, stop);
    if (stored) {
      in_trouble = false;
      pause(options_.batch_interval, stop);
      continue;
    }
    feed.reset();
    if (!std::exchange(in_trouble, true)) on_trouble_(stored.error());
    {
      const std::scoped_lock lock(mutex_);
      ++failures_;
      wanted_ = stored_;  // who waited has the answer now; the next flush() asks anew
      last_failure_ = std::move(stored.error());
    }
    changed_.notify_all();
    pause(options_.retry_interval, stop);
  }
}

Result<void> SqliteLedger::store_next(std::optional<Feed>& feed, const std::stop_token& stop) {
  if (!feed) {
    Result<Feed> opened = Feed::open(options_, journal_, on_trouble_);
    if (!opened) return tl::unexpected(std::move(opened.error()));
    feed.emplace(std::move(*opened));
    publish(feed->position());  // a commit that failed may have happened
  }
  const Sequence synced = journal_.wait_synced_after(feed->position(), stop);
  if (synced <= feed->position()) {
    if (stop.stop_requested()) return {};
    return failure(ErrorCode::unavailable, "the journal has failed; no more rows can follow");
  }
  while (feed->position() < synced) {
    if (Result<void> stored = feed->store(synced); !stored) return stored;
  }
  publish(feed->position());
  return {};
}

void SqliteLedger::publish(Sequence stored) {
  {
    const std::scoped_lock lock(mutex_);
    stored_ = stored;
  }
  changed_.notify_all();
}

/// Cut short by a flush() that waits for more than is stored.
void SqliteLedger::pause(Duration duration, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, stop, std::chrono::nanoseconds(duration.ns),
                    [&] { return wanted_ > stored_; });
}

}  // namespace

Result<std::unique_ptr<Ledger>> open_sqlite_ledger(const SqliteLedgerOptions& options,
                                                   Journal& journal, OnTrouble on_trouble) {
  Result<Feed> feed = Feed::open(options, journal, on_trouble);
  if (!feed) return tl::unexpected(std::move(feed.error()));
  Result<Database> reading = open_with_sum_pico(options.file, Database::Access::query_only);
  if (!reading) return tl::unexpected(std::move(reading.error()));
  return std::make_unique<SqliteLedger>(options, journal, std::move(on_trouble), std::move(*feed),
                                        std::move(*reading));
}

}  // namespace stoker::ledger
