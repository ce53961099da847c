#include "gateway/auth.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <utility>
#include <vector>

#include "test_keys.h"

namespace stoker::gateway {
namespace {

template <class T>
concept Printable = requires(std::ostream& out, const T& value) { out << value; };
template <class T>
constexpr bool cannot_be_printed =
    !Printable<T> && !fmt::is_formattable<T>::value && !std::is_convertible_v<T, std::string>;
static_assert(cannot_be_printed<access::Digest>);
static_assert(cannot_be_printed<access::SecretText>);

constexpr WallTime now{1'000'000'000};

int status_of(const AuthOptions& auth, const access::KeyRingPtr& keys, Scope scope,
              const std::vector<net::Field>& fields) {
  net::HttpRequest head;
  for (const net::Field& field : fields) head.fields.add(field.name, field.value);
  const Admittance admittance = admit(auth, *keys, scope, head, now);
  EXPECT_TRUE(!admittance.refusal || admittance.key == nullptr);
  return admittance.refusal ? admittance.refusal->status : 0;
}

TEST(Auth, TakesTheKeyFromEitherField) {
  const AuthOptions auth;
  const access::KeyRingPtr keys = test_ring({test_key(1, "sk-right")});
  struct Case {
    std::vector<net::Field> fields;
    int status;
  };
  for (const Case& c : {
           Case{{}, 401},
           Case{{{"Authorization", "Bearer sk-right"}}, 0},
           Case{{{"authorization", "bearer sk-right"}}, 0},
           Case{{{"X-Api-Key", "sk-right"}}, 0},
           Case{{{"Api-Key", "sk-right"}}, 0},
           Case{{{"Authorization", "sk-right"}}, 0},
           Case{{{"Authorization", "Bearer   sk-right"}}, 0},
           Case{{{"X-Api-Key", "sk-wrong"}}, 401},
           Case{{{"X-Api-Key", ""}}, 401},
           Case{{{"Authorization", "Basic sk-right"}}, 401},
           Case{{{"Authorization", "Bearer "}}, 401},
           Case{{{"Authorization", "Bearer sk-righ"}}, 401},
           Case{{{"Authorization", "Bearer sk-rightt"}}, 401},
           // A wrong Authorization is not made good by another field.
           Case{{{"Authorization", "Bearer no"}, {"X-Api-Key", "sk-right"}}, 401},
       }) {
    for (const Scope scope : {Scope::inference, Scope::admin}) {
      EXPECT_EQ(status_of(auth, keys, scope, c.fields), c.status);
    }
    EXPECT_EQ(status_of(auth, keys, Scope::open, c.fields), 0);
  }
}

TEST(Auth, WithoutAnyKeyNobodyGetsIn) {
  EXPECT_EQ(status_of(AuthOptions{}, test_ring({}), Scope::inference, {{"X-Api-Key", ""}}), 401);
}

TEST(Auth, AScopeOpensItsRoutesAndNoOthers) {
  const std::vector<std::pair<std::uint8_t, std::vector<Scope>>> table = {
      {access::scope::inference, {Scope::inference}},
      {access::scope::read, {Scope::read}},
      {access::scope::admin, {Scope::read, Scope::admin}},  // who may change may look
      {access::scope::all, {Scope::inference, Scope::read, Scope::admin}},
  };
  for (const auto& [scopes, opened] : table) {
    const access::KeyRingPtr keys = test_ring({test_key(2, "sk-it", scopes)});
    for (const Scope scope : {Scope::inference, Scope::read, Scope::admin}) {
      const bool may = std::find(opened.begin(), opened.end(), scope) != opened.end();
      EXPECT_EQ(status_of({}, keys, scope, {{"X-Api-Key", "sk-it"}}), may ? 0 : 403)
          << access::scopes_text(scopes);
    }
  }
}

TEST(Auth, ExpiredDisabledAndRevokedKeysAreUnknownOrSaidToBeOver) {
  const auto status = [](const access::Key& key) {
    return status_of({}, test_ring({key}), Scope::inference, {{"X-Api-Key", "sk-it"}});
  };
  access::Key key = test_key(2, "sk-it");
  EXPECT_EQ(status(key), 0);
  key.expires_at = WallTime{now.ns + 1};
  EXPECT_EQ(status(key), 0);
  key.expires_at = now;
  EXPECT_EQ(status(key), 401);
  key.expires_at.reset();
  key.enabled = false;
  EXPECT_EQ(status(key), 401);
  key.enabled = true;
  key.revoked_at = now;
  EXPECT_EQ(status(key), 401);
}

TEST(Auth, WithoutKeysOnlyLoopbackNamesAreAnswered) {
  const AuthOptions none{.keys_required = false, .unix_listener = false};
  const access::KeyRingPtr keys = test_ring({test_key(1, "sk-right")});
  struct Case {
    std::vector<net::Field> fields;
    int status;
  };
  for (const Case& c : {
           Case{{{"Host", "localhost:8080"}}, 0},
           Case{{{"Host", "127.0.0.1"}}, 0},
           Case{{{"Host", "[::1]:80"}}, 0},
           Case{{{"Host", "LOCALHOST"}}, 0},
           Case{{{"Host", "evil.example"}}, 403},
           Case{{{"Host", "127.0.0.1.evil.example"}}, 403},
           Case{{{"Host", "localhost.evil.example:8080"}}, 403},
           Case{{{"Host", "127.1"}}, 403},
           Case{{{"Host", "localhost:80x"}}, 403},
           Case{{{"Host", "192.168.1.2:8080"}}, 403},
           Case{{{"Host", "localhost"}, {"Origin", "http://localhost:3000"}}, 0},
           Case{{{"Host", "localhost"}, {"Origin", "https://evil.example"}}, 403},
           Case{{{"Host", "localhost"}, {"Origin", "null"}}, 403},
           Case{{{"Host", "localhost"}, {"Origin", "http://localhost@evil.example"}}, 403},
       }) {
    EXPECT_EQ(status_of(none, keys, Scope::admin, c.fields), c.status) << c.fields[0].value;
  }
  const AuthOptions on_unix{.keys_required = false, .unix_listener = true};
  EXPECT_EQ(status_of(on_unix, keys, Scope::admin, {{"Host", "anything"}}), 0);
}

}  // namespace
}  // namespace stoker::gateway
