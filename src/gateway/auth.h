// Who may come in. Keys are compared as SHA-256 digests in constant time (C1 in RELIABILITY.md);
// without keys only this machine's own pages and programs may, which Host and Origin tell.
// Must never log or print what a client presented.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/routes.h"
#include "net/http.h"

namespace stoker::gateway {

/// A secret as its digest. It cannot be printed or turned back into text, by type.
class Secret {
 public:
  /// Needs: text with at least 128 bits of randomness; nothing slow protects a guessable one.
  explicit Secret(std::string_view text);
  /// Cost: one SHA-256 of `presented`. The time does not depend on how much of it is right.
  [[nodiscard]] bool matches(std::string_view presented) const;

 private:
  std::array<std::uint8_t, 32> digest_{};
};

struct AuthOptions {
  bool keys_required = true;
  std::optional<Secret> admin_key;  // all scopes
  bool unix_listener = false;       // no browser can reach it: Host and Origin are not looked at
};

/// Gives: nullopt if `head` may call a route of `scope`, else the error to answer with.
/// Threads: any.
[[nodiscard]] std::optional<ApiError> refuse(const AuthOptions& auth, Scope scope,
                                             const net::HttpRequest& head);

/// True for "localhost", "127.x.x.x" and "[::1]", each with or without a port.
[[nodiscard]] bool is_loopback_host(std::string_view host);

}  // namespace stoker::gateway
