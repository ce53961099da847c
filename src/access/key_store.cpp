#include "access/key_store.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <array>
#include <utility>

#include "base/hex.h"

namespace stoker::access {
namespace {

using sqlite::Database;
using sqlite::Statement;

constexpr std::int64_t schema_version = 1;
constexpr std::string_view secret_prefix = "sk-stoker-";
/// Shown and stored: "sk-stoker-" says nothing, so these are letters of the random part.
constexpr std::size_t shown_letters = 6;
constexpr std::size_t longest_name = 100;

constexpr const char* create_sql = R"sql(
BEGIN IMMEDIATE;
CREATE TABLE tenants (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE keys (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  public_id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  prefix TEXT NOT NULL,
  tenant INTEGER NOT NULL REFERENCES tenants (id),
  scopes INTEGER NOT NULL,
  deployments TEXT NOT NULL,
  created_at_ns INTEGER NOT NULL,
  expires_at_ns INTEGER,
  revoked_at_ns INTEGER,
  enabled INTEGER NOT NULL,
  requests_per_minute INTEGER,
  input_tokens_per_minute INTEGER,
  output_tokens_per_minute INTEGER,
  concurrent_requests INTEGER,
  gpu_seconds_per_day INTEGER,
  digest BLOB NOT NULL UNIQUE
) STRICT;
INSERT INTO tenants (id, name) VALUES (1, 'default');
PRAGMA user_version = 1;
COMMIT;
)sql";

constexpr const char* select_sql =
    "SELECT keys.id, public_id, keys.name, prefix, tenant, tenants.name, scopes, deployments, "
    "created_at_ns, expires_at_ns, revoked_at_ns, enabled, requests_per_minute, "
    "input_tokens_per_minute, output_tokens_per_minute, concurrent_requests, gpu_seconds_per_day, "
    "digest FROM keys JOIN tenants ON tenants.id = tenant ";

/// Names of deployments hold no comma.
std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    if (comma > 0) parts.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

std::string joined(const std::vector<std::string>& parts) {
  return fmt::format("{}", fmt::join(parts, ","));
}

std::optional<WallTime> time_of(std::optional<std::int64_t> ns) {
  return ns ? std::optional(WallTime{*ns}) : std::nullopt;
}

void bind_optional(Statement& statement, std::optional<std::int64_t> value) {
  if (value) {
    statement.bind(*value);
  } else {
    statement.bind_null();
  }
}

Result<Key> read_key(Statement& row) {
  Key key;
  key.id.value = static_cast<std::uint64_t>(row.integer());
  key.public_id = row.text();
  key.name = row.text();
  key.prefix = row.text();
  key.tenant.value = static_cast<std::uint64_t>(row.integer());
  key.tenant_name = row.text();
  key.scopes = static_cast<std::uint8_t>(row.integer());
  key.deployments = split(row.text());
  key.created_at.ns = row.integer();
  key.expires_at = time_of(row.optional_integer());
  key.revoked_at = time_of(row.optional_integer());
  key.enabled = row.integer() != 0;
  for (const LimitName& limit : limit_names) key.limits.*limit.member = row.optional_integer();
  const std::optional<Digest> digest = Digest::from_bytes(row.blob().value_or(std::string()));
  if (!digest) {
    return failure(ErrorCode::corrupt,
                   fmt::format("the row of key {} cannot be read", key.public_id));
  }
  key.digest = *digest;
  return key;
}

Result<std::string> new_public_id() {
  std::array<char, 6> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    return tl::unexpected(errno_error("cannot draw a random id"));
  }
  return "key-" + to_hex({random.data(), random.size()});
}

Result<void> check(const KeyWish& wish, WallTime now) {
  if (!is_tenant_name(wish.tenant)) {
    return failure(ErrorCode::invalid, fmt::format("'{}' cannot name a tenant", wish.tenant),
                   "up to 63 small letters, digits, '.', '_' and '-', the first a letter or digit");
  }
  if (wish.scopes == 0 || (wish.scopes & ~scope::all) != 0) {
    return failure(ErrorCode::invalid, "a key needs a scope", "inference, read or admin");
  }
  if (wish.name.size() > longest_name) {
    return failure(ErrorCode::invalid, fmt::format("the name has {} bytes, the most is {}",
                                                   wish.name.size(), longest_name));
  }
  for (const std::string& each : wish.deployments) {
    if (each.empty() || each.find(',') != std::string::npos) {
      return failure(ErrorCode::invalid, fmt::format("'{}' cannot name a deployment", each));
    }
  }
  if (wish.expires_at && *wish.expires_at <= now) {
    return failure(ErrorCode::invalid, "the key would have expired before it was made");
  }
  return {};
}

Result<void> check(const Limits& limits) {
  constexpr std::int64_t largest = std::int64_t{1} << 40;
  for (const LimitName& limit : limit_names) {
    const std::optional<std::int64_t> value = limits.*limit.member;
    if (value && (*value < 0 || *value > largest)) {
      return failure(ErrorCode::invalid,
                     fmt::format("{} must be from 0 to {}", limit.name, largest));
    }
  }
  return {};
}

}  // namespace

Result<KeyStore> KeyStore::open(const std::filesystem::path& file, std::string_view admin_secret,
                                WallTime now) {
  Result<Database> db = Database::open(file, Database::Access::read_write);
  if (!db) return tl::unexpected(std::move(db.error()));
  KeyStore store(std::move(*db));
  if (Result<void> made = store.make_tables(); !made) return tl::unexpected(made.error());
  if (Result<void> put = store.put_admin_key(admin_secret, now); !put) {
    return tl::unexpected(put.error());
  }
  return store;
}

Result<void> KeyStore::make_tables() {
  const Result<std::int64_t> version = db_.integer("PRAGMA user_version");
  if (!version) return tl::unexpected(version.error());
  if (*version == schema_version) return {};
  if (*version != 0) {
    return failure(ErrorCode::corrupt,
                   fmt::format("access.db has version {} of its tables, this stoker knows {}",
                               *version, schema_version),
                   "start the stoker that wrote it");
  }
  return db_.run(create_sql);
}

Result<void> KeyStore::put_admin_key(std::string_view secret, WallTime now) {
  Result<Statement> put = db_.prepare(
      "INSERT INTO keys (id, public_id, name, prefix, tenant, scopes, deployments, created_at_ns, "
      "enabled, digest) VALUES (1, 'key-admin', 'admin.key', '', 1, ?, '', ?, 1, ?) "
      "ON CONFLICT (id) DO UPDATE SET digest = excluded.digest");
  if (!put) return tl::unexpected(put.error());
  const Digest digest(secret);
  put->bind(std::int64_t{scope::all});
  put->bind(now.ns);
  put->bind_blob(digest.bytes());
  return put->step().map([](bool) {});
}

Result<NewKey> KeyStore::create(const KeyWish& wish, WallTime now) {
  if (const Result<void> checked = check(wish, now); !checked) {
    return tl::unexpected(checked.error());
  }
  if (const Result<void> checked = check(wish.limits); !checked) {
    return tl::unexpected(checked.error());
  }
  const Result<TenantId> tenant_id = tenant(wish.tenant);
  if (!tenant_id) return tl::unexpected(tenant_id.error());
  Result<SecretText> secret = new_secret(secret_prefix);
  if (!secret) return tl::unexpected(secret.error());
  const Result<std::string> public_id = new_public_id();
  if (!public_id) return tl::unexpected(public_id.error());
  Result<Statement> insert = db_.prepare(
      "INSERT INTO keys (public_id, name, prefix, tenant, scopes, deployments, created_at_ns, "
      "expires_at_ns, enabled, requests_per_minute, input_tokens_per_minute, "
      "output_tokens_per_minute, concurrent_requests, gpu_seconds_per_day, digest) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)");
  if (!insert) return tl::unexpected(insert.error());
  const Digest digest(secret->reveal());
  const std::string deployments = joined(wish.deployments);
  insert->bind(*public_id);
  insert->bind(wish.name);
  insert->bind(secret->reveal().substr(secret_prefix.size(), shown_letters));
  insert->bind(static_cast<std::int64_t>(tenant_id->value));
  insert->bind(std::int64_t{wish.scopes});
  insert->bind(deployments);
  insert->bind(now.ns);
  bind_optional(*insert, wish.expires_at ? std::optional(wish.expires_at->ns) : std::nullopt);
  for (const LimitName& limit : limit_names) bind_optional(*insert, wish.limits.*limit.member);
  insert->bind_blob(digest.bytes());
  if (const Result<bool> done = insert->step(); !done) return tl::unexpected(done.error());
  Result<Key> key = find(*public_id);
  if (!key) return tl::unexpected(key.error());
  return NewKey{std::move(*key), std::move(*secret)};
}

Result<Key> KeyStore::revoke(std::string_view public_id, WallTime now) {
  const Result<Key> key = find(public_id);
  if (!key) return key;
  if (key->id == first_key) {
    return failure(ErrorCode::in_use, "the admin key cannot be revoked",
                   "stop the server, delete admin.key in its state directory, start it again");
  }
  Result<Statement> update = db_.prepare(
      "UPDATE keys SET revoked_at_ns = ? WHERE public_id = ? AND revoked_at_ns IS NULL");
  if (!update) return tl::unexpected(update.error());
  update->bind(now.ns);
  update->bind(public_id);
  if (const Result<bool> done = update->step(); !done) return tl::unexpected(done.error());
  return find(public_id);
}

Result<Key> KeyStore::change(std::string_view public_id, const KeyChange& change) {
  Result<Key> key = find(public_id);
  if (!key) return key;
  if (change.limits) {
    if (const Result<void> checked = check(*change.limits); !checked) {
      return tl::unexpected(checked.error());
    }
    key->limits = *change.limits;
  }
  if (change.name) key->name = *change.name;
  if (change.enabled) key->enabled = *change.enabled;
  Result<Statement> update = db_.prepare(
      "UPDATE keys SET name = ?, enabled = ?, requests_per_minute = ?, input_tokens_per_minute = "
      "?, output_tokens_per_minute = ?, concurrent_requests = ?, gpu_seconds_per_day = ? "
      "WHERE public_id = ?");
  if (!update) return tl::unexpected(update.error());
  update->bind(key->name);
  update->bind(std::int64_t{key->enabled});
  for (const LimitName& limit : limit_names) bind_optional(*update, key->limits.*limit.member);
  update->bind(public_id);
  if (const Result<bool> done = update->step(); !done) return tl::unexpected(done.error());
  return key;
}

Result<std::vector<Key>> KeyStore::list() {
  return select("ORDER BY keys.id", {});
}

Result<TenantId> KeyStore::tenant(std::string_view name) {
  if (!is_tenant_name(name)) {
    return failure(ErrorCode::invalid, fmt::format("'{}' cannot name a tenant", name));
  }
  Result<Statement> insert =
      db_.prepare("INSERT INTO tenants (name) VALUES (?) ON CONFLICT DO NOTHING");
  if (!insert) return tl::unexpected(insert.error());
  insert->bind(name);
  if (const Result<bool> done = insert->step(); !done) return tl::unexpected(done.error());
  Result<Statement> select_id = db_.prepare("SELECT id FROM tenants WHERE name = ?");
  if (!select_id) return tl::unexpected(select_id.error());
  select_id->bind(name);
  const Result<bool> row = select_id->step();
  if (!row) return tl::unexpected(row.error());
  return TenantId{static_cast<std::uint64_t>(*row ? select_id->integer() : 0)};
}

Result<Key> KeyStore::find(std::string_view public_id) {
  Result<std::vector<Key>> found = select("WHERE public_id = ?", public_id);
  if (!found) return tl::unexpected(found.error());
  if (found->empty()) {
    return failure(ErrorCode::not_found, fmt::format("there is no key '{}'", public_id),
                   "`stoker keys list` shows them");
  }
  return std::move(found->front());
}

Result<std::vector<Key>> KeyStore::select(const char* where, std::string_view value) {
  Result<Statement> statement = db_.prepare(std::string(select_sql) + where);
  if (!statement) return tl::unexpected(statement.error());
  if (!value.empty()) statement->bind(value);
  std::vector<Key> keys;
  while (true) {
    const Result<bool> row = statement->step();
    if (!row) return tl::unexpected(row.error());
    if (!*row) return keys;
    Result<Key> key = read_key(*statement);
    if (!key) return tl::unexpected(key.error());
    keys.push_back(std::move(*key));
  }
}

}  // namespace stoker::access
