#include "access/key_admin.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <utility>

#include "base/json_writer.h"
#include "base/text.h"

namespace stoker::access {
namespace {

using simdjson::dom::element;
using simdjson::dom::object;

tl::unexpected<Error> wrong(std::string_view field, std::string_view what) {
  return failure(ErrorCode::invalid, fmt::format("'{}' {}", field, what));
}

/// Reads the object in `body` member by member; `read` gives the error of one, or nothing.
template <class Read>
Result<void> for_each_member(std::string_view body, Read&& read) {
  simdjson::dom::parser parser;
  const simdjson::padded_string padded(body.empty() ? std::string_view("{}") : body);
  object members;
  if (parser.parse(padded).get(members) != simdjson::SUCCESS) {
    return failure(ErrorCode::invalid, "the body must be a JSON object");
  }
  for (const auto& [name, value] : members) {
    if (Result<void> done = read(name, value); !done) return done;
  }
  return {};
}

Result<std::string> string_of(std::string_view field, element value) {
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) return wrong(field, "must be a string");
  return std::string(text);
}

Result<std::vector<std::string>> strings_of(std::string_view field, element value) {
  simdjson::dom::array array;
  if (value.get(array) != simdjson::SUCCESS) return wrong(field, "must be a list of strings");
  std::vector<std::string> strings;
  for (const element each : array) {
    Result<std::string> text = string_of(field, each);
    if (!text) return wrong(field, "must be a list of strings");
    strings.push_back(std::move(*text));
  }
  return strings;
}

Result<std::uint8_t> scopes_of(element value) {
  const Result<std::vector<std::string>> words = strings_of("scopes", value);
  if (!words) return tl::unexpected(words.error());
  std::uint8_t scopes = 0;
  for (const std::string& word : *words) {
    const std::optional<std::uint8_t> bit = parse_scope(word);
    if (!bit) {
      return wrong("scopes", fmt::format("has '{}'; there are inference, read and admin", word));
    }
    scopes |= *bit;
  }
  return scopes;
}

Result<Limits> limits_of(element value) {
  object members;
  if (value.get(members) != simdjson::SUCCESS) return wrong("limits", "must be an object");
  Limits limits;
  for (const auto& [name, number] : members) {
    const LimitName* found = nullptr;
    for (const LimitName& limit : limit_names) {
      if (limit.name == name) found = &limit;
    }
    if (found == nullptr) {
      std::string known;
      for (const LimitName& limit : limit_names) {
        known += (known.empty() ? "" : ", ") + std::string(limit.name);
      }
      return wrong("limits", fmt::format("has '{}'; there are {}", name, known));
    }
    if (number.is_null()) continue;
    std::int64_t count = 0;
    if (number.get(count) != simdjson::SUCCESS || count < 0) {
      return wrong(name, "must be a whole number, 0 or more");
    }
    limits.*found->member = count;
  }
  return limits;
}

Result<WallTime> expiry_of(element value, WallTime now) {
  constexpr std::int64_t longest = std::int64_t{100} * 365 * 24 * 3600;
  std::int64_t seconds = 0;
  if (value.get(seconds) != simdjson::SUCCESS || seconds <= 0 || seconds > longest) {
    return wrong("expires_in_s", fmt::format("must be from 1 to {} seconds", longest));
  }
  return WallTime{now.ns + seconds * 1'000'000'000};
}

/// Moves what `result` holds into `into`.
template <class T, class Into>
Result<void> take(Result<T> result, Into& into) {
  if (!result) return tl::unexpected(std::move(result.error()));
  into = std::move(*result);
  return {};
}

Result<KeyWish> read_wish(std::string_view body, WallTime now) {
  KeyWish wish;
  wish.tenant = default_tenant_name;
  wish.scopes = scope::inference;
  const Result<void> read =
      for_each_member(body, [&](std::string_view name, element value) -> Result<void> {
        if (name == "tenant") return take(string_of(name, value), wish.tenant);
        if (name == "name") return take(string_of(name, value), wish.name);
        if (name == "scopes") return take(scopes_of(value), wish.scopes);
        if (name == "deployments") return take(strings_of(name, value), wish.deployments);
        if (name == "expires_in_s") return take(expiry_of(value, now), wish.expires_at);
        if (name == "limits") return take(limits_of(value), wish.limits);
        return wrong(name, "is not a member of a key");
      });
  if (!read) return tl::unexpected(read.error());
  return wish;
}

Result<KeyChange> read_change(std::string_view body) {
  KeyChange change;
  const Result<void> read =
      for_each_member(body, [&](std::string_view name, element value) -> Result<void> {
        if (name == "name") return take(string_of(name, value), change.name);
        if (name == "limits") return take(limits_of(value), change.limits);
        if (name == "enabled") {
          bool enabled = false;
          if (value.get(enabled) != simdjson::SUCCESS) return wrong(name, "must be true or false");
          change.enabled = enabled;
          return {};
        }
        return wrong(name, "cannot be changed");
      });
  if (!read) return tl::unexpected(read.error());
  return change;
}

void write_members(JsonWriter& json, const Key& key) {
  json.field("id", key.public_id);
  json.field("name", key.name);
  json.field("prefix", key.prefix);
  json.field("tenant", key.tenant_name);
  json.field("scopes", scopes_text(key.scopes));
  json.array("deployments", [&] {
    for (const std::string& each : key.deployments) json.value(each);
  });
  json.field("created_at", to_text(key.created_at));
  if (key.expires_at) json.field("expires_at", to_text(*key.expires_at));
  if (key.revoked_at) json.field("revoked_at", to_text(*key.revoked_at));
  json.field("enabled", key.enabled && !key.revoked_at);
  json.object("limits", [&] {
    for (const LimitName& limit : limit_names) {
      if (const auto value = key.limits.*limit.member) json.field(limit.name, *value);
    }
  });
}

std::string key_json(const Key& key) {
  JsonWriter json;
  json.object([&] { write_members(json, key); });
  return json.take();
}

}  // namespace

Result<KeyAdmin> KeyAdmin::create(KeyStore store, TenantLimits tenants) {
  KeyAdmin admin(std::move(store), std::move(tenants));
  if (const Result<void> read = admin.renew_ring({}); !read) return tl::unexpected(read.error());
  return admin;
}

KeyRingPtr KeyAdmin::ring() const {
  const std::lock_guard lock(*mutex_);
  return ring_;
}

Result<TenantId> KeyAdmin::tenant(std::string_view name) {
  const std::lock_guard lock(*mutex_);
  return store_.tenant(name);
}

Result<void> KeyAdmin::replace_tenants(TenantLimits tenants) {
  const std::lock_guard lock(*mutex_);
  tenants_ = std::move(tenants);
  return renew_ring({});
}

/// Needs: mutex_ is held.
Result<void> KeyAdmin::renew_ring(KeyId cut_off) {
  Result<std::vector<Key>> keys = store_.list();
  if (!keys) return tl::unexpected(std::move(keys.error()));
  for (Key& key : *keys) {
    const auto tenant = tenants_.find(key.tenant_name);
    if (tenant != tenants_.end()) key.tenant_limits = tenant->second;
  }
  ring_ = std::make_shared<const KeyRing>(std::move(*keys));
  if (on_news_) on_news_({ring_, cut_off});
  return {};
}

Result<std::string> KeyAdmin::create_key(std::string_view body, WallTime now) {
  const std::lock_guard lock(*mutex_);
  const Result<KeyWish> wish = read_wish(body, now);
  if (!wish) return tl::unexpected(wish.error());
  const Result<NewKey> made = store_.create(*wish, now);
  if (!made) return tl::unexpected(made.error());
  if (const Result<void> renewed = renew_ring({}); !renewed) {
    return tl::unexpected(renewed.error());
  }
  JsonWriter json;
  json.object([&] {
    json.field("key", made->secret.reveal());
    write_members(json, made->key);
  });
  return json.take();
}

Result<std::string> KeyAdmin::change_key(std::string_view public_id, std::string_view body) {
  const std::lock_guard lock(*mutex_);
  const Result<KeyChange> change = read_change(body);
  if (!change) return tl::unexpected(change.error());
  const Result<Key> key = store_.change(public_id, *change);
  if (!key) return tl::unexpected(key.error());
  if (const Result<void> renewed = renew_ring({}); !renewed) {
    return tl::unexpected(renewed.error());
  }
  return key_json(*key);
}

Result<std::string> KeyAdmin::revoke_key(std::string_view public_id, bool hard, WallTime now) {
  const std::lock_guard lock(*mutex_);
  const Result<Key> key = store_.revoke(public_id, now);
  if (!key) return tl::unexpected(key.error());
  if (const Result<void> renewed = renew_ring(hard ? key->id : KeyId{}); !renewed) {
    return tl::unexpected(renewed.error());
  }
  return key_json(*key);
}

Result<std::string> KeyAdmin::keys_json() {
  const std::lock_guard lock(*mutex_);
  const Result<std::vector<Key>> keys = store_.list();
  if (!keys) return tl::unexpected(keys.error());
  JsonWriter json;
  json.object([&] {
    json.array("keys", [&] {
      for (const Key& key : *keys) {
        json.object([&] { write_members(json, key); });
      }
    });
  });
  return json.take();
}

}  // namespace stoker::access
