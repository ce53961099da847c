// Making, listing and revoking keys, as JSON in and out; tells who must know of each change.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "access/key_ring.h"
#include "access/key_store.h"

namespace stoker::access {

/// What has changed, for those that hold keys.
struct KeyNews {
  KeyRingPtr ring;
  /// Revoked so that what runs for it ends too; zero: none.
  KeyId cut_off;
};

/// Threads: any, but create() and set_on_news(); the functions below wait for the disk.
class KeyAdmin {
 public:
  using OnNews = std::function<void(const KeyNews&)>;

  /// By name. Tenants that are not there have no limits.
  using TenantLimits = std::map<std::string, Limits, std::less<>>;

  /// Errors: those of KeyStore::list.
  [[nodiscard]] static Result<KeyAdmin> create(KeyStore store, TenantLimits tenants);
  /// `on_news` hears of every change before the call that made it returns.
  void set_on_news(OnNews on_news) { on_news_ = std::move(on_news); }
  [[nodiscard]] KeyRingPtr ring() const;
  /// The number of a tenant that the configuration names.
  [[nodiscard]] Result<TenantId> tenant(std::string_view name);
  /// From now on these are all limits of tenants.   Errors: those of KeyStore::list.
  [[nodiscard]] Result<void> replace_tenants(TenantLimits tenants);

  /// `body`: {"tenant", "scopes": ["inference", ...], "deployments": [...], "name",
  ///          "expires_in_s", "limits": {"requests_per_minute", ...}}; scopes default to
  ///          inference, the tenant to "default".
  /// Gives:   {"key": the secret, this once, "id", ...}.   Errors: invalid names the field.
  [[nodiscard]] Result<std::string> create_key(std::string_view body, WallTime now);
  /// `body`: {"name", "enabled", "limits"}; a limit that is null or missing in "limits" is lifted.
  [[nodiscard]] Result<std::string> change_key(std::string_view public_id, std::string_view body);
  /// Effective when this returns. `hard`: what runs for the key ends as well.
  [[nodiscard]] Result<std::string> revoke_key(std::string_view public_id, bool hard, WallTime now);
  [[nodiscard]] Result<std::string> keys_json();

 private:
  KeyAdmin(KeyStore store, TenantLimits tenants)
      : store_(std::move(store)), tenants_(std::move(tenants)) {}
  [[nodiscard]] Result<void> renew_ring(KeyId cut_off);

  /// Held by every function that others call: of two changes the later one is told last.
  std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();
  KeyStore store_;
  TenantLimits tenants_;
  KeyRingPtr ring_;
  OnNews on_news_;
};

}  // namespace stoker::access
