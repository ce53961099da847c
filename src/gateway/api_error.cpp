#include "gateway/api_error.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json_writer.h"

namespace stoker::gateway {
namespace {

/// Source: OpenAI API reference, error types.
const char* openai_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 504:
      return "timeout_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

/// Source: Anthropic API reference, error types.
const char* anthropic_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

int status_of(RejectReason reason) {
  switch (reason) {
    case RejectReason::queue_full:
    case RejectReason::rate_limited:
      return 429;
    case RejectReason::unknown_key:
      return 401;
    default:
      return 503;
  }
}

}  // namespace

ApiError to_error(const Rejection& rejection) {
  return {.status = status_of(rejection.reason),
          .code = to_text(rejection.reason),
          .message = rejection.message,
          .param = {},
          .retry_after = rejection.retry_after};
}

std::string error_body(Dialect dialect, const ApiError& error) {
  JsonWriter json;
  json.object([&] {
    if (dialect == Dialect::ollama) {
      json.field("error", error.message);
      return;
    }
    if (dialect == Dialect::open_inference) {
      json.field("error", error.message);
      json.field("code", error.code);
      return;
    }
    if (dialect == Dialect::anthropic) json.field("type", "error");
    json.object("error", [&] {
      json.field("type", dialect == Dialect::anthropic ? anthropic_type(error.status)
                                                       : openai_type(error.status));
      json.field("message", error.message);
      json.field("code", error.code);
      if (dialect == Dialect::anthropic) return;
      if (error.param.empty()) {
        json.null_field("param");
      } else {
        json.field("param", error.param);
      }
    });
  });
  return json.take();
}

std::string error_event(Dialect dialect, const ApiError& error) {
  if (dialect == Dialect::openai) return "data: " + error_body(dialect, error) + "\n\n";
  if (dialect == Dialect::ollama) return error_body(dialect, error) + "\n";
  if (dialect != Dialect::responses) {
    return "event: error\ndata: " + error_body(dialect, error) + "\n\n";
  }
  JsonWriter json;
  json.object([&] {
    json.field("type", "error");
    json.field("code", error.code);
    json.field("message", error.message);
    json.null_field("param");
  });
  return "event: error\ndata: " + json.take() + "\n\n";
}

std::string retry_after_field(const ApiError& error) {
  if (error.retry_after.ns <= 0) return {};
  constexpr std::int64_t second = 1'000'000'000;
  const std::int64_t whole = (error.retry_after.ns + second - 1) / second;
  return fmt::format("Retry-After: {}\r\n", std::max<std::int64_t>(whole, 1));
}

}  // namespace stoker::gateway
