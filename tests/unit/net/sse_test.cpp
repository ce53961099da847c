#include "net/sse.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace stoker::net {
namespace {

struct Got {
  std::string raw, data, name, comment;
  bool has_data, comment_only;
  bool operator==(const Got&) const = default;
};

struct Framed {
  std::vector<Got> events;
  std::string unfinished;
  bool too_large = false;
  bool operator==(const Framed&) const = default;
};

Framed frame(const std::vector<std::string>& chunks, std::size_t limit = 1000) {
  SseFramer framer(limit);
  Framed got;
  for (const std::string& chunk : chunks) {
    framer.feed(chunk);
    SseEvent event;
    SseFramer::Next next = framer.next(event);
    for (; next == SseFramer::Next::event; next = framer.next(event)) {
      got.events.push_back({std::string(event.raw), std::string(event.data),
                            std::string(event.name), std::string(event.comment), event.has_data,
                            event.comment_only});
    }
    if (next == SseFramer::Next::too_large) {
      got.too_large = true;
      return got;
    }
  }
  got.unfinished = framer.unfinished();
  return got;
}

Framed frame_in_all_ways(const std::string& bytes, std::size_t limit = 1000) {
  const Framed whole = frame({bytes}, limit);
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    EXPECT_EQ(frame({bytes.substr(0, cut), bytes.substr(cut)}, limit), whole) << "cut at " << cut;
  }
  std::vector<std::string> single;
  for (const char c : bytes) single.emplace_back(1, c);
  EXPECT_EQ(frame(single, limit), whole) << "byte by byte";
  return whole;
}

TEST(SseFramer, Events) {
  struct Case {
    const char* name;
    std::string bytes;
    std::vector<Got> events;
    std::string unfinished;
  };
  const Case cases[] = {
      {"one", "data: a\n\n", {{"data: a\n\n", "a", "", "", true, false}}, ""},
      {"CR LF", "data: a\r\n\r\n", {{"data: a\r\n\r\n", "a", "", "", true, false}}, ""},
      {"mixed line ends", "data: a\n\r\n", {{"data: a\n\r\n", "a", "", "", true, false}}, ""},
      {"no blank after colon", "data:a\n\n", {{"data:a\n\n", "a", "", "", true, false}}, ""},
      {"one blank goes", "data:  a\n\n", {{"data:  a\n\n", " a", "", "", true, false}}, ""},
      {"three data lines",
       "data: a\ndata: b\ndata:\n\n",
       {{"data: a\ndata: b\ndata:\n\n", "a\nb\n", "", "", true, false}},
       ""},
      {"empty data", "data\n\n", {{"data\n\n", "", "", "", true, false}}, ""},
      {"name",
       "event: message_stop\ndata: {}\n\n",
       {{"event: message_stop\ndata: {}\n\n", "{}", "message_stop", "", true, false}},
       ""},
      {"comment",
       ": keep-alive\n\n",
       {{": keep-alive\n\n", "", "", "keep-alive", false, true}},
       ""},
      {"comment with data",
       ": c\ndata: a\n\n",
       {{": c\ndata: a\n\n", "a", "", "c", true, false}},
       ""},
      {"other fields",
       "id: 7\nretry: 1\n\n",
       {{"id: 7\nretry: 1\n\n", "", "", "", false, false}},
       ""},
      {"only an empty line", "\n", {{"\n", "", "", "", false, true}}, ""},
      {"two",
       "data: a\n\ndata: b\n\n",
       {{"data: a\n\n", "a", "", "", true, false}, {"data: b\n\n", "b", "", "", true, false}},
       ""},
      {"not over",
       "data: a\n\ndata: b\n",
       {{"data: a\n\n", "a", "", "", true, false}},
       "data: b\n"},
      {"nothing", "", {}, ""},
      {"a lone CR ends no line",
       "data: a\r\rdata: b\n\n",
       {{"data: a\r\rdata: b\n\n", "a\r\rdata: b", "", "", true, false}},
       ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const Framed got = frame_in_all_ways(c.bytes);
    EXPECT_EQ(got.events, c.events);
    EXPECT_EQ(got.unfinished, c.unfinished);
    EXPECT_FALSE(got.too_large);
  }
}

TEST(SseFramer, ThreeDataLinesOverManyEvents) {
  const std::string event = "data: a\ndata: b\n\n";
  const Framed got = frame({event + event, event});
  ASSERT_EQ(got.events.size(), 3U);
  for (const Got& each : got.events) EXPECT_EQ(each.data, "a\nb");
}

TEST(SseFramer, Limit) {
  EXPECT_FALSE(frame_in_all_ways("data: 78\n\n", 10).too_large);
  EXPECT_TRUE(frame_in_all_ways("data: 789\n\n", 10).too_large);
  EXPECT_TRUE(frame_in_all_ways(std::string(100, 'x'), 10).too_large);
  const Framed second = frame_in_all_ways("data: 1\n\ndata: 123456789\n\n", 10);
  EXPECT_TRUE(second.too_large);
  EXPECT_EQ(second.events.size(), 1U);
}

TEST(SseFramer, GivesViewsIntoTheChunk) {
  const std::string chunk = "data: a\n\ndata: b\n\n";
  SseFramer framer;
  framer.feed(chunk);
  SseEvent event;
  ASSERT_EQ(framer.next(event), SseFramer::Next::event);
  EXPECT_EQ(event.raw.data(), chunk.data());
  ASSERT_EQ(framer.next(event), SseFramer::Next::event);
  EXPECT_EQ(event.raw.data(), chunk.data() + 9);
  EXPECT_EQ(framer.next(event), SseFramer::Next::need_more);
}

}  // namespace
}  // namespace stoker::net
