#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "access/key_admin.h"
#include "support/temp_dir.h"

namespace stoker::access {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr WallTime now{1'800'000'000'000'000'000};
constexpr std::string_view admin_secret =
    "sk-stoker-admin-0123456789abcdef0123456789abcdef01234567";

/// Stores in a folder that goes away.
class KeyStoreTest : public ::testing::Test {
 protected:
  KeyStore open() {
    Result<KeyStore> store = KeyStore::open(file(), admin_secret, now);
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }
  KeyAdmin admin(KeyAdmin::TenantLimits tenants = {}) {
    Result<KeyAdmin> made = KeyAdmin::create(open(), std::move(tenants));
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  [[nodiscard]] std::filesystem::path file() const { return folder_ / "access.db"; }
  static KeyWish wish() {
    KeyWish w;
    w.tenant = "acme";
    w.scopes = scope::inference;
    return w;
  }

  TempDir folder_;
};

TEST_F(KeyStoreTest, AKeyIsFoundByItsSecretAloneAndByNothingLikeIt) {
  KeyStore store = open();
  const Result<NewKey> made = store.create(wish(), now);
  ASSERT_TRUE(made);
  const std::string secret(made->secret.reveal());
  EXPECT_GE(secret.size(), 40U);
  const KeyRing ring(*store.list());
  ASSERT_NE(ring.find(secret), nullptr);
  EXPECT_EQ(ring.find(secret)->public_id, made->key.public_id);
  EXPECT_EQ(ring.find(made->key.id)->public_id, made->key.public_id);
  for (std::size_t length = 0; length < secret.size(); ++length) {
    EXPECT_EQ(ring.find(std::string_view(secret).substr(0, length)), nullptr);
    std::string other = secret;
    other[length] = other[length] == 'a' ? 'b' : 'a';
    EXPECT_EQ(ring.find(other), nullptr);
  }
  EXPECT_EQ(ring.find(secret + "a"), nullptr);
  EXPECT_EQ(ring.find(std::string(made->key.digest.bytes())), nullptr)
      << "what is stored is no key";
}

TEST_F(KeyStoreTest, SecretsDifferAndLookRandom) {
  KeyStore store = open();
  std::vector<std::string> secrets;
  for (int i = 0; i < 50; ++i) {
    const Result<NewKey> made = store.create(wish(), now);
    ASSERT_TRUE(made);
    secrets.emplace_back(made->secret.reveal());
  }
  std::sort(secrets.begin(), secrets.end());
  EXPECT_EQ(std::unique(secrets.begin(), secrets.end()), secrets.end());
}

TEST_F(KeyStoreTest, EverythingIsThereAfterAnotherStart) {
  std::string secret;
  KeyWish all = wish();
  all.name = "ci";
  all.scopes = scope::inference | scope::read;
  all.deployments = {"chat", "embed.v2"};
  all.expires_at = WallTime{now.ns + 1'000};
  all.limits.requests_per_minute = 60;
  all.limits.gpu_seconds_per_day = 0;
  {
    KeyStore store = open();
    Result<NewKey> made = store.create(all, now);
    ASSERT_TRUE(made);
    secret = made->secret.reveal();
  }
  KeyStore store = open();
  const KeyRing ring(*store.list());
  const KeyPtr key = ring.find(secret);
  ASSERT_NE(key, nullptr);
  EXPECT_EQ(key->name, "ci");
  EXPECT_EQ(key->tenant_name, "acme");
  EXPECT_EQ(key->scopes, all.scopes);
  EXPECT_EQ(key->deployments, all.deployments);
  EXPECT_EQ(key->expires_at, all.expires_at);
  EXPECT_EQ(key->limits, all.limits);
  EXPECT_EQ(key->created_at, now);
  EXPECT_FALSE(key->expired(now));
  EXPECT_TRUE(key->expired(*key->expires_at));
  EXPECT_TRUE(key->may_use("chat"));
  EXPECT_FALSE(key->may_use("other"));
}

TEST_F(KeyStoreTest, TheAdminKeyIsThatOfItsFileWhateverWasStored) {
  {
    static_cast<void>(open());
  }
  Result<KeyStore> store = KeyStore::open(file(), "sk-stoker-admin-another", now);
  ASSERT_TRUE(store);
  const KeyRing ring(*store->list());
  EXPECT_EQ(ring.find(admin_secret), nullptr);
  ASSERT_NE(ring.find("sk-stoker-admin-another"), nullptr);
  EXPECT_EQ(ring.find("sk-stoker-admin-another")->id, first_key);
  EXPECT_EQ(ring.find(first_key)->tenant, default_tenant);
  EXPECT_EQ(store->revoke("key-admin", now).error().code, ErrorCode::in_use);
}

TEST_F(KeyStoreTest, ARevokedKeyStaysARowAndOpensNothing) {
  KeyStore store = open();
  const Result<NewKey> made = store.create(wish(), now);
  ASSERT_TRUE(made);
  ASSERT_TRUE(store.revoke(made->key.public_id, now));
  const Result<Key> again = store.revoke(made->key.public_id, WallTime{now.ns + 5});
  ASSERT_TRUE(again);
  EXPECT_EQ(again->revoked_at, now) << "the first time counts";
  const std::vector<Key> keys = *store.list();
  EXPECT_EQ(keys.size(), 2U);
  EXPECT_EQ(KeyRing(keys).find(made->secret.reveal()), nullptr);
  EXPECT_EQ(store.revoke("key-none", now).error().code, ErrorCode::not_found);
  const Result<NewKey> next = store.create(wish(), now);
  ASSERT_TRUE(next);
  EXPECT_GT(next->key.id, made->key.id) << "numbers are never used twice";
  EXPECT_EQ(next->key.tenant, made->key.tenant);
}

TEST_F(KeyStoreTest, RefusesWhatCannotBe) {
  KeyStore store = open();
  const auto refused = [&](const KeyWish& w) {
    const Result<NewKey> made = store.create(w, now);
    return !made && made.error().code == ErrorCode::invalid;
  };
  KeyWish w = wish();
  w.tenant = "";
  EXPECT_TRUE(refused(w));
  w.tenant = "../etc";
  EXPECT_TRUE(refused(w));
  w.tenant = std::string(64, 'a');
  EXPECT_TRUE(refused(w));
  w = wish();
  w.scopes = 0;
  EXPECT_TRUE(refused(w));
  w.scopes = 8;
  EXPECT_TRUE(refused(w));
  w = wish();
  w.expires_at = now;
  EXPECT_TRUE(refused(w));
  w = wish();
  w.deployments = {"a,b"};
  EXPECT_TRUE(refused(w));
  w = wish();
  w.limits.concurrent_requests = -1;
  EXPECT_TRUE(refused(w));
  EXPECT_EQ(store.list()->size(), 1U) << "only the admin key is there";
}

TEST_F(KeyStoreTest, AFileOfSomethingElseIsCorruptAndNotReplaced) {
  {
    std::FILE* other = std::fopen(file().c_str(), "w");
    ASSERT_NE(other, nullptr);
    std::fputs("this is a letter, and not a database", other);
    std::fclose(other);
  }
  const Result<KeyStore> store = KeyStore::open(file(), admin_secret, now);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::corrupt);
}

TEST_F(KeyStoreTest, AdminSpeaksJsonAndTellsOfEachChangeBeforeItReturns) {
  KeyAdmin keys = admin({{"acme", Limits{.requests_per_minute = 7}}});
  std::vector<KeyNews> news;
  keys.set_on_news([&](const KeyNews& each) { news.push_back(each); });
  const Result<std::string> made = keys.create_key(
      R"({"tenant":"acme","name":"x","scopes":["read","inference"],"deployments":["chat"],
          "expires_in_s":60,"limits":{"requests_per_minute":5,"concurrent_requests":null}})",
      now);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_THAT(*made, HasSubstr(R"("key":"sk-stoker-)"));
  EXPECT_THAT(*made, HasSubstr(R"("scopes":"inference,read")"));
  EXPECT_THAT(*made, HasSubstr(R"("limits":{"requests_per_minute":5})"));
  ASSERT_EQ(news.size(), 1U);
  const KeyPtr key = news[0].ring->all().back();
  EXPECT_EQ(key->tenant_limits.requests_per_minute, 7);
  EXPECT_TRUE(key->limited());
  EXPECT_THAT(*keys.keys_json(), Not(HasSubstr("sk-stoker-")));

  ASSERT_TRUE(keys.change_key(key->public_id, R"({"enabled":false})"));
  EXPECT_EQ(news.back().ring->find(key->id), nullptr);
  ASSERT_TRUE(keys.change_key(key->public_id, R"({"enabled":true,"limits":{}})"));
  ASSERT_NE(news.back().ring->find(key->id), nullptr);
  EXPECT_EQ(news.back().ring->find(key->id)->limits, Limits{});
  ASSERT_TRUE(keys.revoke_key(key->public_id, true, now));
  EXPECT_EQ(news.back().cut_off, key->id);
  EXPECT_EQ(news.back().ring->find(key->id), nullptr);
}

TEST_F(KeyStoreTest, LimitsOfTenantsAreReplacedAllAtOnce) {
  KeyAdmin keys = admin({{"acme", Limits{.requests_per_minute = 7}}});
  ASSERT_TRUE(keys.create_key(R"({"tenant":"acme"})", now));
  ASSERT_TRUE(keys.create_key(R"({"tenant":"other"})", now));
  std::vector<KeyNews> news;
  keys.set_on_news([&](const KeyNews& each) { news.push_back(each); });
  ASSERT_TRUE(keys.replace_tenants({{"other", Limits{.concurrent_requests = 2}}}));
  ASSERT_EQ(news.size(), 1U);
  EXPECT_FALSE(news[0].cut_off);
  EXPECT_EQ(news[0].ring->all().at(1)->tenant_limits, Limits{});
  EXPECT_EQ(news[0].ring->all().at(2)->tenant_limits.concurrent_requests, 2);
  EXPECT_EQ(keys.ring(), news[0].ring);
}

TEST_F(KeyStoreTest, AdminNamesTheFieldThatIsWrong) {
  KeyAdmin keys = admin();
  const std::vector<std::pair<std::string, std::string>> table = {
      {"[]", "object"},
      {"{", "object"},
      {R"({"scopes":"inference"})", "scopes"},
      {R"({"scopes":["root"]})", "root"},
      {R"({"tenant":5})", "tenant"},
      {R"({"expires_in_s":0})", "expires_in_s"},
      {R"({"expires_in_s":99999999999})", "expires_in_s"},
      {R"({"limits":{"rpm":5}})", "requests_per_minute"},
      {R"({"limits":{"requests_per_minute":-1}})", "requests_per_minute"},
      {R"({"limits":{"requests_per_minute":1.5}})", "requests_per_minute"},
      {R"({"key":"mine"})", "key"},
  };
  for (const auto& [body, word] : table) {
    const Result<std::string> made = keys.create_key(body, now);
    ASSERT_FALSE(made) << body;
    EXPECT_EQ(made.error().code, ErrorCode::invalid) << body;
    EXPECT_THAT(made.error().message, HasSubstr(word)) << body;
  }
  EXPECT_TRUE(keys.create_key("", now)) << "a key with the defaults";
}

}  // namespace
}  // namespace stoker::access
