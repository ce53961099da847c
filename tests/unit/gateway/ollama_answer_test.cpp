#include "gateway/ollama_answer.h"

#include <gtest/gtest.h>

#include "gateway/ollama_lists.h"

namespace stoker::gateway {
namespace {

const std::string head = R"({"model":"m","created_at":"1970-01-01T00:00:00.000Z",)";

ledger::Usage ending() {
  ledger::Usage usage;
  usage.phases.queue = ms(1);
  usage.phases.load = ms(2);
  usage.phases.ttft = ms(3);
  usage.phases.generate = ms(4);
  usage.input_tokens = 5;
  usage.output_tokens = 6;
  return usage;
}
const std::string streamed_figures =
    R"("total_duration":10000000,"load_duration":2000000,"prompt_eval_count":5,)"
    R"("prompt_eval_duration":3000000,"eval_count":6,"eval_duration":4000000})";
const std::string whole_figures =
    R"("total_duration":10000000,"load_duration":2000000,"prompt_eval_count":5,)"
    R"("prompt_eval_duration":0,"eval_count":6,"eval_duration":7000000})";

std::string lines_of(OllamaAnswer& answer, std::initializer_list<const char*> events) {
  std::string out;
  for (const char* event : events) EXPECT_TRUE(answer.add_event(event, out)) << event;
  return out;
}

TEST(OllamaAnswer, EachTokenOfAChatIsALine) {
  OllamaAnswer answer(Route::ollama_chat, "m");
  EXPECT_EQ(lines_of(answer, {R"({"choices":[{"delta":{"role":"assistant","content":""}}]})"}), "");
  EXPECT_EQ(lines_of(answer, {R"({"choices":[{"delta":{"content":"a\n"}}]})"}),
            head + R"("message":{"role":"assistant","content":"a\n"},"done":false})" + "\n");
  EXPECT_EQ(
      lines_of(answer, {R"({"choices":[{"delta":{"reasoning_content":"t"}}]})"}),
      head + R"("message":{"role":"assistant","content":"","thinking":"t"},"done":false})" + "\n");
  EXPECT_EQ(lines_of(answer, {R"({"choices":[{"delta":{},"finish_reason":"length"}]})",
                              R"({"choices":[],"usage":{"prompt_tokens":1}})", "no JSON"}),
            "");
  EXPECT_EQ(
      answer.last_line(ending()),
      head + R"("message":{"role":"assistant","content":""},"done":true,"done_reason":"length",)" +
          streamed_figures + "\n");
}

TEST(OllamaAnswer, GenerationsHaveAResponse) {
  OllamaAnswer answer(Route::ollama_generate, "m");
  const std::string line = head + R"("response":"a","done":false})" + "\n";
  EXPECT_EQ(lines_of(answer, {R"({"choices":[{"delta":{"content":"a"}}]})"}), line);
  EXPECT_EQ(lines_of(answer, {R"({"choices":[{"text":"a"}]})"}), line);
  EXPECT_EQ(answer.last_line(ending()),
            head + R"("response":"","done":true,"done_reason":"stop",)" + streamed_figures + "\n");
}

TEST(OllamaAnswer, CallsOfToolsArePutTogetherFromTheirPieces) {
  OllamaAnswer answer(Route::ollama_chat, "m");
  const std::string calls =
      R"("tool_calls":[{"function":{"name":"f","arguments":{"a":1}}},)"
      R"({"function":{"name":"g","arguments":{}}},{"function":{"name":"h","arguments":"{no"}}])";
  EXPECT_EQ(lines_of(answer,
                     {R"({"choices":[{"delta":{"tool_calls":[{"index":0,"function":)"
                      R"({"name":"f","arguments":"{\"a\""}}]}}]})",
                      R"({"choices":[{"delta":{"content":"x"}}]})",
                      R"({"choices":[{"delta":{"tool_calls":[{"index":0,"function":)"
                      R"({"arguments":":1}"}},{"index":1,"function":{"name":"g","arguments":""}},)"
                      R"({"index":2,"function":{"name":"h","arguments":"{no"}}]}}]})",
                      R"({"choices":[{"delta":{},"finish_reason":"tool_calls"}]})"}),
            head + R"("message":{"role":"assistant","content":"x"},"done":false})" + "\n" + head +
                R"("message":{"role":"assistant","content":"",)" + calls + R"(},"done":false})" +
                "\n");
  OllamaAnswer whole(Route::ollama_chat, "m");
  EXPECT_EQ(whole.whole(R"({"choices":[{"message":{"content":null,"tool_calls":[{"function":)"
                        R"({"name":"f","arguments":"{\"a\": 1}"}}]},"finish_reason":"stop"}]})",
                        ending()),
            head +
                R"("message":{"role":"assistant","content":"","tool_calls":[{"function":)"
                R"({"name":"f","arguments":{"a":1}}}]},"done":true,"done_reason":"stop",)" +
                whole_figures);
}

TEST(OllamaAnswer, ACallWithoutEndIsRefused) {
  OllamaAnswer answer(Route::ollama_chat, "m");
  const std::string piece = R"({"choices":[{"delta":{"tool_calls":[{"index":0,"function":)"
                            R"({"arguments":")" +
                            std::string(300'000, 'x') + R"("}}]}}]})";
  std::string out;
  EXPECT_TRUE(answer.add_event(piece, out));
  EXPECT_TRUE(answer.add_event(piece, out));
  EXPECT_TRUE(answer.add_event(piece, out));
  EXPECT_FALSE(answer.add_event(piece, out));
  OllamaAnswer many(Route::ollama_chat, "m");
  EXPECT_FALSE(many.add_event(
      R"({"choices":[{"delta":{"tool_calls":[{"index":128,"function":{}}]}}]})", out));
  EXPECT_FALSE(many.add_event(
      R"({"choices":[{"delta":{"tool_calls":[{"index":-1,"function":{}}]}}]})", out));
}

TEST(OllamaAnswer, AnErrorIsALineOfItsOwn) {
  OllamaAnswer answer(Route::ollama_chat, "m");
  EXPECT_EQ(lines_of(answer, {R"({"error":{"message":"no \"x\""}})"}), R"({"error":"no \"x\""})"
                                                                       "\n");
  EXPECT_EQ(lines_of(answer, {R"({"error":"gone"})"}), "{\"error\":\"gone\"}\n");
}

TEST(OllamaAnswer, WholeAnswersAreOneObject) {
  OllamaAnswer chat(Route::ollama_chat, "m");
  EXPECT_EQ(
      chat.whole(R"({"choices":[{"message":{"content":"a"},"finish_reason":"length"}]})", ending()),
      head +
          R"("message":{"role":"assistant","content":"a"},"done":true,)"
          R"("done_reason":"length",)" +
          whole_figures);
  OllamaAnswer embed(Route::ollama_embed, "m");
  EXPECT_EQ(embed.whole(R"({"data":[{"embedding":[1,0.5]},{"embedding":[2]}]})", ending()),
            R"({"model":"m","embeddings":[[1,0.5],[2]],"total_duration":10000000,)"
            R"("load_duration":2000000,"prompt_eval_count":5})");
  OllamaAnswer old(Route::ollama_embeddings, "m");
  EXPECT_EQ(old.whole(R"({"data":[{"embedding":[1,0.5]}]})", ending()), R"({"embedding":[1,0.5]})");
  for (const char* other : {"", "[]", "{}", R"({"choices":[]})", R"({"data":[{}]})"}) {
    EXPECT_EQ(chat.whole(other, ending()), "") << other;
    EXPECT_EQ(embed.whole(other, ending()), "") << other;
  }
}

TEST(OllamaLists, ModelsInMemoryAreThoseOfReadyInstances) {
  const std::string ps = ollama_ps_json(
      R"({"instances":[{"deployment":"a","state":"ready","device":"g0","private_bytes":2,)"
      R"("shared_bytes":1},{"deployment":"a","state":"ready","device":"c0","private_bytes":4},)"
      R"({"deployment":"b","state":"loading","device":"c0"}],)"
      R"("devices":[{"id":"g0","kind":"cuda"},{"id":"c0","kind":"cpu"}]})");
  EXPECT_NE(ps.find(R"("name":"a","model":"a","size":7,)"), std::string::npos) << ps;
  EXPECT_NE(ps.find(R"("size_vram":3)"), std::string::npos) << ps;
  EXPECT_EQ(ps.find("\"b\""), std::string::npos) << ps;
  EXPECT_EQ(ollama_ps_json("nothing"), R"({"models":[]})");
}

TEST(OllamaLists, OlderClientsCallTheModelName) {
  EXPECT_EQ(ollama_model_of(R"({"model":"a"})"), "a");
  EXPECT_EQ(ollama_model_of(R"({"name":"a"})"), "a");
  EXPECT_EQ(ollama_model_of(R"({"model":1})"), std::nullopt);
  EXPECT_EQ(ollama_model_of("x"), std::nullopt);
}

}  // namespace
}  // namespace stoker::gateway
