#include "gateway/auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>

namespace stoker::gateway {
namespace {

std::array<std::uint8_t, 32> sha256(std::string_view text) {
  std::array<std::uint8_t, 32> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

/// The key that the client presents: "Authorization: Bearer KEY" or "X-Api-Key: KEY".
std::optional<std::string_view> presented_key(const net::Fields& fields) {
  if (const auto authorization = fields.find("authorization")) {
    constexpr std::string_view scheme = "bearer ";
    if (authorization->size() > scheme.size() &&
        net::equal_ignoring_case(authorization->substr(0, scheme.size()), scheme)) {
      return authorization->substr(scheme.size());
    }
    return std::nullopt;
  }
  return fields.find("x-api-key");
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

std::optional<ApiError> refuse_foreign(const net::HttpRequest& head) {
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
  if (!origin) return std::nullopt;
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

}  // namespace

Secret::Secret(std::string_view text) : digest_(sha256(text)) {}

bool Secret::matches(std::string_view presented) const {
  const std::array<std::uint8_t, 32> digest = sha256(presented);
  return CRYPTO_memcmp(digest.data(), digest_.data(), digest_.size()) == 0;
}

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

std::optional<ApiError> refuse(const AuthOptions& auth, Scope scope, const net::HttpRequest& head) {
  if (!auth.keys_required) {
    return auth.unix_listener ? std::nullopt : refuse_foreign(head);
  }
  if (scope == Scope::open) return std::nullopt;
  const auto key = presented_key(head.fields);
  if (!key) {
    return ApiError{401,
                    "missing_api_key",
                    "send the key as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'; "
                    "the first one is in admin.key of the state directory",
                    {},
                    {}};
  }
  if (!auth.admin_key || !auth.admin_key->matches(*key)) {
    return ApiError{401, "invalid_api_key", "the key is not known to this server", {}, {}};
  }
  return std::nullopt;
}

}  // namespace stoker::gateway
