#include "gateway/rate_limit.h"

#include <gtest/gtest.h>

namespace stoker::gateway {
namespace {

Standings standings() {
  Standings standings;
  standings.requests = Standing{60, 59, ms(350)};
  standings.output_tokens = Standing{1000, -3, seconds(90)};
  return standings;
}

TEST(RateLimit, TellsOpenAiClientsWhatIsThere) {
  std::string text;
  add_rate_limit_fields(text, standings());
  EXPECT_EQ(text,
            "x-ratelimit-limit-requests: 60\r\nx-ratelimit-remaining-requests: 59\r\n"
            "x-ratelimit-reset-requests: 350ms\r\n"
            "x-ratelimit-limit-output-tokens: 1000\r\nx-ratelimit-remaining-output-tokens: 0\r\n"
            "x-ratelimit-reset-output-tokens: 1m30s\r\n"
            "x-ratelimit-limit-tokens: 1000\r\nx-ratelimit-remaining-tokens: 0\r\n"
            "x-ratelimit-reset-tokens: 1m30s\r\n");
}

TEST(RateLimit, TellsAnthropicClientsTheSecondWhenAllIsThereAgain) {
  std::string text;
  const WallTime now{seconds(1'769'860'800).ns + 1};  // a nanosecond past 2026-01-31T12:00:00Z
  add_anthropic_fields(text, standings(), now);
  EXPECT_EQ(text,
            "anthropic-ratelimit-requests-limit: 60\r\n"
            "anthropic-ratelimit-requests-remaining: 59\r\n"
            "anthropic-ratelimit-requests-reset: 2026-01-31T12:00:01Z\r\n"
            "anthropic-ratelimit-output-tokens-limit: 1000\r\n"
            "anthropic-ratelimit-output-tokens-remaining: 0\r\n"
            "anthropic-ratelimit-output-tokens-reset: 2026-01-31T12:01:31Z\r\n");
}

TEST(RateLimit, SoundAndPicturesAreNotCountedAsText) {
  const std::string body(1 << 20, 'x');
  EXPECT_EQ(estimate_tokens(Route::transcriptions, {}, body).input, 1);
  EXPECT_GT(estimate_tokens(Route::embeddings, {}, body).input, 100'000);
  BodyFacts facts;
  facts.most_output = 7;
  EXPECT_EQ(estimate_tokens(Route::ollama_chat, facts, body).output, 7);
  EXPECT_EQ(estimate_tokens(Route::media, facts, body).output, 0);
}

}  // namespace
}  // namespace stoker::gateway
