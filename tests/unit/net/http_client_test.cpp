// The client against a scripted peer: a listener whose connections the test answers byte by byte.
#include "net/http_client.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "loop_fixture.h"
#include "net/http_server.h"

namespace stoker::net {
namespace {

struct TestCall final : CallHandler {
  int status = 0;
  std::string body;
  std::string field;  // X-Test of the answer
  bool ended = false;
  std::optional<CallFailure> failed;
  std::function<void()> then_head, then_body, then_end;

  void on_head(const HttpResponseHead& head) override {
    status = head.status;
    field = head.fields.find("X-Test").value_or("");
    if (then_head) then_head();
  }
  void on_body(std::string_view bytes) override {
    body += bytes;
    if (then_body) then_body();
  }
  void on_end() override {
    EXPECT_FALSE(ended || failed);
    ended = true;
    if (then_end) then_end();
  }
  void on_failure(CallFailure failure, const std::string&) override {
    EXPECT_FALSE(ended || failed);
    failed = failure;
  }
  void on_drained() override { ++drained; }
  int drained = 0;
};

/// Accepts everything; connections are the test's to talk through.
struct TestListener final : FdHandler {
  EventLoop& loop;
  UniqueFd fd;
  std::vector<std::unique_ptr<RawPeer>> peers;
  TestListener(EventLoop& l, const std::string& address)
      : loop(l), fd(listen_on(parse_listen_address(address).value(), false).value()) {
    loop.add(fd.get(), EPOLLIN, *this);
  }
  ~TestListener() override { close(); }
  void close() {
    if (fd) loop.remove(fd.get());
    fd.reset();
  }
  void on_events(std::uint32_t) override {
    UniqueFd accepted(::accept4(fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (accepted) peers.push_back(std::make_unique<RawPeer>(loop, std::move(accepted)));
  }
};

class HttpClientTest : public LoopFixture, public ::testing::WithParamInterface<const char*> {
 protected:
  HttpClientTest() {
    const bool is_unix = GetParam() == std::string("unix");
    path = ::testing::TempDir() + "net_client.sock";
    std::filesystem::remove(path);
    listener = std::make_unique<TestListener>(loop, is_unix ? "unix:" + path : "127.0.0.1:0");
    const std::string bound = bound_address(listener->fd.get());
    client = std::make_unique<HttpClient>(
        loop, parse_endpoint(is_unix ? bound : "http://" + bound).value(), options);
  }
  ~HttpClientTest() override { std::filesystem::remove(path); }

  /// Waits until connection number `index` has received `count` requests.
  RawPeer& wait_for_request(std::size_t index, std::size_t count = 1) {
    EXPECT_TRUE(run_until([&] {
      return listener->peers.size() > index &&
             count_of(listener->peers[index]->received, " HTTP/1.1\r\n") == count;
    }));
    return *listener->peers[index];
  }

  ClientOptions options{.max_idle_connections = 2, .idle_timeout = seconds(30)};
  std::string path;
  std::unique_ptr<TestListener> listener;
  std::unique_ptr<HttpClient> client;
};

INSTANTIATE_TEST_SUITE_P(Sockets, HttpClientTest, ::testing::Values("tcp", "unix"),
                         [](const auto& param_info) { return std::string(param_info.param); });

const std::string ok_answer = "HTTP/1.1 200 OK\r\nX-Test: t\r\nContent-Length: 5\r\n\r\nhello";

TEST_P(HttpClientTest, SendsAndReads) {
  TestCall call;
  ASSERT_NE(client->send("POST", "/x", "A: b\r\n", "body", call), nullptr);
  RawPeer& peer = wait_for_request(0);
  ASSERT_TRUE(run_until([&] { return peer.received.ends_with("body"); }));
  EXPECT_TRUE(peer.received.starts_with("POST /x HTTP/1.1\r\nHost: ")) << peer.received;
  EXPECT_TRUE(peer.received.ends_with("\r\nContent-Length: 4\r\nA: b\r\n\r\nbody"));
  peer.send(ok_answer);
  ASSERT_TRUE(run_until([&] { return call.ended; }));
  EXPECT_EQ(call.status, 200);
  EXPECT_EQ(call.field, "t");
  EXPECT_EQ(call.body, "hello");
  EXPECT_EQ(client->idle_connections(), 1U);
}

TEST_P(HttpClientTest, ReusesAConnection) {
  for (std::size_t i = 1; i <= 3; ++i) {
    TestCall call;
    client->send("GET", "/", "", "", call);
    wait_for_request(0, i).send(ok_answer);
    ASSERT_TRUE(run_until([&] { return call.ended; }));
  }
  EXPECT_EQ(listener->peers.size(), 1U);
}

TEST_P(HttpClientTest, SendsAgainFromInsideOnEnd) {
  TestCall second;
  TestCall first;
  first.then_end = [&] { client->send("GET", "/2", "", "", second); };
  client->send("GET", "/1", "", "", first);
  wait_for_request(0).send(ok_answer);
  wait_for_request(0, 2).send(ok_answer);
  ASSERT_TRUE(run_until([&] { return second.ended; }));
  EXPECT_EQ(listener->peers.size(), 1U);
}

TEST_P(HttpClientTest, ReadsAnAnswerHoweverItIsCut) {
  const std::string answers[] = {
      ok_answer,
      "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + ok_answer,
      "HTTP/1.1 200 OK\r\nX-Test: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n"
      "0\r\nT: u\r\n\r\n",
  };
  std::size_t requests = 0;
  for (const std::string& answer : answers) {
    for (std::size_t cut = 1; cut < answer.size(); ++cut) {
      TestCall call;
      client->send("GET", "/", "", "", call);
      RawPeer& peer = wait_for_request(0, ++requests);
      peer.send(answer.substr(0, cut));
      run_rounds(3);
      peer.send(answer.substr(cut));
      ASSERT_TRUE(run_until([&] { return call.ended; })) << answer << " cut at " << cut;
      EXPECT_EQ(call.body, "hello");
      EXPECT_EQ(call.field, "t");
    }
  }
  EXPECT_EQ(listener->peers.size(), 1U);
}

TEST_P(HttpClientTest, BodiesThatEndOtherwise) {
  struct Case {
    const char* method;
    std::string answer;
    bool close;
    std::string body;
  };
  const Case cases[] = {
      {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, ""},
      {"GET", "HTTP/1.1 204 No Content\r\n\r\n", false, ""},
      {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, ""},
      {"GET", "HTTP/1.1 200 OK\r\n\r\nuntil the end", true, "until the end"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.answer);
    TestCall call;
    const std::size_t connections = client->idle_connections() == 0 ? listener->peers.size() : 0;
    client->send(c.method, "/", "", "", call);
    ASSERT_TRUE(run_until([&] {
      return listener->peers.size() > connections &&
             !listener->peers[connections]->received.empty();
    }));
    RawPeer& peer = *listener->peers[connections];
    peer.received.clear();
    peer.send(c.answer);
    if (c.close) peer.close();
    ASSERT_TRUE(run_until([&] { return call.ended; }));
    EXPECT_EQ(call.body, c.body);
    EXPECT_EQ(client->idle_connections(), c.close ? 0U : 1U);
  }
}

TEST_P(HttpClientTest, OddAnswersAreNotReused) {
  const std::string answers[] = {
      ok_answer + "more",                                                   // bytes behind the end
      "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",  // says so
      "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
  };
  for (const std::string& answer : answers) {
    SCOPED_TRACE(answer);
    TestCall call;
    client->send("GET", "/", "", "", call);
    const std::size_t index = listener->peers.size();
    wait_for_request(index).send(answer);
    ASSERT_TRUE(run_until([&] { return call.ended; }));
    EXPECT_EQ(client->idle_connections(), 0U);
  }
}

TEST_P(HttpClientTest, AnswerBeforeTheRequestIsSentIsNotReused) {
  TestCall call;
  const std::string large(20'000'000, 'x');
  client->send("POST", "/", "", large, call);
  ASSERT_TRUE(run_until([&] { return listener->peers.size() == 1; }));
  listener->peers[0]->stall();
  listener->peers[0]->send(ok_answer);
  ASSERT_TRUE(run_until([&] { return call.ended; }));
  EXPECT_EQ(client->idle_connections(), 0U);
}

TEST_P(HttpClientTest, LargeRequestIsSentWhole) {
  TestCall call;
  const std::string large(5'000'000, 'x');
  client->send("POST", "/", "", large, call);
  ASSERT_TRUE(run_until([&] {
    return listener->peers.size() == 1 &&
           listener->peers[0]->received.ends_with("\r\n\r\n" + large);
  }));
  listener->peers[0]->send(ok_answer);
  ASSERT_TRUE(run_until([&] { return call.ended; }));
  EXPECT_EQ(client->idle_connections(), 1U);
}

TEST_P(HttpClientTest, BytesOutOfTurnCloseAnIdleConnection) {
  TestCall call;
  client->send("GET", "/", "", "", call);
  RawPeer& peer = wait_for_request(0);
  peer.send(ok_answer);
  ASSERT_TRUE(run_until([&] { return call.ended; }));
  peer.send(ok_answer);  // the answer to nothing must never reach the next caller (F9)
  ASSERT_TRUE(run_until([&] { return client->idle_connections() == 0; }));
}

TEST_P(HttpClientTest, StaleConnectionIsReplaced) {
  TestCall first;
  client->send("GET", "/", "", "", first);
  RawPeer& peer = wait_for_request(0);
  peer.send(ok_answer);
  ASSERT_TRUE(run_until([&] { return first.ended; }));
  peer.close();  // the loop has not seen it yet
  TestCall second;
  ASSERT_NE(client->send("POST", "/", "", "body", second), nullptr);
  wait_for_request(1).send(ok_answer);
  ASSERT_TRUE(run_until([&] { return second.ended; }));
}

TEST_P(HttpClientTest, Failures) {
  struct Case {
    std::string answer;
    CallFailure failure;
  };
  const Case cases[] = {
      {"", CallFailure::closed_early},
      {"HTTP/1.1 200 OK\r\n", CallFailure::closed_early},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", CallFailure::closed_early},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
       CallFailure::closed_early},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n", CallFailure::protocol},
      {"SSH-2.0\r\n", CallFailure::protocol},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.answer);
    TestCall call;
    client->send("GET", "/", "", "", call);
    RawPeer& peer = wait_for_request(listener->peers.size());
    peer.send(c.answer);
    peer.close();
    ASSERT_TRUE(run_until([&] { return call.failed.has_value(); }));
    EXPECT_EQ(*call.failed, c.failure);
    EXPECT_EQ(client->idle_connections(), 0U);
  }
}

TEST_P(HttpClientTest, NobodyListens) {
  listener->close();
  std::filesystem::remove(path);
  TestCall call;
  client->send("GET", "/", "", "", call);
  ASSERT_TRUE(run_until([&] { return call.failed.has_value(); }));
  EXPECT_EQ(*call.failed, CallFailure::connect_failed);
}

TEST_P(HttpClientTest, EarlyRefusalIsReadThoughTheRequestCannotBeSent) {
  TestCall call;
  const std::string large(20'000'000, 'x');
  client->send("POST", "/", "", large, call);
  ASSERT_TRUE(run_until([&] { return listener->peers.size() == 1; }));
  RawPeer& peer = *listener->peers[0];
  peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
  peer.shutdown_sending();
  ASSERT_TRUE(run_until([&] { return call.ended; }));
  EXPECT_EQ(call.status, 413);
  EXPECT_EQ(call.body, "big");
}

TEST_P(HttpClientTest, Cancel) {
  TestCall call;
  Call* running = client->send("GET", "/", "", "", call);
  RawPeer& peer = wait_for_request(0);
  running->cancel();
  ASSERT_TRUE(run_until([&] { return peer.closed; }));
  EXPECT_FALSE(call.ended || call.failed);
  EXPECT_EQ(client->idle_connections(), 0U);
}

TEST_P(HttpClientTest, CancelInsideCallbacks) {
  for (const bool in_head : {true, false}) {
    TestCall call;
    Call* running = client->send("GET", "/", "", "", call);
    (in_head ? call.then_head : call.then_body) = [&] { running->cancel(); };
    RawPeer& peer = wait_for_request(listener->peers.size());
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n");
    ASSERT_TRUE(run_until([&] { return peer.closed; }));
    EXPECT_FALSE(call.ended || call.failed);
    EXPECT_EQ(call.body, in_head ? "" : "a");
  }
}

TEST_P(HttpClientTest, CancelWhileConnectingOrQueued) {
  TestCall call;
  client->send("GET", "/", "", "", call)->cancel();
  run_rounds(5);
  EXPECT_FALSE(call.ended || call.failed);
}

TEST_P(HttpClientTest, DestroyedInsideACallback) {
  TestCall call;
  call.then_body = [&] { client.reset(); };
  client->send("GET", "/", "", "", call);
  RawPeer& peer = wait_for_request(0);
  peer.send(ok_answer);
  ASSERT_TRUE(run_until([&] { return peer.closed; }));
  EXPECT_FALSE(call.ended || call.failed);
}

TEST_P(HttpClientTest, PauseHoldsTheSenderBack) {
  TestCall call;
  Call* running = client->send("GET", "/", "", "", call);
  RawPeer& peer = wait_for_request(0);
  const std::size_t total = 30'000'000;
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(total) + "\r\n\r\n");
  ASSERT_TRUE(run_until([&] { return call.status == 200; }));
  running->pause();
  const std::string piece(100'000, 'x');
  std::size_t sent = 0;
  int refused = 0;
  ASSERT_TRUE(run_until([&] {
    const std::size_t now =
        peer.send_some(std::string_view(piece).substr(0, std::min(piece.size(), total - sent)));
    sent += now;
    refused = now == 0 ? refused + 1 : 0;
    return refused > 100;
  }));
  EXPECT_LT(sent, total);  // only what the kernel holds
  EXPECT_EQ(call.body.size(), 0U);
  running->resume();
  ASSERT_TRUE(run_until([&] {
    sent += peer.send_some(std::string_view(piece).substr(0, std::min(piece.size(), total - sent)));
    return call.ended;
  }));
  EXPECT_EQ(call.body.size(), total);
}

TEST_P(HttpClientTest, PausedCallLearnsOfTheEndAfterResume) {
  TestCall call;
  Call* running = client->send("GET", "/", "", "", call);
  RawPeer& peer = wait_for_request(0);
  call.then_head = [&] { running->pause(); };
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
  ASSERT_TRUE(run_until([&] { return call.status == 200; }));
  peer.send("01234");
  peer.close();
  run_rounds(20);
  EXPECT_FALSE(call.failed);
  running->resume();
  ASSERT_TRUE(run_until([&] { return call.failed.has_value(); }));
  EXPECT_EQ(call.body, "01234");
}

TEST_P(HttpClientTest, PoolIsBounded) {
  std::vector<std::unique_ptr<TestCall>> calls;
  for (std::size_t i = 0; i < 5; ++i) {
    calls.push_back(std::make_unique<TestCall>());
    client->send("GET", "/", "", "", *calls.back());
  }
  for (std::size_t i = 0; i < 5; ++i) wait_for_request(i);
  for (const auto& peer : listener->peers) peer->send(ok_answer);
  ASSERT_TRUE(run_until(
      [&] { return std::ranges::all_of(calls, [](const auto& call) { return call->ended; }); }));
  EXPECT_EQ(client->idle_connections(), options.max_idle_connections);
}

TEST_P(HttpClientTest, IdleConnectionsAreClosedInTime) {
  options.idle_timeout = ms(20);
  HttpClient impatient(loop,
                       parse_endpoint(GetParam() == std::string("unix")
                                          ? bound_address(listener->fd.get())
                                          : "http://" + bound_address(listener->fd.get()))
                           .value(),
                       options);
  TestCall call;
  impatient.send("GET", "/", "", "", call);
  wait_for_request(0).send(ok_answer);
  ASSERT_TRUE(run_until([&] { return call.ended; }));
  EXPECT_TRUE(run_until([&] { return impatient.idle_connections() == 0; }));
}

/// C7: with random cancels, every answer carries the nonce of its own request.
TEST_P(HttpClientTest, AnswersAreNeverMixedUp) {
  struct Echo final : RequestHandler {
    EventLoop& loop;
    explicit Echo(EventLoop& l) : loop(l) {}
    void on_request(ExchangePtr exchange) override {
      loop.post([exchange] { exchange->respond(200, "", exchange->request().body); });
    }
    std::string error_body(int, std::string_view) const override { return {}; }
    HeadVerdict check_head(const HttpRequest&) override { return {}; }
  };
  Echo echo(loop);
  listener->close();
  std::filesystem::remove(path);
  const bool is_unix = GetParam() == std::string("unix");
  UniqueFd fd =
      listen_on(parse_listen_address(is_unix ? "unix:" + path : "127.0.0.1:0").value(), false)
          .value();
  const std::string bound = bound_address(fd.get());
  HttpServer server(loop, std::move(fd), {}, echo);
  HttpClient pool(loop, parse_endpoint(is_unix ? bound : "http://" + bound).value(), {});

  struct Running {
    TestCall call;
    Call* handle = nullptr;
    std::string nonce;
    int rounds_to_cancel = 0;
  };
  std::vector<std::unique_ptr<Running>> running;
  std::uint64_t state = 7;
  int sent = 0;
  int answered = 0;
  int wrong = 0;
  ASSERT_TRUE(run_until([&] {
    std::erase_if(running, [&](const std::unique_ptr<Running>& each) {
      if (each->call.ended) {
        ++answered;
        if (each->call.body != each->nonce) ++wrong;
        return true;
      }
      if (--each->rounds_to_cancel != 0) return false;
      each->handle->cancel();
      return true;
    });
    while (sent < 3000 && running.size() < 16) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      auto each = std::make_unique<Running>();
      each->nonce = "nonce-" + std::to_string(sent++);
      each->rounds_to_cancel = static_cast<int>((state >> 40) % 6);  // 0: never
      each->handle = pool.send("POST", "/", "", each->nonce, each->call);
      running.push_back(std::move(each));
    }
    return sent == 3000 && running.empty();
  }));
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(answered, 100);
}

TEST(Endpoint, Parse) {
  struct Case {
    const char* text;
    const char* normal;
  };
  const Case good[] = {
      {"unix:/a/b", "unix:/a/b"},
      {"http://127.0.0.1:80", "http://127.0.0.1:80"},
      {"http://127.0.0.1/", "http://127.0.0.1:80"},
      {"http://localhost:1", "http://localhost:1"},
      {"http://[::1]:8", "http://[::1]:8"},
  };
  for (const Case& c : good) {
    SCOPED_TRACE(c.text);
    const auto got = parse_endpoint(c.text);
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(got->text(), c.normal);
  }
  for (const char* text :
       {"", "unix:", "https://", "ftp://1.2.3.4", "http://", "http://a.example:80",
        "http://1.2.3.4:0", "http://1.2.3.4:x", "http://1.2.3.4:1/x"}) {
    EXPECT_FALSE(parse_endpoint(text).has_value()) << text;
  }
}

const std::string switching_answer =
    "HTTP/1.1 101 Switching Protocols\r\nX-Test: t\r\nUpgrade: websocket\r\n\r\n";

TEST_P(HttpClientTest, AfterAnUpgradeBytesGoBothWaysAsTheyAre) {
  TestCall call;
  Call* running = client->send_upgrade("/ws", "Upgrade: websocket\r\n", call);
  ASSERT_NE(running, nullptr);
  RawPeer& peer = wait_for_request(0);
  EXPECT_TRUE(peer.received.starts_with("GET /ws HTTP/1.1\r\n")) << peer.received;
  EXPECT_EQ(peer.received.find("Content-Length"), std::string::npos);
  peer.send(switching_answer + "abc");
  ASSERT_TRUE(run_until([&] { return call.body == "abc"; }));
  EXPECT_EQ(call.status, 101);
  EXPECT_EQ(call.field, "t");
  running->write("HTTP/1.1 is not spoken here");
  ASSERT_TRUE(run_until([&] { return peer.received.ends_with("not spoken here"); }));
  EXPECT_EQ(running->unsent_bytes(), 0U);
  peer.send("\r\n\r\n");
  ASSERT_TRUE(run_until([&] { return call.body == "abc\r\n\r\n"; }));
  peer.close();
  ASSERT_TRUE(run_until([&] { return call.ended; }));
  EXPECT_EQ(client->idle_connections(), 0U);
}

TEST_P(HttpClientTest, AnUpgradeTellsWhenASlowPeerHasTakenAll) {
  TestCall call;
  Call* running = client->send_upgrade("/ws", "", call);
  RawPeer& peer = wait_for_request(0);
  peer.send(switching_answer);
  ASSERT_TRUE(run_until([&] { return call.status == 101; }));
  peer.stall();
  const std::string much(std::size_t{8} << 20, 'x');
  running->write(much);
  EXPECT_GT(running->unsent_bytes(), 0U);
  run_rounds(3);
  EXPECT_EQ(call.drained, 0);
  peer.go_on();
  ASSERT_TRUE(run_until([&] { return call.drained == 1 && peer.received.ends_with("x"); }));
  EXPECT_EQ(running->unsent_bytes(), 0U);
  running->cancel();
  ASSERT_TRUE(run_until([&] { return peer.closed; }));
}

TEST_P(HttpClientTest, ARefusedUpgradeIsAnAnswerLikeAnyOther) {
  TestCall call;
  client->send_upgrade("/ws", "", call);
  wait_for_request(0).send(ok_answer);
  ASSERT_TRUE(run_until([&] { return call.ended; }));
  EXPECT_EQ(call.status, 200);
  EXPECT_EQ(call.body, "hello");
  TestCall unasked;
  client->send("GET", "/", "", "", unasked);
  wait_for_request(0, 2).send(switching_answer);
  ASSERT_TRUE(run_until([&] { return unasked.failed.has_value(); }));
  EXPECT_EQ(*unasked.failed, CallFailure::protocol);
}

}  // namespace
}  // namespace stoker::net
