// Requests that wait: their deadlines, and what those who ask are told meanwhile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "test_gateway.h"

namespace stoker::gateway {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* asks = "X-Stoker-Progress: true\r\n";

TEST(Deadline, IsTheLatestDispatchAndNoLaterThanTheQueueTimeout) {
  Arrival seen;
  Instant before;
  TestGateway gateway;
  gateway.deployments.front().queue_timeout = minutes(2);
  gateway.dispatcher.on_admit = [&](const Arrival& arrival) -> Admission {
    seen = arrival;
    return Rejection{RejectReason::queue_full, seconds(1), "full"};
  };
  gateway.start();
  const auto ask = [&](std::string_view fields) {
    before = net::monotonic_now();
    EXPECT_EQ(gateway.ask(post("/v1/chat/completions", chat_body, fields)).status, 429);
    return seen.deadline;
  };
  EXPECT_EQ(ask(""), Instant{}) << "the deployment says";
  const Instant own = ask("X-Stoker-Deadline: 30s\r\n");
  EXPECT_GE(own, before + seconds(30));
  EXPECT_LE(own, net::monotonic_now() + seconds(30));
  const Instant bounded = ask("Cancel-After: 1h\r\n");
  EXPECT_GE(bounded, before + minutes(2));
  EXPECT_LE(bounded, net::monotonic_now() + minutes(2));
}

TEST(Deadline, OneThatPassesInTheQueueIsNotTheServersFault) {
  std::atomic<std::int64_t> deadline_ns = 0;
  TestGateway gateway;
  gateway.dispatcher.on_admit = [&](const Arrival& arrival) {
    deadline_ns = arrival.deadline.ns;
    return Queued{};
  };
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", chat_body, "X-Stoker-Deadline: 200ms\r\n"));
  const auto sink = gateway.dispatcher.wait_admitted(1);
  const Duration left{deadline_ns - net::monotonic_now().ns};
  std::this_thread::sleep_for(std::chrono::nanoseconds(left.ns));
  sink->on_rejected({RejectReason::queue_timeout, seconds(1), "no instance became free"});
  const Answer answer = client.read_answer();
  EXPECT_EQ(answer.status, 504);
  EXPECT_EQ(answer.field("retry-after"), "");
  EXPECT_THAT(answer.body, HasSubstr(R"("code":"deadline_exceeded")"));
  const auto endings = gateway.records.wait_endings(1);
  EXPECT_EQ(endings[0].outcome, ledger::Outcome::expired);
  EXPECT_EQ(endings[0].reason, "deadline_exceeded");
  EXPECT_EQ(endings[0].status, 504);
}

TEST(Deadline, TheQueueTimeoutIsToldAsBeforeWhileItIsNear) {
  TestGateway gateway;
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", chat_body, "X-Stoker-Deadline: 1h\r\n"));
  gateway.dispatcher.wait_admitted(1)->on_rejected(
      {RejectReason::queue_timeout, seconds(1), "no instance became free"});
  const Answer answer = client.read_answer();
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.body, HasSubstr(R"("code":"queue_timeout")"));
}

TEST(Deadline, WhileItRunsTheWorkerIsTold) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.dispatcher.cancelled_usage = WorkerUsage{5, 2, 0, 10, true};
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  const Answer answer =
      gateway.ask(post("/v1/chat/completions", chat_body, "X-Stoker-Deadline: 200ms\r\n"));
  EXPECT_EQ(answer.status, 504);
  EXPECT_THAT(answer.body, HasSubstr(R"("code":"deadline_exceeded")"));
  const auto cancelled = gateway.dispatcher.cancelled_requests();
  ASSERT_EQ(cancelled.size(), 1U);
  EXPECT_EQ(cancelled[0].second, EndState::expired);
  const auto endings = gateway.records.wait_endings(1);
  EXPECT_EQ(endings[0].outcome, ledger::Outcome::expired);
  EXPECT_EQ(endings[0].output_tokens, 2) << "what it used is on record";
}

TEST(Deadline, AStreamThatHasBegunEndsWithAnErrorEvent) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(std::string(stream_head) + chunk("data: one\n\n"));
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.deployments.front().request_timeout = {};  // none of its own
  gateway.dispatcher.cancelled_usage = WorkerUsage{1, 1, 0, 1, true};
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  const Answer answer =
      gateway.ask(post("/v1/chat/completions", stream_body, "X-Stoker-Deadline: 300ms\r\n"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.whole);
  EXPECT_THAT(answer.body, AllOf(HasSubstr("data: one\n\n"), HasSubstr("deadline_exceeded"),
                                 Not(HasSubstr("[DONE]"))));
}

TEST(Deadline, TheDeploymentsOwnLimitMayComeFirst) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.deployments.front().request_timeout = ms(20);
  gateway.dispatcher.cancelled_usage = WorkerUsage{};
  gateway.dispatch_all_to(warm_target(worker.path()));
  gateway.start();
  const Answer answer =
      gateway.ask(post("/v1/chat/completions", chat_body, "X-Stoker-Deadline: 1h\r\n"));
  EXPECT_EQ(answer.status, 504);
  EXPECT_THAT(answer.body, HasSubstr(R"("code":"request_timeout")"));
}

TEST(Deadline, BadOnesNeverRun) {
  TestGateway gateway;
  gateway.start();
  for (const char* path : {"/v1/chat/completions", "/v1/messages", "/api/chat"}) {
    const Answer answer = gateway.ask(post(path, chat_body, "X-Stoker-Deadline: soon\r\n"));
    EXPECT_EQ(answer.status, 400) << path;
    EXPECT_THAT(answer.body, HasSubstr("X-Stoker-Deadline"));
  }
  const Answer job = gateway.ask(
      post("/v1/chat/completions", chat_body, "X-Stoker-Deadline: 5s\r\nPrefer: wait=5\r\n"));
  EXPECT_EQ(job.status, 400);
  EXPECT_THAT(job.body, HasSubstr("executionTimeout"));
  EXPECT_TRUE(gateway.records.admissions().empty());
}

WaitState loading() {
  return {WaitState::Phase::load, 3, ms(4200), 0.25};
}

TEST(Progress, IsToldAtOnceAndAgainToWhoAsks) {
  ScriptedWorker worker([](WorkerConnection& c) {
    c.read_request();
    c.send(std::string(stream_head) + chunk("data: one\n\ndata: [DONE]\n\n") + "0\r\n\r\n");
    c.wait_closed();
  });
  TestGateway gateway;
  gateway.options.requests.progress_interval = ms(5);
  std::atomic<int> asked = 0;
  gateway.dispatcher.on_waiting = [&](RequestId) -> std::optional<WaitState> {
    if (++asked == 1) return WaitState{WaitState::Phase::start, 3, {}, {}};
    return loading();
  };
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/chat/completions", stream_body, asks));
  const std::string id = "\"request\":\"req-0000000000000001\"";
  const std::string second =
      "event: stoker.progress\ndata: {" + id +
      ",\"phase\":\"load\",\"position\":3,\"estimated_wait_ms\":4200,\"load_fraction\":0.25}\n\n";
  EXPECT_TRUE(client.read_until("event: stoker.progress\ndata: {" + id +
                                ",\"phase\":\"start\",\"position\":3}\n\n" + second));
  gateway.dispatcher.dispatch(gateway.dispatcher.last_request(), warm_target(worker.path()));
  const Answer answer = client.read_answer();
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, EndsWith("data: [DONE]\n\n"));
  EXPECT_THAT(answer.body.substr(answer.body.find("data: one")), Not(HasSubstr("stoker.progress")));
}

TEST(Progress, IsNotToldWithoutBeingAskedNorWhereThereAreNoEvents) {
  TestGateway gateway;
  gateway.options.requests.progress_interval = ms(1);
  gateway.options.requests.stream_head_hold = ms(5);
  gateway.options.requests.keep_alive_interval = ms(5);
  gateway.dispatcher.on_waiting = [](RequestId) { return loading(); };
  gateway.start();
  constexpr const char* ollama_body =
      R"({"model":"chat","stream":true,"messages":[{"role":"user","content":"x"}]})";
  std::size_t admitted = 0;
  const auto ask = [&](std::string_view path, std::string_view body, std::string_view fields) {
    TestClient client = gateway.connect();
    client.send(post(path, body, fields));
    if (body != chat_body) {
      EXPECT_TRUE(client.read_until(path == "/api/chat" ? "  " : "keep-alive"));
    }
    gateway.dispatcher.wait_admitted(++admitted)
        ->on_rejected({RejectReason::load_failed, seconds(1), "no"});
    return client.read_answer().body;
  };
  EXPECT_THAT(ask("/v1/chat/completions", stream_body, ""), Not(HasSubstr("progress")));
  EXPECT_THAT(ask("/v1/chat/completions", chat_body, asks), Not(HasSubstr("progress")));
  EXPECT_THAT(ask("/api/chat", ollama_body, asks), Not(HasSubstr("progress")));
}

TEST(Progress, AFailureAfterItIsAnEvent) {
  TestGateway gateway;
  gateway.dispatcher.on_waiting = [](RequestId) { return loading(); };
  gateway.start();
  TestClient client = gateway.connect();
  client.send(post("/v1/messages", stream_body, asks));
  EXPECT_TRUE(client.read_until("stoker.progress"));
  gateway.dispatcher.wait_admitted(1)->on_rejected(
      {RejectReason::load_failed, seconds(1), "it cannot be loaded"});
  const Answer answer = client.read_answer();
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr("event: error\ndata: "));
  EXPECT_EQ(gateway.records.wait_endings(1)[0].outcome, ledger::Outcome::refused);
}

}  // namespace
}  // namespace stoker::gateway
