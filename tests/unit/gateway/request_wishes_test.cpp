#include "gateway/request_wishes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/clock.h"

namespace stoker::gateway {
namespace {

using ::testing::HasSubstr;

struct Read {
  RequestWishes wishes;
  std::optional<ApiError> error;
};

Read read(std::initializer_list<net::Field> fields, Instant accepted_at, bool has_events = true) {
  net::HttpRequest request;
  for (const net::Field& each : fields) request.fields.add(each.name, each.value);
  Read result;
  result.error = read_wishes(request, accepted_at, has_events, result.wishes);
  return result;
}

TEST(RequestWishes, ThereAreNoneWithoutTheirFields) {
  const Read none = read({{"Host", "x"}, {"X-Stoker-Session", "3"}}, net::monotonic_now());
  EXPECT_FALSE(none.error);
  EXPECT_EQ(none.wishes.deadline, Instant{});
  EXPECT_EQ(none.wishes.resumable, Duration{});
  EXPECT_FALSE(none.wishes.progress);
}

TEST(RequestWishes, ADeadlineCountsFromTheFirstByte) {
  const Instant now = net::monotonic_now();
  for (const auto& [text, want] : {std::pair{"30s", seconds(30)}, std::pair{"1m30s", seconds(90)},
                                   std::pair{"45", seconds(45)}, std::pair{"1500ms", ms(1500)},
                                   std::pair{"24h", minutes(24 * 60)}}) {
    for (const char* name : {"X-Stoker-Deadline", "x-stoker-deadline", "Cancel-After"}) {
      const Read one = read({{name, text}}, now);
      ASSERT_FALSE(one.error) << text;
      EXPECT_EQ(one.wishes.deadline, now + want) << text;
    }
  }
  EXPECT_EQ(read({{"Cancel-After", "20s"}, {"X-Stoker-Deadline", "30s"}}, now).wishes.deadline,
            now + seconds(20));
  EXPECT_EQ(read({{"Cancel-After", "30s"}, {"X-Stoker-Deadline", "20s"}}, now).wishes.deadline,
            now + seconds(20));
}

TEST(RequestWishes, ADeadlineMayHavePassedAlready) {
  const Read late = read({{"X-Stoker-Deadline", "1s"}}, net::monotonic_now() - seconds(2));
  ASSERT_TRUE(late.error);
  EXPECT_EQ(late.error->status, 504);
  EXPECT_EQ(late.error->code, "deadline_exceeded");
}

TEST(RequestWishes, BadValuesAreNamed) {
  const Instant now = net::monotonic_now();
  const std::pair<const char*, const char*> table[] = {
      {"X-Stoker-Deadline", ""},       {"X-Stoker-Deadline", "soon"},
      {"X-Stoker-Deadline", "-5s"},    {"X-Stoker-Deadline", "0"},
      {"X-Stoker-Deadline", "25h"},    {"X-Stoker-Deadline", "2026-01-01T00:00:00Z"},
      {"Cancel-After", "5 minutes"},   {"X-Stoker-Progress", "yes"},
      {"X-Stoker-Progress", ""},       {"X-Stoker-Resumable", "true"},
      {"X-Stoker-Resumable", "500ms"}, {"X-Stoker-Resumable", "11m"},
  };
  for (const auto& [name, value] : table) {
    const Read bad = read({{name, value}}, now);
    ASSERT_TRUE(bad.error) << name << ": " << value;
    EXPECT_EQ(bad.error->status, 400);
    EXPECT_EQ(bad.error->code, "invalid_field");
    EXPECT_EQ(bad.error->param, name);
    EXPECT_THAT(bad.error->message, HasSubstr(name));
  }
}

TEST(RequestWishes, EventsAreForStreamsOnly) {
  const Instant now = net::monotonic_now();
  EXPECT_TRUE(read({{"X-Stoker-Progress", "true"}}, now).wishes.progress);
  EXPECT_TRUE(read({{"X-Stoker-Progress", "1"}}, now).wishes.progress);
  EXPECT_FALSE(read({{"X-Stoker-Progress", "false"}}, now).wishes.progress);
  const Read whole = read({{"X-Stoker-Progress", "true"}}, now, false);
  EXPECT_FALSE(whole.error) << "it has nowhere to tell, and nothing is lost";
  EXPECT_FALSE(whole.wishes.progress);

  EXPECT_EQ(read({{"X-Stoker-Resumable", "60s"}}, now).wishes.resumable, seconds(60));
  const Read unkept = read({{"X-Stoker-Resumable", "60s"}}, now, false);
  ASSERT_TRUE(unkept.error) << "its client would count on it";
  EXPECT_EQ(unkept.error->param, "X-Stoker-Resumable");
}

}  // namespace
}  // namespace stoker::gateway
