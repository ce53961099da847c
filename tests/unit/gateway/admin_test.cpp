// Routes that the gateway answers itself, keys, and the server's own life.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test_gateway.h"

namespace stoker::gateway {
namespace {

using ::testing::HasSubstr;

TEST(Admin, AnswersItsQueries) {
  TestGateway gateway;
  gateway.add("llm", RuntimeKind::llama_cpp);
  gateway.start();
  struct Case {
    std::string request;
    int status;
    const char* text;
  };
  for (const Case& c : {
           Case{get("/api/v1/ps"), 200, R"({"instances":[]})"},
           Case{get("/api/v1/events?limit=7"), 200, R"({"limit":7})"},
           Case{get("/api/v1/decisions?since=3"), 200, R"({"since":3})"},
           Case{get("/api/v1/logs/chat/3?lines=5"), 200, "chat/3 5\n"},
           Case{get("/api/v1/requests?limit=x"), 400, "whole number"},
           Case{get("/api/v1/requests"), 200, R"({"limit":50})"},
           Case{get("/api/v1/requests/req-000000000000002a"), 200, R"({"request":42})"},
           Case{get("/api/v1/requests/other"), 404, "not the id of a request"},
           Case{get("/api/v1/usage?by=tenant"), 200, R"({"by":"tenant"})"},
           Case{post("/api/v1/warm/chat", ""), 202, "{}"},
           Case{post("/api/v1/warm/other", ""), 404, "no such deployment"},
           Case{post("/api/v1/stop/chat/1", ""), 202, "{}"},
           Case{get("/api/v1/warm/chat"), 405, "POST"},
           Case{get("/v1/models"), 200, R"("aliases":["org/chat"])"},
           Case{get("/v1/models/org/chat"), 200, R"("id":"chat")"},
           Case{get("/v1/models/none"), 404, "model_not_found"},
           Case{get("/v2"), 200, R"("name":"stoker")"},
           Case{get("/v2/health/live"), 200, R"({"live":true})"},
           Case{get("/v2/health/ready"), 200, R"({"ready":true})"},
           Case{get("/v2/models/chat/ready"), 200, R"("ready":true)"},
           Case{get("/v2/models/llm"), 404, "route_not_offered"},
           Case{get("/healthz"), 200, "ok"},
           Case{get("/readyz"), 200, "ready"},
           Case{get("/metrics"), 200, "stoker_requests_total"},
       }) {
    const Answer answer = gateway.ask(c.request);
    EXPECT_EQ(answer.status, c.status) << c.request;
    EXPECT_THAT(answer.body, HasSubstr(c.text)) << c.request;
    EXPECT_THAT(answer.field("x-request-id"), ::testing::StartsWith("req-")) << c.request;
  }
  gateway.admin.is_ready = false;
  gateway.admin.serves = false;
  EXPECT_EQ(gateway.ask(get("/readyz")).status, 503);
  EXPECT_EQ(gateway.ask(get("/healthz")).status, 200);
  EXPECT_EQ(gateway.ask(get("/v2/models/chat/ready")).status, 503);
}

TEST(Admin, FollowsUntilTheEnd) {
  TestGateway gateway;
  gateway.start();
  TestClient events = gateway.connect();
  events.send(get("/api/v1/events?follow"));
  ASSERT_TRUE(events.read_until("data: {\"event\":\"one\"}\n\n"));
  gateway.admin.follower()->on_line(R"({"event":"two"})");
  ASSERT_TRUE(events.read_until("data: {\"event\":\"two\"}\n\n"));
  gateway.admin.follower()->on_closed();
  EXPECT_TRUE(events.read_answer().whole);

  const Answer log = gateway.ask(get("/api/v1/logs/chat/3?follow=1"));
  EXPECT_EQ(log.body, "a line\n");
  EXPECT_TRUE(log.whole);
}

TEST(Admin, DrainingEndsWhatIsFollowed) {
  TestGateway gateway;
  gateway.start();
  TestClient events = gateway.connect();
  events.send(get("/api/v1/events?follow"));
  ASSERT_TRUE(events.read_until("one"));
  EXPECT_TRUE(gateway.server->drain(seconds(20)));
  EXPECT_TRUE(events.read_answer().whole);
}

TEST(Admin, WhileItDrainsTheServerAnswersAndSaysSo) {
  TestGateway gateway;
  gateway.start();
  ASSERT_TRUE(gateway.server->drain(seconds(20)));
  const Answer ready = gateway.ask(get("/readyz"));
  EXPECT_EQ(ready.status, 503);
  EXPECT_THAT(ready.body, HasSubstr("draining"));
  EXPECT_EQ(ready.field("connection"), "close");
  EXPECT_EQ(gateway.ask(get("/healthz")).status, 200);
  EXPECT_EQ(gateway.ask(get("/api/v1/ps")).status, 200);
  EXPECT_EQ(gateway.ask(post("/api/v1/stop/chat", "")).status, 202);
  for (const std::string& request :
       {get("/api/v1/events?follow"), get("/api/v1/logs/chat?follow=1"),
        post("/api/v1/warm/chat", "")}) {
    const Answer answer = gateway.ask(request);
    EXPECT_EQ(answer.status, 503) << request;
    EXPECT_THAT(answer.body, HasSubstr(R"("code":"draining")")) << request;
    EXPECT_EQ(answer.field("retry-after"), "1") << request;
  }
  gateway.dispatcher.on_admit = [](const Arrival&) {
    return Rejection{RejectReason::draining, seconds(1), "the server is shutting down"};
  };
  const Answer refused = gateway.ask(post("/v1/chat/completions", chat_body));
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.body, HasSubstr(R"("code":"draining")"));
  EXPECT_EQ(refused.field("retry-after"), "1");
  EXPECT_EQ(refused.field("connection"), "close");
}

TEST(Keys, OpenOnlyWhatTheyMayAndAreSpokenInTheDialectOfTheRoute) {
  TestGateway gateway;
  gateway.options.auth.keys_required = true;
  gateway.keys = test_ring({test_key(1, "sk-test")});
  gateway.start();
  EXPECT_EQ(gateway.ask(get("/healthz")).status, 200);
  EXPECT_EQ(gateway.ask(get("/readyz")).status, 200);
  for (const RouteSpec& spec : all_routes()) {
    if (spec.scope == Scope::open) continue;
    std::string path(spec.pattern);
    for (const std::string_view hole : {"{}", "{*}"}) {
      if (const std::size_t at = path.find(hole); at != path.npos)
        path.replace(at, hole.size(), "x");
    }
    const Answer answer = gateway.ask(get(path));
    EXPECT_EQ(answer.status, 401) << path;
    if (spec.dialect == Dialect::anthropic) {
      EXPECT_THAT(answer.body, HasSubstr(R"({"type":"error")")) << path;
    }
  }
  EXPECT_EQ(gateway.ask(get("/no/such/route")).status, 401);
  EXPECT_EQ(gateway.ask(get("/v1/models", "Authorization: Bearer sk-wrong\r\n")).status, 401);
  EXPECT_EQ(gateway.ask(get("/v1/models", "Authorization: Bearer sk-test\r\n")).status, 200);
  EXPECT_EQ(gateway.ask(get("/api/v1/ps", "X-Api-Key: sk-test\r\n")).status, 200);
}

TEST(Server, APortInUseIsAnErrorBeforeAnyThreadStarts) {
  TestGateway first;
  first.start();
  TestGateway second;
  second.options.threads = 2;
  second.options.listen = *net::parse_listen_address(first.server->address());
  const auto made = GatewayServer::create(
      second.options,
      {second.dispatcher, second.records, second.admin, second.jobs, second.registry, second.log},
      *Directory::create({}), second.keys);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::in_use);
}

TEST(Server, SeveralLoopsServeOnePortAndADirectoryIsReplaced) {
  ScriptedWorker worker([](WorkerConnection& c) {
    while (!c.read_request().empty()) c.send(with_length(200, "", "ok"));
  });
  TestGateway gateway;
  gateway.options.threads = 3;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(gateway.ask(post("/v1/chat/completions", chat_body)).body, "ok");
  }
  EXPECT_EQ(gateway.records.wait_endings(30).size(), 30U);
  gateway.server->replace_directory(*Directory::create({}));
  EXPECT_EQ(gateway.ask(post("/v1/chat/completions", chat_body)).status, 404);
}

TEST(Metrics, CountWhatEndedAndReturnToZero) {
  ScriptedWorker worker([](WorkerConnection& c) {
    while (!c.read_request().empty()) {
      c.send(
          with_length(200, "X-Stoker-Usage: input=3,output=4,cached=0,device_ms=1\r\n", "12345"));
    }
  });
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  EXPECT_EQ(gateway.ask(post("/v1/chat/completions", chat_body)).status, 200);
  const std::string text = gateway.ask(get("/metrics")).body;
  for (const char* line : {
           R"(stoker_requests_total{deployment="chat",status="2xx"} 1)",
           R"(stoker_requests_in_flight{deployment="chat"} 0)",
           R"(stoker_tokens_total{deployment="chat",kind="output"} 4)",
           R"(stoker_body_bytes_total{deployment="chat",direction="answer"} 5)",
           R"(stoker_request_duration_seconds_count{deployment="chat"} 1)",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

}  // namespace
}  // namespace stoker::gateway
