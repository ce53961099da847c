// Sessions and beginnings of prompts as numbers.
#include "gateway/session_affinity.h"

#include <gtest/gtest.h>

#include <string>

#include "gateway/json_reader.h"

namespace stoker::gateway {
namespace {

constexpr TenantId tenant{1};

std::uint64_t affinity(const std::string& body, TenantId whose = tenant) {
  JsonReader reader;
  BodyFacts facts;
  const std::string rest = body.substr(1);
  const bool error =
      reader.read_request(R"({"model":"m")" + (rest == "}" ? rest : "," + rest), facts).has_value();
  EXPECT_FALSE(error) << body;
  return reader.affinity(whose);
}

TEST(SessionAffinity, LaterTurnsOfAConversationGoWhereItBegan) {
  const std::string first =
      R"({"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}]})";
  const std::string later =
      R"({"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},)"
      R"({"role":"assistant","content":"Hello"},{"role":"user","content":"Why?"}],"temperature":1})";
  EXPECT_NE(affinity(first), 0U);
  EXPECT_EQ(affinity(first), affinity(later));
  EXPECT_NE(affinity(first), affinity(R"({"messages":[{"role":"user","content":"Hi"}]})"));
}

TEST(SessionAffinity, KnowsTheShapesOfTheDialects) {
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

TEST(SessionAffinity, ANamedSessionGoesBeforeThePrompt) {
  const std::string one = R"({"user":"u1","messages":[{"role":"user","content":"a"}]})";
  const std::string two = R"({"user":"u1","messages":[{"role":"user","content":"b"}]})";
  EXPECT_EQ(affinity(one), affinity(two));
  EXPECT_EQ(affinity(one), affinity(R"({"metadata":{"user_id":"u1"}})"));
  EXPECT_EQ(affinity(R"({"user":"x","prompt_cache_key":"k"})"),
            affinity(R"({"user":"y","prompt_cache_key":"k"})"));
  EXPECT_EQ(affinity(one), session_affinity(tenant, "u1"));
  EXPECT_NE(session_affinity(tenant, "s"), session_affinity(tenant, "t"));
  EXPECT_NE(affinity(R"({"user":"k"})"), affinity(R"({"prompt":"k"})")) << "another kind of key";
  EXPECT_EQ(session_affinity(tenant, ""), 0U);
}

TEST(SessionAffinity, NeverMixesTenants) {
  for (const char* body : {R"({"user":"u1"})", R"({"prompt":"Hi"})"}) {
    EXPECT_NE(affinity(body, TenantId{1}), affinity(body, TenantId{2})) << body;
  }
}

TEST(SessionAffinity, OnlyTheBeginningCounts) {
  const std::string same(prefix_bytes, 'a');
  EXPECT_EQ(affinity(R"({"prompt":")" + same + R"(b"})"),
            affinity(R"({"prompt":")" + same + R"(c"})"));
  EXPECT_NE(affinity(R"({"prompt":"b)" + same + R"("})"),
            affinity(R"({"prompt":"c)" + same + R"("})"));
}

}  // namespace
}  // namespace stoker::gateway
