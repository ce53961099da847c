// Keys and tenants on disk: state_dir/access.db (SQLite). Only digests are there, never a secret
// (C2 in RELIABILITY.md). What was revoked stays as a row, so that old records name their key.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "access/key.h"
#include "base/result.h"
#include "sqlite/database.h"

namespace stoker::access {

/// What is asked for; checked by KeyStore::create.
struct KeyWish {
  std::string tenant;  // made if it is new
  std::string name;
  std::uint8_t scopes = 0;
  std::vector<std::string> deployments;
  std::optional<WallTime> expires_at;
  Limits limits;
};

struct NewKey {
  Key key;
  SecretText secret;  // shown once; nobody can get it again
};

/// Unset members stay as they are.
struct KeyChange {
  std::optional<std::string> name;
  std::optional<bool> enabled;
  std::optional<Limits> limits;
};

/// Threads: one at a time. Every change is synced before the call returns.
/// Errors of all: no_capacity and unavailable (the disk), corrupt.
class KeyStore {
 public:
  /// Opens or creates the file. `admin_secret` is the first key, with every scope: that of
  /// state_dir/admin.key, which may have been replaced since.
  [[nodiscard]] static Result<KeyStore> open(const std::filesystem::path& file,
                                             std::string_view admin_secret, WallTime now);

  /// Errors: also invalid (no scope, a tenant or a limit that cannot be, an expiry in the past).
  [[nodiscard]] Result<NewKey> create(const KeyWish& wish, WallTime now);
  /// Gives:  the key as it is then. Revoking twice keeps the first time.
  /// Errors: also not_found; in_use for the admin key, which is its file.
  [[nodiscard]] Result<Key> revoke(std::string_view public_id, WallTime now);
  [[nodiscard]] Result<Key> change(std::string_view public_id, const KeyChange& change);
  /// All that there ever were, ascending by id.
  [[nodiscard]] Result<std::vector<Key>> list();
  /// The number of the tenant, which is made if it is new.   Errors: also invalid.
  [[nodiscard]] Result<TenantId> tenant(std::string_view name);

 private:
  explicit KeyStore(sqlite::Database db) : db_(std::move(db)) {}
  [[nodiscard]] Result<void> make_tables();
  [[nodiscard]] Result<void> put_admin_key(std::string_view secret, WallTime now);
  [[nodiscard]] Result<Key> find(std::string_view public_id);
  [[nodiscard]] Result<std::vector<Key>> select(const char* where, std::string_view value);

  sqlite::Database db_;
};

}  // namespace stoker::access
