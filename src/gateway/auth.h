// Who may come in: which key a request presents, and whether it may call the route. Without keys
// only this machine's own pages and programs may, which Host and Origin tell.
// Must never log or print what a client presented.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "access/key_ring.h"
#include "gateway/api_error.h"
#include "gateway/routes.h"
#include "net/http.h"

namespace stoker::gateway {

struct AuthOptions {
  bool keys_required = true;
  bool unix_listener = false;        // no browser can reach it: Host and Origin are not looked at
  std::vector<std::string> origins;  // besides our own, whose pages may call
};

/// Either a key, or why there is none. A route that is open to everybody has neither.
struct Admittance {
  access::KeyPtr key;
  std::optional<ApiError> refusal;
};

/// May `head` call a route of `scope`?
/// Gives:   without required keys the first key of `keys`, which may do everything.
/// Cost:    one SHA-256 of what was presented.
/// Threads: any.
[[nodiscard]] Admittance admit(const AuthOptions& auth, const access::KeyRing& keys, Scope scope,
                               const net::HttpRequest& head, WallTime now);

/// True for "localhost", "127.x.x.x" and "[::1]", each with or without a port.
[[nodiscard]] bool is_loopback_host(std::string_view host);

}  // namespace stoker::gateway
