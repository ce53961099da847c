// What only one kind of worker can show: the echo worker's faults, and what stoker-worker-exec does
// about the processes of its engine.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "worker_kinds.h"
#include "worker_process.h"

namespace stoker::test {
namespace {

std::string faults(const std::string& faults) {
  return load_packet(fmt::format(R"({{"token_delay":"10ms","faults":{}}})", faults));
}

void begin_stream(HttpConnection& stream, int words, std::string_view id) {
  const Question question = chat(words, /*stream=*/true);
  stream.send("POST", question.path, question.body, id);
}

// --- Echo ---

TEST(EchoWorker, AHungEngineShowsActiveWorkWithoutSteps) {
  WorkerProcess worker(echo_program());
  worker.load(faults(R"({"hang_at":"token:2"})"));
  HttpConnection stream = worker.connect();
  begin_stream(stream, 5, "req-1");
  ASSERT_TRUE(stream.read_until("w1 "));
  Json progress = worker.wait_for("progress");
  while (progress.number("active") != 1) progress = worker.wait_for("progress");
  progress = worker.wait_for("progress");
  const Json later = worker.wait_for("progress");
  EXPECT_EQ(later.number("active"), 1);
  EXPECT_EQ(later.number("steps"), progress.number("steps"));
}

TEST(EchoWorker, AHungEngineDoesNotKeepTheProcessWhenTheChannelCloses) {
  for (const std::string at : {"loading", "first_token"}) {
    WorkerProcess worker(echo_program());
    const std::string order = faults(fmt::format(R"({{"hang_at":"{}"}})", at));
    HttpConnection stream = worker.connect();
    if (at == "loading") {
      worker.send(order);
      worker.wait_for("progress");
    } else {
      worker.load(order);
      begin_stream(stream, 5, "req-1");
      ASSERT_TRUE(stream.read_until("HTTP/1.1 200"));
    }
    worker.close_control();
    EXPECT_EQ(worker.wait_exit(), 0) << at;
  }
}

TEST(EchoWorker, CrashesWhereItIsTold) {
  WorkerProcess loading(echo_program());
  loading.send(faults(R"({"crash_at":"loading","exit_code":9})"));
  EXPECT_EQ(loading.wait_exit(), 9);

  WorkerProcess ready(echo_program());
  ready.load(faults(R"({"crash_at":"ready","signal":11})"));
  EXPECT_EQ(ready.wait_exit(), 128 + SIGSEGV);

  WorkerProcess token(echo_program());
  token.load(faults(R"({"crash_at":"token:2","signal":9})"));
  HttpConnection stream = token.connect();
  begin_stream(stream, 5, "req-1");
  stream.read_to_end();
  EXPECT_NE(stream.bytes().find("w1 "), std::string::npos);
  EXPECT_EQ(stream.bytes().find("w2 "), std::string::npos);
  EXPECT_EQ(token.wait_exit(), 128 + SIGKILL);
}

TEST(EchoWorker, FailsTheFirstLoadsAndThenNoMore) {
  const TemporaryFolder folder;
  const std::string order = faults(
      fmt::format(R"({{"fail_first_loads":1,"load_failed":"start_failed","counter_file":"{}"}})",
                  folder.file("loads")));
  WorkerProcess first(echo_program());
  first.send(order);
  EXPECT_EQ(first.wait_for("load_failed").string("code"), "start_failed");
  WorkerProcess second(echo_program());
  second.load(order);
}

TEST(EchoWorker, ObeysTokensReplyBytesAndMaxTokens) {
  WorkerProcess worker(echo_program());
  worker.load(load_packet(R"({"tokens":4,"reply_bytes":100})"));
  Question question = chat(2, /*stream=*/false);
  HttpConnection cut = worker.ask("POST", question.path, question.body, "req-1");
  EXPECT_NE(cut.body().find(R"("finish_reason":"length")"), std::string::npos);
  EXPECT_NE(cut.field("X-Stoker-Usage").find("input=2,output=2"), std::string::npos);
  question = chat(9, /*stream=*/false);
  HttpConnection whole = worker.ask("POST", question.path, question.body, "req-2");
  EXPECT_NE(whole.body().find(R"("finish_reason":"stop")"), std::string::npos);
  EXPECT_NE(whole.field("X-Stoker-Usage").find("input=9,output=4"), std::string::npos);
  const std::string text = whole.body().substr(whole.body().find("w0 w1 w2 w3"));
  EXPECT_EQ(text.find('"'), 100U);
}

TEST(EchoWorker, HoldsTheMemoryThatItIsTold) {
  WorkerProcess worker(echo_program());
  const Json ready = worker.load(load_packet(R"({"memory":"48MiB"})"));
  EXPECT_GE(ready.number("private_bytes"), 48 << 20);
}

TEST(EchoWorker, LargeStreamsPassWithoutDelays) {
  WorkerProcess worker(echo_program());
  worker.load(load_packet(R"({"tokens":20000})"));
  HttpConnection stream = worker.connect();
  stream.send("POST", "/v1/completions", R"({"prompt":"a b c","stream":true})", "req-1");
  stream.read_answer();
  EXPECT_TRUE(stream.body().ends_with("data: [DONE]\n\n"));
  EXPECT_EQ(worker.stats().number("tokens"), 20000);
}

TEST(EchoWorker, AReaderThatStallsAndLeavesLetsGoOfTheWork) {
  WorkerProcess worker(echo_program());
  worker.load(load_packet(R"({"tokens":2000000})"));
  HttpConnection stream = worker.connect();
  stream.send("POST", "/v1/completions", R"({"prompt":"a b c","stream":true})", "req-1");
  ASSERT_TRUE(stream.read_until("data: "));
  EXPECT_EQ(worker.stats().number("active"), 1);
  stream.close();
  EXPECT_TRUE(worker.active_becomes(0));
  const Json ended = worker.cancel("req-1");
  EXPECT_EQ(ended.string("reason"), "cancelled");
  EXPECT_LT(ended.number("output"), 2'000'000);
}

TEST(EchoWorker, RefusesASecondRequestOfTheSameId) {
  WorkerProcess worker(echo_program());
  worker.load(faults("{}"));
  HttpConnection stream = worker.connect();
  begin_stream(stream, 1000, "req-1");
  ASSERT_TRUE(stream.read_until("data: "));
  const Question question = chat(1, /*stream=*/false);
  EXPECT_EQ(worker.ask("POST", question.path, question.body, "req-1").status(), 409);
}

TEST(EchoWorker, AnswersEachOfManyCancelsOnceAndMixesUpNothing) {
  constexpr int streams = 150;
  WorkerProcess worker(echo_program());
  worker.load(load_packet(R"({"token_delay":"2ms","tokens":50})"));
  std::vector<HttpConnection> connections;
  for (int i = 0; i < streams; ++i) {
    connections.push_back(worker.connect());
    connections.back().send("POST", "/v1/completions",
                            fmt::format(R"({{"prompt":"nonce-{}-","stream":true}})", i),
                            fmt::format("req-{}", i));
  }
  std::multiset<std::string> cancelled;
  for (int i = 0; i < streams; i += 3) {
    const std::string id = fmt::format("req-{}", i);
    worker.send(fmt::format(R"({{"type":"cancel","request":"{}"}})", id));
    cancelled.insert(id);
    connections[static_cast<std::size_t>(i) + 1].close();
  }
  std::multiset<std::string> ended;
  while (ended.size() < cancelled.size()) ended.insert(worker.wait_for("ended").string("request"));
  EXPECT_EQ(ended, cancelled);
  for (int i = 2; i < streams; i += 3) {
    HttpConnection& connection = connections[static_cast<std::size_t>(i)];
    connection.read_answer();
    const std::string body = connection.body();
    EXPECT_TRUE(body.ends_with("data: [DONE]\n\n"));
    EXPECT_NE(body.find(fmt::format("nonce-{}-", i)), std::string::npos);
    for (const int other : {i - 1, i - 2}) {
      EXPECT_EQ(body.find(fmt::format("nonce-{}-", other)), std::string::npos);
    }
  }
  EXPECT_TRUE(worker.active_becomes(0));
  EXPECT_EQ(worker.count_skipped("ended"), 0U);
}

TEST(EchoWorker, ProbesOnlyWhereTheyAreAllowed) {
  WorkerProcess plain(echo_program());
  plain.load(faults("{}"));
  EXPECT_EQ(plain.ask("POST", "/probe", R"({"open":"/"})").body(), R"({"open":"/"})");
  WorkerProcess probing(echo_program());
  probing.load(faults(R"({"probes":true})"));
  EXPECT_NE(probing.ask("POST", "/probe", R"({"open":"/"})").body().find(R"("worked":true)"),
            std::string::npos);
  EXPECT_NE(probing.ask("POST", "/probe", R"({"open":"/no/such"})").body().find("No such file"),
            std::string::npos);
  EXPECT_NE(probing.ask("POST", "/probe", R"({"fork":3})").body().find("3 of 3 started"),
            std::string::npos);
}

// --- Exec ---

std::string python_engine(const std::string& more) {
  return load_packet(fmt::format(R"({{"command":["python3","{}/openai_server.py"{}]}})",
                                 STOKER_TEST_SERVERS, more));
}

/// Pid of the process that openai_server.py leaves behind.
pid_t left_child(const std::string& file) {
  pid_t pid = 0;
  for (int asked = 0; pid == 0 && asked < 10'000'000; ++asked) std::ifstream(file) >> pid;
  return pid;
}

class ExecWorker : public testing::Test {
 protected:
  const TemporaryFolder folder_;
  const std::string pid_file_ = folder_.file("child");
  const std::string order_ = python_engine(fmt::format(R"(,"--leave-child","{}")", pid_file_));
};

TEST_F(ExecWorker, TakesDownWhatTheEngineLeftBehindWhenTheChannelCloses) {
  WorkerProcess worker(exec_program());
  worker.load(order_);
  const pid_t child = left_child(pid_file_);
  worker.close_control();
  EXPECT_EQ(worker.wait_exit(), 0);
  EXPECT_TRUE(process_disappears(child));
}

TEST_F(ExecWorker, TakesDownWhatTheEngineLeftBehindOnUnload) {
  WorkerProcess worker(exec_program());
  worker.load(order_);
  const pid_t child = left_child(pid_file_);
  worker.send(R"({"type":"unload"})");
  worker.wait_for("unloaded");
  EXPECT_TRUE(process_disappears(child));
}

TEST_F(ExecWorker, DiesWithItsEngineAndLeavesNothing) {
  WorkerProcess worker(exec_program());
  worker.load(order_);
  const pid_t child = left_child(pid_file_);
  HttpConnection last = worker.connect();
  last.send("POST", "/die", "7");
  last.read_to_end();
  EXPECT_EQ(worker.wait_exit(), 7);
  EXPECT_TRUE(process_disappears(child));
}

TEST_F(ExecWorker, CodesOfTheContractAreNotTakenFromTheEngine) {
  for (const std::string code : {"0", "2", "3"}) {
    WorkerProcess worker(exec_program());
    worker.load(python_engine(""));
    HttpConnection last = worker.connect();
    last.send("POST", "/die", code);
    EXPECT_EQ(worker.wait_exit(), 1) << code;
  }
}

TEST_F(ExecWorker, DirectEnginesAreReachedAtTheirOwnPort) {
  WorkerProcess worker(exec_program());
  const Json ready = worker.load(load_packet(
      fmt::format(R"({{"command":["python3","{}/openai_server.py"],"endpoint":"direct"}})",
                  STOKER_TEST_SERVERS)));
  EXPECT_TRUE(ready.string("endpoint").starts_with("http://127.0.0.1:")) << ready.text;
}

bool holds(const Json& message, const std::string& pattern) {
  return std::regex_search(message.string("message"), std::regex(pattern));
}

TEST_F(ExecWorker, AnEngineThatRefusesItsHealthPathIsEnded) {
  WorkerProcess worker(exec_program());
  worker.send(load_packet(
      fmt::format(R"({{"command":["python3","{}/openai_server.py"],"health_path":"/nope",)"
                  R"("load_timeout":"300ms"}})",
                  STOKER_TEST_SERVERS)));
  const Json failed = worker.wait_for("load_failed");
  EXPECT_EQ(failed.string("code"), "start_failed");
  EXPECT_TRUE(holds(failed,
                    "was not ready within .* \\(limits.load_timeout\\): GET /nope on port "
                    "[0-9]+ answered 404, [0-9]+ times; set health_path"))
      << failed.text;
  EXPECT_EQ(worker.wait_exit(), 3);
}

TEST_F(ExecWorker, AnEngineThatIgnoresItsPortIsEndedAndToldOf) {
  WorkerProcess worker(exec_program());
  const std::string program =
      "import http.server as h; "
      "h.HTTPServer(('127.0.0.1', 0), h.BaseHTTPRequestHandler).serve_forever()";
  worker.send(load_packet(
      fmt::format(R"({{"command":["python3","-c","{}"],"start_timeout":"2s"}})", program)));
  const Json failed = worker.wait_for("load_failed");
  EXPECT_EQ(failed.string("code"), "start_failed");
  EXPECT_TRUE(holds(failed,
                    "limits.start_timeout\\): nothing listens on 127.0.0.1:[0-9]+, [0-9]+ "
                    "times; the engine listens on port [0-9]+: tell it"))
      << failed.text;
  EXPECT_EQ(worker.wait_exit(), 3);
}

TEST_F(ExecWorker, AProgramThatCannotBeRunIsExplained) {
  const std::string link = folder_.file("link");
  std::filesystem::create_symlink("/nonexistent/python", link);
  WorkerProcess worker(exec_program());
  worker.send(load_packet(fmt::format(R"({{"command":["{}"],"sandboxed":true}})", link)));
  EXPECT_TRUE(holds(worker.wait_for("load_failed"),
                    "it is a link, and /nonexistent/python is missing.*sandbox.*readable:"));
  WorkerProcess other(exec_program());
  other.send(load_packet(R"({"command":["no-such-engine"]})"));
  EXPECT_TRUE(holds(other.wait_for("load_failed"), "looked for in PATH=.*write its whole path"));
}

TEST_F(ExecWorker, AnEngineThatStopsAnsweringIsEnded) {
  WorkerProcess worker(exec_program());
  worker.load(load_packet(
      fmt::format(R"({{"command":["python3","{}/openai_server.py","--leave-child","{}"],)"
                  R"("health_interval":"100ms","health_failures":2}})",
                  STOKER_TEST_SERVERS, pid_file_)));
  const pid_t child = left_child(pid_file_);
  HttpConnection ask = worker.connect();
  ask.send("GET", "/pid", "");
  ask.read_answer();
  const pid_t engine = static_cast<pid_t>(Json{ask.body()}.number("pid"));
  ASSERT_GT(engine, 0);
  ::kill(engine, SIGSTOP);
  EXPECT_EQ(worker.wait_exit(), 4);
  EXPECT_TRUE(process_disappears(child));
  EXPECT_TRUE(process_disappears(engine));
}

}  // namespace
}  // namespace stoker::test
