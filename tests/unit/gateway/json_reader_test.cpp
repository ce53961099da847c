#include "gateway/json_reader.h"

#include <gtest/gtest.h>

namespace stoker::gateway {
namespace {

TEST(JsonReader, ReadsWhatTheGatewayMustKnow) {
  JsonReader reader;
  struct Case {
    const char* body;
    const char* model;
    bool stream;
    bool wants_usage;
  };
  for (const Case& c : {
           Case{R"({"model":"chat"})", "chat", false, false},
           Case{R"({"messages":[{"role":"user","content":"hi"}],"stream":true,"model":"a/b"})",
                "a/b", true, false},
           Case{R"({"model":"c","stream":null,"stream_options":null})", "c", false, false},
           Case{R"({"model":"c","stream":true,"stream_options":{"include_usage":true}})", "c", true,
                true},
           Case{R"({"model":"c\u0068at","x":{"model":"inner","stream":true}})", "chat", false,
                false},
       }) {
    BodyFacts facts;
    const auto error = reader.read_request(c.body, facts);
    ASSERT_FALSE(error) << c.body << ": " << error->message;
    EXPECT_EQ(facts.model, c.model);
    EXPECT_EQ(facts.stream, c.stream);
    EXPECT_EQ(facts.wants_usage, c.wants_usage);
  }
}

TEST(JsonReader, RefusesWhatIsNotOneObjectThatNamesItsModel) {
  JsonReader reader;
  struct Case {
    std::string body;
    const char* code;
  };
  for (const Case& c : {
           Case{"", "invalid_json"},
           Case{"{", "invalid_json"},
           Case{"[]", "invalid_json"},
           Case{"\"model\"", "invalid_json"},
           Case{R"({"model":"a"} x)", "invalid_json"},
           Case{R"({"model":"a",})", "invalid_json"},
           Case{R"({"model":"a","x":NaN})", "invalid_json"},
           Case{R"({"model":"a","x":01})", "invalid_json"},
           Case{"{'model':'a'}", "invalid_json"},
           Case{"{\"model\":\"\xff\"}", "invalid_json"},
           Case{R"({"model":"a","x":)" + std::string(1'000'000, '[') + "}", "invalid_json"},
           Case{"{}", "missing_field"},
           Case{R"({"model":""})", "invalid_type"},
           Case{R"({"model":7})", "invalid_type"},
           Case{R"({"model":"a","stream":"yes"})", "invalid_type"},
           Case{R"({"model":"a","stream_options":1})", "invalid_type"},
           Case{R"({"model":"a","model":"b"})", "duplicate_key"},
           Case{R"({"model":"a","stream":true,"stream":false})", "duplicate_key"},
       }) {
    BodyFacts facts;
    const auto error = reader.read_request(c.body, facts);
    ASSERT_TRUE(error) << c.body.substr(0, 40);
    EXPECT_EQ(error->status, 400);
    EXPECT_EQ(error->code, c.code) << c.body.substr(0, 40);
  }
}

TEST(JsonReader, RewritesForForeignEngines) {
  JsonReader reader;
  struct Case {
    const char* body;
    BodyChange change;
    const char* wanted;
  };
  for (const Case& c : {
           Case{R"({"model":"a","stream":true})",
                {true, {}, {}},
                R"({"model":"a","stream":true,"stream_options":{"include_usage":true}})"},
           Case{R"({"stream_options":{"include_usage":false,"x":[1]},"model":"a"})",
                {true, {}, {}},
                R"({"model":"a","stream_options":{"x":[1],"include_usage":true}})"},
           Case{R"({"model":"a", "n": 2,"stop":"\n"})",
                {false, "org/served", {}},
                R"({"model":"org/served","n":2,"stop":"\n"})"},
           Case{R"({"model":"a"})",
                {false, {}, "stoker-7"},
                R"({"model":"a","cache_salt":"stoker-7:"})"},
           Case{R"({"cache_salt":"mine","model":"a"})",
                {false, {}, "stoker-7"},
                R"({"model":"a","cache_salt":"stoker-7:mine"})"},
           // However it is spelled, and whatever it is.
           Case{R"({"model":"a","cache\u005fsalt":"x","cache_salt":"y"})",
                {false, {}, "stoker-7"},
                R"({"model":"a","cache_salt":"stoker-7:x"})"},
           Case{R"({"model":"a","cache_salt":["stoker-8:"]})",
                {false, {}, "stoker-7"},
                R"({"model":"a","cache_salt":"stoker-7:"})"},
       }) {
    BodyFacts facts;
    ASSERT_FALSE(reader.read_request(c.body, facts));
    EXPECT_EQ(reader.rewrite(c.body, c.change), c.wanted);
  }
}

TEST(JsonReader, FindsTheUsageOfEveryDialect) {
  JsonReader reader;
  struct Case {
    const char* json;
    std::int64_t input, output, cached;
  };
  for (
      const Case& c : {
          Case{R"({"usage":{"prompt_tokens":5,"completion_tokens":7,)"
               R"("prompt_tokens_details":{"cached_tokens":2}}})",
               5, 7, 2},
          Case{R"({"usage":{"input_tokens":5,"output_tokens":0,"cache_read_input_tokens":3}})", 5,
               0, 3},
          Case{
              R"({"type":"response.completed","response":{"usage":{"input_tokens":1,"output_tokens":2}}})",
              1, 2, 0},
          Case{
              R"({"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}})",
              9, 1, 0},
      }) {
    const auto usage = reader.engine_usage(c.json);
    ASSERT_TRUE(usage) << c.json;
    EXPECT_TRUE(usage->known);
    EXPECT_EQ(usage->input_tokens, c.input);
    EXPECT_EQ(usage->output_tokens, c.output);
    EXPECT_EQ(usage->cached_tokens, c.cached);
  }
  EXPECT_FALSE(reader.engine_usage(R"({"usage":null})"));
  EXPECT_FALSE(reader.engine_usage("not json"));
}

TEST(JsonReader, TellsTheUsageEventFromOthers) {
  JsonReader reader;
  EXPECT_TRUE(reader.is_usage_event(R"({"choices":[],"usage":{"prompt_tokens":1}})"));
  EXPECT_FALSE(reader.is_usage_event(R"({"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}})"));
  EXPECT_FALSE(reader.is_usage_event(R"({"choices":[],"usage":null})"));
}

TEST(JsonReader, FindsAnEnginesErrorMessage) {
  JsonReader reader;
  EXPECT_EQ(reader.error_message(R"({"error":{"message":"too long"}})"), "too long");
  EXPECT_EQ(reader.error_message(R"({"error":"no"})"), "no");
  EXPECT_EQ(reader.error_message(R"({"message":"m"})"), "m");
  EXPECT_EQ(reader.error_message("<html>"), "");
}

TEST(WorkerUsage, ParsesOnlyAWholeReport) {
  const auto usage = parse_worker_usage("input=12,output=34,cached=1,device_ms=120");
  ASSERT_TRUE(usage);
  EXPECT_EQ(usage->input_tokens, 12);
  EXPECT_EQ(usage->output_tokens, 34);
  EXPECT_EQ(usage->cached_tokens, 1);
  EXPECT_EQ(usage->device_ms, 120);
  for (const char* text : {"", "input=1", "input=1,output=2,cached=0,device_ms=-1",
                           "input=1,output=2,cached=0,device_ms=x", "input=1,output=2,cached=0",
                           "input=1,input=1,output=2,cached=0,device_ms=1", "input"}) {
    EXPECT_FALSE(parse_worker_usage(text)) << text;
  }
}

}  // namespace
}  // namespace stoker::gateway
