// Requests whose answer is a stream of events.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test_gateway.h"

namespace stoker::gateway {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(Stream, EndsWithItsReceiptAndItsTerminalEvent) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(std::string(stream_head) + chunk("data: {\"a\":1}\n\n") + chunk("data: {\"a\":2}\n\n") +
           chunk(": stoker-usage input=3,output=2,cached=0,device_ms=5\n\ndata: [DONE]\n\n") +
           "0\r\n\r\n");
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  const Answer answer = gateway.ask(post("/v1/chat/completions", stream_body));
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.whole);
  EXPECT_THAT(answer.field("content-type"), StartsWith("text/event-stream"));
  EXPECT_EQ(answer.field("x-stoker-start"), "warm");
  EXPECT_THAT(answer.body,
              StartsWith("data: {\"a\":1}\n\ndata: {\"a\":2}\n\n: stoker {\"request\":\"req-"));
  EXPECT_THAT(answer.body, EndsWith("}\n\ndata: [DONE]\n\n"));
  EXPECT_THAT(answer.body, HasSubstr(R"("output_tokens":2)"));
  EXPECT_THAT(answer.body, Not(HasSubstr("stoker-usage")));
  const auto endings = gateway.records.wait_endings(1);
  EXPECT_EQ(endings[0].output_tokens, 2);
  EXPECT_TRUE(gateway.records.admissions()[0].stream);
}

TEST(Stream, TokensAreNotHeldBack) {
  std::mutex gate;
  gate.lock();
  ScriptedWorker worker([&](WorkerConnection& c) {
    c.read_request();
    c.send(std::string(stream_head) + chunk("data: one\n\n"));
    const std::lock_guard wait(gate);
    c.send(chunk("data: two\n\ndata: [DONE]\n\n") + "0\r\n\r\n");
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", stream_body));
  EXPECT_TRUE(client.read_until("data: one\n\n"));
  gate.unlock();
  EXPECT_THAT(client.read_answer().body, EndsWith("data: [DONE]\n\n"));
}

TEST(Stream, TellsOfItsFirstTokenWhileItRunsWhereThatIsAskedFor) {
  std::mutex gate;
  gate.lock();
  ScriptedWorker worker([&](WorkerConnection& c) {
    c.read_request();
    c.send(std::string(stream_head) + chunk("data: one\n\n") + chunk("data: two\n\n"));
    const std::lock_guard wait(gate);
    c.send(chunk("data: [DONE]\n\n") + "0\r\n\r\n");
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.deployments.front().reports_first_token = true;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", stream_body));
  EXPECT_TRUE(client.read_until("data: two\n\n"));
  const auto told = gateway.dispatcher.first_tokens();
  ASSERT_EQ(told.size(), 1U) << "once, and before the end";
  EXPECT_EQ(told[0].first, gateway.dispatcher.last_request());
  EXPECT_GT(told[0].second, Duration{});
  EXPECT_TRUE(gateway.dispatcher.ended_requests().empty());
  gate.unlock();
  client.read_answer();
}

TEST(Stream, TellsNobodyOfFirstTokensElsewhere) {
  for (const bool asked : {false, true}) {
    ScriptedWorker worker([&](WorkerConnection& c) {
      c.read_request();
      c.send(asked
                 ? with_length(200, "Content-Type: application/json\r\n", "{}")
                 : std::string(stream_head) + chunk("data: one\n\ndata: [DONE]\n\n") + "0\r\n\r\n");
      c.wait_closed();
    });
    TestGateway gateway;
    gateway.deployments.front().reports_first_token = asked;
    gateway.dispatch_all_to(warm_target(worker.path()));
    gateway.start();
    EXPECT_EQ(gateway.ask(post("/v1/chat/completions", asked ? chat_body : stream_body)).status,
              200);
    EXPECT_TRUE(gateway.dispatcher.first_tokens().empty()) << "asked for: " << asked;
  }
}

TEST(Stream, ALongWaitBeginsWithCommentsAndEndsLateFailuresAsEvents) {
  TestGateway gateway;
  gateway.options.requests.stream_head_hold = ms(5);
  gateway.options.requests.keep_alive_interval = ms(5);
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/messages", stream_body));
  EXPECT_TRUE(client.read_until(": keep-alive\n\n: keep-alive\n\n"));
  gateway.dispatcher.wait_admitted(1)->on_rejected(
      {RejectReason::load_failed, seconds(1), "the model cannot be loaded"});
  const Answer answer = client.read_answer();
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.whole);
  EXPECT_THAT(answer.body, HasSubstr("event: error\ndata: {\"type\":\"error\""));
  EXPECT_THAT(answer.body, HasSubstr("the model cannot be loaded"));
}

TEST(Stream, AnEngineThatRefusesLateBecomesAnEvent) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(with_length(400, "Content-Type: application/json\r\n",
                       R"({"error":{"message":"prompt too long"}})"));
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.options.requests.stream_head_hold = ms(1);
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", stream_body));
  EXPECT_TRUE(client.read_until(": keep-alive\n\n"));
  ASSERT_TRUE(gateway.dispatcher.wait_admitted(1));
  gateway.dispatcher.dispatch(gateway.dispatcher.last_request(), warm_target(worker.path()));
  const Answer answer = client.read_answer();
  EXPECT_THAT(answer.body, HasSubstr("data: {\"error\":{"));
  EXPECT_THAT(answer.body, HasSubstr("prompt too long"));
  EXPECT_THAT(answer.body, Not(HasSubstr("[DONE]")));
}

// W2, G6: whatever way a worker dies, the client gets an error event and no terminal event.
TEST(Stream, ABrokenStreamEndsWithAnErrorEvent) {
  struct Case {
    const char* what;
    std::string sent;
    bool reset;
  };
  for (const Case& c : {
           Case{"reset after a token", std::string(stream_head) + chunk("data: one\n\n"), true},
           Case{"closed inside an event",
                std::string(stream_head) + chunk("data: one\n\ndata: {\"ha"), false},
           Case{"ended without its terminal event",
                std::string(stream_head) + chunk("data: one\n\n") + "0\r\n\r\n", false},
       }) {
    ScriptedWorker worker([&](WorkerConnection& connection) {
      connection.read_request();
      connection.send(c.sent);
      if (c.reset) connection.reset();
    });
    TestGateway gateway;
    gateway.options.requests.failed_usage_wait = ms(1);
    gateway.dispatch_all_to(warm_target(worker.path()));
    gateway.start();
    const Answer answer = gateway.ask(post("/v1/chat/completions", stream_body));
    EXPECT_EQ(answer.status, c.reset ? answer.status : 200) << c.what;
    EXPECT_THAT(answer.body, HasSubstr("{\"error\":{")) << c.what;
    EXPECT_THAT(answer.body, Not(HasSubstr("[DONE]"))) << c.what;
    EXPECT_THAT(answer.body, Not(HasSubstr("{\"ha"))) << c.what;
    EXPECT_EQ(gateway.records.wait_endings(1)[0].outcome, ledger::Outcome::failed) << c.what;
  }
}

TEST(Stream, ForeignUsageIsAskedForCountedAndHidden) {
  std::string seen;
  ScriptedWorker worker([&](WorkerConnection& c) {
    seen = c.read_request();
    c.send(
        std::string(stream_head) + chunk("data: {\"choices\":[{}]}\n\n") +
        chunk(
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":1}}\n\n") +
        chunk("data: [DONE]\n\n") + "0\r\n\r\n");
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.add("vllm", RuntimeKind::command, UsageMode::inject);
  gateway.dispatch_all_to(warm_target(worker.path(), false));
  gateway.start();
  const Answer answer =
      gateway.ask(post("/v1/chat/completions", R"({"model":"vllm","stream":true})"));
  EXPECT_THAT(seen, HasSubstr(R"("stream_options":{"include_usage":true})"));
  EXPECT_THAT(answer.body, Not(HasSubstr("prompt_tokens")));
  EXPECT_THAT(answer.body, EndsWith("data: [DONE]\n\n"));
  const auto endings = gateway.records.wait_endings(1);
  EXPECT_EQ(endings[0].input_tokens, 4);
  EXPECT_TRUE(endings[0].usage_known);
}

TEST(Stream, TheTerminalEventWaitsForTheRecord) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(std::string(stream_head) + chunk("data: one\n\ndata: [DONE]\n\n") + "0\r\n\r\n");
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.records.ending_gives = Recorded::pending;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", stream_body));
  EXPECT_TRUE(client.read_until("data: one\n\n"));
  ASSERT_EQ(gateway.records.wait_endings(1).size(), 1U);
  gateway.records.make_durable(false);
  const Answer answer = client.read_answer();
  EXPECT_THAT(answer.body, HasSubstr("\"storage\""));
  EXPECT_THAT(answer.body, Not(HasSubstr("[DONE]")));
}

TEST(Stream, APassThroughStreamGetsItsReceiptLast) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(std::string(stream_head) + chunk("event: tick\ndata: 1\n\n") + "0\r\n\r\n");
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  const Answer answer = gateway.ask(get("/invoke/chat/ticks"));
  EXPECT_TRUE(answer.whole);
  EXPECT_THAT(answer.body, StartsWith("event: tick\ndata: 1\n\n: stoker {"));
}

TEST(Stream, ASlowReaderSlowsItsEngineAndLosesNothing) {
  constexpr int events = 4000;
  const std::string padding(4096, 'x');
  ScriptedWorker worker([&](WorkerConnection& c) {
    c.read_request();
    c.send(stream_head);
    for (int i = 0; i < events; ++i) c.send(chunk("data: " + padding + "\n\n"));
    c.send(chunk("data: [DONE]\n\n") + "0\r\n\r\n");
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", stream_body));
  ASSERT_TRUE(client.read_until("data: x"));
  const Answer answer = client.read_answer();
  EXPECT_THAT(answer.body.substr(answer.body.size() - 20), EndsWith("data: [DONE]\n\n"));
  EXPECT_GE(answer.body.size(), std::size_t{events} * 4096);
}

}  // namespace
}  // namespace stoker::gateway
