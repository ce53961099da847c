// Where requests to others may go, and that they go nowhere else (C12, C13 in RELIABILITY.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <future>
#include <string>
#include <thread>

#include "base/unique_fd.h"
#include "outbound/curl_poster.h"
#include "outbound/destination.h"

namespace stoker::outbound {
namespace {

using ::testing::HasSubstr;

TEST(Destination, NoNotationOfAPrivateAddressGetsThrough) {
  const DestinationRule rule;
  for (const char* url : {"http://127.0.0.1/",
                          "http://127.1/",
                          "http://0177.0.0.1/",
                          "http://0x7f.0.0.1/",
                          "http://2130706433/",
                          "http://0/",
                          "http://0.0.0.0:80/",
                          "http://[::1]/",
                          "http://[::ffff:127.0.0.1]/",
                          "http://[::ffff:7f00:1]/",
                          "http://[fc00::1]/",
                          "http://[fe80::1]/",
                          "http://[64:ff9b::a9fe:a9fe]/",
                          "http://10.0.0.5/",
                          "http://169.254.169.254/latest/meta-data/",
                          "https://192.168.1.1:8443/x",
                          "http://localhost/",
                          "http://LOCALHOST./",
                          "http://api.localhost/",
                          "file:///etc/passwd",
                          "gopher://example.com/",
                          "ftp://example.com/",
                          "http://user@example.com/",
                          "http://user:word@example.com/",
                          "http://1.1.1.1@127.0.0.1/",
                          "example.com/hook",
                          "http://",
                          "http://exa mple.com/",
                          "http://example.com/\r\nX: y",
                          "",
                          "http://[::1",
                          "//example.com/"}) {
    const Result<std::string> host = host_to_call(url, rule);
    EXPECT_FALSE(host) << url << " gives " << host.value_or("");
  }
  EXPECT_FALSE(host_to_call("http://example.com/" + std::string(3000, 'x'), rule));
  EXPECT_EQ(host_to_call("https://Hooks.Example.com:8443/a?b=c", rule), "hooks.example.com");
  EXPECT_EQ(host_to_call("http://1.1.1.1/", rule), "1.1.1.1");
  EXPECT_EQ(host_to_call("http://[2606:4700::1]/", rule), "2606:4700::1");
}

TEST(Destination, WhatTheConfigurationNamesIsAllowed) {
  const DestinationRule rule({"10.1.0.0/16", "fd00::/8", "Hooks.Internal", "192.168.1.7"});
  EXPECT_EQ(host_to_call("http://10.1.2.3/", rule), "10.1.2.3");
  EXPECT_EQ(host_to_call("http://192.168.1.7/", rule), "192.168.1.7");
  EXPECT_EQ(host_to_call("http://[fd12::1]/", rule), "fd12::1");
  EXPECT_FALSE(host_to_call("http://10.2.0.1/", rule));
  EXPECT_FALSE(host_to_call("http://localhost/", rule));
  const IpAddress loopback = IpAddress::v4({127, 0, 0, 1});
  EXPECT_TRUE(rule.allows(loopback, "hooks.internal"));
  EXPECT_FALSE(rule.allows(loopback, "example.com"));
  EXPECT_TRUE(host_to_call("http://localhost:1/", DestinationRule({"127.0.0.0/8"})));
  EXPECT_TRUE(host_to_call("http://localhost:1/", DestinationRule({"localhost"})));
}

/// Listens on the loopback and answers the first request with what it is told to.
class Receiver {
 public:
  explicit Receiver(std::string answer) : answer_(std::move(answer)) {
    fd_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_.get(), 8), 0);
    EXPECT_EQ(::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  [[nodiscard]] std::string url(const std::string& host) const {
    return "http://" + host + ":" + std::to_string(port_) + "/hook?secret=1";
  }
  /// Serves one request.   Gives: all of it up to `until`.
  std::string serve(const std::string& until) {
    const UniqueFd client(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    std::string got;
    char buffer[4096];
    while (got.find(until) == std::string::npos) {
      const auto count = ::recv(client.get(), buffer, sizeof buffer, 0);
      if (count <= 0) break;
      got.append(buffer, static_cast<std::size_t>(count));
    }
    EXPECT_EQ(::send(client.get(), answer_.data(), answer_.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(answer_.size()));
    return got;
  }
  /// Has somebody tried to connect?
  [[nodiscard]] bool called() const {
    pollfd waiting{fd_.get(), POLLIN, 0};
    return ::poll(&waiting, 1, 0) > 0;
  }

 private:
  UniqueFd fd_;
  std::string answer_;
  int port_ = 0;
};

PostAnswer post(CurlPoster& poster, const std::string& url, const std::string& host,
                Duration timeout = seconds(20)) {
  std::promise<PostAnswer> answered;
  poster.post({url, host, {"X-Test: yes"}, "{\"a\":1}", timeout},
              [&](PostAnswer answer) { answered.set_value(std::move(answer)); });
  return answered.get_future().get();
}

TEST(CurlPoster, SendsWhatItIsGiven) {
  Receiver receiver("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n");
  const auto poster = CurlPoster::create(DestinationRule({"127.0.0.0/8"})).value();
  EXPECT_EQ(poster->check(receiver.url("127.0.0.1")), "127.0.0.1");
  std::string got;
  std::thread serving([&] { got = receiver.serve("{\"a\":1}"); });
  const PostAnswer answer = post(*poster, receiver.url("127.0.0.1"), "127.0.0.1");
  serving.join();
  EXPECT_EQ(answer.status, 204) << answer.problem;
  EXPECT_THAT(got, HasSubstr("POST /hook?secret=1 HTTP/1.1\r\n"));
  EXPECT_THAT(got, HasSubstr("X-Test: yes\r\n"));
  EXPECT_THAT(got, HasSubstr("User-Agent: Stoker/"));
  EXPECT_THAT(got, HasSubstr("\r\n\r\n{\"a\":1}"));
}

TEST(CurlPoster, ANameThatStandsForAPrivateAddressIsNotConnectedTo) {
  Receiver receiver("");
  const auto poster = CurlPoster::create(DestinationRule()).value();
  const PostAnswer named = post(*poster, receiver.url("localhost"), "localhost");
  EXPECT_EQ(named.status, 0);
  EXPECT_EQ(named.problem, "localhost: is at an address that is not public");
  EXPECT_FALSE(receiver.called());
  // Also one that was let through when it was given.
  const PostAnswer literal = post(*poster, receiver.url("127.0.0.1"), "127.0.0.1");
  EXPECT_EQ(literal.status, 0);
  EXPECT_FALSE(receiver.called());
}

TEST(CurlPoster, AProxyOfTheEnvironmentIsNotAsked) {
  Receiver proxy("");
  ::setenv("http_proxy", proxy.url("127.0.0.1").c_str(), 1);
  const auto poster = CurlPoster::create(DestinationRule()).value();
  EXPECT_EQ(post(*poster, "http://localhost:1/", "localhost").status, 0);
  ::unsetenv("http_proxy");
  EXPECT_FALSE(proxy.called());
}

TEST(CurlPoster, WhenToComeBackIsTold) {
  for (const auto& [asked, told] : {std::pair("Retry-After: 120\r\n", seconds(120)),
                                    {"Retry-After: 99999999999\r\n", minutes(24 * 60)},
                                    {"Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n", Duration{}},
                                    {"", Duration{}}}) {
    Receiver receiver("HTTP/1.1 503 Busy\r\n" + std::string(asked) + "Content-Length: 0\r\n\r\n");
    const auto poster = CurlPoster::create(DestinationRule({"127.0.0.1"})).value();
    std::thread serving([&] { receiver.serve("{\"a\":1}"); });
    EXPECT_EQ(post(*poster, receiver.url("127.0.0.1"), "127.0.0.1").retry_after, told) << asked;
    serving.join();
  }
}

TEST(CurlPoster, ARedirectIsAnAnswerAndNoWay) {
  Receiver elsewhere("");
  Receiver receiver("HTTP/1.1 302 Found\r\nLocation: " + elsewhere.url("127.0.0.1") +
                    "\r\nContent-Length: 0\r\n\r\n");
  const auto poster = CurlPoster::create(DestinationRule({"127.0.0.1"})).value();
  std::thread serving([&] { receiver.serve("{\"a\":1}"); });
  EXPECT_EQ(post(*poster, receiver.url("127.0.0.1"), "127.0.0.1").status, 302);
  serving.join();
  EXPECT_FALSE(elsewhere.called());
}

TEST(CurlPoster, AnAnswerWithoutEndIsNotRead) {
  Receiver receiver("HTTP/1.1 200 OK\r\n\r\n" + std::string(std::size_t{200} << 10, 'x'));
  const auto poster = CurlPoster::create(DestinationRule({"127.0.0.1"})).value();
  std::thread serving([&] { receiver.serve("{\"a\":1}"); });
  EXPECT_EQ(post(*poster, receiver.url("127.0.0.1"), "127.0.0.1").status, 200);
  serving.join();
}

TEST(CurlPoster, WhoDoesNotAnswerIsLeft) {
  Receiver receiver("");  // takes connections and says nothing
  const auto poster = CurlPoster::create(DestinationRule({"127.0.0.1"})).value();
  const PostAnswer late = post(*poster, receiver.url("127.0.0.1"), "127.0.0.1", ms(50));
  EXPECT_EQ(late.status, 0);
  EXPECT_THAT(late.problem, HasSubstr("127.0.0.1: "));
  EXPECT_THAT(late.problem, ::testing::Not(HasSubstr("secret")));
  poster->post({receiver.url("127.0.0.1"), "127.0.0.1", {}, "", seconds(60)},
               [](PostAnswer) { ADD_FAILURE() << "the poster ended before"; });
}

}  // namespace
}  // namespace stoker::outbound
