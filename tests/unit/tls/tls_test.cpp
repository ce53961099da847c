// The HTTP server over TLS against OpenSSL's own client, on a thread of its own, and against ours.
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <ctime>
#include <deque>
#include <future>

#include "../net/loop_fixture.h"
#include "certificates.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "tls/certificate_watch.h"
#include "tls/tls_client.h"
#include "tls/tls_server.h"

namespace stoker::tls {
namespace {

using net::HttpLimits;

struct TestHandler final : net::RequestHandler {
  bool hold = false;
  std::deque<net::ExchangePtr> held;
  int requests = 0;

  void on_request(net::ExchangePtr exchange) override {
    ++requests;
    if (hold) return held.push_back(std::move(exchange));
    const net::HttpRequest& request = exchange->request();
    exchange->respond(200, "", std::string(request.target) + " " + std::string(request.body));
  }
  std::string error_body(int status, std::string_view message) const override {
    return "{" + std::to_string(status) + " " + std::string(message) + "}";
  }
  net::HeadVerdict check_head(const net::HttpRequest&) override { return {}; }
};

/// OpenSSL's client, blocking: for threads of their own.
class PlainSslClient {
 public:
  struct Wish {
    int most_version = TLS1_3_VERSION;
    int least_version = TLS1_VERSION;
    std::string ciphers_12 = "ALL:@SECLEVEL=0";
    std::string protocols;  // of ALPN, in wire form
    SSL_SESSION* session = nullptr;
    int receive_buffer = 0;
  };
  PlainSslClient(int port, Wish wish) : context_(::SSL_CTX_new(::TLS_client_method())) {
    ::SSL_CTX_set_min_proto_version(context_, wish.least_version);
    ::SSL_CTX_set_max_proto_version(context_, wish.most_version);
    ::SSL_CTX_set_cipher_list(context_, wish.ciphers_12.c_str());
    SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_CLIENT);
    ssl_ = ::SSL_new(context_);
    if (wish.session != nullptr) ::SSL_set_session(ssl_, wish.session);
    if (!wish.protocols.empty()) {
      ::SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>(wish.protocols.data()),
                            static_cast<unsigned>(wish.protocols.size()));
    }
    const auto address = net::SocketAddress::internet("127.0.0.1", port).value();
    fd_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (wish.receive_buffer > 0) {
      ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &wish.receive_buffer, sizeof(int));
    }
    const int on = 1;
    ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    EXPECT_EQ(::connect(fd_.get(), address.raw(), address.size), 0);
    ::SSL_set_fd(ssl_, fd_.get());
    established = ::SSL_connect(ssl_) == 1;
  }
  ~PlainSslClient() {
    ::SSL_free(ssl_);
    ::SSL_CTX_free(context_);
    ::ERR_clear_error();
  }
  PlainSslClient(const PlainSslClient&) = delete;

  void write(std::string_view bytes) {
    EXPECT_EQ(::SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())),
              static_cast<int>(bytes.size()));
  }
  std::string read_some(int most = 1 << 16) {
    std::string bytes(static_cast<std::size_t>(most), '\0');
    const int got = ::SSL_read(ssl_, bytes.data(), most);
    bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    last_error = got > 0 ? SSL_ERROR_NONE : ::SSL_get_error(ssl_, got);
    return bytes;
  }
  /// Until the server ends it; `last_error` is how.
  std::string read_all() {
    std::string all;
    do all += read_some();
    while (last_error == SSL_ERROR_NONE);
    return all;
  }
  std::string read_until(std::string_view end) {
    std::string all;
    do all += read_some();
    while (last_error == SSL_ERROR_NONE && !all.ends_with(end));
    return all;
  }
  SSL* ssl() const { return ssl_; }

  bool established = false;
  int last_error = SSL_ERROR_NONE;

 private:
  SSL_CTX* context_;
  SSL* ssl_;
  UniqueFd fd_;
};

class TlsTest : public net::LoopFixture {
 protected:
  TlsTest() { ::signal(SIGPIPE, SIG_IGN); }  // OpenSSL's client writes without MSG_NOSIGNAL
  void serve(HttpLimits limits = {}) {
    files = folder.make("first");
    secure = TlsServer::create(files).value();
    UniqueFd listener =
        net::listen_on(net::parse_listen_address("127.0.0.1:0").value(), false).value();
    listener_fd = listener.get();
    port = net::parse_listen_address(net::bound_address(listener_fd)).value().port;
    server =
        std::make_unique<net::HttpServer>(loop, std::move(listener), limits, handler, secure.get());
  }
  /// Runs `work` on a thread, and the loop until it is done.
  template <class Work>
  auto on_thread(Work work) {
    auto result = std::async(std::launch::async, std::move(work));
    EXPECT_TRUE(run_until(
        [&] { return result.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }));
    return result.get();
  }
  bool can_connect(PlainSslClient::Wish wish) {
    return on_thread([this, wish] { return PlainSslClient(port, wish).established; });
  }

  CertificateFolder folder;
  CertificateFiles files;
  std::unique_ptr<TlsServer> secure;
  TestHandler handler;
  int listener_fd = -1;
  int port = 0;
  std::unique_ptr<net::HttpServer> server;
};

const std::string get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const std::string get_last = "GET /z HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

TEST_F(TlsTest, AnswersKeepsTheConnectionAndSaysGoodbye) {
  serve();
  const auto [all, how] = on_thread([this] {
    PlainSslClient client(port, {});
    std::string text;
    for (int i = 0; i < 3; ++i) {
      client.write(get);
      text += client.read_until("/a ");
    }
    client.write(get_last);
    text += client.read_all();
    return std::pair(text, client.last_error);
  });
  EXPECT_EQ(net::count_of(all, "HTTP/1.1 200 OK"), 4U);
  EXPECT_TRUE(all.ends_with("/z ")) << all;
  EXPECT_EQ(how, SSL_ERROR_ZERO_RETURN) << "close_notify came";
}

TEST_F(TlsTest, PipelinedRequestsAreAnsweredInOrder) {
  serve();
  const std::string all = on_thread([this] {
    std::string requests;
    for (int i = 0; i < 300; ++i) {
      requests += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n\r\n";
    }
    PlainSslClient client(port, {});
    client.write(requests + get_last);
    return client.read_all();
  });
  std::size_t at = 0;
  for (int i = 0; i < 300; ++i) {
    at = all.find("\r\n\r\n/" + std::to_string(i) + " ", at);
    ASSERT_NE(at, all.npos) << i;
  }
}

/// Nothing is left lying in OpenSSL's buffers, however requests are cut into records.
TEST_F(TlsTest, ReadsARequestHoweverItIsCutIntoRecords) {
  serve();
  const std::string post = "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
  const int answered = on_thread([&] {
    int count = 0;
    PlainSslClient client(port, {});
    for (std::size_t cut = 1; cut < post.size(); ++cut) {
      client.write(post.substr(0, cut));
      client.write(post.substr(cut) + get.substr(0, 3));
      client.write(get.substr(3));
      const std::string text = client.read_until("/a ");
      count += net::count_of(text, "/p hello") == 1 && text.ends_with("/a ") ? 1 : 0;
    }
    return count;
  });
  EXPECT_EQ(answered, static_cast<int>(post.size()) - 1);
}

TEST_F(TlsTest, BodiesOfAllSizesThereAndBack) {
  serve();
  for (const std::size_t size : {0U, 1U, 16'000U, 16'384U, 16'385U, 100'000U, 5'000'000U}) {
    SCOPED_TRACE(size);
    const std::string body(size, 'b');
    const std::string text = on_thread([&] {
      PlainSslClient client(port, {});
      client.write("POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: " +
                   std::to_string(size) + "\r\n\r\n");
      for (std::size_t at = 0; at < size; at += 10'000) client.write(body.substr(at, 10'000));
      return client.read_all();
    });
    EXPECT_TRUE(text.ends_with("\r\n\r\n/p " + body));
  }
}

struct Outcome final : net::CallHandler {
  int status = 0;
  std::string body;
  std::string failure;
  bool over = false;
  void on_head(const net::HttpResponseHead& head) override { status = head.status; }
  void on_body(std::string_view bytes) override { body += bytes; }
  void on_end() override { over = true; }
  void on_failure(net::CallFailure, const std::string& detail) override {
    failure = detail;
    over = true;
  }
};

TEST_F(TlsTest, OurClientTrustsTheOwnCertificateAndNoOther) {
  serve();
  const auto ask = [&](const std::string& trusted) {
    const auto client = TlsClient::create("127.0.0.1", trusted).value();
    net::Endpoint endpoint;
    endpoint.host = "127.0.0.1";
    endpoint.port = port;
    endpoint.tls = true;
    net::ClientOptions options;
    options.secure = client.get();
    net::HttpClient http(loop, endpoint, options);
    Outcome outcome;
    (void)http.send("POST", "/x", "", std::string(200'000, 'q'), outcome);
    EXPECT_TRUE(run_until([&] { return outcome.over; }));
    return outcome;
  };
  const Outcome right = ask(files.certificate);
  EXPECT_EQ(right.status, 200) << right.failure;
  EXPECT_EQ(right.body.size(), 200'003U);
  const Outcome other = ask(folder.make("other").certificate);
  EXPECT_NE(other.failure.find("self-signed"), std::string::npos) << other.failure;
  EXPECT_NE(ask("").failure, "");
  EXPECT_EQ(handler.requests, 1);
}

TEST_F(TlsTest, OnlyNewProtocolsAndAuthenticatedCiphers) {
  serve();
  EXPECT_TRUE(can_connect({.least_version = TLS1_3_VERSION}));
  EXPECT_TRUE(can_connect({.most_version = TLS1_2_VERSION}));
  EXPECT_FALSE(can_connect({.most_version = TLS1_1_VERSION}));
  EXPECT_TRUE(
      can_connect({.most_version = TLS1_2_VERSION, .ciphers_12 = "ECDHE-ECDSA-AES128-GCM-SHA256"}));
  for (const char* weak :
       {"ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0", "ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0",
        "ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0", "AES128-GCM-SHA256:@SECLEVEL=0",
        "eNULL:@SECLEVEL=0", "aNULL:@SECLEVEL=0"}) {
    EXPECT_FALSE(can_connect({.most_version = TLS1_2_VERSION, .ciphers_12 = weak})) << weak;
  }
}

TEST_F(TlsTest, ProtocolNegotiationKnowsHttp11Only) {
  serve();
  const auto chosen = [this](std::string offered) {
    return on_thread([this, offered]() -> std::string {
      const PlainSslClient client(port, {.protocols = offered});
      if (!client.established) return "refused";
      const unsigned char* name = nullptr;
      unsigned size = 0;
      ::SSL_get0_alpn_selected(client.ssl(), &name, &size);
      return {reinterpret_cast<const char*>(name), size};
    });
  };
  EXPECT_EQ(chosen(std::string("\x02h2\x08http/1.1")), "http/1.1");
  EXPECT_EQ(chosen(std::string("\x02h2")), "refused");
}

TEST_F(TlsTest, SessionsAreResumedAndRenegotiationIsNot) {
  serve();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const bool reused = on_thread([&] {
      PlainSslClient first(port, {.most_version = version});
      first.write(get);
      (void)first.read_until("/a ");
      SSL_SESSION* const session = ::SSL_get1_session(first.ssl());
      const PlainSslClient second(port, {.most_version = version, .session = session});
      ::SSL_SESSION_free(session);
      return ::SSL_session_reused(second.ssl()) == 1;
    });
    EXPECT_TRUE(reused) << version;
  }
  const std::string after = on_thread([&] {
    PlainSslClient client(port, {.most_version = TLS1_2_VERSION});
    ::SSL_renegotiate(client.ssl());
    (void)::SSL_do_handshake(client.ssl());
    ::ERR_clear_error();
    (void)::SSL_write(client.ssl(), get.data(), static_cast<int>(get.size()));
    return client.read_some();
  });
  EXPECT_EQ(after, "") << "a renegotiation ends the connection or is refused, and gets no answer";
}

TEST_F(TlsTest, HalfDoneHandshakesAreCut) {
  HttpLimits limits;
  limits.header_timeout = ms(200);
  serve(limits);
  const std::string hello("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
  std::vector<std::unique_ptr<net::RawPeer>> peers;
  for (int i = 0; i < 200; ++i) {
    peers.push_back(net::RawPeer::connect(loop, listener_fd));
    peers.back()->send(hello.substr(0, static_cast<std::size_t>(i) % (hello.size() + 1)));
  }
  EXPECT_TRUE(can_connect({}));
  EXPECT_TRUE(run_until(
      [&] { return std::ranges::all_of(peers, [](const auto& peer) { return peer->closed; }); }));
  EXPECT_TRUE(run_until([&] { return server->connections() == 0; }));
  EXPECT_EQ(handler.requests, 0);
}

TEST_F(TlsTest, PlainTextOnTheTlsPortIsToldSo) {
  serve();
  for (const std::string& text : {get, std::string("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"),
                                  std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")}) {
    auto peer = net::RawPeer::connect(loop, listener_fd);
    peer->send(text);
    ASSERT_TRUE(run_until([&] { return peer->closed; }));
    EXPECT_TRUE(peer->received.starts_with("HTTP/1.1 400 ")) << peer->received;
    EXPECT_NE(peer->received.find("https://"), std::string::npos);
    EXPECT_NE(peer->received.find("Connection: close"), std::string::npos);
  }
  auto noise = net::RawPeer::connect(loop, listener_fd);
  noise->send("\x01\x02 no protocol at all \r\n\r\n");
  ASSERT_TRUE(run_until([&] { return noise->closed; }));
  EXPECT_EQ(noise->received.find("HTTP"), std::string::npos);
  EXPECT_EQ(handler.requests, 0);
}

TEST_F(TlsTest, AReplacedCertificateIsForNewConnections) {
  serve();
  const std::string first = secure->certificate().fingerprint;
  const auto subject_of = [](const PlainSslClient& client) {
    X509* const certificate = ::SSL_get1_peer_certificate(client.ssl());
    std::array<char, 256> name{};
    ::X509_NAME_oneline(::X509_get_subject_name(certificate), name.data(), name.size());
    ::X509_free(certificate);
    return std::string(name.data());
  };
  const CertificateFiles next = folder.make("second");
  const auto [before, after, goes_on] = on_thread([&] {
    PlainSslClient old(port, {});
    old.write(get);
    (void)old.read_until("/a ");
    EXPECT_TRUE(secure->replace(next, WallTime{std::time(nullptr) * 1'000'000'000}));
    const PlainSslClient fresh(port, {});
    old.write(get);
    return std::tuple(subject_of(old), subject_of(fresh), old.read_until("/a "));
  });
  EXPECT_EQ(before, "/CN=first");
  EXPECT_EQ(after, "/CN=second");
  EXPECT_TRUE(goes_on.ends_with("/a "));
  EXPECT_NE(secure->certificate().fingerprint, first);
}

TEST_F(TlsTest, WhatCannotBeUsedChangesNothing) {
  serve();
  const WallTime now{std::time(nullptr) * 1'000'000'000};
  const std::string first = secure->certificate().fingerprint;
  const CertificateFiles other = folder.make("other");
  const CertificateFiles old = folder.make("old", -60);
  const std::string text = folder.write("text", "hello");
  const std::string cut = folder.write("cut", "-----BEGIN CERTIFICATE-----\nMIIB\n");
  const auto error_of = [&](const CertificateFiles& these) {
    const Result<void> replaced = secure->replace(these, now);
    EXPECT_FALSE(replaced);
    EXPECT_EQ(secure->certificate().fingerprint, first);
    return replaced ? "" : replaced.error().message;
  };
  EXPECT_NE(error_of({other.certificate, files.key}).find("is not the key of"), std::string::npos);
  EXPECT_NE(error_of({folder.path("none"), files.key}).find("No such file"), std::string::npos);
  EXPECT_NE(error_of({text, files.key}).find("no PEM certificate"), std::string::npos);
  EXPECT_NE(error_of({cut, files.key}).find("no PEM certificate"), std::string::npos);
  EXPECT_NE(error_of({files.certificate, text}).find("no PEM private key"), std::string::npos);
  EXPECT_NE(error_of(old).find("has expired"), std::string::npos);
  EXPECT_TRUE(TlsServer::create(old)) << "with nothing better to hand it is used";
}

TEST_F(TlsTest, ChangedFilesAreNoticedOnceBothAreThere) {
  serve();
  const WallTime now{std::time(nullptr) * 1'000'000'000};
  CertificateWatch watch(*secure);
  const std::string first = secure->certificate().fingerprint;
  EXPECT_FALSE(watch.look(now));
  const CertificateFiles next = folder.make("second");
  const auto put = [](const std::string& from, const std::string& to) {
    std::filesystem::rename(from, to);
  };
  put(next.certificate, files.certificate);
  EXPECT_FALSE(watch.look(now)) << "it may still be written";
  put(next.key, files.key);
  EXPECT_FALSE(watch.look(now));
  EXPECT_EQ(secure->certificate().fingerprint, first);
  const std::optional<Result<void>> replaced = watch.look(now);
  ASSERT_TRUE(replaced);
  EXPECT_TRUE(*replaced);
  EXPECT_EQ(secure->certificate().subject, "CN=second");
  EXPECT_FALSE(watch.look(now));
  // A broken one is told of once; the next good one is taken.
  folder.write("first.crt", "nonsense");
  EXPECT_FALSE(watch.look(now));
  const std::optional<Result<void>> broken = watch.look(now);
  ASSERT_TRUE(broken);
  EXPECT_FALSE(*broken);
  EXPECT_FALSE(watch.look(now));
  EXPECT_EQ(secure->certificate().subject, "CN=second");
  (void)folder.make("first");
  EXPECT_FALSE(watch.look(now));
  EXPECT_TRUE(watch.look(now).value());
  EXPECT_EQ(secure->certificate().subject, "CN=first");
}

TEST_F(TlsTest, AReaderThatStallsHoldsUpTheWriter) {
  HttpLimits limits;
  limits.write_buffer_bytes = 64 << 10;
  serve(limits);
  handler.hold = true;
  const std::string event(1000, 'Q');
  std::promise<void> go_on;
  auto reader = std::async(std::launch::async, [&] {
    PlainSslClient client(port, {.receive_buffer = 4096});
    client.write(get_last);
    go_on.get_future().wait();
    return client.read_all();
  });
  ASSERT_TRUE(run_until([&] { return !handler.held.empty(); }));
  net::Exchange& exchange = *handler.held.front();
  bool drained = false;
  exchange.set_callbacks({{}, [&] { drained = true; }});
  exchange.start(200, "", std::nullopt);
  std::size_t written = 0;
  while (exchange.unsent_bytes() <= limits.write_buffer_bytes) {
    exchange.write(event);
    written += event.size();
    run_rounds(1);
    ASSERT_LT(written, 64U << 20);
  }
  run_rounds(20);
  EXPECT_GT(exchange.unsent_bytes(), limits.write_buffer_bytes / 2);
  EXPECT_FALSE(drained);
  go_on.set_value();
  ASSERT_TRUE(run_until([&] { return drained; }));
  exchange.finish();
  ASSERT_TRUE(run_until(
      [&] { return reader.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }));
  const std::string text = reader.get();
  EXPECT_EQ(static_cast<std::size_t>(std::ranges::count(text, 'Q')), written);
  EXPECT_TRUE(text.ends_with("0\r\n\r\n"));
}

TEST_F(TlsTest, AnAnswerThatIsBrokenOffHasNoGoodbye) {
  serve();
  handler.hold = true;
  auto reader = std::async(std::launch::async, [&] {
    PlainSslClient client(port, {});
    client.write(get_last);
    (void)client.read_all();
    return client.last_error;
  });
  ASSERT_TRUE(run_until([&] { return !handler.held.empty(); }));
  handler.held.front()->start(200, "", std::nullopt);
  handler.held.front()->write("a part");
  run_rounds(2);
  handler.held.front()->abort();
  ASSERT_TRUE(run_until(
      [&] { return reader.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }));
  EXPECT_NE(reader.get(), SSL_ERROR_ZERO_RETURN);
}

TEST_F(TlsTest, AGoneClientIsNoticed) {
  serve();
  handler.hold = true;
  bool gone = false;
  std::promise<void> leave;
  auto client = std::async(std::launch::async, [&] {
    PlainSslClient it(port, {});
    it.write(get);
    leave.get_future().wait();
  });
  ASSERT_TRUE(run_until([&] { return !handler.held.empty(); }));
  handler.held.front()->set_callbacks({[&] { gone = true; }, {}});
  leave.set_value();
  EXPECT_TRUE(run_until([&] { return gone; }));
}

TEST_F(TlsTest, ADrainEndsConnectionsWithAGoodbye) {
  serve();
  std::promise<void> answered;
  auto client = std::async(std::launch::async, [&] {
    PlainSslClient it(port, {});
    it.write(get);
    (void)it.read_until("/a ");
    answered.set_value();
    (void)it.read_all();
    return it.last_error;
  });
  auto first = answered.get_future();
  ASSERT_TRUE(run_until(
      [&] { return first.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }));
  bool drained = false;
  server->drain([&] { drained = true; });
  EXPECT_TRUE(run_until([&] { return drained; }));
  EXPECT_EQ(client.get(), SSL_ERROR_ZERO_RETURN);
}

}  // namespace
}  // namespace stoker::tls
