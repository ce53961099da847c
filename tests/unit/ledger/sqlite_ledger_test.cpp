#include "ledger/sqlite/sqlite_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "ledger/sqlite/pico_text.h"
#include "support.h"

namespace stoker::ledger {
namespace {

/// A journal and its ledger in one directory, and what the ledger complained of.
class Books {
 public:
  explicit Books(const std::filesystem::path& directory, std::uint64_t epoch = 1,
                 Durability durability = Durability::process, RequestListener* listener = nullptr) {
    JournalOptions options = tiny_journal(directory / "journal");
    options.durability = durability;
    journal_ = must_open(options, epoch);
    SqliteLedgerOptions ledger_options;
    ledger_options.file = directory / "ledger.db";
    ledger_options.max_batch_records = 100;
    ledger_options.batch_interval = ms(1);
    ledger_options.retry_interval = ms(1);
    ledger_options.listener = listener;
    auto opened = open_sqlite_ledger(ledger_options, *journal_, [this](const Error& error) {
      const std::scoped_lock lock(mutex_);
      troubles_.push_back(error);
    });
    if (opened) {
      ledger_ = std::move(*opened);
    } else {
      refused_ = opened.error();
    }
  }
  Journal& journal() { return *journal_; }
  Ledger& ledger() { return *ledger_; }
  [[nodiscard]] const std::optional<Error>& refused() const { return refused_; }
  std::vector<Error> troubles() {
    const std::scoped_lock lock(mutex_);
    return troubles_;
  }
  void request(std::uint64_t id, std::string deployment = "chat", std::string tenant = "acme",
               Outcome outcome = Outcome::completed) {
    while (!journal().append(admission(id, deployment, tenant))) std::this_thread::yield();
    EXPECT_TRUE(journal().append(ending(id, outcome)).has_value());
  }

 private:
  std::mutex mutex_;
  std::vector<Error> troubles_;
  std::optional<Error> refused_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<Ledger> ledger_;
};

std::vector<std::uint64_t> ids(const Result<std::vector<RequestRow>>& rows) {
  std::vector<std::uint64_t> ids;
  EXPECT_TRUE(rows.has_value());
  if (rows) {
    for (const RequestRow& row : *rows) ids.push_back(row.admission.request.value);
  }
  return ids;
}

/// Gives: "" or SQLite's error.
std::string run_sql(const std::filesystem::path& file, const std::string& sql) {
  sqlite3* db = nullptr;
  EXPECT_EQ(sqlite3_open(file.c_str(), &db), SQLITE_OK);
  char* message = nullptr;
  sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &message);
  const std::string text = message != nullptr ? message : "";
  sqlite3_free(message);
  sqlite3_close(db);
  return text;
}

TEST(SqliteLedger, FindsARequestAsSoonAsItHasEnded) {
  const TempDir dir;
  Books books(dir.path());
  ASSERT_FALSE(books.refused());
  EXPECT_FALSE(books.ledger().find({7}).value().has_value());
  ASSERT_TRUE(books.journal().append(admission(7)).has_value());
  EXPECT_FALSE(books.ledger().find({7}).value().has_value());
  ASSERT_TRUE(books.journal().append(ending(7, Outcome::failed)).has_value());
  const auto row = books.ledger().find({7});
  ASSERT_TRUE(row.has_value() && row->has_value());
  const Admission& a = (*row)->admission;
  const Usage& u = (*row)->usage;
  EXPECT_EQ(a.request.value, 7U);
  EXPECT_EQ(a.accepted_at, admission(7).accepted_at);
  EXPECT_EQ(a.deployment, "chat");
  EXPECT_EQ(a.tenant, "acme");
  EXPECT_EQ(a.route, "chat");
  EXPECT_FALSE(a.stream);
  EXPECT_EQ(a.prices.per_device_second.value, 100'000);
  EXPECT_EQ(u.ended_at, ending(7).ended_at);
  EXPECT_EQ(u.outcome, Outcome::failed);
  EXPECT_EQ(u.status, 502);
  EXPECT_EQ(u.reason, "engine_failed");
  EXPECT_EQ(u.start, StartKind::warm);
  EXPECT_EQ(u.instance, "chat/3");
  EXPECT_EQ(u.device, "cpu0");
  EXPECT_EQ(u.phases.total(), ending(7).phases.total());
  EXPECT_EQ(u.output_tokens, 34);
  EXPECT_TRUE(u.usage_known);
  EXPECT_EQ(u.device_ms, 320);
  EXPECT_EQ(pico_text((*row)->amount), "1032080000");  // 1e9 + 320e5 + 12e3 + 68e3
}

TEST(SqliteLedger, ListsNewestFirstWithFilters) {
  const TempDir dir;
  Books books(dir.path());
  books.request(1, "chat", "acme");
  books.request(2, "embed", "acme");
  books.request(3, "chat", "umbrella", Outcome::cancelled);
  books.request(4, "chat", "acme", Outcome::failed);
  ASSERT_TRUE(books.ledger().flush().has_value());
  struct Case {
    const char* name;
    RequestFilter filter;
    std::vector<std::uint64_t> expected;
  };
  const Case cases[] = {
      {"all", {}, {4, 3, 2, 1}},
      {"deployment", {.deployment = "chat"}, {4, 3, 1}},
      {"tenant", {.tenant = "acme"}, {4, 2, 1}},
      {"both", {.deployment = "chat", .tenant = "acme"}, {4, 1}},
      {"outcome", {.outcome = Outcome::cancelled}, {3}},
      {"since", {.since = ending(3).ended_at}, {4, 3}},
      {"until", {.until = ending(3).ended_at}, {2, 1}},
      {"first page", {.max_rows = 2}, {4, 3}},
      {"second page", {.before = RequestId{3}, .max_rows = 2}, {2, 1}},
      {"quoted", {.deployment = "' OR 1=1 --"}, {}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(ids(books.ledger().list(c.filter)), c.expected);
  }
  EXPECT_EQ(books.ledger().list({.max_rows = 0}).error().code, ErrorCode::invalid);
  EXPECT_EQ(books.ledger().count().value(), 4);
}

TEST(SqliteLedger, FiltersAgreeWithAPlainSearch) {
  const TempDir dir;
  Books books(dir.path());
  Prng prng(3);
  const auto one_of = [&](const std::vector<std::string>& names) {
    return names[prng.below(names.size())];
  };
  const std::vector<std::string> deployments = {"chat", "embed", "rerank"};
  const std::vector<std::string> tenants = {"acme", "umbrella"};
  std::vector<std::pair<Admission, Usage>> all;
  for (std::uint64_t id = 1; id <= 400; ++id) {
    Admission a = admission(id, one_of(deployments), one_of(tenants));
    a.stream = prng.below(2) == 0;
    Usage u = ending(id, prng.below(3) == 0 ? Outcome::failed : Outcome::completed);
    u.ended_at.ns += static_cast<std::int64_t>(prng.below(1000)) * 1'000'000'000;  // any order
    while (!books.journal().append(a)) std::this_thread::yield();
    ASSERT_TRUE(books.journal().append(u).has_value());
    all.emplace_back(a, u);
    if (prng.below(40) == 0) {
      ASSERT_TRUE(books.ledger().flush().has_value());
    }
  }
  ASSERT_TRUE(books.ledger().flush().has_value());
  for (int round = 0; round < 200; ++round) {
    RequestFilter filter;
    if (prng.below(2) == 0) filter.deployment = one_of(deployments);
    if (prng.below(2) == 0) filter.tenant = one_of(tenants);
    if (prng.below(2) == 0) filter.within = {one_of(deployments), one_of(deployments)};
    if (prng.below(2) == 0) filter.outcome = Outcome::failed;
    if (prng.below(2) == 0) filter.since = all[prng.below(all.size())].second.ended_at;
    if (prng.below(2) == 0) filter.until = all[prng.below(all.size())].second.ended_at;
    if (prng.below(2) == 0) filter.before = RequestId{1 + prng.below(all.size())};
    filter.max_rows = static_cast<std::uint32_t>(1 + prng.below(60));
    std::vector<std::uint64_t> expected;
    for (auto row = all.rbegin(); row != all.rend() && expected.size() < filter.max_rows; ++row) {
      const auto& [a, u] = *row;
      if ((!filter.deployment || a.deployment == *filter.deployment) &&
          (!filter.tenant || a.tenant == *filter.tenant) &&
          (filter.within.empty() || std::ranges::count(filter.within, a.deployment) > 0) &&
          (!filter.outcome || u.outcome == *filter.outcome) &&
          (!filter.since || u.ended_at >= *filter.since) &&
          (!filter.until || u.ended_at < *filter.until) &&
          (!filter.before || a.request < *filter.before)) {
        expected.push_back(a.request.value);
      }
    }
    ASSERT_EQ(ids(books.ledger().list(filter)), expected) << "round " << round;
  }
}

TEST(SqliteLedger, SumsExactly) {
  const TempDir dir;
  Books books(dir.path());
  const auto one_line = books.ledger().totals({});
  ASSERT_TRUE(one_line.has_value()) << one_line.error().message;
  ASSERT_EQ(one_line->size(), 1U);
  EXPECT_EQ(one_line->front().requests, 0);
  EXPECT_EQ(one_line->front().amount, Pico{});

  Int128 expected = 0;
  for (std::uint64_t id = 1; id <= 500; ++id) {
    Admission a = admission(id, id % 2 == 0 ? "chat" : "embed", id % 3 == 0 ? "umbrella" : "acme");
    a.prices.per_device_second.value = 9'000'000'000'000'000'000;  // each row beyond 64 bits
    Usage u = ending(id, id % 5 == 0 ? Outcome::failed : Outcome::completed);
    u.ended_at.ns += static_cast<std::int64_t>(id / 250) * 86'400'000'000'000;
    expected += amount_of(a.prices, u).value;
    while (!books.journal().append(a)) std::this_thread::yield();
    ASSERT_TRUE(books.journal().append(u).has_value());
  }
  ASSERT_TRUE(books.ledger().flush().has_value());
  const std::vector<UsageTotals> all = books.ledger().totals({}).value();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all.front().requests, 500);
  EXPECT_EQ(all.front().completed, 400);
  EXPECT_EQ(all.front().input_tokens, 500 * 12);
  EXPECT_EQ(all.front().device_ms, 500 * 320);
  EXPECT_EQ(all.front().amount, Pico{expected});

  const std::vector<UsageTotals> groups =
      books.ledger().totals({.by_deployment = true, .by_tenant = true, .by_day = true}).value();
  EXPECT_EQ(groups.size(), 2U * 2U * 2U + 1U) << "three days, the last with request 500 only";
  Pico sum;
  std::int64_t requests = 0;
  for (const UsageTotals& group : groups) {
    sum = sum + group.amount;
    requests += group.requests;
  }
  EXPECT_EQ(sum, Pico{expected});
  EXPECT_EQ(requests, 500);
  EXPECT_EQ(groups.front().day, "2023-11-14");
  EXPECT_EQ(groups.front().deployment, "chat");
  EXPECT_EQ(groups.front().tenant, "acme");
  EXPECT_EQ(books.ledger().totals({.by_tenant = true, .deployment = "chat"}).value().size(), 2U);
  EXPECT_EQ(books.ledger().totals({.within = {"chat", "rerank"}}).value().front().requests, 250);
}

TEST(SqliteLedger, RowsAreNeverChanged) {
  const TempDir dir;
  Books books(dir.path());
  books.request(1);
  ASSERT_TRUE(books.ledger().flush().has_value());
  const auto file = dir / "ledger.db";
  EXPECT_THAT(run_sql(file, "UPDATE requests SET amount_pico = '0'"),
              testing::HasSubstr("it is a view"));
  for (const std::string table :
       {"ended_requests", "request_terms", "request_endings", "request_places"}) {
    EXPECT_THAT(run_sql(file, "UPDATE " + table + " SET rowid = 7"),
                testing::HasSubstr("never changed"));
    EXPECT_THAT(run_sql(file, "DELETE FROM " + table), testing::HasSubstr("never deleted"));
  }
  EXPECT_EQ(books.ledger().count().value(), 1);
}

TEST(SqliteLedger, GoesOnWhereItWas) {
  const TempDir dir;
  std::uint64_t id = 1;
  for (std::uint64_t epoch = 1; epoch <= 5; ++epoch) {
    Books books(dir.path(), epoch);
    ASSERT_FALSE(books.refused()) << books.refused()->message;
    for (int i = 0; i < 700; ++i) books.request(id++);
    ASSERT_TRUE(books.journal().append(admission(1'000'000 + epoch)).has_value());
    if (epoch % 2 == 0) {
      ASSERT_TRUE(books.ledger().flush().has_value());
    }
    EXPECT_TRUE(books.troubles().empty());
  }
  Books books(dir.path(), 6);
  ASSERT_TRUE(books.ledger().flush().has_value());
  EXPECT_EQ(books.ledger().count().value(), 5 * 700 + 5);
  EXPECT_EQ(ids(books.ledger().list({.outcome = Outcome::interrupted})).size(), 5U);
}

TEST(SqliteLedger, ABusyOrBrokenFileDelaysRowsAndLosesNone) {
  const TempDir dir;
  Books books(dir.path());
  books.request(1);
  ASSERT_TRUE(books.ledger().flush().has_value());
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open((dir / "ledger.db").c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr), SQLITE_OK);
  books.request(2);
  const Result<void> flushed = books.ledger().flush();
  ASSERT_FALSE(flushed.has_value());
  EXPECT_EQ(books.troubles().size(), 1U) << "told once, however often it is tried";
  sqlite3_close(other);
  while (!books.ledger().flush()) std::this_thread::yield();
  EXPECT_EQ(books.ledger().count().value(), 2);
}

/// Writes down what it hears.
class Hears final : public RequestListener {
 public:
  void admitted(Sequence record, const Admission& admission) override {
    said.push_back("admitted " + std::to_string(admission.request.value) + " by record " +
                   std::to_string(record.value));
  }
  void ended(const Admission& admission, const Usage& usage, bool stored_before) override {
    EXPECT_EQ(admission.request, usage.request);
    said.push_back("ended " + std::to_string(usage.request.value) +
                   (stored_before ? ", stored before" : ""));
  }
  void batch_ended() override {
    if (!said.empty() && said.back() != "pause") said.emplace_back("pause");
  }
  std::vector<std::string> said;
};

TEST(SqliteLedger, AListenerHearsOfEveryRequestAndAfterAStartOfTheOldOnesAgain) {
  using ::testing::ElementsAre;
  const TempDir dir;
  Hears first;
  {
    Books books(dir.path(), 1, Durability::process, &first);
    books.request(7);
    ASSERT_TRUE(books.journal().append(admission(8)).has_value());
    ASSERT_TRUE(books.ledger().flush().has_value());
  }
  std::erase(first.said, "pause");
  EXPECT_THAT(first.said,
              ElementsAre("admitted 7 by record 2", "ended 7", "admitted 8 by record 4"));
  Hears second;
  {
    Books books(dir.path(), 2, Durability::process, &second);
    ASSERT_TRUE(books.ledger().flush().has_value());
  }
  EXPECT_EQ(second.said.back(), "pause");
  std::erase(second.said, "pause");
  EXPECT_THAT(second.said, ElementsAre("admitted 7 by record 2", "ended 7, stored before",
                                       "admitted 8 by record 4", "ended 8"));
}

TEST(SqliteLedger, RefusesAFileThatIsAheadOfTheJournal) {
  const TempDir dir;
  {
    Books books(dir.path());
    for (std::uint64_t id = 1; id <= 10; ++id) books.request(id);
    ASSERT_TRUE(books.ledger().flush().has_value());
  }
  std::filesystem::remove_all(dir / "journal");
  Books books(dir.path(), 2);
  ASSERT_TRUE(books.refused());
  EXPECT_EQ(books.refused()->code, ErrorCode::corrupt);
}

TEST(SqliteLedger, TellsOfRecordsThatNobodyHas) {
  const TempDir dir;
  {
    Books books(dir.path());
    std::uint64_t id = 1;
    while (list_segments(dir / "journal")->front().number == 1) {
      for (int i = 0; i < 100; ++i) books.request(id++);
      ASSERT_TRUE(books.ledger().flush().has_value());
    }
  }
  std::filesystem::remove(dir / "ledger.db");
  Books books(dir.path(), 2);
  ASSERT_FALSE(books.refused());
  ASSERT_EQ(books.troubles().size(), 1U);
  EXPECT_THAT(books.troubles().front().message,
              testing::HasSubstr("lacks the journal records 1 to"));
  EXPECT_TRUE(books.ledger().flush().has_value());
}

TEST(SqliteLedger, RefusesAnotherFilesContents) {
  const TempDir dir;
  ASSERT_EQ(run_sql(dir / "ledger.db", "PRAGMA user_version = 99"), "");
  Books books(dir.path());
  ASSERT_TRUE(books.refused());
  EXPECT_EQ(books.refused()->code, ErrorCode::corrupt);
}

TEST(SqliteLedger, AKilledServerHasOneRowPerRequest) {
  const TempDir dir;
  constexpr std::uint64_t per_life = 2000;
  for (std::uint64_t life = 1; life <= 10; ++life) {
    const pid_t child = ::fork();
    if (child == 0) {
      Books books(dir.path(), life);
      if (books.refused()) ::_exit(3);
      // Killed while the ledger's thread is somewhere in a batch.
      for (std::uint64_t i = 1; i <= per_life; ++i) books.request(life * 1'000'000 + i);
      ::raise(SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
  }
  Books books(dir.path(), 11);
  ASSERT_FALSE(books.refused()) << books.refused()->message;
  ASSERT_TRUE(books.ledger().flush().has_value());
  EXPECT_EQ(books.ledger().count().value(), static_cast<std::int64_t>(10 * per_life));
  const UsageTotals all = books.ledger().totals({}).value().front();
  EXPECT_EQ(all.amount.value, Int128{10 * per_life} * 1'032'080'000);
}

}  // namespace
}  // namespace stoker::ledger
