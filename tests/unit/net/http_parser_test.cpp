// The parser, without sockets. Each case is also fed in two pieces, cut at every place: the verdict
// must be the same. Cases: RELIABILITY.md 2 A.
#include "net/http_parser.h"

#include <gtest/gtest.h>

#include <string>

namespace stoker::net {
namespace {

using namespace std::string_literals;

struct Verdict {
  int status = 0;  // 0: accepted; -1: more bytes are needed
  std::size_t head_bytes = 0;
  HttpRequest request;
  RequestFraming framing;
};

Verdict parse(const std::string& bytes, std::size_t cut, const HttpLimits& limits) {
  RequestHeadParser parser(limits);
  // The first piece lies elsewhere, so that a stale pointer into it would show under ASan.
  {
    const std::string first = bytes.substr(0, cut);
    parser.advance(first);
  }
  const HeadParser::State state = parser.advance(bytes);
  Verdict verdict;
  if (state == HeadParser::State::need_more) verdict.status = -1;
  if (state == HeadParser::State::failed) verdict.status = parser.error().status;
  if (state == HeadParser::State::done) {
    verdict.head_bytes = parser.head_bytes();
    verdict.framing = parser.framing();
    parser.fill(bytes.data(), verdict.request);
  }
  return verdict;
}

Verdict parse_in_all_ways(const std::string& bytes, const HttpLimits& limits = {}) {
  const Verdict whole = parse(bytes, 0, limits);
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    const Verdict split = parse(bytes, cut, limits);
    EXPECT_EQ(split.status, whole.status) << "cut at " << cut;
    EXPECT_EQ(split.head_bytes, whole.head_bytes) << "cut at " << cut;
    EXPECT_EQ(split.request.target, whole.request.target) << "cut at " << cut;
  }
  return whole;
}

TEST(RequestHead, TakesApart) {
  const std::string bytes =
      "POST /v1/chat?x=1&y=2 HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 12\r\n"
      "X-Empty:\r\nx-odd: \t a b\xc3\xa9 \t\r\nConnection: foo, Keep-Alive\r\n\r\nbody";
  const Verdict got = parse_in_all_ways(bytes);
  ASSERT_EQ(got.status, 0);
  EXPECT_EQ(got.head_bytes, bytes.size() - 4);
  EXPECT_EQ(got.request.method, "POST");
  EXPECT_EQ(got.request.target, "/v1/chat?x=1&y=2");
  EXPECT_EQ(got.request.path, "/v1/chat");
  EXPECT_EQ(got.request.query, "x=1&y=2");
  EXPECT_FALSE(got.request.http10);
  EXPECT_EQ(got.request.fields.size(), 5U);
  EXPECT_EQ(got.request.fields.find("HOST"), "a.example:80");
  EXPECT_EQ(got.request.fields.find("x-empty"), "");
  EXPECT_EQ(got.request.fields.find("X-Odd"), "a b\xc3\xa9");
  EXPECT_EQ(got.request.fields.find("absent"), std::nullopt);
  EXPECT_EQ(got.framing.content_length, 12U);
  EXPECT_TRUE(got.framing.keep_alive);
}

TEST(RequestHead, Connection) {
  struct Case {
    const char* head;
    bool keep_alive;
  };
  const Case cases[] = {
      {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
      {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false},
      {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x , CLOSE\r\n\r\n", false},
      {"GET / HTTP/1.0\r\n\r\n", false},
      {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
      {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.head);
    const Verdict got = parse_in_all_ways(c.head);
    EXPECT_EQ(got.status, 0);
    EXPECT_EQ(got.framing.keep_alive, c.keep_alive);
  }
}

TEST(RequestHead, RequestLine) {
  struct Case {
    const char* name;
    std::string line;
    int status;
  };
  const Case cases[] = {
      {"plain", "GET / HTTP/1.1", 0},
      {"unknown method", "BREW /pot HTTP/1.1", 0},
      {"A24 CONNECT", "CONNECT a:443 HTTP/1.1", 405},
      {"A24 TRACE", "TRACE / HTTP/1.1", 405},
      {"A24 OPTIONS *", "OPTIONS * HTTP/1.1", 400},
      {"A24 HTTP/2 preface", "PRI * HTTP/2.0", 505},
      {"A24 HTTP/0.9", "GET /", 400},
      {"A24 HTTP/1.2", "GET / HTTP/1.2", 505},
      {"A24 HTTP/2.0", "GET / HTTP/2.0", 505},
      {"A24 HTTP/0.9 in line", "GET / HTTP/0.9", 505},
      {"A24 TLS hello", "\x16\x03\x01\x02"s, 400},
      {"version in small letters", "GET / http/1.1", 400},
      {"long version", "GET / HTTP/1.10", 400},
      {"no version", "GET / ", 400},
      {"two spaces", "GET  / HTTP/1.1", 400},
      {"space in target", "GET /a b HTTP/1.1", 400},
      {"tab in place of space", "GET\t/ HTTP/1.1", 400},
      {"space in front", " GET / HTTP/1.1", 400},
      {"space at the end", "GET / HTTP/1.1 ", 400},
      {"empty target", "GET  HTTP/1.1", 400},
      {"relative target", "GET a HTTP/1.1", 400},
      {"fragment", "GET /#a HTTP/1.1", 400},
      {"A28 no escape", "GET /% HTTP/1.1", 400},
      {"A28 half an escape", "GET /%4 HTTP/1.1", 400},
      {"A28 an escape of no digits", "GET /%4g HTTP/1.1", 400},
      {"A28 an escaped NUL", "GET /a%00b HTTP/1.1", 400},
      {"escapes", "GET /%41%0a%F0%10 HTTP/1.1", 0},
      {"a query may hold what it likes", "GET /?a=100%&b=%zz HTTP/1.1", 0},
      {"NUL in target", "GET /\0 HTTP/1.1"s, 400},
      {"eighth bit in target", "GET /\xc3\xa9 HTTP/1.1", 400},
      {"control in method", "G\x01T / HTTP/1.1", 400},
      {"CR inside", "GET /\r HTTP/1.1", 400},
      {"A23 absolute form of the same host", "GET http://a/b?c HTTP/1.1", 0},
      {"A23 absolute form, other case", "GET HTTP://A/b HTTP/1.1", 0},
      {"A23 absolute form of another host", "GET http://other/ HTTP/1.1", 400},
      {"A23 absolute form with user", "GET http://u@a/ HTTP/1.1", 400},
      {"A23 absolute form without path", "GET http://a HTTP/1.1", 400},
      {"A23 other scheme", "GET ftp://a/ HTTP/1.1", 400},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(parse_in_all_ways(c.line + "\r\nHost: a\r\n\r\n").status, c.status);
  }
}

TEST(RequestHead, AbsoluteFormKeepsPathAndQuery) {
  const std::string bytes = "GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n";
  const Verdict got = parse_in_all_ways(bytes);
  EXPECT_EQ(got.request.target, "http://a/b?c");
  EXPECT_EQ(got.request.path, "/b");
  EXPECT_EQ(got.request.query, "c");
}

TEST(RequestHead, LineEnds) {
  const auto status = [](const std::string& bytes) { return parse_in_all_ways(bytes).status; };
  EXPECT_EQ(status("GET / HTTP/1.1\nHost: a\n\n"), 400);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a\n\r\n"), 400);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a\r\n\n"), 400);
  EXPECT_EQ(status("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 0);  // RFC 9112 2.2
  EXPECT_EQ(status("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(status("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(status("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a\r\n\r"), -1);
}

TEST(RequestHead, Fields) {
  struct Case {
    const char* name;
    std::string fields;
    int status;
  };
  const Case cases[] = {
      {"A1 CL.TE", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400},
      {"A1 TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400},
      {"A2 equal", "Content-Length: 5\r\nContent-Length: 5\r\n", 400},
      {"A2 different", "Content-Length: 5\r\nContent-Length: 6\r\n", 400},
      {"A2 list", "Content-Length: 5, 5\r\n", 400},
      {"A2 list of two", "Content-Length: 5,6\r\n", 400},
      {"A3 plus", "Content-Length: +5\r\n", 400},
      {"A3 minus", "Content-Length: -5\r\n", 400},
      {"A3 hex", "Content-Length: 0x5\r\n", 400},
      {"A3 two numbers", "Content-Length: 5 5\r\n", 400},
      {"A3 underscore", "Content-Length: 5_0\r\n", 400},
      {"A3 empty", "Content-Length:\r\n", 400},
      {"A3 after NUL", "Content-Length: \0 5\r\n"s, 400},
      {"A3 2^63", "Content-Length: 9223372036854775808\r\n", 400},
      {"A3 2^63 - 1", "Content-Length: 9223372036854775807\r\n", 413},
      {"A3 2^64 + 5", "Content-Length: 18446744073709551621\r\n", 400},
      {"A3 blanks round it", "Content-Length:  5 \r\n", 0},
      {"A28 tab before a length", "Content-Length: \t5\r\n", 400},
      {"A28 tab after a length", "content-length: 5\t\r\n", 400},
      {"A28 tab before a coding", "Transfer-Encoding:\tchunked\r\n", 400},
      {"A28 tab after a coding", "transfer-encoding: chunked\t\r\n", 400},
      {"A5 chunked", "Transfer-Encoding: chunked\r\n", 0},
      {"A5 any case", "transfer-encoding: CHUNKED\r\n", 0},
      {"A5 twice in one", "Transfer-Encoding: chunked, chunked\r\n", 400},
      {"A5 empty member", "Transfer-Encoding: ,chunked\r\n", 400},
      {"A5 parameter", "Transfer-Encoding: chunked;x\r\n", 400},
      {"A5 xchunked", "Transfer-Encoding: xchunked\r\n", 400},
      {"A5 identity", "Transfer-Encoding: identity\r\n", 400},
      {"A5 two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400},
      {"A5 vertical tab",
       "Transfer-Encoding: \x0b"
       "chunked\r\n",
       400},
      {"A5 NUL", "Transfer-Encoding: chunked\0\r\n"s, 400},
      {"A5 not last", "Transfer-Encoding: chunked, gzip\r\n", 400},
      {"A5 empty", "Transfer-Encoding:\r\n", 400},
      {"A5 unknown", "Transfer-Encoding: gzip\r\n", 501},
      {"A5 unknown before chunked", "Transfer-Encoding: gzip, chunked\r\n", 501},
      {"A7 continuation", "X: a\r\n b\r\n", 400},
      {"A7 continuation by tab", "X: a\r\n\tb\r\n", 400},
      {"A7 space before colon", "X : a\r\n", 400},
      {"A7 tab before colon", "X\t: a\r\n", 400},
      {"A7 space in front", " X: a\r\n", 400},
      {"A7 no colon", "X\r\n", 400},
      {"A7 no name", ": a\r\n", 400},
      {"A9 NUL in name", "X\0Y: a\r\n"s, 400},
      {"A9 control in name", "X\x01: a\r\n", 400},
      {"A9 eighth bit in name", "X\xc3: a\r\n", 400},
      {"A9 DEL in name", "X\x7f: a\r\n", 400},
      {"A9 NUL in value", "X: a\0b\r\n"s, 400},
      {"A9 CR in value", "X: a\rb\r\n", 400},
      {"A9 DEL in value", "X: \x7f\r\n", 400},
      {"A10 second Host", "Host: a\r\n", 400},
      {"A21 expectation", "Expect: 100-Continue\r\n", 0},
      {"A21 unknown expectation", "Expect: wonders\r\n", 417},
      {"A28 two expectations", "Expect: 100-continue\r\nExpect: 100-continue\r\n", 400},
      {"A24 h2c", "Upgrade: h2c\r\nConnection: Upgrade\r\n", 400},
      {"A24 one of two", "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n", 400},
      {"A24 upgrade of a POST", "Upgrade: websocket\r\nConnection: Upgrade\r\n", 400},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(parse_in_all_ways("POST / HTTP/1.1\r\nHost: a\r\n" + c.fields + "\r\n").status,
              c.status);
    // The same field in front, before a good one.
    const int first =
        parse_in_all_ways("POST / HTTP/1.1\r\n" + c.fields + "Host: a\r\n\r\n").status;
    EXPECT_EQ(first, c.status);
  }
}

TEST(RequestHead, Host) {
  struct Case {
    const char* host;
    int status;
  };
  const Case cases[] = {
      {"Host: a.b-c_d.example", 0},
      {"Host: 127.0.0.1:80", 0},
      {"Host: [::1]:80", 0},
      {"Host: [::1]", 0},
      {"Host: a:", 0},
      {"Host: a.b.", 0},
      {"Host: .", 400},
      {"Host: ..", 400},
      {"Host: .a", 400},
      {"Host: a..b", 400},
      {"Host:\ta", 400},
      {"Host: a\t", 400},
      {"X: y", 400},
      {"Host:", 400},
      {"Host: a/b", 400},
      {"Host: u@a", 400},
      {"Host: a b", 400},
      {"Host: a:b", 400},
      {"Host: a:1:2", 400},
      {"Host: [::1", 400},
      {"Host: []", 400},
      {"Host: [::1]x", 400},
      {"Host: a,b", 0},
      {"Host: \"a\"", 400},
      {"Host: a\\b", 400},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.host);
    EXPECT_EQ(parse_in_all_ways("GET / HTTP/1.1\r\n"s + c.host + "\r\n\r\n").status, c.status);
  }
  EXPECT_EQ(parse_in_all_ways("GET / HTTP/1.0\r\n\r\n").status, 0);
}

TEST(RequestHead, AnUpgradeIsAHandshakeOfWebSocket) {
  const std::string start = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n";
  const std::string key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
  const std::string upgrade = "Upgrade: websocket\r\n";
  EXPECT_EQ(parse_in_all_ways(start + upgrade + key + "\r\n").status, 0);
  EXPECT_EQ(parse_in_all_ways(start + key + upgrade + "\r\n").status, 0);
  EXPECT_EQ(parse_in_all_ways(start + upgrade + "\r\n").status, 400);
  EXPECT_EQ(parse_in_all_ways(start + upgrade + "Sec-WebSocket-Key:\r\n\r\n").status, 400);
  EXPECT_EQ(parse_in_all_ways("GET / HTTP/1.1\r\nHost: a\r\n" + upgrade + key + "\r\n").status,
            400);
}

TEST(RequestHead, Http10) {
  EXPECT_EQ(parse_in_all_ways("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").status, 400);
  const Verdict got = parse_in_all_ways("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(got.status, 0);
  EXPECT_FALSE(got.framing.expect_continue);
}

TEST(RequestHead, Limits) {
  const HttpLimits limits{
      .start_line_bytes = 20, .header_block_bytes = 60, .header_fields = 3, .body_bytes = 10};
  const auto status = [&](const std::string& bytes) {
    return parse_in_all_ways(bytes, limits).status;
  };
  EXPECT_EQ(status("GET /345678 HTTP/1.1\r\nHost: a\r\n\r\n"), 0);
  EXPECT_EQ(status("GET /3456789 HTTP/1.1\r\nHost: a\r\n\r\n"), 414);
  EXPECT_EQ(status("GET /3456789 HTTP/1.1 and no end of it"), 414);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n"), 0);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\nE: f\r\n\r\n"), 431);
  const std::string before = "GET / HTTP/1.1\r\nHost: a\r\nX: ";  // 9 + 3 bytes of the block
  EXPECT_EQ(status(before + std::string(44, 'x') + "\r\n\r\n"), 0);
  EXPECT_EQ(status(before + std::string(45, 'x') + "\r\n\r\n"), 431);
  EXPECT_EQ(status(before + std::string(500, 'x')), 431);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"), 0);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n"), 413);
}

TEST(RequestHead, IsReadyForTheNextRequest) {
  const HttpLimits limits;
  RequestHeadParser parser(limits);
  const std::string first =
      "POST http://a/ HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
  ASSERT_EQ(parser.advance(first), HeadParser::State::done);
  parser.reset();
  const std::string second = "GET / HTTP/1.1\r\nHost: b\r\n\r\n";
  ASSERT_EQ(parser.advance(second), HeadParser::State::done);
  EXPECT_EQ(parser.framing().content_length, std::nullopt);
  EXPECT_TRUE(parser.framing().keep_alive);
}

// --- Answers ---------------------------------------------------------------------------------

struct AnswerVerdict {
  HeadParser::State state;
  int status = 0;
  BodyEnd end = BodyEnd::none;
  bool keep_alive = false;
};

AnswerVerdict parse_answer(const std::string& bytes, bool to_head = false) {
  const HttpLimits limits;
  AnswerVerdict whole{};
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    ResponseHeadParser parser(limits);
    parser.reset({.head_request = to_head});
    {
      const std::string first = bytes.substr(0, cut);
      parser.advance(first);
    }
    AnswerVerdict got{parser.advance(bytes)};
    if (got.state == HeadParser::State::done) {
      got.status = parser.status();
      got.end = parser.body_end();
      got.keep_alive = parser.keep_alive();
      HttpResponseHead head;
      parser.fill(bytes.data(), head);
      EXPECT_EQ(head.status, got.status);
    }
    if (cut == 0) whole = got;
    EXPECT_EQ(got.state, whole.state) << "cut at " << cut;
    EXPECT_EQ(got.status, whole.status) << "cut at " << cut;
  }
  return whole;
}

TEST(ResponseHead, Good) {
  struct Case {
    const char* bytes;
    int status;
    BodyEnd end;
    bool keep_alive;
  };
  const Case cases[] = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, BodyEnd::length, true},
      {"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\n", 200, BodyEnd::length, true},
      {"HTTP/1.1 503 \r\nTransfer-Encoding: chunked\r\n\r\n", 503, BodyEnd::chunked, true},
      {"HTTP/1.1 200 OK\r\n\r\n", 200, BodyEnd::connection_close, false},
      {"HTTP/1.1 204 No Content\r\n\r\n", 204, BodyEnd::none, true},
      {"HTTP/1.1 100 Continue\r\n\r\n", 100, BodyEnd::none, true},
      {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", 200, BodyEnd::length,
       false},
      {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", 200, BodyEnd::length, false},
      {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", 200,
       BodyEnd::length, true},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.bytes);
    const AnswerVerdict got = parse_answer(c.bytes);
    EXPECT_EQ(got.state, HeadParser::State::done);
    EXPECT_EQ(got.status, c.status);
    EXPECT_EQ(got.end, c.end);
    EXPECT_EQ(got.keep_alive, c.keep_alive);
  }
  EXPECT_EQ(parse_answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true).end, BodyEnd::none);
}

TEST(ResponseHead, Bad) {
  const std::string cases[] = {
      "HTTP/2 200 OK\r\n\r\n",
      "http/1.1 200 OK\r\n\r\n",
      "HTTP/1.1 2000\r\n\r\n",
      "HTTP/1.1 20x OK\r\n\r\n",
      "HTTP/1.1 600 OK\r\n\r\n",
      "HTTP/1.1 099 OK\r\n\r\n",
      "HTTP/1.1 101 Switching Protocols\r\n\r\n",
      "HTTP/1.1 200 O\x01K\r\n\r\n",
      "HTTP/1.1 200 OK\n\n",
      "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
      "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
      "garbage\r\n\r\n",
  };
  for (const std::string& bytes : cases) {
    SCOPED_TRACE(bytes);
    EXPECT_EQ(parse_answer(bytes).state, HeadParser::State::failed);
  }
}

}  // namespace
}  // namespace stoker::net
