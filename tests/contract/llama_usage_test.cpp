// Usage of stoker-worker-llama is true however a request ends. What is compared with: the counts in
// llama.cpp's own answer where it gives them, else what must hold at any moment of a cancel.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <regex>
#include <string>
#include <string_view>

#include "worker_kinds.h"
#include "worker_process.h"

namespace stoker::test {
namespace {

// More tokens than the prompt of any other test, fewer than the model's context of 512.
constexpr int kLongWords = 200;

std::int64_t count_in(const std::string& text, const std::string& pattern) {
  std::smatch match;
  return std::regex_search(text, match, std::regex(pattern)) ? std::atoll(match[1].str().c_str())
                                                             : -1;
}
std::int64_t usage(const std::string& text, const std::string& key) {
  return count_in(text, key + "=([0-9]+)");
}
std::int64_t body_count(const std::string& text, const std::string& key) {
  return count_in(text, "\"" + key + "\":([0-9]+)");
}

std::string question(std::string_view prompt, int tokens, std::string_view more = "") {
  return fmt::format(R"({{"prompt":"{}","max_tokens":{},"temperature":0,"ignore_eos":true,)"
                     R"("cache_prompt":false{}}})",
                     prompt, tokens, more);
}

std::string long_prompt() {
  std::string prompt;
  for (int word = 0; word < kLongWords; ++word) prompt += fmt::format("{} owl ", word % 10);
  return prompt;
}

class LlamaUsage : public testing::Test {
 protected:
  /// `concurrency` slots, steps of at most eight tokens.
  void load(int concurrency, std::string_view options = R"("batch":8)") {
    worker_.load(fmt::format(R"({{"type":"load","deployment":"chat","model":"{}","options":{{{}}},)"
                             R"("concurrency":{},"device":{{"kind":"cpu","id":"cpu0"}},)"
                             R"("warmup":true}})",
                             STOKER_TEST_MODEL_FILE, options, concurrency));
  }
  HttpConnection begin(std::string_view body, std::string_view id) {
    HttpConnection connection = worker_.connect();
    connection.send("POST", "/v1/completions", body, id);
    return connection;
  }
  /// A stream that runs until it is stopped, with its first token out.
  HttpConnection begin_endless(std::string_view id) {
    HttpConnection stream = begin(question("Once", 1'000'000, R"(,"stream":true)"), id);
    EXPECT_TRUE(stream.read_until("data: ")) << stream.bytes();
    return stream;
  }

  WorkerProcess worker_{llama_program()};
};

TEST_F(LlamaUsage, OfAWholeAnswerIsWhatLlamaSays) {
  load(2);
  const auto answer = worker_.ask("POST", "/v1/completions", question("Once upon a time", 7), "r1");
  ASSERT_EQ(answer.status(), 200) << answer.bytes();
  const std::string line = answer.field("X-Stoker-Usage");
  EXPECT_EQ(usage(line, "input"), body_count(answer.body(), "prompt_tokens"));
  EXPECT_EQ(usage(line, "output"), 7);
  EXPECT_EQ(usage(line, "cached"), 0);
}

TEST_F(LlamaUsage, CountsThePartOfThePromptThatWasCached) {
  load(1);
  const std::string body =
      R"({"prompt":"Once upon a time there was","max_tokens":1,"temperature":0})";
  worker_.ask("POST", "/v1/completions", body, "r1");
  const auto again = worker_.ask("POST", "/v1/completions", body, "r2");
  const std::string line = again.field("X-Stoker-Usage");
  EXPECT_EQ(usage(line, "input"), body_count(again.body(), "prompt_tokens"));
  EXPECT_EQ(usage(line, "cached"), body_count(again.body(), "cached_tokens"));
  EXPECT_GT(usage(line, "cached"), 0);
}

TEST_F(LlamaUsage, OfAStreamIsTheSameWhetherTheClientAskedForItOrNot) {
  load(2);
  for (const std::string_view more :
       {R"(,"stream":true)", R"(,"stream":true,"stream_options":{"include_usage":true})"}) {
    const auto answer =
        worker_.ask("POST", "/v1/completions", question("Once upon a time", 7, more));
    const std::string body = answer.body();
    const std::size_t comment = body.find(": stoker-usage ");
    ASSERT_NE(comment, std::string::npos) << body;
    const std::string line = body.substr(comment);
    EXPECT_EQ(usage(line, "output"), 7) << more;
    EXPECT_GT(usage(line, "input"), 0) << more;
    const std::int64_t said = body_count(body, "completion_tokens");
    if (said >= 0) {
      EXPECT_EQ(said, 7);
    }
  }
}

TEST_F(LlamaUsage, CountsAPromptOnceForSeveralAnswers) {
  load(2);
  const auto answer =
      worker_.ask("POST", "/v1/completions", question("Once upon a time", 7, R"(,"n":2)"));
  ASSERT_EQ(answer.status(), 200) << answer.bytes();
  const std::string line = answer.field("X-Stoker-Usage");
  EXPECT_EQ(usage(line, "input"), body_count(answer.body(), "prompt_tokens"));
  EXPECT_EQ(usage(line, "output"), 14);
}

TEST_F(LlamaUsage, OfEmbeddingsIsTheirInput) {
  load(2, R"("embeddings":"mean")");
  const auto answer = worker_.ask("POST", "/v1/embeddings", R"({"input":["a fox","the owl sat"]})");
  ASSERT_EQ(answer.status(), 200) << answer.bytes();
  const std::string line = answer.field("X-Stoker-Usage");
  EXPECT_EQ(usage(line, "input"), body_count(answer.body(), "prompt_tokens"));
  EXPECT_EQ(usage(line, "output"), 0);
}

TEST_F(LlamaUsage, OfARefusedPromptIsNothing) {
  load(1);
  const auto answer =
      worker_.ask("POST", "/v1/completions", question(long_prompt() + long_prompt(), 1), "r1");
  EXPECT_EQ(answer.status(), 400) << answer.bytes();
  EXPECT_EQ(answer.field("X-Stoker-Usage"), "input=0,output=0,cached=0,device_ms=0");
}

TEST_F(LlamaUsage, OfAStreamCutInTheMiddleCoversWhatWasSent) {
  load(2, R"("extra_args":["--context-shift"])");
  HttpConnection stream = begin_endless("r1");
  stream.read_until("\"text\":\" ");
  const Json ended = worker_.cancel("r1");
  EXPECT_EQ(ended.string("reason"), "cancelled");
  EXPECT_EQ(ended.number("input"), 1);  // "Once"
  stream.read_answer();
  std::int64_t tokens_sent = 0;
  const std::string body = stream.body();
  for (std::size_t at = body.find("\"text\":"); at != std::string::npos;
       at = body.find("\"text\":", at + 1)) {
    ++tokens_sent;
  }
  EXPECT_GE(ended.number("output"), tokens_sent);
}

TEST_F(LlamaUsage, OfAPromptCutInTheMiddleIsWhatWasProcessedBesideAnotherStream) {
  load(2, R"("batch":8,"extra_args":["--context-shift"])");
  const auto whole = worker_.ask("POST", "/v1/completions", question(long_prompt(), 1));
  const std::int64_t prompt_tokens = usage(whole.field("X-Stoker-Usage"), "input");
  ASSERT_GT(prompt_tokens, kLongWords);
  const HttpConnection beside = begin_endless("beside");
  for (const std::string_view more : {"", R"(,"stream":true)"}) {
    const std::string id = more.empty() ? "unary" : "stream";
    HttpConnection victim = begin(question(long_prompt(), 1'000'000, more), id);
    ASSERT_TRUE(worker_.active_becomes(2));
    victim.close();
    EXPECT_TRUE(worker_.active_becomes(1));
    const Json ended = worker_.cancel(id);
    EXPECT_EQ(ended.string("reason"), "cancelled");
    EXPECT_LE(ended.number("input"), prompt_tokens);
    // No token comes before the whole prompt is through.
    if (ended.number("output") > 0) {
      EXPECT_EQ(ended.number("input"), prompt_tokens);
    }
  }
  EXPECT_EQ(worker_.stats().number("cancelled"), 2);
}

TEST_F(LlamaUsage, OfARequestCancelledBeforeItsTurnIsNothing) {
  load(1, R"("extra_args":["--context-shift"])");
  const HttpConnection running = begin_endless("running");
  const HttpConnection waiting = begin(question("Once", 5), "waiting");
  ASSERT_TRUE(worker_.active_becomes(2));
  const Json ended = worker_.cancel("waiting");
  EXPECT_EQ(ended.string("reason"), "cancelled");
  EXPECT_EQ(ended.number("input"), 0);
  EXPECT_EQ(ended.number("output"), 0);
  EXPECT_EQ(ended.number("device_ms"), 0);
  EXPECT_TRUE(worker_.active_becomes(1));
}

}  // namespace
}  // namespace stoker::test
