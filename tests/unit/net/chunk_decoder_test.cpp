// The chunked coding, each case in one piece, cut in two at every place, and byte by byte.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "net/http_parser.h"

namespace stoker::net {
namespace {

using namespace std::string_literals;

struct Decoded {
  std::string body;
  ChunkDecoder::State state = ChunkDecoder::State::need_more;
  int status = 0;
  std::string rest;  // behind the end
};

Decoded decode(const std::vector<std::string>& pieces, const HttpLimits& limits) {
  ChunkDecoder decoder(limits);
  Decoded got;
  for (const std::string& piece : pieces) {
    std::string_view input = piece;
    while (got.state != ChunkDecoder::State::end) {
      std::string_view data;
      got.state = decoder.next(input, data);
      if (got.state == ChunkDecoder::State::failed) {
        got.status = decoder.error().status;
        return got;
      }
      if (got.state != ChunkDecoder::State::data) break;
      got.body += data;
    }
    got.rest += input;
  }
  return got;
}

Decoded decode_in_all_ways(const std::string& bytes, const HttpLimits& limits = {}) {
  const Decoded whole = decode({bytes}, limits);
  const auto same = [&](const Decoded& other) {
    return other.body == whole.body && other.state == whole.state && other.status == whole.status &&
           other.rest == whole.rest;
  };
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    EXPECT_TRUE(same(decode({bytes.substr(0, cut), bytes.substr(cut)}, limits)))
        << "cut at " << cut;
  }
  std::vector<std::string> single;
  for (const char c : bytes) single.emplace_back(1, c);
  EXPECT_TRUE(same(decode(single, limits))) << "byte by byte";
  return whole;
}

TEST(ChunkDecoder, Good) {
  struct Case {
    std::string bytes;
    std::string body;
    std::string rest;
  };
  const Case cases[] = {
      {"0\r\n\r\n", "", ""},
      {"5\r\nhello\r\n0\r\n\r\n", "hello", ""},
      {"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", ""},
      {"A\r\n0123456789\r\n000\r\n\r\nGET /", "0123456789", "GET /"},
      {"5;a=b\r\nhello\r\n0;c\r\n\r\n", "hello", ""},
      {"5;a=\"q\"\r\nhello\r\n0\r\n\r\n", "hello", ""},
      {"5;a;b=c;d=\"e \\\" f\";g=\"\";h\r\nhello\r\n0;i\r\n\r\n", "hello", ""},
      {"1\r\nx\r\n0\r\nContent-Lengths: 5\r\nTransfer-Encodings: b\r\n\r\n", "x", ""},
      {"0000000000000001\r\nx\r\n0\r\n\r\n", "x", ""},
      {"1\r\n\r\r\n1\r\n\n\r\n0\r\n\r\n", "\r\n", ""},
      {"1\r\nx\r\n0\r\nTrailer: a\r\nOther:b\r\n\r\n", "x", ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.bytes);
    const Decoded got = decode_in_all_ways(c.bytes);
    EXPECT_EQ(got.state, ChunkDecoder::State::end);
    EXPECT_EQ(got.body, c.body);
    EXPECT_EQ(got.rest, c.rest);
  }
}

TEST(ChunkDecoder, Bad) {
  const std::string cases[] = {
      "\r\n",
      "-2\r\nxx\r\n",
      "+2\r\nxx\r\n",
      "0x2\r\nxx\r\n",
      " 2\r\nxx\r\n",
      "2 \r\nxx\r\n",
      "2\nxx\n",
      "2\rxx\r\n",
      "g\r\n",
      ";a\r\n",
      "00000000000000001\r\nx\r\n",
      "2\r\nxxx\r\n",
      "2\r\nxx\n0\r\n\r\n",
      "2\r\nxx\rx",
      "2;a\x01"
      "b\r\nxx\r\n",
      "2;a=\"q\nr\"\r\nxx\r\n",
      "2;a\rb\r\nxx\r\n",
      "2;" + std::string(64, 'a') + "\r\nxx\r\n",
      // A28: node refuses these.
      "2;\r\nxx\r\n",
      "2;;a\r\nxx\r\n",
      "2; a\r\nxx\r\n",
      "2;a \r\nxx\r\n",
      "2;a =b\r\nxx\r\n",
      "2;=b\r\nxx\r\n",
      "2;a=\r\nxx\r\n",
      "2;a=b=c\r\nxx\r\n",
      "2;a=b\"c\"\r\nxx\r\n",
      "2;a=\"b\"c\r\nxx\r\n",
      "2;a=\"b\r\nxx\r\n",
      "2;a=\"b\\\r\nxx\r\n",
      "2;a=\"\t\"\r\nxx\r\n",
      "2;a=\"\x80\"\r\nxx\r\n",
      "2;\"\r\nxx\r\n",
      "2;a\x80\r\nxx\r\n",
      "2\r\nxx\r\n0\r\nContent-Length: 5\r\n\r\n",
      "2\r\nxx\r\n0\r\ntransfer-encoding: chunked\r\n\r\n",
      "2\r\nxx\r\n0\r\nA: b\r\nHost: a\r\n\r\n",
      "0\r\n: a\r\n\r\n",
      "0\r\nA b\r\n\r\n",
      "0\r\nA : b\r\n\r\n",
      "0\r\n A: b\r\n\r\n",
      "0\r\nA: b\n\r\n",
      "0\r\nA: \0\r\n\r\n"s,
      "0\r\n\rx",
  };
  for (const std::string& bytes : cases) {
    SCOPED_TRACE(bytes);
    const Decoded got = decode_in_all_ways(bytes);
    EXPECT_EQ(got.state, ChunkDecoder::State::failed);
    EXPECT_EQ(got.status, 400);
  }
}

TEST(ChunkDecoder, Limits) {
  const HttpLimits limits{.body_bytes = 10, .chunks = 3, .chunk_extension_bytes = 12};
  const auto status = [&](const std::string& bytes) {
    return decode_in_all_ways(bytes, limits).status;
  };
  EXPECT_EQ(status("a\r\n0123456789\r\n0\r\n\r\n"), 0);
  // At the announcement, before any byte of it.
  EXPECT_EQ(status("b\r\n"), 413);
  EXPECT_EQ(status("9\r\n012345678\r\n2\r\n"), 413);
  EXPECT_EQ(status("ffffffffffffffff\r\n"), 413);
  EXPECT_EQ(status("1\r\nx\r\nffffffffffffffff\r\n"), 413);
  EXPECT_EQ(status("1\r\nx\r\n1\r\nx\r\n1\r\nx\r\n0\r\n\r\n"), 0);
  EXPECT_EQ(status("1\r\nx\r\n1\r\nx\r\n1\r\nx\r\n1\r\n"), 400);
  EXPECT_EQ(status("1;aaaaa\r\nx\r\n1;aaaaaaa\r\nx\r\n0\r\n\r\n"), 0);
  EXPECT_EQ(status("1;aaaaa\r\nx\r\n1;aaaaaaaa\r\n"), 400);
  EXPECT_EQ(status("0\r\nA: " + std::string(9000, 'a') + "\r\n\r\n"), 431);
}

}  // namespace
}  // namespace stoker::net
