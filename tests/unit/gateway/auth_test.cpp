#include "gateway/auth.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <ostream>
#include <vector>

namespace stoker::gateway {
namespace {

template <class T>
concept Printable = requires(std::ostream& out, const T& value) { out << value; };
static_assert(!Printable<Secret>);
static_assert(!fmt::is_formattable<Secret>::value);
static_assert(!std::is_convertible_v<Secret, std::string>);

int status_of(const AuthOptions& auth, Scope scope, std::vector<net::Field> fields) {
  net::HttpRequest head;
  for (const net::Field& field : fields) head.fields.add(field.name, field.value);
  const auto error = refuse(auth, scope, head);
  return error ? error->status : 0;
}

TEST(Auth, TakesTheKeyFromEitherField) {
  const AuthOptions auth{
      .keys_required = true, .admin_key = Secret("sk-right"), .unix_listener = false};
  struct Case {
    std::vector<net::Field> fields;
    int status;
  };
  for (const Case& c : {
           Case{{}, 401},
           Case{{{"Authorization", "Bearer sk-right"}}, 0},
           Case{{{"authorization", "bearer sk-right"}}, 0},
           Case{{{"X-Api-Key", "sk-right"}}, 0},
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
      EXPECT_EQ(status_of(auth, scope, c.fields), c.status);
    }
    EXPECT_EQ(status_of(auth, Scope::open, c.fields), 0);
  }
}

TEST(Auth, WithoutAnyKeyNobodyGetsIn) {
  EXPECT_EQ(status_of(AuthOptions{}, Scope::inference, {{"X-Api-Key", ""}}), 401);
}

TEST(Auth, WithoutKeysOnlyLoopbackNamesAreAnswered) {
  const AuthOptions none{.keys_required = false, .admin_key = {}, .unix_listener = false};
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
    EXPECT_EQ(status_of(none, Scope::admin, c.fields), c.status) << c.fields[0].value;
  }
  const AuthOptions on_unix{.keys_required = false, .admin_key = {}, .unix_listener = true};
  EXPECT_EQ(status_of(on_unix, Scope::admin, {{"Host", "anything"}}), 0);
}

}  // namespace
}  // namespace stoker::gateway
