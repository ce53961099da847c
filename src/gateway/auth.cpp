#include "gateway/auth.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "gateway/cors.h"

namespace stoker::gateway {
namespace {

/// The key that the client presents, in any of the spellings that clients know (CONVENTIONS.md 2):
/// "Authorization: Bearer KEY", "X-Api-Key: KEY" (Anthropic), "Api-Key: KEY" (Azure), and a bare
/// "Authorization: KEY" (RunPod's examples).
std::optional<std::string_view> presented_key(const net::Fields& fields) {
  if (const auto authorization = fields.find("authorization")) {
    const std::size_t space = authorization->find(' ');
    if (space == authorization->npos) return authorization;
    if (!net::equal_ignoring_case(authorization->substr(0, space), "bearer")) return std::nullopt;
    return authorization->substr(
        std::min(authorization->find_first_not_of(' ', space), authorization->size()));
  }
  const auto key = fields.find("x-api-key");
  return key ? key : fields.find("api-key");
}

bool is_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// "127.0.0.1" and its neighbours; only as four plain numbers.
bool is_loopback_ipv4(std::string_view host) {
  if (!host.starts_with("127.")) return false;
  int parts = 0;
  while (true) {
    const std::size_t dot = host.find('.');
    const std::string_view part = host.substr(0, dot);
    if (!is_digits(part) || part.size() > 3) return false;
    ++parts;
    if (dot == host.npos) return parts == 4;
    host.remove_prefix(dot + 1);
  }
}

std::optional<ApiError> refuse_foreign(const AuthOptions& auth, const net::HttpRequest& head) {
  const auto host = head.fields.find("host");
  if (host && !is_loopback_host(*host)) {
    return ApiError{403,
                    "foreign_host",
                    "without keys this server answers only to its loopback names; "
                    "set 'auth: keys' to serve other hosts",
                    {},
                    {}};
  }
  const auto origin = head.fields.find("origin");
  if (!origin || from_allowed_origin(auth.origins, head)) return std::nullopt;
  const std::size_t scheme_end = origin->find("://");
  if (scheme_end == origin->npos || !is_loopback_host(origin->substr(scheme_end + 3))) {
    return ApiError{403,
                    "foreign_origin",
                    "without keys this server answers only to pages of this machine",
                    {},
                    {}};
  }
  return std::nullopt;
}

Admittance refused(int status, const char* code, std::string message) {
  return {nullptr, ApiError{status, code, std::move(message), {}, {}}};
}

const char* to_text(Scope scope) {
  switch (scope) {
    case Scope::open:
      return "open";
    case Scope::inference:
      return "inference";
    case Scope::read:
      return "read";
    case Scope::admin:
      return "admin";
  }
  return "admin";
}

bool allows(const access::Key& key, Scope scope) {
  switch (scope) {
    case Scope::open:
      return true;
    case Scope::inference:
      return key.has(access::scope::inference);
    case Scope::read:
      return key.has(access::scope::read | access::scope::admin);
    case Scope::admin:
      return key.has(access::scope::admin);
  }
  return false;
}

}  // namespace

bool is_loopback_host(std::string_view host) {
  std::string_view name = host;
  std::string_view after;
  if (host.starts_with('[')) {
    const std::size_t end = host.find(']');
    if (end == host.npos) return false;
    name = host.substr(0, end + 1);
    after = host.substr(end + 1);
  } else if (const std::size_t colon = host.find(':'); colon != host.npos) {
    name = host.substr(0, colon);
    after = host.substr(colon);
  }
  if (!after.empty() && (after.front() != ':' || !is_digits(after.substr(1)))) return false;
  return net::equal_ignoring_case(name, "localhost") || name == "[::1]" || is_loopback_ipv4(name);
}

Admittance admit(const AuthOptions& auth, const access::KeyRing& keys, Scope scope,
                 const net::HttpRequest& head, WallTime now) {
  if (!auth.keys_required) {
    if (auto refusal = auth.unix_listener ? std::nullopt : refuse_foreign(auth, head)) {
      return {nullptr, std::move(refusal)};
    }
    return {keys.find(access::first_key), {}};
  }
  if (scope == Scope::open) return {};
  const auto presented = presented_key(head.fields);
  if (!presented || presented->empty()) {
    return refused(401, "missing_api_key",
                   "send the key as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'; the first one "
                   "is in admin.key of the state directory");
  }
  access::KeyPtr key = keys.find(*presented);
  if (key == nullptr) {
    return refused(401, "invalid_api_key", "the key is not known to this server, or was revoked");
  }
  if (key->expired(now)) {
    return refused(401, "expired_api_key", fmt::format("the key {} has expired", key->public_id));
  }
  if (!allows(*key, scope)) {
    return refused(403, "insufficient_scope",
                   fmt::format("this needs a key with the scope '{}', {} has '{}'", to_text(scope),
                               key->public_id, access::scopes_text(key->scopes)));
  }
  return {std::move(key), {}};
}

}  // namespace stoker::gateway
