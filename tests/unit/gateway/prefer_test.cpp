#include "gateway/prefer.h"

#include <gtest/gtest.h>

namespace stoker::gateway {
namespace {

TEST(Prefer, SaysHowLongToWait) {
  const std::pair<const char*, std::optional<std::int64_t>> table[] = {
      {"wait=30", 30},
      {"Wait = 5", 5},
      {"wait=\"7\"", 7},
      {"wait=0", 0},
      {"wait=100000", 300},
      {"respond-async", 0},
      {"respond-async, wait=10", 10},
      {"wait=10, respond-async", 10},
      {"return=minimal, wait=3; x=y", 3},
      {"", std::nullopt},
      {"wait", std::nullopt},
      {"wait=", std::nullopt},
      {"wait=soon", std::nullopt},
      {"wait=-1", std::nullopt},
      {"wait=1.5", std::nullopt},
      {"await=3", std::nullopt},
      {",,;", std::nullopt},
  };
  for (const auto& [text, want] : table) {
    const std::optional<Duration> wait = preferred_wait(text);
    ASSERT_EQ(wait.has_value(), want.has_value()) << text;
    EXPECT_EQ(wait.value_or(Duration{}).ns, seconds(want.value_or(0)).ns) << text;
  }
}

}  // namespace
}  // namespace stoker::gateway
