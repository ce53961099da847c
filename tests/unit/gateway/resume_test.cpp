// Streams whose clients lose their connections and come back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <numeric>

#include "base/text.h"
#include "test_gateway.h"

namespace stoker::gateway {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* resumable = "X-Stoker-Resumable: 60s\r\n";

/// Sends three events, then waits for go(), then sends two more and the end.
struct PausingWorker {
  std::promise<void> let_go;
  std::shared_future<void> paused = let_go.get_future().share();
  ScriptedWorker worker{[this](WorkerConnection& c) {
    c.read_request();
    c.send(std::string(stream_head) +
           chunk("data: one\n\n: ping\n\nevent: x\nid: 77\ndata: two\n\n") +
           chunk("data: three\n\n"));
    paused.wait();
    c.send(chunk("data: four\n\ndata: five\n\n: stoker-usage "
                 "input=1,output=5,cached=0,device_ms=9\n\n") +
           chunk("data: [DONE]\n\n") + "0\r\n\r\n");
    c.wait_closed();
  }};
  void go() { let_go.set_value(); }
};

std::string resume(const TestGateway& gateway, std::string_view fields = {}) {
  return get(
      "/v1/streams/" + public_id(const_cast<TestGateway&>(gateway).dispatcher.last_request()),
      fields);
}

/// The ids of events, in their order.
std::vector<int> ids_of(std::string_view body) {
  std::vector<int> ids;
  for (std::size_t at = body.find("id: "); at != body.npos; at = body.find("id: ", at + 1)) {
    ids.push_back(std::stoi(std::string(body.substr(at + 4, 6))));
  }
  return ids;
}

using ::testing::ElementsAre;

TEST(Resume, EventsHaveIdsThatCountFromOneAndTheEngineHasNoSay) {
  PausingWorker engine;
  engine.go();
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target(engine.worker.path()));
  gateway.start();
  const Answer answer = gateway.ask(post("/v1/chat/completions", stream_body, resumable));
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.whole);
  EXPECT_THAT(answer.body, HasSubstr("id: 2\nevent: x\ndata: two\n\n"));
  EXPECT_THAT(ids_of(answer.body), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(answer.body, HasSubstr(": stoker {\"request\""));
  EXPECT_THAT(answer.body, EndsWith("\n\nid: 6\ndata: [DONE]\n\n"));
}

TEST(Resume, GoesOnAfterTheEventThatWasSeenLast) {
  PausingWorker engine;
  TestGateway gateway;
  gateway.options.threads = 2;
  gateway.dispatch_all_to(warm_target(engine.worker.path()));
  gateway.start();
  {
    TestClient client = gateway.connect();
    client.send(post("/v1/chat/completions", stream_body, resumable));
    EXPECT_TRUE(client.read_until("data: three\n\n"));
  }
  // It takes the place of one after another, on either loop.
  for (int i = 0; i < 8; ++i) {
    TestClient client = gateway.connect();
    client.send(resume(gateway, "Last-Event-ID: 2\r\n"));
    EXPECT_TRUE(client.read_until(": resumed\n\nid: 3\ndata: three\n\n")) << i;
  }
  TestClient client = gateway.connect();
  client.send(resume(gateway, "Last-Event-ID: 1\r\n"));
  EXPECT_TRUE(client.read_until("data: three\n\n"));
  engine.go();
  const Answer rest = client.read_answer();
  EXPECT_EQ(rest.status, 200);
  EXPECT_TRUE(rest.whole);
  EXPECT_THAT(rest.field("content-type"), StartsWith("text/event-stream"));
  EXPECT_EQ(rest.field("x-request-id"), public_id(gateway.dispatcher.last_request()));
  EXPECT_THAT(ids_of(rest.body), ElementsAre(2, 3, 4, 5, 6));
  EXPECT_THAT(rest.body, EndsWith("data: [DONE]\n\n"));

  // After its end, as long as it is kept.
  const Answer all = gateway.ask(resume(gateway));
  EXPECT_THAT(ids_of(all.body), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(ids_of(gateway.ask(resume(gateway, "Last-Event-ID: 5\r\n")).body), ElementsAre(6));
  EXPECT_EQ(gateway.ask(resume(gateway, "Last-Event-ID: 6\r\n")).status, 204);

  // One request, one record.
  const auto endings = gateway.records.wait_endings(1);
  ASSERT_EQ(endings.size(), 1U);
  EXPECT_EQ(endings[0].outcome, ledger::Outcome::completed);
  EXPECT_EQ(endings[0].output_tokens, 5);
  EXPECT_EQ(gateway.records.admissions().size(), 1U);
  EXPECT_TRUE(gateway.dispatcher.cancelled_requests().empty());
}

TEST(Resume, WhoeverComesTakesThePlaceOfTheOneBefore) {
  PausingWorker engine;
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target(engine.worker.path()));
  gateway.start();
  TestClient first = gateway.connect();
  first.send(post("/v1/chat/completions", stream_body, resumable));
  EXPECT_TRUE(first.read_until("data: three\n\n"));
  TestClient second = gateway.connect();
  second.send(resume(gateway, "Last-Event-ID: 3\r\n"));
  EXPECT_TRUE(second.read_until(": resumed"));
  EXPECT_FALSE(first.read_answer().whole) << "it is told by a broken connection";
  engine.go();
  EXPECT_THAT(ids_of(second.read_answer().body), ElementsAre(4, 5, 6));
}

TEST(Resume, IsRefusedWithTheReason) {
  PausingWorker engine;
  engine.go();
  TestGateway gateway;
  gateway.options.auth.keys_required = true;
  gateway.keys = test_ring({test_key(1, "sk-one"), test_key(2, "sk-two", access::scope::all, "b")});
  gateway.dispatch_all_to(warm_target(engine.worker.path()));
  gateway.start();
  const std::string one = "Authorization: Bearer sk-one\r\n";
  EXPECT_TRUE(gateway.ask(post("/v1/chat/completions", stream_body, resumable + one)).whole);
  EXPECT_EQ(gateway.ask(resume(gateway, one)).status, 200);
  EXPECT_EQ(gateway.ask(resume(gateway, "Authorization: Bearer sk-two\r\n")).status, 404);
  EXPECT_EQ(gateway.ask(get("/v1/streams/req-00000000000000ff", one)).status, 404);
  EXPECT_EQ(gateway.ask(get("/v1/streams/none", one)).status, 404);
  for (const char* value : {"7", "-1", "x", "1 2", "99999999999999999999"}) {
    const Answer bad = gateway.ask(resume(gateway, one + "Last-Event-ID: " + value + "\r\n"));
    EXPECT_EQ(bad.status, 400) << value;
    EXPECT_THAT(bad.body, HasSubstr(R"("param":"Last-Event-ID")"));
  }
}

TEST(Resume, WithoutAskingNothingIsKeptAndAGoneClientMeansCancel) {
  PausingWorker engine;
  TestGateway gateway;
  gateway.dispatcher.cancelled_usage = WorkerUsage{};
  gateway.dispatch_all_to(warm_target(engine.worker.path()));
  gateway.start();
  {
    TestClient client = gateway.connect();
    client.send(post("/v1/chat/completions", stream_body));
    EXPECT_TRUE(client.read_until("data: three\n\n"));
  }
  EXPECT_TRUE(gateway.dispatcher.wait_cancelled(1));
  EXPECT_EQ(gateway.ask(resume(gateway)).status, 404);
  engine.go();
}

TEST(Resume, AClientThatLeavesBeforeTheHeadIsGone) {
  TestGateway gateway;
  gateway.start();
  {
    TestClient client = gateway.connect();
    client.send(post("/v1/chat/completions", stream_body, resumable));
    gateway.dispatcher.wait_admitted(1);
  }
  EXPECT_TRUE(gateway.dispatcher.wait_cancelled(1)) << "it has no id to come back with";
  EXPECT_EQ(gateway.records.wait_endings(1)[0].outcome, ledger::Outcome::cancelled);
}

TEST(Resume, AClientMayLeaveWhileItWaits) {
  PausingWorker engine;
  engine.go();
  TestGateway gateway;
  gateway.options.requests.stream_head_hold = ms(1);
  gateway.start();
  {
    TestClient client = gateway.connect();
    client.send(post("/v1/chat/completions", stream_body, resumable));
    EXPECT_TRUE(client.read_until(": keep-alive\n\n"));
  }
  TestClient client = gateway.connect();
  client.send(resume(gateway));
  EXPECT_TRUE(client.read_until(": resumed"));
  gateway.dispatcher.dispatch(gateway.dispatcher.last_request(), warm_target(engine.worker.path()));
  EXPECT_THAT(ids_of(client.read_answer().body), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(Resume, NobodyIsWaitedForLongerThanWasAsked) {
  PausingWorker engine;
  TestGateway gateway;
  gateway.dispatcher.cancelled_usage = WorkerUsage{1, 3, 0, 5, true};
  gateway.dispatch_all_to(warm_target(engine.worker.path()));
  gateway.start();
  {
    TestClient client = gateway.connect();
    client.send(post("/v1/chat/completions", stream_body, "X-Stoker-Resumable: 1s\r\n"));
    EXPECT_TRUE(client.read_until("data: three\n\n"));
  }
  EXPECT_TRUE(gateway.dispatcher.wait_cancelled(1));
  const auto endings = gateway.records.wait_endings(1);
  EXPECT_EQ(endings[0].outcome, ledger::Outcome::cancelled);
  EXPECT_EQ(endings[0].output_tokens, 3);
  const Answer late = gateway.ask(resume(gateway, "Last-Event-ID: 3\r\n"));
  EXPECT_EQ(late.status, 410);
  EXPECT_THAT(late.body, HasSubstr(R"("code":"stream_gone")"));
  engine.go();
}

TEST(Resume, WhatNobodyReadsIsBounded) {
  std::promise<void> let_go;
  ScriptedWorker worker([&](WorkerConnection& c) {
    c.read_request();
    c.send(std::string(stream_head) + chunk("data: one\n\n"));
    let_go.get_future().wait();
    std::string much;
    for (int i = 0; i < 20'000; ++i) much += chunk("data: " + std::string(90, 'x') + "\n\n");
    c.send(much);
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.options.kept_streams.stream_bytes = std::size_t{256} << 10;
  gateway.dispatcher.cancelled_usage = WorkerUsage{};
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", stream_body, resumable));
  EXPECT_TRUE(client.read_until("data: one\n\n"));
  client.close();
  let_go.set_value();
  EXPECT_TRUE(gateway.dispatcher.wait_cancelled(1)) << "nobody could go on without a gap";
  EXPECT_EQ(gateway.records.wait_endings(1)[0].outcome, ledger::Outcome::cancelled);
  EXPECT_EQ(gateway.ask(resume(gateway, "Last-Event-ID: 1\r\n")).status, 410);
}

TEST(Resume, MoreThanIsKeptGoesThroughWithoutAGap) {
  constexpr int events = 40'000;
  ScriptedWorker worker([&](WorkerConnection& c) {
    c.read_request();
    c.send(stream_head);
    std::string much;
    for (int i = 0; i < events; ++i) much += chunk("data: " + std::string(490, 'x') + "\n\n");
    c.send(much + chunk("data: [DONE]\n\n") + "0\r\n\r\n");
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.options.kept_streams.stream_bytes = std::size_t{1} << 20;  // of 20 MB in all
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  const Answer answer = gateway.ask(post("/v1/chat/completions", stream_body, resumable));
  EXPECT_TRUE(answer.whole);
  std::vector<int> want(events + 1);
  std::iota(want.begin(), want.end(), 1);
  EXPECT_EQ(ids_of(answer.body), want);
  EXPECT_EQ(gateway.records.wait_endings(1)[0].outcome, ledger::Outcome::completed);
  EXPECT_EQ(gateway.ask(resume(gateway, "Last-Event-ID: 1\r\n")).status, 410);
  const Answer end = gateway.ask(resume(gateway, "Last-Event-ID: 40000\r\n"));
  EXPECT_THAT(ids_of(end.body), ElementsAre(40'001));
}

TEST(Resume, AFailureIsKeptAsTheEnd) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(std::string(stream_head) + chunk("data: one\n\n") + "0\r\n\r\n");
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  const Answer first = gateway.ask(post("/v1/chat/completions", stream_body, resumable));
  EXPECT_THAT(first.body, HasSubstr("stream_broken"));
  const Answer again = gateway.ask(resume(gateway, "Last-Event-ID: 1\r\n"));
  EXPECT_THAT(again.body, HasSubstr("id: 2\ndata: {\"error\""));
  EXPECT_THAT(again.body, Not(HasSubstr("data: one")));
}

TEST(Resume, AnErrorBeforeTheStreamHasItsStatus) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(with_length(400, "Content-Type: application/json\r\n", "{\"error\":\"no\"}"));
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  EXPECT_EQ(gateway.ask(post("/v1/chat/completions", stream_body, resumable)).status, 400);
  EXPECT_EQ(gateway.ask(resume(gateway)).status, 404);
  EXPECT_EQ(gateway.ask(post("/v1/chat/completions", chat_body, resumable)).status, 400)
      << "no stream";
}

}  // namespace
}  // namespace stoker::gateway
