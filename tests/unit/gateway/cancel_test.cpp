// Clients that leave, and servers that stop, at every step of a request.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "test_gateway.h"

namespace stoker::gateway {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Cancel, AQueuedRequestEndsAtOnce) {
  TestGateway gateway;
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", chat_body));
  ASSERT_TRUE(gateway.dispatcher.wait_admitted(1));
  client.close();
  const auto endings = gateway.records.wait_endings(1);
  ASSERT_EQ(endings.size(), 1U);
  EXPECT_EQ(endings[0].outcome, ledger::Outcome::cancelled);
  EXPECT_EQ(endings[0].status, 0);
  ASSERT_EQ(gateway.dispatcher.cancelled_requests().size(), 1U);
  EXPECT_EQ(gateway.dispatcher.cancelled_requests()[0].second, EndState::cancelled);
}

// M3: the record holds what the worker says was used, however far the answer had come.
TEST(Cancel, ARunningRequestStopsItsEngineAndIsChargedWhatItUsed) {
  struct Case {
    const char* what;
    const char* body;
    std::string sent;  // by the worker, before the client leaves
    const char* seen;  // by the client
    bool reset;
  };
  for (const Case& c : {
           Case{"prefill of a unary request", chat_body, "", "", false},
           Case{"prefill of a stream", stream_body, "", "", true},
           Case{"head of a stream, no token yet", stream_body, stream_head, "", false},
           Case{"mid-stream", stream_body, std::string(stream_head) + chunk("data: one\n\n"),
                "data: one\n\n", false},
           Case{"mid-stream, by reset", stream_body,
                std::string(stream_head) + chunk("data: one\n\n"), "data: one\n\n", true},
           Case{"half a unary answer", chat_body,
                "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "", false},
       }) {
    std::atomic<bool> was_closed = false;
    std::promise<void> arrived;
    ScriptedWorker worker([&](WorkerConnection& connection) {
      connection.read_request();
      connection.send(c.sent);
      arrived.set_value();
      was_closed = connection.wait_closed();
    });
    TestGateway gateway;
    gateway.dispatcher.cancelled_usage = WorkerUsage{5, 6, 1, 7, true};
    gateway.dispatch_all_to(warm_target(worker.path()));
    gateway.start();
    TestClient client = gateway.connect();
    client.send(post("/v1/chat/completions", c.body));
    arrived.get_future().wait();
    if (*c.seen != '\0') {
      ASSERT_TRUE(client.read_until(c.seen)) << c.what;
    }
    if (c.reset) {
      client.reset();
    } else {
      client.close();
    }
    const auto endings = gateway.records.wait_endings(1);
    ASSERT_EQ(endings.size(), 1U) << c.what;
    EXPECT_EQ(endings[0].outcome, ledger::Outcome::cancelled) << c.what;
    EXPECT_EQ(endings[0].input_tokens, 5) << c.what;
    EXPECT_EQ(endings[0].output_tokens, 6) << c.what;
    EXPECT_TRUE(endings[0].usage_known) << c.what;
    EXPECT_EQ(gateway.dispatcher.ended_requests().size(), 1U) << c.what;
    gateway.server->stop();
    EXPECT_EQ(gateway.records.wait_endings(1).size(), 1U) << c.what;
    // The worker's thread has seen the end before the scripted worker is gone.
    while (!was_closed) std::this_thread::yield();
  }
}

TEST(Cancel, AWorkerThatDoesNotSayWhatWasUsedIsNotWaitedForLong) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.options.requests.cancelled_usage_wait = ms(5);
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", chat_body));
  ASSERT_TRUE(gateway.dispatcher.wait_admitted(1));
  client.close();
  const auto endings = gateway.records.wait_endings(1);
  ASSERT_EQ(endings.size(), 1U);
  EXPECT_FALSE(endings[0].usage_known);
}

TEST(Cancel, AForeignEngineIsChargedWhatWentOn) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(std::string(stream_head) + chunk("data: 1\n\ndata: 2\n\ndata: 3\n\n"));
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.dispatcher.cancelled_usage = WorkerUsage{};  // the wrapper cannot say
  gateway.add("vllm", RuntimeKind::command, UsageMode::none);
  gateway.dispatch_all_to(warm_target(worker.path(), false));
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", R"({"model":"vllm","stream":true})"));
  ASSERT_TRUE(client.read_until("data: 3\n\n"));
  client.close();
  const auto endings = gateway.records.wait_endings(1);
  EXPECT_EQ(endings[0].output_tokens, 3);
  EXPECT_FALSE(endings[0].usage_known);
}

// The dispatch and the client's leaving cross: cancel() says that it runs, though the loop has not
// seen the dispatch yet. The engine must not be asked, there is one record, and the slot is given
// back, or the instance would count a request for ever that nobody runs.
TEST(Cancel, ADispatchThatComesAfterTheClientLeftRunsNothing) {
  std::atomic<int> requests = 0;
  ScriptedWorker worker([&](WorkerConnection& c) {
    if (!c.read_request().empty()) ++requests;
  });
  TestGateway gateway;
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", chat_body));
  const auto sink = gateway.dispatcher.wait_admitted(1);
  ASSERT_TRUE(sink);
  gateway.dispatcher.decide_dispatch();
  client.close();
  ASSERT_TRUE(gateway.dispatcher.wait_cancelled(1));
  sink->on_dispatched(warm_target(worker.path()));
  sink->on_worker_ended({});
  EXPECT_EQ(gateway.records.wait_endings(1).size(), 1U);
  EXPECT_EQ(gateway.dispatcher.ended_requests().size(), 1U);
  gateway.server->stop();
  EXPECT_EQ(requests, 0);
  EXPECT_EQ(gateway.records.wait_endings(1).size(), 1U);
}

TEST(Cancel, LateAndRepeatedNewsOfAnEndedRequestChangesNothing) {
  ScriptedWorker worker([](WorkerConnection& c) {
    while (!c.read_request().empty()) c.send(with_length(200, "", "ok"));
  });
  TestGateway gateway;
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", chat_body));
  const auto sink = gateway.dispatcher.wait_admitted(1);
  ASSERT_TRUE(sink);
  const auto target = warm_target(worker.path());
  sink->on_dispatched(target);
  sink->on_dispatched(target);
  EXPECT_EQ(client.read_answer().body, "ok");
  sink->on_worker_ended({1, 1, 1, 1, true});
  sink->on_instance_lost("late");
  sink->on_rejected({RejectReason::draining, seconds(1), "late"});
  client.send(post("/v1/chat/completions", R"({"model":"none"})"));  // the loop has heard it all
  EXPECT_EQ(client.read_answer().status, 404);
  EXPECT_EQ(gateway.records.wait_endings(1).size(), 1U);
  EXPECT_EQ(gateway.dispatcher.ended_requests().size(), 1U);
}

TEST(Stop, EndsWhatRunsWithAnErrorAndARecord) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(std::string(stream_head) + chunk("data: one\n\n"));
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.start();
  TestClient queued = gateway.connect();
  queued.send(post("/v1/chat/completions", chat_body));
  ASSERT_TRUE(gateway.dispatcher.wait_admitted(1));
  gateway.dispatcher.on_admit = [&](const Arrival&) { return warm_target(worker.path()); };
  TestClient running = gateway.connect();
  running.send(post("/v1/chat/completions", stream_body));
  ASSERT_TRUE(running.read_until("data: one\n\n"));
  EXPECT_FALSE(gateway.server->drain(ms(10)));
  gateway.server->stop();
  EXPECT_EQ(gateway.records.wait_endings(2).size(), 2U);
  EXPECT_EQ(queued.read_answer().status, 503);
  const Answer cut = running.read_answer();
  EXPECT_THAT(cut.body, HasSubstr("draining"));
  EXPECT_THAT(cut.body, Not(HasSubstr("[DONE]")));
}

TEST(Stop, DrainingLetsARunningRequestFinish) {
  std::mutex gate;
  gate.lock();
  ScriptedWorker worker([&](WorkerConnection& c) {
    c.read_request();
    const std::lock_guard wait(gate);
    c.send(with_length(200, "", "finished"));
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", chat_body));
  ASSERT_TRUE(gateway.dispatcher.wait_admitted(1));
  EXPECT_FALSE(gateway.server->drain(ms(1)));
  gate.unlock();
  EXPECT_TRUE(gateway.server->drain(seconds(20)));
  EXPECT_EQ(client.read_answer().body, "finished");
}

}  // namespace
}  // namespace stoker::gateway
