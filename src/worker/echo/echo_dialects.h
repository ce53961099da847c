// The echo worker's answers in the shapes of Anthropic's messages and OpenAI's responses. Pure.
// Sources: Anthropic API reference, messages and their stream events; OpenAI API reference,
// responses and their stream events.
#pragma once

#include <string>
#include <string_view>

#include "worker/echo/echo_request.h"

namespace stoker::worker {

[[nodiscard]] std::string message_answer(const EchoAnswer& answer, std::string_view text,
                                         std::int64_t output_tokens, bool cut_off);
[[nodiscard]] std::string message_opening(const EchoAnswer& answer);
void append_message_token(std::string& out, std::string_view token);
[[nodiscard]] std::string message_closing(std::int64_t output_tokens, bool cut_off);

[[nodiscard]] std::string response_answer(const EchoAnswer& answer, std::string_view text,
                                          std::int64_t output_tokens, bool cut_off);
[[nodiscard]] std::string response_opening(const EchoAnswer& answer);
void append_response_token(std::string& out, const EchoAnswer& answer, std::string_view token);
/// `text`: all tokens together, which the closing events repeat.
[[nodiscard]] std::string response_closing(const EchoAnswer& answer, std::string_view text,
                                           std::int64_t output_tokens, bool cut_off);

}  // namespace stoker::worker
