#include "jobs/job_store.h"

#include <gmock/gmock.h>

#include "job_rig.h"
#include "sqlite/database.h"

namespace stoker::jobs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Job a_job(std::string id, std::string tenant = "t") {
  Job job;
  job.id = std::move(id);
  job.deployment = "e";
  job.tenant = std::move(tenant);
  job.key = KeyId{7};
  job.wish.target = "/v1/completions";
  job.wish.body = R"({"prompt":"x"})";
  job.wish.webhook = "https://h/";
  job.wish.ttl = seconds(9);
  job.wish.execution_timeout = ms(8);
  job.wish.low_priority = true;
  job.created_at = {1'000};
  return job;
}

std::vector<std::string> ids(const Result<std::vector<Job>>& jobs) {
  std::vector<std::string> out;
  for (const Job& job : *jobs) out.push_back(job.id);
  return out;
}

TEST(JobStore, GivesBackWhatItWasGiven) {
  const Folder folder;
  JobStore store = JobStore::open(folder.file()).value();
  Job job = a_job("a");
  ASSERT_TRUE(store.insert(job));
  EXPECT_EQ(job.number, 1U);
  const std::optional<Job> whole = store.find("a").value();
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->wish.body, R"({"prompt":"x"})");
  EXPECT_EQ(whole->wish.ttl.ns, seconds(9).ns);
  EXPECT_EQ(whole->wish.execution_timeout.ns, ms(8).ns);
  EXPECT_TRUE(whole->wish.low_priority);
  EXPECT_EQ(whole->key, KeyId{7});
  EXPECT_EQ(whole->expires_at().ns, 1'000 + seconds(9).ns);
  EXPECT_FALSE(whole->started_at);
  EXPECT_TRUE(store.find("a", "t", "e").value());
  EXPECT_FALSE(store.find("a", "u", "e").value()) << "another tenant's";
  EXPECT_FALSE(store.find("a", "t", "f").value()) << "another deployment's";

  job.state = JobState::failed;
  job.started_at = WallTime{2'000};
  job.finished_at = WallTime{3'000};
  job.request = RequestId{5};
  job.retries = 2;
  job.status = 500;
  job.output = "1";
  job.error = "why";
  job.worker = "e/3";
  ASSERT_TRUE(store.update(job));
  const Job after = *store.find("a").value();
  EXPECT_EQ(after.state, JobState::failed);
  EXPECT_EQ(after.started_at->ns, 2'000);
  EXPECT_EQ(after.finished_at->ns, 3'000);
  EXPECT_EQ(after.request, RequestId{5});
  EXPECT_EQ(after.retries, 2);
  EXPECT_EQ(after.status, 500);
  EXPECT_EQ(after.output, "1");
  EXPECT_EQ(after.error, "why");
  EXPECT_EQ(after.worker, "e/3");
}

TEST(JobStore, OpenOnesInOrderOfSubmissionTheNewestOfATenantFirst) {
  const Folder folder;
  JobStore store = JobStore::open(folder.file()).value();
  for (const char* id : {"c", "a", "b", "d"}) {
    Job job = a_job(id, std::string(id) == "d" ? "u" : "t");
    ASSERT_TRUE(store.insert(job));
    if (job.id != "a") continue;
    job.state = JobState::completed;
    job.finished_at = WallTime{5'000};
    ASSERT_TRUE(store.update(job));
  }
  EXPECT_THAT(ids(store.open_jobs()), ElementsAre("c", "b", "d"));
  EXPECT_THAT(ids(store.list("t", "e", 10)), ElementsAre("b", "a", "c"));
  EXPECT_THAT(ids(store.list("t", "e", 2)), ElementsAre("b", "a"));
  ASSERT_TRUE(store.forget({5'000}));
  EXPECT_TRUE(store.find("a").value());
  ASSERT_TRUE(store.forget({5'001}));
  EXPECT_FALSE(store.find("a").value());
  EXPECT_TRUE(store.find("b").value()) << "open ones are never forgotten";
}

TEST(JobStore, ARoundIsThereWholeOrNotAtAll) {
  const Folder folder;
  JobStore store = JobStore::open(folder.file()).value();
  ASSERT_TRUE(store.begin());
  Job job = a_job("a");
  ASSERT_TRUE(store.insert(job));
  ASSERT_TRUE(store.remember("t", "k", {"f", "a"}, {9}));
  store.roll_back();
  EXPECT_FALSE(store.find("a").value());
  EXPECT_FALSE(store.repeat_of("t", "k").value());
  ASSERT_TRUE(store.begin());
  ASSERT_TRUE(store.insert(job));
  ASSERT_TRUE(store.remember("t", "k", {"f", "a"}, {9}));
  ASSERT_TRUE(store.commit());
  EXPECT_EQ(store.repeat_of("t", "k").value()->job, "a");
  EXPECT_FALSE(store.repeat_of("u", "k").value());
  ASSERT_TRUE(store.forget({10}));
  EXPECT_FALSE(store.repeat_of("t", "k").value());
}

TEST(JobStore, WebhooksInTheOrderInWhichTheyAreDue) {
  const Folder folder;
  JobStore store = JobStore::open(folder.file()).value();
  ASSERT_TRUE(store.add_webhook(a_job("a"), "h1", {30}));
  ASSERT_TRUE(store.add_webhook(a_job("b"), "h2", {20}));
  ASSERT_TRUE(store.add_webhook(a_job("c"), "h1", {10}));
  const auto due = [&](std::int64_t now, const std::vector<std::string>& but = {}) {
    std::vector<std::string> out;
    const std::vector<Webhook> webhooks = store.due_webhooks({now}, but, 10).value();
    for (const Webhook& each : webhooks) out.push_back(each.id);
    return out;
  };
  EXPECT_THAT(due(9), IsEmpty());
  EXPECT_THAT(due(30), ElementsAre("c.0", "b.0", "a.0"));
  EXPECT_THAT(due(30, {"h1"}), ElementsAre("b.0"));
  EXPECT_THAT(due(30, {"h1", "h2"}), IsEmpty());
  EXPECT_EQ(store.next_webhook_after({10}).value()->ns, 20);
  EXPECT_FALSE(store.next_webhook_after({30}).value());
  ASSERT_TRUE(store.delay_webhook("c.0", 3, {50}));
  EXPECT_THAT(due(49), ElementsAre("b.0", "a.0"));
  EXPECT_EQ(store.due_webhooks({50}, {}, 10).value().back().attempts, 3);
  ASSERT_TRUE(store.end_webhook("b.0"));
  ASSERT_TRUE(store.drop_webhooks("a"));
  EXPECT_THAT(due(50), ElementsAre("c.0"));
}

TEST(JobStore, AFileOfALaterVersionIsNotTouched) {
  const Folder folder;
  {
    (void)JobStore::open(folder.file()).value();
  }
  {
    sqlite::Database db =
        sqlite::Database::open(folder.file(), sqlite::Database::Access::read_write).value();
    ASSERT_TRUE(db.run("PRAGMA user_version = 99"));
  }
  const Result<JobStore> store = JobStore::open(folder.file());
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::corrupt);
}

TEST(JobStore, AFileOfTheFirstVersionGetsWhatIsNew) {
  const Folder folder;
  {
    JobStore store = JobStore::open(folder.file()).value();
    Job job = a_job("a");
    ASSERT_TRUE(store.insert(job));
  }
  {
    sqlite::Database db =
        sqlite::Database::open(folder.file(), sqlite::Database::Access::read_write).value();
    ASSERT_TRUE(db.run("DROP TABLE webhooks; PRAGMA user_version = 1"));
  }
  JobStore store = JobStore::open(folder.file()).value();
  EXPECT_TRUE(store.find("a").value());
  EXPECT_TRUE(store.add_webhook(a_job("a"), "h", {1}));
}

}  // namespace
}  // namespace stoker::jobs
