// Sessions and beginnings of prompts as numbers, and what a request is expected to take.
#include "gateway/request_hints.h"

#include <gtest/gtest.h>

#include <string>

#include "gateway/json_reader.h"

namespace stoker::gateway {
namespace {

constexpr TenantId tenant{1};

RequestHints of(const std::string& body, std::string_view session = {}, TenantId whose = tenant) {
  JsonReader reader;
  BodyFacts facts;
  const std::string rest = body.substr(1);
  const bool error =
      reader.read_request(R"({"model":"m")" + (rest == "}" ? rest : "," + rest), facts).has_value();
  EXPECT_FALSE(error) << body;
  return reader.hints(whose, session, body.size());
}
std::uint64_t affinity(const std::string& body, std::string_view session = {}) {
  return of(body, session).affinity;
}

TEST(RequestHints, LaterTurnsOfAConversationGoWhereItBegan) {
  const std::string first =
      R"({"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}]})";
  const std::string later =
      R"({"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},)"
      R"({"role":"assistant","content":"Hello"},{"role":"user","content":"Why?"}],"temperature":1})";
  EXPECT_NE(affinity(first), 0U);
  EXPECT_EQ(affinity(first), affinity(later));
  EXPECT_NE(affinity(first), affinity(R"({"messages":[{"role":"user","content":"Hi"}]})"));
}

TEST(RequestHints, KnowsTheShapesOfTheDialects) {
  const std::string text = R"({"messages":[{"role":"user","content":"Hi"}]})";
  const std::string parts =
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}]})";
  EXPECT_EQ(affinity(text), affinity(parts));
  EXPECT_NE(affinity(R"({"prompt":"Once"})"), affinity(R"({"prompt":"Twice"})"));
  EXPECT_NE(affinity(R"({"input":"Once"})"), 0U);
  EXPECT_EQ(affinity(R"({"instructions":"a","input":[{"role":"user","content":"b"}]})"),
            affinity(R"({"system":"a","messages":[{"role":"user","content":"b"}]})"));
  EXPECT_NE(affinity(R"({"system":"ab","prompt":"c"})"),
            affinity(R"({"system":"a","prompt":"bc"})"));
  for (const char* nothing : {"{}", R"({"messages":[]})", R"({"messages":7,"prompt":null})",
                              R"({"messages":[3,{"role":"user"}]})"}) {
    EXPECT_EQ(affinity(nothing), 0U) << nothing;
  }
}

TEST(RequestHints, ANamedSessionGoesBeforeThePrompt) {
  const std::string one = R"({"user":"u1","messages":[{"role":"user","content":"a"}]})";
  const std::string two = R"({"user":"u1","messages":[{"role":"user","content":"b"}]})";
  EXPECT_EQ(affinity(one), affinity(two));
  EXPECT_EQ(affinity(one), affinity(R"({"metadata":{"user_id":"u1"}})"));
  EXPECT_EQ(affinity(R"({"user":"x","prompt_cache_key":"k"})"),
            affinity(R"({"user":"y","prompt_cache_key":"k"})"));
  EXPECT_EQ(affinity(one, "s"), affinity(R"({"prompt":"z"})", "s"));
  EXPECT_EQ(affinity(one, "s"), session_affinity(tenant, "s"));
  EXPECT_NE(affinity(one, "s"), affinity(one));
  EXPECT_NE(affinity(R"({"user":"k"})"), affinity(R"({"prompt":"k"})")) << "another kind of key";
  EXPECT_EQ(session_affinity(tenant, ""), 0U);
}

TEST(RequestHints, NeverMixesTenants) {
  for (const char* body : {R"({"user":"u1"})", R"({"prompt":"Hi"})"}) {
    EXPECT_NE(of(body, {}, TenantId{1}).affinity, of(body, {}, TenantId{2}).affinity) << body;
  }
}

TEST(RequestHints, OnlyTheBeginningCounts) {
  const std::string same(prefix_bytes, 'a');
  EXPECT_EQ(affinity(R"({"prompt":")" + same + R"(b"})"),
            affinity(R"({"prompt":")" + same + R"(c"})"));
  EXPECT_NE(affinity(R"({"prompt":"b)" + same + R"("})"),
            affinity(R"({"prompt":"c)" + same + R"("})"));
}

TEST(RequestHints, CostIsTokensReadAndWritten) {
  struct Case {
    const char* body;
    std::int64_t output;
  };
  const Case cases[] = {
      {R"({"max_tokens":10})", 10},
      {R"({"max_tokens":10,"max_completion_tokens":20})", 20},
      {R"({"max_output_tokens":30})", 30},
      {R"({"max_tokens":-1})", 256},
      {R"({"max_tokens":"many"})", 256},
      {R"({})", 256},
      {R"({"max_tokens":9000000000})", 1 << 20},
  };
  for (const Case& each : cases) {
    const std::size_t bytes = std::string_view(each.body).size();
    EXPECT_EQ(of(each.body).cost, cost_of_body(bytes) + each.output) << each.body;
  }
  EXPECT_EQ(cost_of_body(0), 1);
  EXPECT_EQ(cost_of_body(4000), 1001);
}

}  // namespace
}  // namespace stoker::gateway
