#include "jobs/job_service.h"

#include <gmock/gmock.h>

#include "job_rig.h"

namespace stoker::jobs {
namespace {

using gateway::JobVerb;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class JobServiceTest : public JobRig {};

TEST_F(JobServiceTest, RunsAJobAndKeepsItsAnswer) {
  start();
  const std::string id = submitted();
  const Launched launched = launcher.launched.next();
  EXPECT_EQ(launched.request.target, "/v1/completions");
  EXPECT_THAT(launched.request.body, HasSubstr(R"("model":"e")"));
  complete(launched);
  const Told told = ended(id);
  EXPECT_THAT(told.json, HasSubstr(R"("status":"COMPLETED")"));
  EXPECT_THAT(told.json, HasSubstr(R"("output":{"ok":1})"));
  EXPECT_THAT(told.json, HasSubstr(R"("workerId":"e/1")"));
  restart();
  EXPECT_THAT(status(id).json, HasSubstr(R"("output":{"ok":1})"));
  EXPECT_EQ(status(id, 2).status, 404) << "another tenant's";
  EXPECT_EQ(launcher.launched.left(), 0U);
}

TEST_F(JobServiceTest, InOrderOfSubmissionThoseOfLowPriorityLast) {
  window = 1;
  start();
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) {
    ids.push_back(submitted(i == 1 ? R"(,"policy":{"lowPriority":true})" : ""));
  }
  EXPECT_THAT(status(ids[4]).json, HasSubstr(R"("queuePosition":4)"));
  EXPECT_THAT(status(ids[1]).json, HasSubstr(R"("queuePosition":5)"));
  for (int i = 0; i < 5; ++i) complete(launcher.launched.next(), std::to_string(i));
  std::vector<std::string> order;
  for (const std::string& id : ids) {
    const std::string json = ended(id).json;
    order.push_back(json.substr(json.find("\"output\":") + 9, 1));
  }
  EXPECT_THAT(order, ElementsAre("0", "4", "1", "2", "3"));
}

TEST_F(JobServiceTest, WhatWaitsLongerThanItsTtlIsNotRun) {
  window = 1;
  start();
  const std::string first = submitted();
  const std::string late = submitted(R"(,"policy":{"ttl":1})");
  const Launched launched = launcher.launched.next();
  EXPECT_GT(launched.request.deadline.ns, 0);
  // At its time, though the one before it goes on.
  EXPECT_THAT(ended(late).json, HasSubstr(R"("status":"TIMED_OUT")"));
  EXPECT_THAT(ended(late).json, HasSubstr("longer than its ttl"));
  complete(launched);
  EXPECT_EQ(launcher.launched.left(), 0U);
  EXPECT_THAT(ended(first).json, HasSubstr("COMPLETED"));
}

TEST_F(JobServiceTest, ExecutionTimeoutGoesWithTheRequestAndEndsAsTimedOut) {
  start();
  const std::string id = submitted(R"(,"policy":{"executionTimeout":1500})");
  const Launched launched = launcher.launched.next();
  EXPECT_EQ(launched.request.run_timeout.ns, ms(1500).ns);
  launched.sink->on_dispatched("e/1");
  launched.sink->on_end(504, "application/json",
                        R"({"error":{"code":"request_timeout","message":"too long"}})");
  EXPECT_THAT(ended(id).json, HasSubstr(R"("status":"TIMED_OUT")"));
  EXPECT_THAT(ended(id).json, HasSubstr("too long"));
}

TEST_F(JobServiceTest, ARestartRunsAgainWhatNeverRanAndNothingElse) {
  start();
  const std::string never_ran = submitted();
  (void)launcher.launched.next();
  restart();
  const Launched again = launcher.launched.next();
  again.sink->on_dispatched("e/1");
  EXPECT_THAT(status(never_ran).json, HasSubstr("IN_PROGRESS"));
  earlier = EarlierEnd::ran;
  restart();
  EXPECT_THAT(ended(never_ran).json, HasSubstr(R"("status":"FAILED")"));
  EXPECT_THAT(ended(never_ran).json, HasSubstr("may have run in part"));
  EXPECT_EQ(launcher.launched.left(), 0U);
  const Told retried = call(JobVerb::retry, "", never_ran).get();
  EXPECT_EQ(retried.status, 200) << retried.json;
  complete(launcher.launched.next());
  EXPECT_THAT(ended(never_ran).json, HasSubstr("COMPLETED"));
  EXPECT_EQ(call(JobVerb::retry, "", never_ran).get().status, 409);
}

TEST_F(JobServiceTest, WhatIsRefusedBeforeItRanIsTriedAgain) {
  start();
  const std::string id = submitted();
  launcher.launched.next().sink->on_end(429, "application/json", R"({"error":{"code":"x"}})");
  complete(launcher.launched.next());
  EXPECT_THAT(ended(id).json, HasSubstr("COMPLETED"));
}

TEST_F(JobServiceTest, MoreOpenJobsThanMayBeAreRefused) {
  options.most_open = 2;
  start();
  const std::string first = submitted();
  (void)submitted();
  const Told refused = submit();
  EXPECT_EQ(refused.status, 429);
  EXPECT_THAT(refused.json, HasSubstr("2 jobs of 'e'"));
  complete(launcher.launched.next());
  EXPECT_THAT(ended(first).json, HasSubstr("COMPLETED"));
  (void)submitted();
}

TEST_F(JobServiceTest, WhatEndedLongAgoIsForgotten) {
  start();
  const std::string id = submitted();
  complete(launcher.launched.next());
  (void)ended(id);
  restart();
  EXPECT_EQ(status(id).status, 200);
  options.retention = {};
  restart();
  EXPECT_EQ(status(id).status, 404);
}

TEST_F(JobServiceTest, OneKeyOneJob) {
  start();
  const Told first = submit("", "k");
  EXPECT_EQ(id_of(submit("", "k").json), id_of(first.json));
  EXPECT_EQ(submit(R"(,"policy":{"ttl":5})", "k").status, 422);
  EXPECT_NE(id_of(submit("", "other").json), id_of(first.json));
  EXPECT_NE(id_of(call(JobVerb::run, R"({"input":{"prompt":"x"}})", {}, "k", 2).get().json),
            id_of(first.json))
      << "another tenant's";
}

TEST_F(JobServiceTest, CancelEndsWhatWaitsAndWhatRuns) {
  window = 1;
  start();
  const std::string runs = submitted();
  const std::string waits = submitted();
  const Launched launched = launcher.launched.next();
  launched.sink->on_dispatched("e/1");
  EXPECT_THAT(call(JobVerb::cancel, "", waits).get().json, HasSubstr("CANCELLED"));
  EXPECT_THAT(call(JobVerb::cancel, "", runs).get().json, HasSubstr("CANCELLED"));
  EXPECT_EQ(launcher.cancelled.next(), launched.request.id);
  EXPECT_EQ(call(JobVerb::cancel, "", "job-none").get().status, 404);
}

TEST_F(JobServiceTest, ACallGetsItsOwnAnswerIfItComesInTime) {
  window = 1;
  start();
  (void)submitted();
  (void)launcher.launched.next();  // the window is full; a call does not wait behind it
  std::future<Told> told = call_route("/v1/chat/completions?x=1", R"({"model":"e"})", minutes(1));
  const Launched launched = launcher.launched.next();
  EXPECT_EQ(launched.request.target, "/v1/chat/completions?x=1");
  EXPECT_EQ(launched.request.body, R"({"model":"e"})");
  launched.sink->on_dispatched("e/1");
  launched.sink->on_end(200, "text/plain", "not JSON");
  const Told own = told.get();
  EXPECT_EQ(own.status, 200);
  EXPECT_EQ(own.json, "not JSON");
  EXPECT_THAT(own.fields, HasSubstr("Content-Type: text/plain\r\n"));
  EXPECT_EQ(own.request, launched.request.id);

  told = call_route("/v1/x", "{}", minutes(1));
  const Launched failing = launcher.launched.next();
  failing.sink->on_dispatched("e/1");
  failing.sink->on_end(400, "application/json", R"({"error":{"message":"no"}})");
  const Told wrong = told.get();
  EXPECT_EQ(wrong.status, 400);
  EXPECT_EQ(wrong.json, R"({"error":{"message":"no"}})");
}

TEST_F(JobServiceTest, ACallThatTakesLongerIsAJob) {
  start();
  const Told accepted = call_route("/v1/x", "{}", {}, "k").get();
  EXPECT_EQ(accepted.status, 202);
  const std::string id = id_of(accepted.json);
  EXPECT_THAT(accepted.fields, HasSubstr("Location: /v2/e/status/" + id + "\r\n"));
  EXPECT_THAT(accepted.fields, HasSubstr("Preference-Applied: wait=0\r\n"));
  EXPECT_EQ(id_of(call_route("/v1/x", "{}", {}, "k").get().json), id) << "the same call again";
  EXPECT_EQ(call_route("/v1/y", "{}", {}, "k").get().status, 422);
  std::future<Told> again = call_route("/v1/x", "{}", minutes(1), "k");
  complete(launcher.launched.next());
  const Told own = again.get();
  EXPECT_EQ(own.status, 200);
  EXPECT_EQ(own.json, R"({"ok":1})");
  EXPECT_THAT(ended(id).json, HasSubstr(R"("output":{"ok":1})"));
  restart();
  const Told later = call_route("/v1/x", "{}", minutes(1), "k").get();
  EXPECT_EQ(later.status, 200);
  EXPECT_EQ(later.json, R"({"ok":1})");
  EXPECT_EQ(launcher.launched.left(), 0U);
}

TEST_F(JobServiceTest, AServerThatEndsTakesNothingAndTellsThoseWhoWait) {
  start();
  const std::string id = submitted();
  std::future<Told> waits = call(JobVerb::status_sync, "", id);
  service->begin_drain();
  EXPECT_EQ(submit().status, 503);
  stop();
  EXPECT_EQ(waits.get().status, 503);
}

TEST_F(JobServiceTest, AnAnswerThatIsTooLargeEndsItsJob) {
  options.most_output = 10;
  start();
  const std::string id = submitted();
  const Launched launched = launcher.launched.next();
  launched.sink->on_dispatched("e/1");
  launched.sink->on_bytes("01234567890");
  EXPECT_THAT(ended(id).json, HasSubstr("larger than 10 bytes"));
  EXPECT_EQ(launcher.cancelled.next(), launched.request.id);
}

TEST_F(JobServiceTest, APurgeTakesAllThatWaitsAndNothingThatRuns) {
  window = 2;
  start();
  const std::string runs = submitted();
  const Launched running = launcher.launched.next();
  running.sink->on_dispatched("e/1");
  const std::string with_gateway = submitted();
  const Launched waits = launcher.launched.next();
  const std::string here = submitted();
  const Told told = call(JobVerb::purge, "").get();
  EXPECT_THAT(told.json, HasSubstr(R"("removed":2)"));
  EXPECT_EQ(launcher.cancelled.next(), waits.request.id);
  EXPECT_THAT(ended(with_gateway).json, HasSubstr("CANCELLED"));
  EXPECT_THAT(ended(here).json, HasSubstr("CANCELLED"));
  EXPECT_THAT(status(runs).json, HasSubstr("IN_PROGRESS"));
  complete(running);
  EXPECT_THAT(ended(runs).json, HasSubstr("COMPLETED"));
  EXPECT_EQ(launcher.cancelled.left(), 0U);
  EXPECT_EQ(launcher.launched.left(), 0U);
}

TEST_F(JobServiceTest, APurgeTakesWhatWaitsForItsNextTry) {
  start();
  const std::string id = submitted();
  launcher.launched.next().sink->on_end(429, "application/json", R"({"error":{"code":"x"}})");
  EXPECT_THAT(call(JobVerb::purge, "").get().json, HasSubstr(R"("removed":1)"));
  EXPECT_THAT(ended(id).json, HasSubstr("CANCELLED"));
}

TEST_F(JobServiceTest, APurgeInTheRoundOfARetryEndsIt) {
  window = 1;
  start();
  const std::string id = submitted();
  const Launched first = launcher.launched.next();
  first.sink->on_dispatched("e/1");
  first.sink->on_end(500, "application/json", R"({"error":{"code":"x","message":"broken"}})");
  EXPECT_THAT(ended(id).json, HasSubstr("FAILED"));
  // Both calls are there before the service's loop looks for any.
  std::future<Told> retried;
  std::future<Told> purged;
  const std::string other = in_one_round([&] {
    retried = call(JobVerb::retry, "", id);
    purged = call(JobVerb::purge, "");
  });
  EXPECT_EQ(retried.get().status, 200);
  EXPECT_THAT(purged.get().json, HasSubstr(R"("removed":2)"));
  EXPECT_THAT(ended(id).json, HasSubstr("CANCELLED"));
  EXPECT_THAT(ended(other).json, HasSubstr("CANCELLED"));
  const std::string next = submitted();
  complete(launcher.launched.next());
  EXPECT_THAT(ended(next).json, HasSubstr("COMPLETED"));
  EXPECT_EQ(launcher.launched.left(), 0U);
}

TEST_F(JobServiceTest, PiecesOfAStreamAreReadOnce) {
  start();
  const Told told = call(JobVerb::run, R"({"input":{"prompt":"x","stream":true}})").get();
  const std::string id = id_of(told.json);
  const Launched launched = launcher.launched.next();
  launched.sink->on_dispatched("e/1");
  launched.sink->on_bytes("data: {\"n\":1}\n\n");
  EXPECT_THAT(call(JobVerb::stream, "", id).get().json,
              HasSubstr(R"("stream":[{"output":{"n":1}}])"));
  launched.sink->on_bytes("data: {\"n\":2}\n\ndata: [DONE]\n\n");
  launched.sink->on_end(200, "text/event-stream", "");
  EXPECT_THAT(call(JobVerb::stream, "", id).get().json, HasSubstr(R"([{"output":{"n":2}}])"));
  EXPECT_THAT(ended(id).json, HasSubstr(R"("output":[{"n":1},{"n":2}])"));
}

}  // namespace
}  // namespace stoker::jobs
