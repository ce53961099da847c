#include "gateway/ollama_request.h"

#include <gtest/gtest.h>

namespace stoker::gateway {
namespace {

struct Case {
  const char* what;
  const char* from;
  const char* to;
};

void expect_translations(Route route, std::initializer_list<Case> cases) {
  for (const Case& c : cases) {
    const auto request = translate_ollama(route, c.from);
    ASSERT_TRUE(request) << c.what << ": " << request.error().message;
    EXPECT_EQ(request->body, c.to) << c.what;
  }
}

TEST(OllamaRequest, ChatBecomesAChatOfOpenAi) {
  expect_translations(
      Route::ollama_chat,
      {
          {"streams by default", R"({"model":"m","messages":[{"role":"user","content":"hi"}]})",
           R"({"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]})"},
          {"whole", R"({"model":"m","stream":false,"messages":[{"role":"user","content":"hi"}]})",
           R"({"model":"m","stream":false,"messages":[{"role":"user","content":"hi"}]})"},
          {"options: known, unknown, and of the deployment",
           R"({"model":"m","stream":false,"messages":[{"role":"user","content":""}],"options":{)"
           R"("num_predict":5,"temperature":0.5,"top_k":3,"seed":7,"stop":["a","b"],)"
           R"("repeat_penalty":1.1,"num_ctx":9,"num_gpu":1,"what":2}})",
           R"({"model":"m","stream":false,"messages":[{"role":"user","content":""}],)"
           R"("temperature":0.5,"top_k":3,"seed":7,"stop":["a","b"],"repeat_penalty":1.1,)"
           R"("max_tokens":5})"},
          {"as long as it likes",
           R"({"model":"m","stream":false,"messages":[{"role":"user","content":""}],)"
           R"("options":{"num_predict":-1}})",
           R"({"model":"m","stream":false,"messages":[{"role":"user","content":""}]})"},
          {"any JSON",
           R"({"model":"m","stream":false,"format":"json","messages":[{"role":"user"}]})",
           R"({"model":"m","stream":false,"messages":[{"role":"user","content":""}],)"
           R"("response_format":{"type":"json_object"}})"},
          {"JSON of a schema",
           R"({"model":"m","stream":false,"format":{"type":"object"},"messages":[{"role":"user"}]})",
           R"({"model":"m","stream":false,"messages":[{"role":"user","content":""}],)"
           R"("response_format":{"type":"json_schema","json_schema":)"
           R"({"name":"answer","schema":{"type":"object"}}}})"},
          {"thinking",
           R"({"model":"m","stream":false,"think":false,"messages":)"
           R"([{"role":"assistant","content":"a","thinking":"t"}]})",
           R"({"model":"m","stream":false,"messages":[{"role":"assistant","content":"a",)"
           R"("reasoning_content":"t"}],"chat_template_kwargs":{"enable_thinking":false}})"},
          {"pictures",
           R"({"model":"m","stream":false,"messages":)"
           R"([{"role":"user","content":"what?","images":["QUJD"]}]})",
           R"({"model":"m","stream":false,"messages":[{"role":"user","content":)"
           R"([{"type":"text","text":"what?"},{"type":"image_url","image_url":)"
           R"({"url":"data:image/png;base64,QUJD"}}]}]})"},
          {"tools: calls and their answers are matched by order",
           R"({"model":"m","stream":false,"tools":[{"type":"function"}],"messages":[)"
           R"({"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}},)"
           R"({"function":{"name":"g"}}]},{"role":"tool","tool_name":"f","content":"1"},)"
           R"({"role":"tool","tool_name":"g","content":"2"}]})",
           R"({"model":"m","stream":false,"messages":[{"role":"assistant","content":"",)"
           R"("tool_calls":[{"id":"call_0","type":"function","function":)"
           R"({"name":"f","arguments":"{\"a\":1}"}},{"id":"call_1","type":"function",)"
           R"("function":{"name":"g","arguments":"{}"}}]},)"
           R"({"role":"tool","content":"1","tool_call_id":"call_0"},)"
           R"({"role":"tool","content":"2","tool_call_id":"call_1"}],)"
           R"("tools":[{"type":"function"}]})"},
      });
}

TEST(OllamaRequest, GenerateBecomesAChatOrARawCompletion) {
  expect_translations(
      Route::ollama_generate,
      {
          {"prompt", R"({"model":"m","stream":false,"prompt":"hi"})",
           R"({"model":"m","stream":false,"messages":[{"role":"user","content":"hi"}]})"},
          {"system and options",
           R"({"model":"m","prompt":"hi","system":"s","options":{"num_predict":1}})",
           R"({"model":"m","stream":true,"messages":[{"role":"system","content":"s"},)"
           R"({"role":"user","content":"hi"}],"max_tokens":1})"},
          {"what older clients send empty",
           R"({"model":"m","stream":false,"prompt":"hi","suffix":"","template":"","context":[]})",
           R"({"model":"m","stream":false,"messages":[{"role":"user","content":"hi"}]})"},
          {"raw", R"({"model":"m","stream":false,"prompt":"hi","raw":true})",
           R"({"model":"m","stream":false,"prompt":"hi"})"},
      });
  EXPECT_EQ(
      translate_ollama(Route::ollama_generate, R"({"model":"m","prompt":"a","raw":true})")->route,
      Route::completions);
}

TEST(OllamaRequest, EmbedBecomesEmbeddings) {
  expect_translations(Route::ollama_embed,
                      {{"one", R"({"model":"m","input":"a"})",
                        R"({"model":"m","input":"a","encoding_format":"float"})"},
                       {"several", R"({"name":"m","input":["a","b"],"dimensions":3})",
                        R"({"model":"m","input":["a","b"],"encoding_format":"float",)"
                        R"("dimensions":3})"}});
  const auto old = translate_ollama(Route::ollama_embeddings, R"({"model":"m","prompt":"a"})");
  ASSERT_TRUE(old);
  EXPECT_EQ(old->body, R"({"model":"m","input":"a","encoding_format":"float"})");
  EXPECT_FALSE(old->facts.stream);
}

TEST(OllamaRequest, WithoutAPromptTheModelIsLoadedOrLetGo) {
  using Wish = OllamaRequest::Wish;
  const auto wish = [](Route route, const char* body) {
    return translate_ollama(route, body)->wish;
  };
  EXPECT_EQ(wish(Route::ollama_chat, R"({"model":"m"})"), Wish::load);
  EXPECT_EQ(wish(Route::ollama_chat, R"({"model":"m","messages":[]})"), Wish::load);
  EXPECT_EQ(wish(Route::ollama_generate, R"({"model":"m","prompt":"","keep_alive":"5m"})"),
            Wish::load);
  EXPECT_EQ(wish(Route::ollama_generate, R"({"model":"m","keep_alive":0})"), Wish::unload);
  EXPECT_EQ(wish(Route::ollama_generate, R"({"model":"m","prompt":"a","keep_alive":0})"),
            Wish::generate);
}

TEST(OllamaRequest, KnowsWhatTheGatewayMustKnow) {
  const auto request = translate_ollama(
      Route::ollama_chat,
      R"({"model":"m","messages":[{"role":"user"}],"options":{"num_predict":9},"keep_alive":30})");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->facts.model, "m");
  EXPECT_TRUE(request->facts.stream);
  EXPECT_EQ(request->facts.most_output, 9);
  EXPECT_EQ(request->keep_alive, seconds(30));
}

TEST(OllamaRequest, SaysWhatItCannotRead) {
  struct Bad {
    Route route;
    const char* body;
    const char* names;
  };
  for (const Bad& bad : {
           Bad{Route::ollama_chat, "nothing", "JSON object"},
           Bad{Route::ollama_chat, "[]", "JSON object"},
           Bad{Route::ollama_chat, R"({"messages":[]})", "model is required"},
           Bad{Route::ollama_chat, R"({"model":7,"messages":[]})", "'model'"},
           Bad{Route::ollama_chat, R"({"model":"m","messages":"x"})", "'messages'"},
           Bad{Route::ollama_chat, R"({"model":"m","messages":[1]})", "'role'"},
           Bad{Route::ollama_chat, R"({"model":"m","messages":[{"role":"u","content":1}]})",
               "'content'"},
           Bad{Route::ollama_chat, R"({"model":"m","messages":[{"role":"u","images":[1]}]})",
               "image"},
           Bad{Route::ollama_chat, R"({"model":"m","messages":[{"role":"u"}],"stream":"no"})",
               "'stream'"},
           Bad{Route::ollama_chat, R"({"model":"m","messages":[{"role":"u"}],"options":[]})",
               "'options'"},
           Bad{Route::ollama_chat,
               R"({"model":"m","messages":[{"role":"u"}],"options":{"num_predict":"x"}})",
               "num_predict"},
           Bad{Route::ollama_chat, R"({"model":"m","messages":[{"role":"u"}],"format":"xml"})",
               "'format'"},
           Bad{Route::ollama_chat, R"({"model":"m","keep_alive":"soon"})", "'keep_alive'"},
           Bad{Route::ollama_generate, R"({"model":"m","prompt":"a","suffix":"b"})", "'suffix'"},
           Bad{Route::ollama_generate, R"({"model":"m","prompt":"a","context":[1]})", "'context'"},
           Bad{Route::ollama_embed, R"({"model":"m"})", "'input'"},
           Bad{Route::ollama_embeddings, R"({"model":"m","input":"a"})", "'prompt'"},
       }) {
    const auto request = translate_ollama(bad.route, bad.body);
    ASSERT_FALSE(request) << bad.body;
    EXPECT_EQ(request.error().status, 400);
    EXPECT_NE(request.error().message.find(bad.names), std::string::npos)
        << request.error().message;
  }
}

TEST(OllamaRequest, KeepAliveIsSecondsOrADurationAsGoWritesIt) {
  struct Kept {
    const char* json;
    std::optional<Duration> kept;
  };
  for (const Kept& c : {
           Kept{"0", Duration{}},           Kept{"30", seconds(30)},
           Kept{"1.5", ms(1500)},           Kept{"-1", for_ever},
           Kept{"1e300", for_ever},         Kept{R"("5m")", minutes(5)},
           Kept{R"("1h30m")", minutes(90)}, Kept{R"("1.5h")", minutes(90)},
           Kept{R"("300ms")", ms(300)},     Kept{R"("24h0m0s")", minutes(24 * 60)},
           Kept{R"("-1m")", for_ever},      Kept{R"("-1")", for_ever},
           Kept{R"("0")", Duration{}},      Kept{R"("-0s")", Duration{}},
           Kept{R"("9999999h")", for_ever}, Kept{R"("soon")", std::nullopt},
           Kept{R"("5 m")", std::nullopt},  Kept{R"("5x")", std::nullopt},
           Kept{R"("m")", std::nullopt},    Kept{R"("-")", std::nullopt},
           Kept{R"("--5s")", std::nullopt}, Kept{R"("")", std::nullopt},
           Kept{"true", std::nullopt},      Kept{"", std::nullopt},
       }) {
    EXPECT_EQ(parse_keep_alive(c.json), c.kept) << c.json;
  }
}

}  // namespace
}  // namespace stoker::gateway
