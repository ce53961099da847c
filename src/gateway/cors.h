// Pages of other origins (CORS, Fetch standard 3.2): those that the configuration names may call
// the API with a key; no other page is told anything, and nobody `*`. Cookies play no part here.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "net/http.h"

namespace stoker::gateway {

/// True if the request comes from a page of one of `origins`.
[[nodiscard]] bool from_allowed_origin(std::span<const std::string> origins,
                                       const net::HttpRequest& head);
/// True for a preflight: the browser asks whether a page may send what it is about to.
[[nodiscard]] bool is_preflight(const net::HttpRequest& head);
/// Head fields that let the page read the answer. Needs: from_allowed_origin().
[[nodiscard]] std::string cors_fields(const net::HttpRequest& head);
/// Head fields of the answer to a preflight, beside cors_fields(). `methods`: "GET, POST".
[[nodiscard]] std::string preflight_fields(const net::HttpRequest& head, std::string_view methods);

}  // namespace stoker::gateway
