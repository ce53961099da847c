#include "gateway/rate_limit.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/text.h"

namespace stoker::gateway {
namespace {

constexpr std::int64_t bytes_per_token = 4;       // of English text, about
constexpr std::int64_t usual_output = 256;        // where the request sets no bound
constexpr std::int64_t largest_guess = 1 << 20;   // a picture in a body is not so many tokens
constexpr std::int64_t largest_wish = 1'000'000;  // nobody means more

void append(std::string& text, std::int64_t number) {
  const fmt::format_int digits(number);
  text.append(digits.data(), digits.size());
}

/// As Go prints a duration, which is what OpenAI sends: "350ms", "6s", "1m30s".
void append_duration(std::string& text, Duration d) {
  const std::int64_t ms = (d.ns + 999'999) / 1'000'000;
  if (ms < 1000) {
    append(text, ms);
    text += "ms";
    return;
  }
  const std::int64_t s = (ms + 999) / 1000;
  if (s >= 60) {
    append(text, s / 60);
    text += 'm';
  }
  append(text, s < 60 ? s : s % 60);
  text += 's';
}

/// On every answer: without format strings to parse.
void add_one(std::string& text, std::string_view what, const std::optional<Standing>& standing) {
  if (!standing) return;
  text.append("x-ratelimit-limit-").append(what).append(": ");
  append(text, standing->most);
  text.append("\r\nx-ratelimit-remaining-").append(what).append(": ");
  append(text, std::max<std::int64_t>(standing->remaining, 0));
  text.append("\r\nx-ratelimit-reset-").append(what).append(": ");
  append_duration(text, standing->resets_in);
  text.append("\r\n");
}

/// RFC 3339 without fractions, rounded up.
std::string reset_time(WallTime now, Duration in) {
  const std::int64_t at = now.ns + in.ns;
  const std::int64_t second = seconds(1).ns;
  std::string text = to_text(WallTime{(at + second - 1) / second * second});
  constexpr std::string_view fraction = ".000";
  text.erase(text.size() - 1 - fraction.size(), fraction.size());
  return text;
}

void add_one_anthropic(std::string& text, std::string_view what,
                       const std::optional<Standing>& standing, WallTime now) {
  if (!standing) return;
  fmt::format_to(std::back_inserter(text),
                 "anthropic-ratelimit-{0}-limit: {1}\r\nanthropic-ratelimit-{0}-remaining: {2}\r\n"
                 "anthropic-ratelimit-{0}-reset: {3}\r\n",
                 what, standing->most, std::max<std::int64_t>(standing->remaining, 0),
                 reset_time(now, standing->resets_in));
}

/// Left of it, in thousandths.
std::int64_t left(const Standing& standing) {
  return standing.most <= 0 ? 0 : standing.remaining * 1000 / standing.most;
}

bool writes_tokens(Route route) {
  return route == Route::chat || route == Route::completions || route == Route::responses ||
         route == Route::messages || route == Route::ollama_chat || route == Route::ollama_generate;
}

}  // namespace

void add_rate_limit_fields(std::string& text, const Standings& standings) {
  add_one(text, "requests", standings.requests);
  add_one(text, "input-tokens", standings.input_tokens);
  add_one(text, "output-tokens", standings.output_tokens);
  const std::optional<Standing>& in = standings.input_tokens;
  const std::optional<Standing>& out = standings.output_tokens;
  const bool input_is_nearer = in && (!out || left(*in) <= left(*out));
  add_one(text, "tokens", input_is_nearer ? in : out);
}

void add_anthropic_fields(std::string& text, const Standings& standings, WallTime now) {
  add_one_anthropic(text, "requests", standings.requests, now);
  add_one_anthropic(text, "input-tokens", standings.input_tokens, now);
  add_one_anthropic(text, "output-tokens", standings.output_tokens, now);
}

TokenCounts estimate_tokens(Route route, const BodyFacts& facts, std::string_view body) {
  TokenCounts counts;
  if (!names_model_in_body(route)) return counts;
  // Sound and pictures are not text: how many bytes they have says nothing about tokens.
  const auto bytes = takes_media(route) ? 0 : static_cast<std::int64_t>(body.size());
  counts.input = std::min(bytes / bytes_per_token + 1, largest_guess);
  if (!writes_tokens(route)) return counts;
  const std::int64_t each = facts.most_output.value_or(usual_output);
  counts.output = std::clamp<std::int64_t>(each, 0, largest_wish) *
                  std::clamp<std::int64_t>(facts.choices, 1, 128);
  return counts;
}

}  // namespace stoker::gateway
