#include "base/text.h"

#include <gtest/gtest.h>

#include <array>

#include "base/prng.h"

namespace stoker {
namespace {

TEST(Text, Bytes) {
  EXPECT_EQ(to_text(Bytes{0}), "0 B");
  EXPECT_EQ(to_text(Bytes{1023}), "1023 B");
  EXPECT_EQ(to_text(kib(1)), "1.0 KiB");
  EXPECT_EQ(to_text(mib(3)), "3.0 MiB");
  EXPECT_EQ(to_text(Bytes{gib(1).value * 3 / 2}), "1.5 GiB");
  EXPECT_EQ(to_text(gib(2048)), "2.0 TiB");
  EXPECT_EQ(to_text(Bytes{-mib(3).value}), "-3.0 MiB");
}

TEST(Text, Durations) {
  EXPECT_EQ(to_text(us(250)), "0.25 ms");
  EXPECT_EQ(to_text(ms(34)), "34 ms");
  EXPECT_EQ(to_text(ms(1250)), "1.25 s");
  EXPECT_EQ(to_text(seconds(119)), "119 s");
  EXPECT_EQ(to_text(seconds(125)), "2 min 5 s");
  EXPECT_EQ(to_text(minutes(150)), "2 h 30 min");
}

TEST(Text, AmountsOfMoneyAreExact) {
  EXPECT_EQ(to_text(Pico{0}), "0");
  EXPECT_EQ(to_text(Pico{50'000'000}), "0.00005");
  EXPECT_EQ(to_text(Pico{1'000'000'000'000}), "1");
  EXPECT_EQ(to_text(Pico{-1'500'000'000'000}), "-1.5");
  EXPECT_EQ(to_text(Pico{1}), "0.000000000001");
  EXPECT_EQ(to_text(Pico{Int128{1'000'000'000'000'000'000} * 1'000'000'000'000}),
            "1000000000000000000");
}

TEST(Text, WallTimeIsRfc3339) {
  EXPECT_EQ(to_text(WallTime{0}), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(to_text(WallTime{1'769'860'800'123'999'999}), "2026-01-31T12:00:00.123Z");
  EXPECT_EQ(to_text(WallTime{1'709'208'000'000'000'000}), "2024-02-29T12:00:00.000Z");
}

TEST(Text, RequestIdsReadBack) {
  EXPECT_EQ(public_id(RequestId{1ULL << 40 | 42}), "req-000001000000002a");
  Prng prng(1);
  for (int i = 0; i < 1000; ++i) {
    const RequestId id{prng.next()};
    EXPECT_EQ(parse_request_id(public_id(id)), id);
  }
  for (const std::string_view wrong :
       {"", "req-", "req-1", "req-000001000000002g", "req-000001000000002a0",
        "REQ-000001000000002a", "req--00001000000002a", "req-0x0001000000002a",
        "req- 00001000000002a"}) {
    EXPECT_EQ(parse_request_id(wrong), std::nullopt) << wrong;
  }
}

TEST(Text, ClosestAllowsTwoEditsAndTakesTheFirstOfEquals) {
  constexpr std::array<std::string_view, 4> known = {"min_instances", "max_instances", "limits",
                                                     "env"};
  EXPECT_EQ(closest("min_instnces", known), "min_instances");
  EXPECT_EQ(closest("mix_instances", known), "min_instances");
  EXPECT_EQ(closest("limts", known), "limits");
  const std::vector<std::string_view> models{"model", "mode"};
  EXPECT_EQ(closest("modle", models), "model") << "neighbours that changed places are one edit";
  EXPECT_EQ(closest("limits", known), "limits");
  EXPECT_EQ(closest("environment", known), std::nullopt);
  EXPECT_EQ(closest("", {}), std::nullopt);
}

}  // namespace
}  // namespace stoker
