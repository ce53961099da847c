// Requests whose answer is one body.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "base/text.h"
#include "test_gateway.h"

namespace stoker::gateway {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(Unary, AWarmRequestGoesThroughUnchangedAndLeavesOneRecord) {
  std::string seen;
  ScriptedWorker worker([&](WorkerConnection& c) {
    seen = c.read_request();
    c.send(with_length(200,
                       "Content-Type: application/json\r\n"
                       "X-Stoker-Usage: input=3,output=4,cached=1,device_ms=9\r\n",
                       R"({"ok":true})"));
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  const Answer answer = gateway.ask(
      post("/v1/chat/completions?x=1", chat_body, "X-Api-Key: secret\r\nX-Custom: 1\r\n"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, R"({"ok":true})");
  EXPECT_EQ(answer.field("x-stoker-start"), "warm");
  EXPECT_EQ(answer.field("x-stoker-usage"), "");
  EXPECT_EQ(answer.field("content-type"), "application/json");
  EXPECT_THAT(answer.field("server-timing"), StartsWith("queue;dur="));
  EXPECT_THAT(answer.field("server-timing"), HasSubstr("total;dur="));

  EXPECT_THAT(seen, StartsWith("POST /v1/chat/completions?x=1 HTTP/1.1\r\n"));
  EXPECT_THAT(seen, HasSubstr("X-Custom: 1\r\n"));
  EXPECT_THAT(seen, HasSubstr("X-Stoker-Request: " + answer.field("x-request-id")));
  EXPECT_THAT(seen, Not(HasSubstr("secret")));
  EXPECT_THAT(seen, ::testing::EndsWith(chat_body));

  const auto endings = gateway.records.wait_endings(1);
  ASSERT_EQ(endings.size(), 1U);
  ASSERT_EQ(gateway.records.admissions().size(), 1U);
  EXPECT_EQ(gateway.records.admissions()[0].route, "chat");
  const ledger::Usage& usage = endings[0];
  EXPECT_EQ(public_id(usage.request), answer.field("x-request-id"));
  EXPECT_EQ(usage.outcome, ledger::Outcome::completed);
  EXPECT_EQ(usage.status, 200);
  EXPECT_EQ(usage.instance, "chat/7");
  EXPECT_EQ(usage.input_tokens, 3);
  EXPECT_EQ(usage.output_tokens, 4);
  EXPECT_EQ(usage.cached_tokens, 1);
  EXPECT_TRUE(usage.usage_known);
  EXPECT_EQ(gateway.dispatcher.ended_requests().size(), 1U);
  EXPECT_TRUE(gateway.dispatcher.cancelled_requests().empty());
}

TEST(Unary, AnEnginesErrorPassesWithItsStatusAndBody) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(with_length(400, "Content-Type: application/json\r\n", R"({"error":{"message":"m"}})"));
    c.read_request();
    c.send(with_length(500, "", "broken"));
  });
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  const Answer refused = gateway.ask(post("/v1/chat/completions", chat_body));
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.body, R"({"error":{"message":"m"}})");
  // A stream that fails before its first token keeps its HTTP status.
  const Answer broken = gateway.ask(post("/v1/chat/completions", stream_body));
  EXPECT_EQ(broken.status, 500);
  EXPECT_EQ(broken.body, "broken");
  const auto endings = gateway.records.wait_endings(2);
  EXPECT_EQ(endings[0].outcome, ledger::Outcome::completed);
  EXPECT_EQ(endings[1].outcome, ledger::Outcome::failed);
  EXPECT_EQ(endings[1].reason, "engine_error");
}

TEST(Unary, WhatIsWrongIsRefusedBeforeAnybodyIsAsked) {
  TestGateway gateway;
  gateway.add("vision", RuntimeKind::onnx);
  gateway.start();
  struct Case {
    std::string request;
    int status;
    const char* text;
  };
  for (const Case& c : {
           Case{post("/v1/chat/completions", "{"), 400, "invalid_json"},
           Case{post("/v1/messages", "{}"), 400, R"({"type":"error","error":{)"},
           Case{post("/v2/models/vision/infer", "[]"), 400, R"({"error":"the body must)"},
           Case{post("/v1/chat/completions", R"({"model":"chatt"})"), 404, "did you mean 'chat'?"},
           Case{post("/v2/models/none/infer", "{}"), 404, "does not exist"},
           Case{post("/v1/chat/completions", R"({"model":"vision"})"), 404, "route_not_offered"},
           Case{post("/v1/unknown", "{}"), 404, "not_found"},
           Case{post("/%2e%2e/api/v1/ps", "{}"), 404, "not_found"},
           Case{get("/v1/chat/completions"), 405, "POST"},
           Case{"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                "text/plain\r\n"
                "Content-Length: 2\r\n\r\n{}",
                415, "application/json"},
           Case{"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                "2\r\n\r\n{}",
                415, "application/json"},
           Case{get("/v1/models", "Origin: https://evil.example\r\n"), 403, "foreign_origin"},
       }) {
    const Answer answer = gateway.ask(c.request);
    EXPECT_EQ(answer.status, c.status) << c.request;
    EXPECT_THAT(answer.body, HasSubstr(c.text)) << c.request;
  }
  EXPECT_EQ(gateway.ask(get("/v1/chat/completions")).field("allow"), "POST");
  EXPECT_TRUE(gateway.records.admissions().empty());
  EXPECT_EQ(gateway.dispatcher.last_request(), RequestId{});
}

TEST(Unary, ARejectionIsRecordedAndSaysWhenToComeBack) {
  TestGateway gateway;
  gateway.dispatcher.on_admit = [](const Arrival&) {
    return Rejection{RejectReason::queue_full, seconds(3), "full"};
  };
  gateway.start();
  const Answer answer = gateway.ask(post("/v1/chat/completions", chat_body));
  EXPECT_EQ(answer.status, 429);
  EXPECT_EQ(answer.field("retry-after"), "3");
  EXPECT_THAT(answer.body, HasSubstr("queue_full"));
  EXPECT_EQ(answer.field("x-stoker-start"), "");
  const auto endings = gateway.records.wait_endings(1);
  EXPECT_EQ(endings[0].outcome, ledger::Outcome::refused);
  EXPECT_EQ(endings[0].start, ledger::StartKind::none);
  EXPECT_EQ(endings[0].status, 429);
}

TEST(Unary, AQueuedRequestIsAnsweredOnceItIsDispatchedOrDropped) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(with_length(200, "", "late"));
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/completions", chat_body));
  ASSERT_TRUE(gateway.dispatcher.wait_admitted(1));
  auto target = std::make_shared<DispatchTarget>(*warm_target(worker.path()));
  target->timeline.ready = net::monotonic_now();
  gateway.dispatcher.dispatch(gateway.dispatcher.last_request(), target);
  const Answer answer = client.read_answer();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.field("x-stoker-start"), "cold");

  client.send(post("/v1/completions", chat_body));
  const auto sink = gateway.dispatcher.wait_admitted(2);
  ASSERT_TRUE(sink);
  sink->on_rejected({RejectReason::queue_timeout, seconds(1), "waited too long"});
  const Answer dropped = client.read_answer();
  EXPECT_EQ(dropped.status, 503);
  EXPECT_THAT(dropped.body, HasSubstr("queue_timeout"));
  EXPECT_EQ(gateway.records.wait_endings(2)[1].outcome, ledger::Outcome::expired);
}

TEST(Unary, ARequestThatNeverArrivedIsSentAgain) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(with_length(200, "", "second"));
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target("/nonexistent/worker.sock"));
  gateway.dispatcher.on_undelivered = [&](RequestId, const std::shared_ptr<DispatchSink>& sink) {
    auto other = std::make_shared<DispatchTarget>(*warm_target(worker.path()));
    other->instance = InstanceId{8};
    sink->on_dispatched(other);
  };
  gateway.start();
  const Answer answer = gateway.ask(post("/v1/chat/completions", chat_body));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "second");
  EXPECT_EQ(gateway.dispatcher.undelivered_count(), 1);
  EXPECT_EQ(gateway.records.wait_endings(1).size(), 1U);
}

TEST(Unary, AnInstanceThatBreaksOffIsNotAskedAgain) {
  std::atomic<int> requests = 0;
  ScriptedWorker worker([&](WorkerConnection& c) {
    if (!c.read_request().empty()) ++requests;
  });
  TestGateway gateway;
  gateway.options.requests.failed_usage_wait = ms(1);
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  const Answer answer = gateway.ask(post("/v1/chat/completions", chat_body));
  EXPECT_EQ(answer.status, 502);
  EXPECT_THAT(answer.body, HasSubstr("instance_lost"));
  EXPECT_EQ(gateway.dispatcher.undelivered_count(), 0);
  EXPECT_EQ(gateway.records.wait_endings(1)[0].outcome, ledger::Outcome::failed);
  gateway.server->stop();
  EXPECT_EQ(requests, 1);
}

TEST(Unary, ALostInstanceIsReportedAtOnce) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", chat_body));
  const auto sink = gateway.dispatcher.wait_admitted(1);
  ASSERT_TRUE(sink);
  sink->on_instance_lost("killed by signal 9");
  const Answer answer = client.read_answer();
  EXPECT_EQ(answer.status, 502);
  EXPECT_THAT(answer.body, HasSubstr("signal 9"));
}

TEST(Unary, ARunThatTakesTooLongIsStoppedAndSaysSo) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    EXPECT_TRUE(c.wait_closed());
  });
  TestGateway gateway;
  gateway.deployments[0].request_timeout = ms(20);
  gateway.dispatcher.cancelled_usage = WorkerUsage{5, 6, 0, 7, true};
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  const Answer answer = gateway.ask(post("/v1/chat/completions", chat_body));
  EXPECT_EQ(answer.status, 504);
  EXPECT_THAT(answer.body, HasSubstr("request_timeout"));
  const auto endings = gateway.records.wait_endings(1);
  EXPECT_EQ(endings[0].outcome, ledger::Outcome::expired);
  EXPECT_EQ(endings[0].output_tokens, 6);
  ASSERT_EQ(gateway.dispatcher.cancelled_requests().size(), 1U);
  EXPECT_EQ(gateway.dispatcher.cancelled_requests()[0].second, EndState::expired);
}

TEST(Unary, WithoutAJournalNothingIsRunAndNothingIsCompleted) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(with_length(200, "", "free of charge"));
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.records.admission_fails = true;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  const Answer refused = gateway.ask(post("/v1/chat/completions", chat_body));
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.body, HasSubstr("storage"));
  EXPECT_EQ(gateway.dispatcher.last_request(), RequestId{});

  gateway.records.admission_fails = false;
  gateway.records.ending_gives = Recorded::failed;
  const Answer unwritten = gateway.ask(post("/v1/chat/completions", chat_body));
  EXPECT_EQ(unwritten.status, 503);
  EXPECT_THAT(unwritten.body, Not(HasSubstr("free of charge")));
}

TEST(Unary, NothingOfTheAnswerGoesOutBeforeItsRecordIsDurable) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(with_length(200, "", "durable"));
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.records.ending_gives = Recorded::pending;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", chat_body));
  ASSERT_EQ(gateway.records.wait_endings(1).size(), 1U);
  // The slot is free already; only the client waits.
  EXPECT_EQ(gateway.dispatcher.ended_requests().size(), 1U);
  gateway.records.make_durable(true);
  EXPECT_EQ(client.read_answer().body, "durable");
}

TEST(Unary, ALongAnswerGoesOnAsItComesAndIsWhole) {
  std::string body;
  while (body.size() < (std::size_t{9} << 20)) body += std::to_string(body.size()) + "\n";
  ScriptedWorker worker([&](WorkerConnection& c) {
    c.read_request();
    c.send(with_length(200, "Content-Type: application/octet-stream\r\n", body));
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  const Answer answer = gateway.ask(get("/invoke/chat/file"));
  EXPECT_TRUE(answer.whole);
  EXPECT_EQ(answer.body.size(), body.size());
  EXPECT_TRUE(answer.body == body);
}

TEST(Unary, ALongAnswerThatBreaksOffIsNotWhole) {
  const std::string half(std::size_t{3} << 20, 'x');
  ScriptedWorker worker([&](WorkerConnection& c) {
    c.read_request();
    c.send("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + half);
  });
  TestGateway gateway;
  gateway.options.requests.failed_usage_wait = ms(1);
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  EXPECT_FALSE(gateway.ask(get("/invoke/chat/file")).whole);
  EXPECT_EQ(gateway.records.wait_endings(1)[0].outcome, ledger::Outcome::failed);
}

TEST(Unary, AForeignEnginesUsageIsReadFromItsAnswer) {
  std::string seen;
  ScriptedWorker worker([&](WorkerConnection& c) {
    seen = c.read_request();
    c.send(with_length(200, "Content-Type: application/json\r\n",
                       R"({"usage":{"prompt_tokens":11,"completion_tokens":12}})"));
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.add("vllm", RuntimeKind::command, UsageMode::inject).engine_model = "org/served";
  gateway.dispatch_all_to(warm_target(worker.path(), false));
  gateway.start();
  EXPECT_EQ(gateway.ask(post("/v1/chat/completions", R"({"model": "vllm", "n": 1})")).status, 200);
  EXPECT_THAT(seen, ::testing::EndsWith(R"({"model":"org/served","n":1})"));
  const auto endings = gateway.records.wait_endings(1);
  EXPECT_EQ(endings[0].input_tokens, 11);
  EXPECT_EQ(endings[0].output_tokens, 12);
  EXPECT_TRUE(endings[0].usage_known);
}

TEST(Unary, EachTenantHasASaltOfItsOwn) {
  std::vector<std::string> seen;
  ScriptedWorker worker([&](WorkerConnection& c) {
    seen.push_back(c.read_request());
    c.send(with_length(200, "Content-Type: application/json\r\nConnection: close\r\n", "{}"));
  });
  TestGateway gateway;
  gateway.add("vllm", RuntimeKind::command, UsageMode::none).salts_prompts = true;
  gateway.dispatch_all_to(warm_target(worker.path(), false));
  gateway.start();
  const std::string salt = R"("cache_salt":"stoker-)";
  const struct {
    const char* target;
    const char* body;
    std::string sent;
  } rows[] = {
      {"/v1/chat/completions", R"({"model":"vllm","messages":[]})", salt},
      {"/v1/messages", R"({"model":"vllm","max_tokens":1,"messages":[]})", salt},
      {"/invoke/vllm/v1/completions", R"({"model":"x","cache_salt":"stoker-1:"})", salt},
      {"/invoke/vllm/any", "no JSON", "\r\n\r\nno JSON"},
      {"/invoke/vllm/any", R"(["a list"])", "\r\n\r\n[\"a list\"]"},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(gateway.ask(post(row.target, row.body)).status, 200) << row.target;
    EXPECT_THAT(seen.back(), ::testing::HasSubstr(row.sent)) << row.target;
  }
}

}  // namespace
}  // namespace stoker::gateway
