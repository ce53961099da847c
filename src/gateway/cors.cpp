#include "gateway/cors.h"

#include <fmt/format.h>

#include <algorithm>

namespace stoker::gateway {
namespace {

/// What a page may read besides the body.
constexpr std::string_view exposed =
    "X-Request-Id, X-Stoker-Start, Server-Timing, Retry-After, x-ratelimit-limit-requests, "
    "x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, "
    "x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, "
    "x-ratelimit-limit-input-tokens, x-ratelimit-remaining-input-tokens, "
    "x-ratelimit-reset-input-tokens, x-ratelimit-limit-output-tokens, "
    "x-ratelimit-remaining-output-tokens, x-ratelimit-reset-output-tokens";
constexpr int preflight_kept_s = 600;

/// Field names and commas, so that it can be said back.
bool is_list_of_names(std::string_view text) {
  return text.size() <= 1024 && std::ranges::all_of(text, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  std::string_view("-_, ").find(c) != std::string_view::npos;
         });
}

}  // namespace

bool from_allowed_origin(std::span<const std::string> origins, const net::HttpRequest& head) {
  if (origins.empty()) return false;
  const auto origin = head.fields.find("origin");
  return origin && std::ranges::find(origins, *origin) != origins.end();
}

bool is_preflight(const net::HttpRequest& head) {
  return head.method == "OPTIONS" && head.fields.find("access-control-request-method").has_value();
}

std::string cors_fields(const net::HttpRequest& head) {
  return fmt::format(
      "Access-Control-Allow-Origin: {}\r\nVary: Origin\r\nAccess-Control-Expose-Headers: {}\r\n",
      head.fields.find("origin").value_or(""), exposed);
}

std::string preflight_fields(const net::HttpRequest& head, std::string_view methods) {
  std::string fields =
      fmt::format("Access-Control-Allow-Methods: {}\r\nAccess-Control-Max-Age: {}\r\n", methods,
                  preflight_kept_s);
  const auto wanted = head.fields.find("access-control-request-headers");
  if (wanted && is_list_of_names(*wanted)) {
    fields += fmt::format("Access-Control-Allow-Headers: {}\r\n", *wanted);
  }
  return fields;
}

}  // namespace stoker::gateway
