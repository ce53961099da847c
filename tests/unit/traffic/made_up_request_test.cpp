// Bodies of the recorded length, about nothing.
#include "traffic/made_up_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include <algorithm>

namespace stoker::traffic {
namespace {

using sim::TraceRequest;
using sim::TraceRoute;

struct Body {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  explicit Body(const std::string& json) {
    EXPECT_EQ(parser.parse(json).get(root), simdjson::SUCCESS) << json;
  }
  std::string text(const char* pointer) const {
    std::string_view found;
    return root.at_pointer(pointer).get(found) == simdjson::SUCCESS ? std::string(found) : "";
  }
  std::int64_t number(const char* pointer) const {
    std::int64_t found = 0;
    return root.at_pointer(pointer).get(found) == simdjson::SUCCESS ? found : -1;
  }
};

std::int64_t words(const std::string& text) {
  return text.empty() ? 0 : 1 + std::count(text.begin(), text.end(), ' ');
}

TEST(MadeUpRequest, EachRouteHasItsShape) {
  struct Case {
    TraceRoute route;
    const char* target;
    const char* prompt;
    const char* limit;  // "": none
    bool streams;
  };
  TraceRequest request;
  request.stream = true;
  request.input_tokens = 37;
  request.output_tokens = 12;
  request.outcome = sim::TraceOutcome::completed;
  for (const Case& c :
       {Case{TraceRoute::chat, "/v1/chat/completions", "/messages/0/content", "/max_tokens", true},
        Case{TraceRoute::completions, "/v1/completions", "/prompt", "/max_tokens", true},
        Case{TraceRoute::responses, "/v1/responses", "/input", "/max_output_tokens", true},
        Case{TraceRoute::messages, "/v1/messages", "/messages/0/content", "/max_tokens", true},
        Case{TraceRoute::count_tokens, "/v1/messages/count_tokens", "/messages/0/content", "",
             false},
        Case{TraceRoute::embeddings, "/v1/embeddings", "/input", "", false},
        Case{TraceRoute::rerank, "/v1/rerank", "/documents/0", "", false}}) {
    request.route = c.route;
    const auto made = made_up_request(request, "small \"chat\"", 1);
    ASSERT_TRUE(made);
    EXPECT_EQ(made->target, c.target);
    const Body body(made->body);
    EXPECT_EQ(body.text("/model"), "small \"chat\"");
    EXPECT_EQ(words(body.text(c.prompt)), 37) << c.target;
    EXPECT_EQ(body.number(c.limit), *c.limit == '\0' ? -1 : 12) << c.target;
    bool stream = false;
    EXPECT_EQ(body.root.at_pointer("/stream").get(stream) == simdjson::SUCCESS, c.streams);
    EXPECT_EQ(stream, c.streams) << c.target;
  }
  for (const TraceRoute route : {TraceRoute::infer, TraceRoute::invoke, TraceRoute::other}) {
    request.route = route;
    EXPECT_FALSE(made_up_request(request, "a", 1));
  }
}

TEST(MadeUpRequest, EqualPrefixesAreEqualTextAndNothingElseIs) {
  TraceRequest request;
  request.input_tokens = 1500;
  request.prefix = {17, 18};
  const auto prompt = [&](std::uint64_t number) {
    const auto made = made_up_request(request, "a", number);
    return Body(made->body).text("/messages/0/content");
  };
  const auto same = [](const std::string& a, const std::string& b) {
    return words(a.substr(
        0, static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                                    a.begin())));
  };
  const std::string first = prompt(1);
  EXPECT_EQ(words(first), 1500);
  EXPECT_EQ(prompt(1), first);
  EXPECT_GE(same(first, prompt(2)), 1024);
  EXPECT_LT(same(first, prompt(2)), 1040);
  request.prefix = {17, 19};
  EXPECT_GE(same(first, prompt(1)), 512);
  EXPECT_LT(same(first, prompt(1)), 528);
  request.prefix.clear();
  EXPECT_LT(same(first, prompt(1)), 16);
}

TEST(MadeUpRequest, AsksForAnAnswer) {
  TraceRequest request;
  request.outcome = sim::TraceOutcome::completed;
  request.output_tokens = 0;
  EXPECT_EQ(Body(made_up_request(request, "a", 1)->body).number("/max_tokens"), 1);
  // What was cut short would have gone on.
  request.outcome = sim::TraceOutcome::cancelled;
  request.output_tokens = 3;
  EXPECT_EQ(Body(made_up_request(request, "a", 1)->body).number("/max_tokens"), 128);
}

}  // namespace
}  // namespace stoker::traffic
