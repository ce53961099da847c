// The x-ratelimit-* fields that OpenAI's clients read, those of Anthropic's, and what a request may
// use at most.
#pragma once

#include <string>
#include <string_view>

#include "gateway/dispatcher.h"
#include "gateway/json_reader.h"
#include "gateway/routes.h"

namespace stoker::gateway {

/// "x-ratelimit-limit-requests: 60\r\nx-ratelimit-remaining-requests: 59\r\n..." for each limit
/// that there is. `-tokens` is the one of input and output that is nearer to its end.
void add_rate_limit_fields(std::string& text, const Standings& standings);
/// "anthropic-ratelimit-requests-limit: 60\r\n...-remaining: 59\r\n...-reset:
/// 2026-01-31T12:00:00Z": the same for Anthropic's clients, who are told when all of it is there
/// again as a time.
void add_anthropic_fields(std::string& text, const Standings& standings, WallTime now);

/// What a request may use, from what it says itself: a guess of its input from the length of its
/// body, and the output that it asks for. Both are settled by what is really used, and grow when
/// that is more.
[[nodiscard]] TokenCounts estimate_tokens(Route route, const BodyFacts& facts,
                                          std::string_view body);

}  // namespace stoker::gateway
