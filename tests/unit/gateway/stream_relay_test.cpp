#include "gateway/stream_relay.h"

#include <gtest/gtest.h>

#include <vector>

namespace stoker::gateway {
namespace {

using End = StreamRelay::End;

struct Relayed {
  std::string out;
  std::string terminal;
  End end;
  std::int64_t data_events;
  WorkerUsage usage;
};

Relayed relay(const StreamRules& rules, std::string_view stream, std::size_t chunk_bytes) {
  JsonReader json;
  StreamRelay relay(rules, json);
  Relayed result{};
  while (!stream.empty()) {
    const std::string chunk(stream.substr(0, chunk_bytes));  // an own copy: dies after feed()
    stream.remove_prefix(chunk.size());
    EXPECT_TRUE(relay.feed(chunk, result.out));
  }
  result.terminal = relay.terminal();
  result.end = relay.end();
  result.data_events = relay.data_events();
  result.usage = relay.usage();
  return result;
}

struct Case {
  const char* what;
  StreamRules rules;
  std::string stream;
  std::string out;
  std::string terminal;
  End end;
  std::int64_t input, output;
};

const std::vector<Case>& cases() {
  constexpr bool own = true;
  constexpr bool foreign = false;
  static const std::vector<Case> all = {
      {"own worker: the usage comment stays here",
       {Dialect::openai, own, false},
       "data: {\"a\":1}\n\ndata: {\"a\":2}\n\n"
       ": stoker-usage input=3,output=4,cached=0,device_ms=5\n\ndata: [DONE]\n\n",
       "data: {\"a\":1}\n\ndata: {\"a\":2}\n\n",
       "data: [DONE]\n\n",
       End::terminal,
       3,
       4},
      {"other comments pass, with CRLF",
       {Dialect::openai, own, false},
       ": ping\r\n\r\ndata: x\r\n\r\ndata: [DONE]\r\n\r\n",
       ": ping\r\n\r\ndata: x\r\n\r\n",
       "data: [DONE]\r\n\r\n",
       End::terminal,
       0,
       0},
      {"a foreign engine cannot forge a receipt or usage",
       {Dialect::openai, foreign, false},
       ": stoker {\"start\":\"warm\"}\n\n: stoker-usage input=9,output=9,cached=0,device_ms=0\n\n"
       "data: x\n\ndata: [DONE]\n\n",
       "data: x\n\n",
       "data: [DONE]\n\n",
       End::terminal,
       0,
       0},
      {"injected usage is hidden",
       {Dialect::openai, foreign, true},
       "data: {\"choices\":[{}],\"usage\":null}\n\n"
       "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6}}\n\n"
       "data: [DONE]\n\n",
       "data: {\"choices\":[{}],\"usage\":null}\n\n",
       "data: [DONE]\n\n",
       End::terminal,
       5,
       6},
      {"usage beside text is cut out of its event",
       {Dialect::openai, own, true},
       "data: {\"choices\":[{\"text\":\"a\"}],\"usage\":null}\n\n"
       "data: {\"choices\":[{\"text\":\"\"}], \"usage\":{\"prompt_tokens\":5},\"id\":1}\n\n"
       ": stoker-usage input=3,output=4,cached=0,device_ms=5\n\ndata: [DONE]\n\n",
       "data: {\"choices\":[{\"text\":\"a\"}],\"usage\":null}\n\n"
       "data: {\"choices\":[{\"text\":\"\"}],\"id\":1}\n\n",
       "data: [DONE]\n\n",
       End::terminal,
       3,
       4},
      {"usage that the client asked for passes",
       {Dialect::openai, foreign, false},
       "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6}}\n\n"
       "data: [DONE]\n\n",
       "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6}}\n\n",
       "data: [DONE]\n\n",
       End::terminal,
       5,
       6},
      {"anthropic usage comes in two events",
       {Dialect::anthropic, foreign, false},
       "event: message_start\ndata: "
       "{\"message\":{\"usage\":{\"input_tokens\":8,\"output_tokens\":1}}}"
       "\n\nevent: message_delta\ndata: {\"usage\":{\"output_tokens\":7}}\n\n"
       "event: message_stop\ndata: {}\n\n",
       "event: message_start\ndata: "
       "{\"message\":{\"usage\":{\"input_tokens\":8,\"output_tokens\":1}}}"
       "\n\nevent: message_delta\ndata: {\"usage\":{\"output_tokens\":7}}\n\n",
       "event: message_stop\ndata: {}\n\n",
       End::terminal,
       8,
       7},
      {"responses: the terminal event holds the usage",
       {Dialect::responses, foreign, false},
       "event: response.created\ndata: {}\n\nevent: response.completed\n"
       "data: {\"response\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}\n\n",
       "event: response.created\ndata: {}\n\n",
       "event: response.completed\n"
       "data: {\"response\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}\n\n",
       End::terminal,
       1,
       2},
      {"what follows the terminal event is dropped",
       {Dialect::openai, own, false},
       "data: [DONE]\n\ndata: late\n\ndata: [DONE]\n\n",
       "",
       "data: [DONE]\n\n",
       End::terminal,
       0,
       0},
      {"a pass-through stream may go on after what looked like an end",
       {Dialect::plain, own, false},
       "data: [DONE]\n\ndata: more\n\ndata: [DONE]\n\n",
       "data: [DONE]\n\ndata: more\n\n",
       "data: [DONE]\n\n",
       End::terminal,
       0,
       0},
      {"a stream that just stops",
       {Dialect::openai, own, false},
       "data: x\n\n",
       "data: x\n\n",
       "",
       End::broken,
       0,
       0},
      {"a stream cut inside an event: half an event never goes on",
       {Dialect::openai, own, false},
       "data: x\n\ndata: {\"half\":",
       "data: x\n\n",
       "",
       End::broken,
       0,
       0},
      {"an empty stream", {Dialect::anthropic, own, false}, "", "", "", End::broken, 0, 0},
      {"an engine's own error event",
       {Dialect::openai, own, false},
       "data: {\"error\":{\"message\":\"m\"}}\n\n",
       "data: {\"error\":{\"message\":\"m\"}}\n\n",
       "",
       End::error,
       0,
       0},
      {"an error event before [DONE] is still an error",
       {Dialect::openai, own, false},
       "data: {\"error\":{}}\n\ndata: [DONE]\n\n",
       "data: {\"error\":{}}\n\n",
       "data: [DONE]\n\n",
       End::error,
       0,
       0},
      {"a failed response",
       {Dialect::responses, own, false},
       "event: response.failed\ndata: {}\n\n",
       "",
       "event: response.failed\ndata: {}\n\n",
       End::error,
       0,
       0},
      {"a pass-through stream ends where it ends",
       {Dialect::plain, own, false},
       "event: tick\ndata: 1\n\n",
       "event: tick\ndata: 1\n\n",
       "",
       End::terminal,
       0,
       0},
      {"but not inside an event",
       {Dialect::plain, own, false},
       "data: 1\n\ndata: 2",
       "data: 1\n\n",
       "",
       End::broken,
       0,
       0},
  };
  return all;
}

TEST(StreamRelay, GivesTheSameWhereverTheStreamIsSplit) {
  for (const Case& c : cases()) {
    for (std::size_t chunk_bytes = 1; chunk_bytes <= c.stream.size() + 1; ++chunk_bytes) {
      const Relayed r = relay(c.rules, c.stream, chunk_bytes);
      ASSERT_EQ(r.out, c.out) << c.what << " in chunks of " << chunk_bytes;
      ASSERT_EQ(r.terminal, c.terminal) << c.what << " in chunks of " << chunk_bytes;
      ASSERT_EQ(r.end, c.end) << c.what << " in chunks of " << chunk_bytes;
      ASSERT_EQ(r.usage.input_tokens, c.input) << c.what;
      ASSERT_EQ(r.usage.output_tokens, c.output) << c.what;
    }
  }
}

TEST(StreamRelay, GivesTheSameForEveryCutInTwo) {
  for (const Case& c : cases()) {
    for (std::size_t cut = 0; cut <= c.stream.size(); ++cut) {
      JsonReader json;
      StreamRelay relay(c.rules, json);
      std::string out;
      const std::string first = c.stream.substr(0, cut);
      const std::string second = c.stream.substr(cut);
      ASSERT_TRUE(relay.feed(first, out));
      ASSERT_TRUE(relay.feed(second, out));
      ASSERT_EQ(out, c.out) << c.what << " cut at " << cut;
      ASSERT_EQ(relay.terminal(), c.terminal) << c.what << " cut at " << cut;
      ASSERT_EQ(relay.end(), c.end) << c.what << " cut at " << cut;
    }
  }
}

TEST(StreamRelay, RefusesAnEventWithoutEnd) {
  JsonReader json;
  StreamRelay relay({Dialect::openai, true, false}, json);
  const std::string piece(std::size_t{1} << 20, 'x');
  std::string out;
  bool taken = true;
  for (int i = 0; i < 9 && taken; ++i) taken = relay.feed(i == 0 ? "data: " + piece : piece, out);
  EXPECT_FALSE(taken);
  EXPECT_EQ(out, "");
}

}  // namespace
}  // namespace stoker::gateway
