// Keys and what they allow: plain data. A key belongs to one tenant for ever.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "access/secret.h"
#include "base/units.h"

namespace stoker::access {

/// What a key may call. A set of bits; none includes another, but `admin` may read too.
namespace scope {
inline constexpr std::uint8_t inference = 1;  // run models, in every dialect
inline constexpr std::uint8_t read = 2;       // look: requests, usage, what runs
inline constexpr std::uint8_t admin = 4;      // change: start, stop, keys
inline constexpr std::uint8_t all = inference | read | admin;
}  // namespace scope

/// "inference,read".
[[nodiscard]] std::string scopes_text(std::uint8_t scopes);
/// Gives: nullopt for a word that is no scope.
[[nodiscard]] std::optional<std::uint8_t> parse_scope(std::string_view word);

/// Of one key, or of all keys of a tenant together. Unset: no limit. A minute and a day slide.
struct Limits {
  std::optional<std::int64_t> requests_per_minute;
  std::optional<std::int64_t> input_tokens_per_minute;
  std::optional<std::int64_t> output_tokens_per_minute;
  std::optional<std::int64_t> concurrent_requests;
  std::optional<std::int64_t> gpu_seconds_per_day;
  bool operator==(const Limits&) const = default;
};

/// The names of the limits in JSON and in configuration, with the member of each.
struct LimitName {
  std::string_view name;
  std::optional<std::int64_t> Limits::* member;
};
inline constexpr LimitName limit_names[] = {
    {"requests_per_minute", &Limits::requests_per_minute},
    {"input_tokens_per_minute", &Limits::input_tokens_per_minute},
    {"output_tokens_per_minute", &Limits::output_tokens_per_minute},
    {"concurrent_requests", &Limits::concurrent_requests},
    {"gpu_seconds_per_day", &Limits::gpu_seconds_per_day},
};

struct Key {
  KeyId id;               // counts up from 1, never used twice
  std::string public_id;  // "key-1f0c83a2d94e": names the key to people, is no secret
  std::string name;       // what its owner calls it, may be empty
  std::string prefix;     // first letters of the secret, to tell keys apart
  TenantId tenant;
  std::string tenant_name;
  std::uint8_t scopes = 0;
  std::vector<std::string> deployments;  // those it may use; empty: all
  WallTime created_at;
  std::optional<WallTime> expires_at;
  std::optional<WallTime> revoked_at;
  bool enabled = true;
  Limits limits;
  Limits tenant_limits;  // of all keys of the tenant together; from the configuration
  Digest digest;

  [[nodiscard]] bool has(std::uint8_t wanted) const { return (scopes & wanted) != 0; }
  [[nodiscard]] bool limited() const { return limits != Limits{} || tenant_limits != Limits{}; }
  [[nodiscard]] bool may_use(std::string_view deployment) const;
  [[nodiscard]] bool expired(WallTime now) const { return expires_at && *expires_at <= now; }
};

/// The tenant of the admin key, and of everybody where there are no keys.
inline constexpr TenantId default_tenant{1};
inline constexpr std::string_view default_tenant_name = "default";
/// The key in state_dir/admin.key, and who everybody is where there are no keys.
inline constexpr KeyId first_key{1};

/// Names of tenants: [a-z0-9][a-z0-9._-]{0,62}, as of deployments.
[[nodiscard]] bool is_tenant_name(std::string_view name);

}  // namespace stoker::access
