// The server over real sockets, against a peer that sends exact bytes.
#include "net/http_server.h"

#include <sys/resource.h>

#include <deque>
#include <filesystem>

#include "loop_fixture.h"

namespace stoker::net {
namespace {

using namespace std::string_literals;

constexpr std::string_view upgrade_request =
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Answers at once with what it got, or keeps the exchange for the test to answer.
struct TestHandler final : RequestHandler {
  bool hold = false;
  int refuse_with = 0;
  std::string answer_fields;
  std::deque<ExchangePtr> held;
  std::vector<std::string> seen;
  int heads = 0;
  std::vector<int> paused;

  void on_accept_paused(int error) override { paused.push_back(error); }
  void on_request(ExchangePtr exchange) override {
    const HttpRequest& request = exchange->request();
    seen.push_back(std::string(request.method) + " " + std::string(request.target) + " " +
                   std::string(request.body));
    if (hold) {
      held.push_back(std::move(exchange));
      return;
    }
    exchange->respond(200, "X-Test: 1\r\n", seen.back());
  }
  std::string error_body(int status, std::string_view message) const override {
    return "{" + std::to_string(status) + " " + std::string(message) + "}";
  }
  HeadVerdict check_head(const HttpRequest&) override {
    ++heads;
    HeadVerdict verdict;
    verdict.status = refuse_with;
    verdict.message = "refused";
    verdict.answer_fields = answer_fields;
    return verdict;
  }
};

class HttpServerTest : public LoopFixture {
 protected:
  void serve(HttpLimits limits = {}, const std::string& address = "127.0.0.1:0") {
    UniqueFd listener = listen_on(parse_listen_address(address).value(), false).value();
    listener_fd = listener.get();
    server = std::make_unique<HttpServer>(loop, std::move(listener), limits, handler);
  }
  std::unique_ptr<RawPeer> connect() { return RawPeer::connect(loop, listener_fd); }
  /// Sends, and gives all that came when the server has closed the connection.
  std::string exchange_until_closed(std::string_view bytes) {
    auto peer = connect();
    peer->send(bytes);
    EXPECT_TRUE(run_until([&] { return peer->closed; }));
    EXPECT_FALSE(peer->reset);
    return peer->received;
  }

  TestHandler handler;
  int listener_fd = -1;
  std::unique_ptr<HttpServer> server;
};

const std::string get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const std::string post = "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

TEST_F(HttpServerTest, AnswersAndKeepsTheConnection) {
  serve();
  auto peer = connect();
  for (int i = 1; i <= 3; ++i) {
    peer->send(post);
    ASSERT_TRUE(
        run_until([&] { return count_of(peer->received, "POST /p hello") == std::size_t(i); }));
  }
  EXPECT_TRUE(peer->received.starts_with("HTTP/1.1 200 OK\r\nDate: ")) << peer->received;
  EXPECT_EQ(count_of(peer->received, "\r\nX-Test: 1\r\nContent-Length: 13\r\n\r\n"), 3U);
  EXPECT_EQ(server->connections(), 1U);
}

TEST_F(HttpServerTest, ReadsARequestHoweverItIsCut) {
  serve();
  const std::string chunked =
      "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
  for (const std::string& request : {post, chunked}) {
    for (std::size_t cut = 1; cut < request.size(); ++cut) {
      auto peer = connect();
      peer->send(request.substr(0, cut));
      run_rounds(3);
      peer->send(request.substr(cut) + get);
      ASSERT_TRUE(run_until([&] { return peer->received.ends_with("GET /a "); })) << cut;
      EXPECT_EQ(count_of(peer->received, " hello"), 1U);
    }
  }
}

TEST_F(HttpServerTest, BodiesOfAllSizes) {
  serve();
  for (const std::size_t size : {0U, 1U, 16000U, 16300U, 16384U, 65536U, 100'000U, 3'000'000U}) {
    SCOPED_TRACE(size);
    const std::string body(size, 'b');
    const std::string head =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n";
    auto peer = connect();
    std::string_view left = body;
    peer->send(head);
    ASSERT_TRUE(run_until([&] {
      left.remove_prefix(peer->send_some(left));
      return peer->received.ends_with("POST / " + body);
    }));
    peer->send(get);
    ASSERT_TRUE(run_until([&] { return peer->received.ends_with("GET /a "); }));
  }
}

TEST_F(HttpServerTest, PipelinesInOrder) {
  serve();
  std::string requests;
  for (int i = 0; i < 50; ++i)
    requests += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n\r\n";
  auto peer = connect();
  peer->send(requests);
  ASSERT_TRUE(run_until([&] { return count_of(peer->received, "HTTP/1.1 200") == 50; }));
  std::size_t at = 0;
  for (int i = 0; i < 50; ++i) {
    at = peer->received.find("GET /" + std::to_string(i) + " ", at);
    ASSERT_NE(at, std::string::npos) << i;
  }
}

TEST_F(HttpServerTest, PipelinedRequestsWaitForTheAnswerBeforeThem) {
  serve();
  handler.hold = true;
  auto peer = connect();
  peer->send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
  peer->send("GET /3 HTTP/1.1\r\nHost: a\r\n\r\n");  // stays in the kernel
  run_rounds(5);
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
    EXPECT_EQ(handler.held.front()->request().target, "/" + std::to_string(i));
    handler.held.front()->respond(200, "", std::to_string(i));
    handler.held.pop_front();
  }
  ASSERT_TRUE(run_until([&] { return count_of(peer->received, "HTTP/1.1 200") == 3; }));
}

TEST_F(HttpServerTest, GoodThenMalformed) {
  serve();
  const std::string got = exchange_until_closed(get + "BROKEN\r\n\r\n" + get);
  EXPECT_EQ(count_of(got, "HTTP/1.1 200 OK"), 1U);
  EXPECT_EQ(count_of(got, "HTTP/1.1 400 Bad Request"), 1U);
  EXPECT_LT(got.find("200 OK"), got.find("400 Bad"));
  EXPECT_EQ(handler.seen.size(), 1U);  // nothing after it was parsed
}

TEST_F(HttpServerTest, RefusalsAnswerOnceAndClose) {
  serve();
  struct Case {
    const char* name;
    std::string bytes;
    const char* answer;
  };
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\n";
  const Case cases[] = {
      {"A1", head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       "HTTP/1.1 400 "},
      {"A5", head + "Transfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 501 "},
      {"A11", head + "Transfer-Encoding: chunked\r\n\r\n2;" + std::string(5 << 10, 'x') + "\r\n",
       "HTTP/1.1 400 "},
      {"A14 fields",
       head +
           [] {
             std::string fields;
             for (int i = 0; i < 100; ++i) fields += "X: y\r\n";
             return fields;
           }() +
           "\r\n",
       "HTTP/1.1 431 "},
      {"A14 block", head + "X: " + std::string(33 << 10, 'x'), "HTTP/1.1 431 "},
      {"A14 target", "GET /" + std::string(9 << 10, 'x'), "HTTP/1.1 414 "},
      {"A15 length", head + "Content-Length: 33554433\r\n\r\n", "HTTP/1.1 413 "},
      {"A15 chunked", head + "Transfer-Encoding: chunked\r\n\r\n2000001\r\n", "HTTP/1.1 413 "},
      {"A21", head + "Expect: wonders\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 417 "},
      {"A24", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 505 "},
      {"A24 TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"s, "HTTP/1.1 400 "},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string got = exchange_until_closed(c.bytes);
    EXPECT_TRUE(got.starts_with(c.answer)) << got;
    EXPECT_EQ(count_of(got, "Content-Length: "), 1U);
    EXPECT_EQ(count_of(got, "Connection: close\r\n"), 1U);
    EXPECT_EQ(handler.seen.size(), 0U);
  }
  EXPECT_EQ(handler.heads, 2);  // only where the head as such was good: A11 and A15 chunked
}

TEST_F(HttpServerTest, EndlessHeaderLineIsCutAtTheLimit) {
  serve();
  auto peer = connect();
  peer->send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
  const std::string junk(4096, 'x');
  std::size_t sent = 0;
  ASSERT_TRUE(run_until([&] {
    if (peer->received.empty()) sent += peer->send_some(junk);
    return !peer->received.empty();
  }));
  EXPECT_TRUE(peer->received.starts_with("HTTP/1.1 431 "));
  EXPECT_LE(sent, 64U << 10);  // one round of ours may be ahead of the server
}

TEST_F(HttpServerTest, RefusalByTheHandlerComesBeforeTheBody) {
  serve();
  handler.refuse_with = 401;
  const std::string got = exchange_until_closed(
      "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n");
  EXPECT_TRUE(got.starts_with("HTTP/1.1 401 ")) << got;
  EXPECT_TRUE(got.ends_with("{401 refused}"));
  EXPECT_EQ(count_of(got, "100 Continue"), 0U);
}

TEST_F(HttpServerTest, RefusalKeepsTheConnectionIfTheBodyIsThere) {
  serve();
  handler.refuse_with = 429;
  auto peer = connect();
  peer->send(post + get);
  ASSERT_TRUE(run_until([&] { return count_of(peer->received, "HTTP/1.1 429 ") == 2; }));
  EXPECT_EQ(count_of(peer->received, "Connection: close"), 0U);
  EXPECT_FALSE(peer->closed);
}

TEST_F(HttpServerTest, ExpectContinue) {
  serve();
  auto peer = connect();
  peer->send("POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  ASSERT_TRUE(run_until([&] { return peer->received == "HTTP/1.1 100 Continue\r\n\r\n"; }));
  peer->send("hello");
  ASSERT_TRUE(run_until([&] { return peer->received.ends_with("POST /p hello"); }));
}

TEST_F(HttpServerTest, Http10) {
  serve();
  const std::string got = exchange_until_closed("GET /a HTTP/1.0\r\n\r\n");
  EXPECT_NE(got.find("Connection: close\r\n"), got.npos);
  auto peer = connect();
  peer->send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  ASSERT_TRUE(run_until([&] { return peer->received.ends_with("GET /a "); }));
  EXPECT_NE(peer->received.find("Connection: keep-alive\r\n"), std::string::npos);
  EXPECT_FALSE(peer->closed);
}

TEST_F(HttpServerTest, HeadAndBodilessStatus) {
  serve();
  handler.hold = true;
  auto peer = connect();
  peer->send("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
  handler.held.front()->respond(200, "", "hello");
  handler.held.clear();
  ASSERT_TRUE(run_until([&] { return peer->received.ends_with("Content-Length: 5\r\n\r\n"); }));
  peer->received.clear();
  peer->send(get);
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
  handler.held.front()->respond(204, "", "");
  ASSERT_TRUE(run_until([&] { return peer->received.ends_with("\r\n\r\n"); }));
  EXPECT_TRUE(peer->received.starts_with("HTTP/1.1 204 No Content\r\n"));
  EXPECT_EQ(count_of(peer->received, "Content-Length"), 0U);
}

TEST_F(HttpServerTest, StreamsChunked) {
  serve();
  handler.hold = true;
  auto peer = connect();
  peer->send(get);
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
  const ExchangePtr exchange = handler.held.front();
  exchange->start(200, "Content-Type: text/event-stream\r\n", std::nullopt);
  ASSERT_TRUE(run_until([&] { return peer->received.ends_with("\r\n\r\n"); }));
  EXPECT_NE(peer->received.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
  exchange->write("hello");
  exchange->write("");
  exchange->write(std::string(20, 'x'));
  ASSERT_TRUE(run_until([&] { return peer->received.ends_with("xx\r\n"); }));
  EXPECT_NE(peer->received.find("\r\n\r\n5\r\nhello\r\n14\r\nxxx"), std::string::npos);
  const std::string large(100'000, 'y');
  exchange->write(large);
  exchange->finish();
  EXPECT_FALSE(exchange->open());
  ASSERT_TRUE(run_until([&] { return peer->received.ends_with("\r\n0\r\n\r\n"); }));
  EXPECT_NE(peer->received.find("186a0\r\n" + large + "\r\n0\r\n\r\n"), std::string::npos);
  handler.hold = false;
  peer->send(get);
  ASSERT_TRUE(run_until([&] { return peer->received.ends_with("GET /a "); }));
}

TEST_F(HttpServerTest, AStreamHoldsItsRequestOnlyAsLongAsItIsNeeded) {
  handler.hold = true;
  serve();
  for (const std::size_t size : {std::size_t{3}, std::size_t{100'000}}) {
    auto peer = connect();
    peer->send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(size) +
               "\r\n\r\n" + std::string(size, 'b') + "GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
    const ExchangePtr stream = std::move(handler.held.front());
    handler.held.clear();
    EXPECT_EQ(stream->request().body.size(), size);
    stream->start(200, "", std::nullopt);
    stream->forget_request();
    EXPECT_EQ(stream->request().body, "");
    EXPECT_EQ(stream->request().target, "");
    stream->write("one");
    stream->forget_request();
    stream->finish();
    ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
    EXPECT_EQ(handler.seen.back(), "GET /next ");
    handler.held.front()->respond(200, "", "two");
    handler.held.clear();
    ASSERT_TRUE(run_until([&] { return peer->received.ends_with("two"); }));
    EXPECT_NE(peer->received.find("3\r\none\r\n0\r\n\r\n"), std::string::npos);
  }
}

TEST_F(HttpServerTest, StreamsWithALength) {
  serve();
  handler.hold = true;
  auto peer = connect();
  peer->send(get + get);
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
  handler.held.front()->start(200, "", 10);
  handler.held.front()->write("01234");
  handler.held.front()->write("56789");
  handler.held.front()->finish();
  ASSERT_TRUE(run_until([&] { return peer->received.ends_with("\r\n\r\n0123456789"); }));
  // One that stays too short must not look whole.
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 2; }));
  handler.held.back()->start(200, "", 10);
  handler.held.back()->write("01234");
  handler.held.back()->finish();
  ASSERT_TRUE(run_until([&] { return peer->closed; }));
  EXPECT_TRUE(peer->received.ends_with("01234"));
}

TEST_F(HttpServerTest, StreamToHttp10EndsWithTheConnection) {
  serve();
  handler.hold = true;
  auto peer = connect();
  peer->send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
  handler.held.front()->start(200, "", std::nullopt);
  handler.held.front()->write("abc");
  handler.held.front()->finish();
  ASSERT_TRUE(run_until([&] { return peer->closed; }));
  EXPECT_FALSE(peer->reset);
  EXPECT_TRUE(peer->received.ends_with("Connection: close\r\n\r\nabc"));

  auto aborted = connect();
  aborted->send("GET /a HTTP/1.0\r\n\r\n");
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 2; }));
  handler.held.back()->start(200, "", std::nullopt);
  handler.held.back()->write("abc");
  handler.held.back()->abort();
  ASSERT_TRUE(run_until([&] { return aborted->closed; }));
  EXPECT_TRUE(aborted->reset);  // else the peer would take it for the whole body
}

TEST_F(HttpServerTest, AbortCutsAChunkedAnswer) {
  serve();
  handler.hold = true;
  auto peer = connect();
  peer->send(get);
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
  handler.held.front()->start(200, "", std::nullopt);
  handler.held.front()->write("abc");
  handler.held.front()->abort();
  EXPECT_FALSE(handler.held.front()->open());
  ASSERT_TRUE(run_until([&] { return peer->closed; }));
  EXPECT_TRUE(peer->received.ends_with("3\r\nabc\r\n"));
}

// --- Gone clients ----------------------------------------------------------------------------

class GoneTest : public HttpServerTest {
 protected:
  /// A request is held; `leave` makes its client go. Gives whether on_gone came, once.
  bool is_noticed(const std::string& request, const std::function<void(RawPeer&)>& leave) {
    handler.hold = true;
    auto peer = connect();
    peer->send(request);
    EXPECT_TRUE(run_until([&] { return handler.held.size() == 1; }));
    int gone = 0;
    const ExchangePtr exchange = handler.held.front();
    handler.held.clear();
    exchange->set_callbacks({.on_gone = [&] { ++gone; }, .on_drained = {}});
    leave(*peer);
    const bool noticed = run_until([&] { return gone > 0; });
    EXPECT_FALSE(exchange->open());
    EXPECT_EQ(exchange->request().target, "/a");  // still readable
    exchange->respond(200, "", "late");           // and this does nothing
    run_rounds(3);
    EXPECT_EQ(gone, 1);
    EXPECT_EQ(server->connections(), 0U);
    return noticed;
  }
};

TEST_F(GoneTest, Tcp) {
  serve();
  EXPECT_TRUE(is_noticed(get, [](RawPeer& peer) { peer.close(); }));
  EXPECT_TRUE(is_noticed(get, [](RawPeer& peer) { peer.shutdown_sending(); }));
  // With bytes that nobody has read in front of the end.
  EXPECT_TRUE(is_noticed(get + get, [](RawPeer& peer) { peer.close(); }));
  EXPECT_TRUE(is_noticed(get, [](RawPeer& peer) {
    peer.send(get);
    peer.close();
  }));
}

TEST_F(GoneTest, UnixSocket) {
  const std::string path = ::testing::TempDir() + "net_gone.sock";
  serve({}, "unix:" + path);
  EXPECT_TRUE(is_noticed(get, [](RawPeer& peer) { peer.close(); }));
  EXPECT_TRUE(is_noticed(get, [](RawPeer& peer) {
    peer.send(get);
    peer.shutdown_sending();
  }));
  std::filesystem::remove(path);
}

TEST_F(HttpServerTest, HalfClosedClientGetsAnAnswerThatIsGivenAtOnce) {
  serve();
  auto peer = connect();
  peer->send(post);
  peer->shutdown_sending();
  ASSERT_TRUE(run_until([&] { return peer->closed; }));
  EXPECT_TRUE(peer->received.ends_with("POST /p hello"));
}

TEST_F(HttpServerTest, HalfClosedClientGetsALargeAnswerWhole) {
  serve();
  const std::string body(3'000'000, 'b');
  auto peer = connect();
  peer->send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n");
  std::string_view left = body;
  ASSERT_TRUE(run_until([&] {
    left.remove_prefix(peer->send_some(left));
    return left.empty();
  }));
  peer->shutdown_sending();
  ASSERT_TRUE(run_until([&] { return peer->closed; }));
  EXPECT_TRUE(peer->received.ends_with(body));
}

TEST_F(HttpServerTest, GoneWhileWriting) {
  serve();
  handler.hold = true;
  auto peer = connect();
  peer->send(get);
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
  const ExchangePtr exchange = handler.held.front();
  bool gone = false;
  exchange->set_callbacks({.on_gone = [&] { gone = true; }, .on_drained = {}});
  exchange->start(200, "", std::nullopt);
  peer->close();
  ASSERT_TRUE(run_until([&] {
    exchange->write("data");
    return gone;
  }));
  EXPECT_EQ(exchange->unsent_bytes(), 0U);
}

// --- Back-pressure and deadlines -------------------------------------------------------------

TEST_F(HttpServerTest, BackPressure) {
  const HttpLimits limits{.write_buffer_bytes = 64 << 10};
  serve(limits);
  handler.hold = true;
  auto peer = connect();
  peer->send(get);
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
  peer->stall();
  const ExchangePtr exchange = handler.held.front();
  int drained = 0;
  exchange->set_callbacks({.on_gone = {}, .on_drained = [&] { ++drained; }});
  exchange->start(200, "", std::nullopt);
  const std::string piece(10'000, '#');  // in no head
  std::size_t written = 0;
  ASSERT_TRUE(run_until([&] {
    exchange->write(piece);
    written += piece.size();
    return exchange->unsent_bytes() > limits.write_buffer_bytes;
  }));
  EXPECT_EQ(drained, 0);
  peer->go_on();
  ASSERT_TRUE(run_until([&] { return drained == 1; }));
  EXPECT_LE(exchange->unsent_bytes(), limits.write_buffer_bytes / 4);
  exchange->finish();
  ASSERT_TRUE(run_until([&] { return peer->received.ends_with("0\r\n\r\n"); }));
  EXPECT_EQ(count_of(peer->received, "#"), written);
}

TEST_F(HttpServerTest, StalledReaderIsCut) {
  serve({.write_buffer_bytes = 1000, .write_stall_timeout = ms(50)});
  handler.hold = true;
  auto peer = connect();
  peer->send(get);
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
  peer->stall();
  bool gone = false;
  handler.held.front()->set_callbacks({.on_gone = [&] { gone = true; }, .on_drained = {}});
  handler.held.front()->start(200, "", std::nullopt);
  const std::string piece(100'000, 'p');
  ASSERT_TRUE(run_until([&] {
    handler.held.front()->write(piece);
    return handler.held.front()->unsent_bytes() > 0;
  }));
  EXPECT_TRUE(run_until([&] { return gone; }));
}

TEST_F(HttpServerTest, PeerThatSendsAndDoesNotReadIsNotServedOn) {
  serve({.write_buffer_bytes = 10'000});
  auto peer = connect();
  peer->stall();
  const std::string request =
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n" + std::string(10'000, 'q');
  std::string_view left = request;
  std::size_t last = 0;
  int quiet = 0;
  ASSERT_TRUE(run_until([&] {
    left.remove_prefix(peer->send_some(left));
    if (left.empty()) left = request;
    quiet = handler.seen.size() == last ? quiet + 1 : 0;
    last = handler.seen.size();
    return quiet > 200;
  }));
  peer->go_on();
  ASSERT_TRUE(run_until([&] { return handler.seen.size() > last + 10; })) << last;
}

TEST_F(HttpServerTest, Deadlines) {
  struct Case {
    const char* name;
    HttpLimits limits;
    std::string bytes;
    const char* answer;
  };
  const Case cases[] = {
      {"A17 slow header", {.header_timeout = ms(40)}, "GET / HTTP/1.1\r\nHo", "HTTP/1.1 408 "},
      {"A18 slow body",
       {.body_idle_timeout = ms(40)},
       "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe",
       "HTTP/1.1 408 "},
      {"A18 slow chunked body",
       {.body_idle_timeout = ms(40)},
       "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
       "HTTP/1.1 408 "},
      {"nothing at all", {.header_timeout = ms(40)}, "", ""},
      {"idle", {.keep_alive_timeout = ms(40)}, get, "HTTP/1.1 200 "},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    serve(c.limits);
    const std::string got = exchange_until_closed(c.bytes);
    EXPECT_TRUE(got.starts_with(c.answer)) << got;
    EXPECT_LE(count_of(got, "HTTP/1.1 "), 1U);
    server.reset();
  }
}

// --- Accepting, draining ---------------------------------------------------------------------

TEST_F(HttpServerTest, BeyondItsConnectionsTheNextWaitUntilOneGoes) {
  HttpLimits limits;
  limits.max_connections = 2;
  serve(limits);
  auto first = connect();
  auto second = connect();
  auto third = connect();
  third->send(get);
  ASSERT_TRUE(run_until([&] { return server->connections() == 2; }));
  run_rounds(20);
  EXPECT_EQ(server->connections(), 2U);
  EXPECT_EQ(third->received, "");
  EXPECT_EQ(handler.paused, std::vector<int>{0});
  first->close();
  EXPECT_TRUE(run_until([&] { return third->received.ends_with("GET /a "); }));
  // One that is only kept makes room for who waits.
  auto fourth = connect();
  fourth->send(get);
  EXPECT_TRUE(run_until([&] { return fourth->received.ends_with("GET /a "); }));
  EXPECT_TRUE(third->closed);
  EXPECT_FALSE(second->closed) << "it has not sent its first request yet, and has its time for it";
}

TEST_F(HttpServerTest, FieldsOfTheVerdictAreOnEveryAnswer) {
  serve();
  handler.answer_fields = "X-Page: 1\r\n";
  const std::string answers = exchange_until_closed(get + get + "GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(count_of(answers, "HTTP/1.1 200"), 2U);
  EXPECT_EQ(count_of(answers, "X-Page: 1\r\n"), 2U) << "what is no request has none";
}

TEST_F(HttpServerTest, RunningOutOfDescriptorsPausesAccepting) {
  serve();
  auto first = connect();
  ASSERT_TRUE(run_until([&] { return server->connections() == 1; }));
  auto second = connect();  // made before the limit is set, accepted after it
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 3, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  run_rounds(20);
  EXPECT_EQ(server->connections(), 1U);
  EXPECT_EQ(handler.paused, std::vector<int>{EMFILE}) << "told, and not tried again at once";
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(run_until([&] { return server->connections() == 2; }));
  second->send(get);
  EXPECT_TRUE(run_until([&] { return second->received.ends_with("GET /a "); }));
}

TEST_F(HttpServerTest, Drain) {
  serve();
  auto idle = connect();
  idle->send(get);
  ASSERT_TRUE(run_until([&] { return idle->received.ends_with("GET /a "); }));
  handler.hold = true;
  auto busy = connect();
  busy->send(get);
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
  bool done = false;
  server->drain([&] { done = true; });
  ASSERT_TRUE(run_until([&] { return idle->closed; }));
  EXPECT_FALSE(done);
  handler.held.front()->respond(200, "", "last");
  ASSERT_TRUE(run_until([&] { return done; }));
  ASSERT_TRUE(run_until([&] { return busy->closed; }));
  EXPECT_NE(busy->received.find("Connection: close\r\n\r\nlast"), std::string::npos);
}

TEST_F(HttpServerTest, BeginDrainStillAnswersOnceOnEachConnection) {
  serve();
  auto idle = connect();
  ASSERT_TRUE(run_until([&] { return server->connections() == 1; }));
  server->begin_drain();
  // Its request may be on its way already: it is answered, not reset.
  idle->send(get);
  ASSERT_TRUE(run_until([&] { return idle->closed; }));
  EXPECT_NE(idle->received.find("HTTP/1.1 200 OK"), std::string::npos);
  for (int i = 0; i < 2; ++i) {
    const std::string answer = exchange_until_closed(get);
    EXPECT_NE(answer.find("HTTP/1.1 200 OK"), std::string::npos);
    EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  }
  bool done = false;
  server->drain([&] { done = true; });
  EXPECT_TRUE(run_until([&] { return done; }));
}

TEST_F(HttpServerTest, DrainOfNothing) {
  serve();
  bool done = false;
  server->drain([&] { done = true; });
  EXPECT_TRUE(run_until([&] { return done; }));
}

TEST_F(HttpServerTest, DestroyedWithAnOpenExchange) {
  serve();
  handler.hold = true;
  auto peer = connect();
  peer->send(get);
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
  bool gone = false;
  handler.held.front()->set_callbacks({.on_gone = [&] { gone = true; }, .on_drained = {}});
  server.reset();
  handler.held.front()->respond(200, "", "");
  ASSERT_TRUE(run_until([&] { return peer->closed; }));
  EXPECT_FALSE(gone);
}

TEST_F(HttpServerTest, ExchangeKeepsItsRequestAfterTheNextOne) {
  serve();
  handler.hold = true;
  auto peer = connect();
  for (int i = 0; i < 3; ++i) {
    peer->send("POST /" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n" +
               std::to_string(i));
    ASSERT_TRUE(run_until([&] { return handler.held.size() == std::size_t(i) + 1; }));
    handler.held.back()->respond(200, "", "");
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(handler.held[std::size_t(i)]->request().body, std::to_string(i));
  }
}

TEST(SocketFile, IsRemovedUnlessAnotherTookItsPlace) {
  const std::string path = testing::TempDir() + "stoker_socket_file_" + std::to_string(::getpid());
  const ListenAddress address{.host = {}, .port = 0, .unix_path = path};
  {
    const UniqueFd listener = listen_on(address, false).value();
    SocketFile file(path);
    const SocketFile moved(std::move(file));
    EXPECT_EQ(::access(path.c_str(), F_OK), 0);
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  const UniqueFd first = listen_on(address, false).value();
  std::optional<SocketFile> file(path);
  ::unlink(path.c_str());  // by hand, or an overzealous clean-up
  const UniqueFd successor = listen_on(address, false).value();
  file.reset();
  EXPECT_EQ(::access(path.c_str(), F_OK), 0);
  ::unlink(path.c_str());
}

// --- Addresses -------------------------------------------------------------------------------

TEST(ListenAddress, Parse) {
  struct Case {
    const char* text;
    const char* host;
    int port;
    const char* path;
  };
  const Case good[] = {
      {"127.0.0.1:8080", "127.0.0.1", 8080, ""}, {"[::1]:8080", "::1", 8080, ""},
      {":8080", "127.0.0.1", 8080, ""},          {"8080", "127.0.0.1", 8080, ""},
      {"0.0.0.0:0", "0.0.0.0", 0, ""},           {"localhost:1", "127.0.0.1", 1, ""},
      {"unix:/tmp/x", "", 0, "/tmp/x"},
  };
  for (const Case& c : good) {
    SCOPED_TRACE(c.text);
    const auto got = parse_listen_address(c.text);
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(got->host, c.host);
    EXPECT_EQ(got->port, c.port);
    EXPECT_EQ(got->unix_path, c.path);
  }
  for (const char* text :
       {"", "x", "a.example:80", "1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:", "unix:"}) {
    EXPECT_FALSE(parse_listen_address(text).has_value()) << text;
  }
}

TEST(ListenOn, SecondListenerIsToldThatThePortIsInUse) {
  const auto first = listen_on({.host = "127.0.0.1", .port = 0, .unix_path = {}}, false);
  ASSERT_TRUE(first.has_value());
  const auto second = listen_on(parse_listen_address(bound_address(first->get())).value(), false);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::in_use);
}

TEST(ListenOn, StaleSocketFileIsReplacedAndALiveOneIsNot) {
  const std::string path = ::testing::TempDir() + "net_stale.sock";
  const ListenAddress address{.host = {}, .port = 0, .unix_path = path};
  {
    const auto first = listen_on(address, false);
    ASSERT_TRUE(first.has_value());
    EXPECT_EQ(bound_address(first->get()), "unix:" + path);
    EXPECT_EQ(listen_on(address, false).error().code, ErrorCode::in_use);
  }
  EXPECT_TRUE(listen_on(address, false).has_value());
  std::filesystem::remove(path);
}

TEST_F(HttpServerTest, AfterAnUpgradeBytesGoBothWaysAsTheyAre) {
  serve();
  handler.hold = true;
  auto peer = connect();
  peer->send(std::string(upgrade_request) + "early");
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
  Exchange& exchange = *handler.held.front();
  EXPECT_TRUE(exchange.request().upgrade);
  std::string heard;
  bool gone = false;
  exchange.set_callbacks({.on_gone = [&] { gone = true; },
                          .on_drained = {},
                          .on_data = [&](std::string_view bytes) { heard += bytes; }});
  exchange.switch_protocol("Upgrade: websocket\r\n");
  exchange.write("\x81\x01x");
  ASSERT_TRUE(run_until([&] { return peer->received.ends_with("\r\n\r\n\x81\x01x"); }));
  EXPECT_TRUE(peer->received.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
  EXPECT_EQ(peer->received.find("Connection: close"), std::string::npos);
  EXPECT_EQ(peer->received.find("chunked"), std::string::npos);
  ASSERT_TRUE(run_until([&] { return heard == "early"; }));
  peer->send(" GET / HTTP/1.1\r\n\r\n");  // bytes, no request
  ASSERT_TRUE(run_until([&] { return heard == "early GET / HTTP/1.1\r\n\r\n"; }));
  exchange.pause_input();
  peer->send("!");
  exchange.write("y");
  ASSERT_TRUE(run_until([&] { return peer->received.ends_with("xy"); }));
  EXPECT_TRUE(heard.ends_with("\n"));
  exchange.resume_input();
  ASSERT_TRUE(run_until([&] { return heard.ends_with("!"); }));
  EXPECT_FALSE(gone);
  EXPECT_EQ(handler.seen.size(), 1U);
  exchange.finish();
  ASSERT_TRUE(run_until([&] { return peer->closed; }));
  EXPECT_FALSE(peer->reset);
}

TEST_F(HttpServerTest, AClientThatGoesAfterAnUpgradeIsToldOf) {
  serve();
  handler.hold = true;
  auto peer = connect();
  peer->send(upgrade_request);
  ASSERT_TRUE(run_until([&] { return handler.held.size() == 1; }));
  bool gone = false;
  handler.held.front()->set_callbacks(
      {.on_gone = [&] { gone = true; }, .on_drained = {}, .on_data = {}});
  handler.held.front()->switch_protocol("");
  peer.reset();
  ASSERT_TRUE(run_until([&] { return gone; }));
  EXPECT_FALSE(handler.held.front()->open());
}

}  // namespace
}  // namespace stoker::net
