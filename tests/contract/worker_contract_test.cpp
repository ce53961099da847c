// docs/worker-contract.md as tests, the same for every worker.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <optional>
#include <string>
#include <string_view>

#include "worker_kinds.h"
#include "worker_process.h"

namespace stoker::test {
namespace {

constexpr const char* relay_reason = "a relay has neither ids, usage nor routes of its own";

class WorkerContract : public testing::TestWithParam<WorkerKind> {
 protected:
  const WorkerKind& kind() const { return GetParam(); }
  HttpConnection ask(const WorkerProcess& worker, const Question& question,
                     std::string_view id) const {
    return worker.ask("POST", question.path, question.body, id);
  }
  /// A stream of which the first token has come.
  HttpConnection begin_endless(const WorkerProcess& worker, std::string_view id) const {
    HttpConnection stream = worker.connect();
    stream.send("POST", kind().endless.path, kind().endless.body, id);
    EXPECT_TRUE(stream.read_until("data: ")) << stream.bytes();
    EXPECT_EQ(stream.status(), 200);
    return stream;
  }
};

std::string usage_field(const std::string& text, std::string_view key) {
  const std::size_t at = text.find(std::string(key) + "=");
  if (at == std::string::npos) return "";
  const std::size_t begin = at + key.size() + 1;
  return text.substr(begin, text.find_first_not_of("0123456789", begin) - begin);
}

TEST_P(WorkerContract, SaysHelloFirstWithItsNonce) {
  WorkerProcess worker(kind().program);
  const std::optional<Json> hello = worker.next();
  ASSERT_TRUE(hello);
  EXPECT_EQ(hello->type(), "hello");
  EXPECT_EQ(hello->number("contract"), 1);
  EXPECT_EQ(hello->string("worker"), kind().worker);
  EXPECT_EQ(hello->string("nonce"), worker.nonce());
  EXPECT_EQ(hello->number("pid"), worker.pid());
}

TEST_P(WorkerContract, LoadsAndBecomesReady) {
  WorkerProcess worker(kind().program);
  worker.send(kind().load);
  const Json loaded = worker.wait_for("loaded");
  EXPECT_GE(worker.count_skipped("loading"), 1U);
  EXPECT_GT(loaded.number("private_bytes"), 0);
  const Json ready = worker.wait_for("ready");
  EXPECT_GT(ready.number("private_bytes"), 0);
  EXPECT_GE(ready.number("shared_bytes"), 0);
  double last = 0;
  for (const Json& packet : worker.skipped()) {
    const std::optional<double> fraction = packet.real("fraction");
    if (packet.type() != "loading" || !fraction) continue;
    EXPECT_GE(*fraction, last);
    EXPECT_LE(*fraction, 1.0);
    last = *fraction;
  }
}

TEST_P(WorkerContract, ReportsProgressFromTheStart) {
  WorkerProcess worker(kind().program);
  const Json first = worker.wait_for("progress");
  EXPECT_EQ(first.number("active"), 0);
}

TEST_P(WorkerContract, AnswersHealthByItsReadiness) {
  if (!kind().own_http) GTEST_SKIP() << relay_reason;
  WorkerProcess worker(kind().program);
  EXPECT_EQ(worker.ask("GET", "/health").status(), 503);
  HttpConnection early = ask(worker, kind().unary, "req-early");
  EXPECT_EQ(early.status(), 503);
  worker.load(kind().load);
  EXPECT_EQ(worker.ask("GET", "/health").status(), 200);
}

TEST_P(WorkerContract, AnswersARequestWithItsUsage) {
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  const HttpConnection answer = ask(worker, kind().unary, "req-1");
  EXPECT_EQ(answer.status(), 200) << answer.bytes();
  if (!kind().own_http) return;
  const std::string usage = answer.field("X-Stoker-Usage");
  EXPECT_FALSE(usage_field(usage, "input").empty()) << usage;
  EXPECT_FALSE(usage_field(usage, "device_ms").empty()) << usage;
}

TEST_P(WorkerContract, StreamsAndPutsTheUsageBeforeTheTerminalEvent) {
  if (kind().stream.path.empty()) GTEST_SKIP() << "it cannot stream";
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  const HttpConnection answer = ask(worker, kind().stream, "req-1");
  EXPECT_EQ(answer.status(), 200) << answer.bytes();
  const std::string body = answer.body();
  EXPECT_TRUE(body.ends_with("data: [DONE]\n\n")) << body;
  if (!kind().own_http) return;
  const std::size_t usage = body.find(": stoker-usage ");
  ASSERT_NE(usage, std::string::npos) << body;
  EXPECT_EQ(body.substr(body.find("\n\n", usage) + 2), "data: [DONE]\n\n");
  EXPECT_EQ(usage_field(body.substr(usage), "output"), "3");
}

TEST_P(WorkerContract, KeepsAConnectionForTheNextRequest) {
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  HttpConnection connection = worker.connect();
  for (const std::string id : {"req-1", "req-2"}) {
    connection.send("POST", kind().unary.path, kind().unary.body, id);
    connection.read_answer();
    EXPECT_EQ(connection.status(), 200) << connection.bytes();
  }
}

TEST_P(WorkerContract, CountsRequestsInStats) {
  if (!kind().own_http) GTEST_SKIP() << relay_reason;
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  ask(worker, kind().unary, "req-1");
  ASSERT_TRUE(worker.active_becomes(0));
  const Json stats = worker.stats();
  EXPECT_EQ(stats.number("requests"), 1);
  EXPECT_EQ(stats.number("cancelled"), 0);
}

// --- Cancelling ---

TEST_P(WorkerContract, CancelOfAnUnknownRequestHearsUnknown) {
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  const Json ended = worker.cancel("req-never");
  EXPECT_EQ(ended.string("request"), "req-never");
  EXPECT_EQ(ended.string("reason"), "unknown");
}

TEST_P(WorkerContract, RefusesARequestThatItsCancelHasOvertaken) {
  if (!kind().own_http) GTEST_SKIP() << relay_reason;
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  EXPECT_EQ(worker.cancel("req-1").string("reason"), "unknown");
  const HttpConnection answer = ask(worker, kind().unary, "req-1");
  EXPECT_EQ(answer.status(), 499);
  EXPECT_EQ(worker.cancel("req-1").string("reason"), "cancelled");
  EXPECT_EQ(ask(worker, kind().unary, "req-2").status(), 200);
}

TEST_P(WorkerContract, CancelOfARunningRequestEndsItOnceWithItsUsage) {
  if (!kind().own_http) GTEST_SKIP() << relay_reason;
  if (kind().stream.path.empty()) GTEST_SKIP() << "it cannot stream";
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  HttpConnection stream = begin_endless(worker, "req-1");
  worker.send(R"({"type":"cancel","request":"req-1"})");
  worker.send(R"({"type":"cancel","request":"req-1"})");
  const Json ended = worker.wait_for("ended");
  EXPECT_EQ(ended.string("request"), "req-1");
  EXPECT_EQ(ended.string("reason"), "cancelled");
  EXPECT_GT(ended.number("input"), 0);
  EXPECT_GE(ended.number("output"), 1);
  EXPECT_EQ(worker.stats().number("active"), 0);
  EXPECT_EQ(worker.stats().number("cancelled"), 1);
  // The stream says that it was cut, with its usage, and not that it is done.
  stream.read_answer();
  EXPECT_NE(stream.body().find(": stoker-usage "), std::string::npos);
  EXPECT_NE(stream.body().find(R"("code":"cancelled")"), std::string::npos);
  EXPECT_EQ(stream.body().find("[DONE]"), std::string::npos);
  // Asked again it says the same; the second cancel above has had its answer with the first.
  const Json again = worker.cancel("req-1");
  EXPECT_EQ(again.text, ended.text);
}

TEST_P(WorkerContract, CancelAfterTheEndHearsTheRealUsage) {
  if (!kind().own_http) GTEST_SKIP() << relay_reason;
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  const HttpConnection answer = ask(worker, kind().unary, "req-1");
  ASSERT_TRUE(worker.active_becomes(0));
  const Json ended = worker.cancel("req-1");
  EXPECT_EQ(ended.string("reason"), "completed");
  const std::string usage = answer.field("X-Stoker-Usage");
  EXPECT_EQ(std::to_string(ended.number("input")), usage_field(usage, "input"));
  EXPECT_EQ(std::to_string(ended.number("output")), usage_field(usage, "output"));
  EXPECT_EQ(worker.cancel("req-1").text, ended.text);
}

TEST_P(WorkerContract, AClosedConnectionIsACancel) {
  if (kind().stream.path.empty()) GTEST_SKIP() << "it cannot stream";
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  HttpConnection stream = begin_endless(worker, "req-1");
  if (kind().own_http) {
    stream.close();
    EXPECT_TRUE(worker.active_becomes(0));
    const Json ended = worker.cancel("req-1");
    EXPECT_EQ(ended.string("reason"), "cancelled");
    EXPECT_GE(ended.number("output"), 1);
    return;
  }
  // What counts is that the engine behind the relay has let go; it is the one to say so.
  const auto running = [&] { return Json{worker.ask("GET", "/running").body()}.number("running"); };
  EXPECT_EQ(running(), 1);
  stream.close();
  for (int asked = 0; running() != 0 && asked < 10'000; ++asked) {
  }
  EXPECT_EQ(running(), 0);
}

TEST_P(WorkerContract, ShowsRunningRequestsInItsProgress) {
  if (kind().stream.path.empty()) GTEST_SKIP() << "it cannot stream";
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  const HttpConnection stream = begin_endless(worker, "req-1");
  Json progress = worker.wait_for("progress");
  while (progress.number("active") == 0) progress = worker.wait_for("progress");
  EXPECT_EQ(progress.number("active"), 1);
  const std::int64_t steps = progress.number("steps");
  EXPECT_GT(worker.wait_for("progress").number("steps"), steps);
}

// --- Loading, unloading, misuse ---

TEST_P(WorkerContract, AnswersGarbageWithAnErrorAndGoesOn) {
  WorkerProcess worker(kind().program);
  for (const std::string packet :
       {"no JSON", "[1]", "{}", R"({"type":"cancel"})", R"({"type":"load","concurrency":0})"}) {
    worker.send(packet);
    EXPECT_EQ(worker.wait_for("error").string("code"), "bad_message") << packet;
  }
  worker.send(R"({"type":"dance"})");
  EXPECT_EQ(worker.wait_for("error").string("code"), "unsupported");
  worker.load(kind().load);
  EXPECT_EQ(ask(worker, kind().unary, "req-1").status(), 200);
}

TEST_P(WorkerContract, SuspendsAndResumesOrSaysThatItCannot) {
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  worker.send(R"({"type":"suspend"})");
  if (!kind().can_suspend) {
    EXPECT_EQ(worker.wait_for("error").string("code"), "unsupported");
    return;
  }
  worker.wait_for("suspended");
  EXPECT_EQ(ask(worker, kind().unary, "req-1").status(), 503);
  worker.send(R"({"type":"suspend"})");
  EXPECT_EQ(worker.wait_for("error").string("code"), "not_ready");
  worker.send(R"({"type":"resume"})");
  worker.wait_for("resumed");
  EXPECT_EQ(ask(worker, kind().unary, "req-2").status(), 200);
  worker.send(R"({"type":"resume"})");
  EXPECT_EQ(worker.wait_for("error").string("code"), "not_suspended");
}

TEST_P(WorkerContract, RefusesToLoadTwice) {
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  worker.send(kind().load);
  EXPECT_EQ(worker.wait_for("error").string("code"), "already_loaded");
}

TEST_P(WorkerContract, UnloadsAndLoadsAgain) {
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  worker.send(R"({"type":"unload"})");
  worker.wait_for("unloaded");
  if (kind().own_http) {
    EXPECT_EQ(ask(worker, kind().unary, "req-1").status(), 503);
  }
  worker.load(kind().load);
  EXPECT_EQ(ask(worker, kind().unary, "req-2").status(), 200);
}

TEST_P(WorkerContract, UnloadCancelsWhatRuns) {
  if (!kind().own_http) GTEST_SKIP() << relay_reason;
  if (kind().stream.path.empty()) GTEST_SKIP() << "it cannot stream";
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  HttpConnection stream = begin_endless(worker, "req-1");
  worker.send(R"({"type":"unload"})");
  worker.wait_for("unloaded");
  EXPECT_EQ(worker.cancel("req-1").string("reason"), "cancelled");
}

TEST_P(WorkerContract, UnloadStopsALoadUnderWay) {
  WorkerProcess worker(kind().program);
  worker.send(kind().load);
  worker.send(R"({"type":"unload"})");
  worker.wait_for("unloaded");
  worker.load(kind().load);
}

TEST_P(WorkerContract, SaysWhyALoadFailedAndExits) {
  for (const auto& [packet, code] : kind().failing_loads) {
    WorkerProcess worker(kind().program);
    worker.send(packet);
    const Json failed = worker.wait_for("load_failed");
    EXPECT_EQ(failed.string("code"), code) << packet << "\n" << failed.text;
    EXPECT_FALSE(failed.string("message").empty());
    // Who hears it may kill the worker at once: its last words are out already.
    EXPECT_NE(worker.log().find("load failed: " + code), std::string::npos) << worker.log();
    EXPECT_EQ(worker.wait_exit(), 3);
  }
}

// --- The end ---

TEST_P(WorkerContract, ShutdownFinishesWhatRuns) {
  if (kind().stream.path.empty()) GTEST_SKIP() << "it cannot stream";
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  HttpConnection stream = worker.connect();
  stream.send("POST", kind().stream.path, kind().stream.body, "req-1");
  ASSERT_TRUE(stream.read_until("data: "));
  worker.send(R"({"type":"shutdown","grace_ms":20000})");
  stream.read_answer();
  EXPECT_TRUE(stream.body().ends_with("data: [DONE]\n\n")) << stream.body();
  EXPECT_EQ(worker.wait_exit(), 0);
}

TEST_P(WorkerContract, ShutdownCutsWhatRunsBeyondItsGrace) {
  if (kind().stream.path.empty()) GTEST_SKIP() << "it cannot stream";
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  const HttpConnection stream = begin_endless(worker, "req-1");
  worker.send(R"({"type":"shutdown","grace_ms":100})");
  EXPECT_EQ(worker.wait_exit(), 0);
}

TEST_P(WorkerContract, ExitsWhenTheControlChannelCloses) {
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  if (!kind().stream.path.empty()) {
    const HttpConnection stream = begin_endless(worker, "req-1");
    worker.close_control();
    EXPECT_EQ(worker.wait_exit(), 0);
    return;
  }
  worker.close_control();
  EXPECT_EQ(worker.wait_exit(), 0);
}

TEST_P(WorkerContract, ExitsWhenTheControlChannelClosesDuringALoadAndLeavesNobodyBehind) {
  // A foreign engine may be about to be started just then: at which instant is chance.
  const int attempts = kind().worker == "exec" ? 10 : 1;
  for (int i = 0; i < attempts; ++i) {
    const std::string mark = fmt::format("{}-{}", ::getpid(), i);
    WorkerProcess worker(kind().program, {{"STOKER_TEST_MARK", mark}});
    worker.send(kind().load);
    if (i % 2 == 1) worker.wait_for("hello");
    worker.close_control();
    EXPECT_EQ(worker.wait_exit(), 0);
    EXPECT_FALSE(anybody_has("STOKER_TEST_MARK=" + mark)) << "attempt " << i;
  }
}

TEST_P(WorkerContract, SigtermIsAShutdown) {
  WorkerProcess worker(kind().program);
  worker.load(kind().load);
  worker.signal(SIGTERM);
  EXPECT_EQ(worker.wait_exit(), 0);
}

INSTANTIATE_TEST_SUITE_P(Kinds, WorkerContract, testing::ValuesIn(worker_kinds()),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace stoker::test
