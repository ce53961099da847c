#include "worker/onnx/half_float.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/prng.h"

namespace stoker::worker::onnx {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

TEST(HalfFloat, EveryFp16ComesBack) {
  for (std::uint32_t i = 0; i <= 0xffff; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    const float number = float_from_fp16(bits);
    if (std::isnan(number)) {
      EXPECT_TRUE(std::isnan(float_from_fp16(fp16_from_float(number)))) << i;
    } else {
      EXPECT_EQ(fp16_from_float(number), bits) << i;
    }
  }
}

TEST(HalfFloat, EveryBf16ComesBack) {
  for (std::uint32_t i = 0; i <= 0xffff; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    const float number = float_from_bf16(bits);
    if (std::isnan(number)) {
      EXPECT_TRUE(std::isnan(float_from_bf16(bf16_from_float(number)))) << i;
    } else {
      EXPECT_EQ(bf16_from_float(number), bits) << i;
    }
  }
}

/// Between two neighbours a number goes to the nearer one, and from the middle to the even one.
template <class FromFloat, class ToFloat>
void expect_nearest(FromFloat from_float, ToFloat to_float, std::uint16_t largest) {
  for (std::uint16_t low = 0; low < largest; ++low) {
    const auto high = static_cast<std::uint16_t>(low + 1);
    const float middle = to_float(low) / 2 + to_float(high) / 2;  // exact: one more bit
    const std::uint16_t even = low % 2 == 0 ? low : high;
    ASSERT_EQ(from_float(middle), even) << low;
    ASSERT_EQ(from_float(std::nextafter(middle, 0.0F)), low) << low;
    ASSERT_EQ(from_float(std::nextafter(middle, infinity)), high) << low;
    ASSERT_EQ(from_float(-middle), even | 0x8000) << low;
  }
}
TEST(HalfFloat, Fp16RoundsHalfToEven) {
  expect_nearest(fp16_from_float, float_from_fp16, 0x7bff);
}
TEST(HalfFloat, Bf16RoundsHalfToEven) {
  expect_nearest(bf16_from_float, float_from_bf16, 0x7f7f - 1);
}

TEST(HalfFloat, BeyondTheRangeIsInfinite) {
  EXPECT_EQ(fp16_from_float(65519.0F), 0x7bff);
  EXPECT_EQ(fp16_from_float(1e10F), 0x7c00);
  EXPECT_EQ(fp16_from_float(-infinity), 0xfc00);
  EXPECT_EQ(bf16_from_float(std::numeric_limits<float>::max()), 0x7f80);
}

}  // namespace
}  // namespace stoker::worker::onnx
