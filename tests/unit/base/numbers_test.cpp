// Money, units, random numbers, errors of system calls: the small types that all else is made of.
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <limits>

#include "base/money.h"
#include "base/prng.h"
#include "base/result.h"
#include "base/units.h"

namespace stoker {
namespace {

TEST(Money, ChargesAreExactProducts) {
  EXPECT_EQ(charge_request({1'000'000}), Pico{1'000'000'000});  // $0.001
  EXPECT_EQ(charge_device_time({100'000}, 1), Pico{100'000});   // $0.0001/s x 1 ms
  EXPECT_EQ(charge_tokens({1'000'000}, 3), Pico{3'000'000});    // $0.001/1k x 3
  EXPECT_EQ(charge_request({1}) + charge_tokens({1}, 1), Pico{1'001});
}

TEST(Money, TheLargestFactorsDoNotOverflow) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(charge_device_time({most}, most).value / most, Int128{most});
  EXPECT_EQ(charge_request({most}).value / 1000, Int128{most});
}

TEST(Units, AreWhatTheySay) {
  EXPECT_EQ(kib(1).value, 1024);
  EXPECT_EQ(gib(2).value, 2'147'483'648);
  EXPECT_EQ(minutes(2), seconds(120));
  EXPECT_EQ(seconds(1), ms(1000));
  EXPECT_EQ(ms(1), us(1000));
  EXPECT_EQ(whole_ms(us(1999)), 1);
  EXPECT_DOUBLE_EQ(as_ms(us(1500)), 1.5);
  EXPECT_EQ(Instant{10} + Duration{5} - Instant{10}, Duration{5});
  EXPECT_FALSE(RequestId{});
  EXPECT_TRUE(RequestId{1});
}

// Source: the reference implementation of SplitMix64, Vigna, prng.di.unimi.it/splitmix64.c.
TEST(Prng, KnownValues) {
  Prng zero(0);
  for (const std::uint64_t expected : {0xe220a8397b1dcdafULL, 0x6e789e6aa1b965f4ULL,
                                       0x06c45d188009454fULL, 0xf88bb8a8724c81ecULL}) {
    EXPECT_EQ(zero.next(), expected);
  }
  Prng other(1234567);
  for (const std::uint64_t expected :
       {6457827717110365317ULL, 3203168211198807973ULL, 9817491932198370423ULL}) {
    EXPECT_EQ(other.next(), expected);
  }
}

TEST(Prng, BelowStaysBelowAndReachesAll) {
  Prng prng(1);
  std::array<int, 6> seen{};
  for (int i = 0; i < 6000; ++i) ++seen.at(prng.below(6));
  for (const int count : seen) EXPECT_GT(count, 800);
  EXPECT_EQ(prng.below(1), 0U);
  EXPECT_LT(prng.below(std::numeric_limits<std::uint64_t>::max()),
            std::numeric_limits<std::uint64_t>::max());
}

TEST(Result, SystemErrorsGetTheCodeThatCallersActOn) {
  const auto code_of = [](int number) {
    errno = number;
    return errno_error("open").code;
  };
  EXPECT_EQ(code_of(ENOENT), ErrorCode::not_found);
  EXPECT_EQ(code_of(EADDRINUSE), ErrorCode::in_use);
  EXPECT_EQ(code_of(ENOSPC), ErrorCode::no_capacity);
  EXPECT_EQ(code_of(EIO), ErrorCode::unavailable);
  errno = ENOENT;
  EXPECT_EQ(errno_error("open x").message, "open x: No such file or directory");
}

}  // namespace
}  // namespace stoker
