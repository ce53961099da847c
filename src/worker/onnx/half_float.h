// The two 16-bit floating-point formats, which g++ 12 has no portable type for: IEEE 754 binary16
// (FP16) and bfloat16 (BF16, the upper half of a float). Rounds half to even, as hardware does.
#pragma once

#include <bit>
#include <cstdint>

namespace stoker::worker::onnx {

constexpr float float_from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

/// Gives: the nearest BF16; infinity beyond its range; a quiet NaN for any NaN.
constexpr std::uint16_t bf16_from_float(float number) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(number);
  if (number != number) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  const std::uint32_t round_half_to_even = 0x7fff + (bits >> 16 & 1);
  return static_cast<std::uint16_t>((bits + round_half_to_even) >> 16);
}

/// Exact.
constexpr float float_from_fp16(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t{bits & 0x8000U} << 16;
  const std::uint32_t exponent = bits >> 10 & 0x1f;
  const std::uint32_t mantissa = bits & 0x3ff;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
  if (exponent > 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;  // zero or subnormal
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

/// Gives: the nearest FP16; infinity beyond its range; a quiet NaN for any NaN.
constexpr std::uint16_t fp16_from_float(float number) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(number);
  const std::uint32_t sign = bits >> 16 & 0x8000;
  const std::uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<std::uint16_t>(sign | 0x7e00);
  if (magnitude >= 0x477ff000)
    return static_cast<std::uint16_t>(sign | 0x7c00);  // 65520, rounds up
  if (magnitude < 0x38800000) {
    // Below 2^-14 the FP16 step is 2^-24, which is the step of a float in [0.5, 1): adding 0.5
    // makes the float unit round for us, and the sum's low bits are the subnormal.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000));
  }
  const std::uint32_t round_half_to_even = 0xfff + (magnitude >> 13 & 1);
  return static_cast<std::uint16_t>(sign | (magnitude - 0x38000000 + round_half_to_even) >> 13);
}

static_assert(fp16_from_float(1.0F) == 0x3c00 && float_from_fp16(0x3c00) == 1.0F);
static_assert(fp16_from_float(65504.0F) == 0x7bff && fp16_from_float(65520.0F) == 0x7c00);
static_assert(fp16_from_float(-0x1p-24F) == 0x8001 && fp16_from_float(0x1p-25F) == 0);
static_assert(bf16_from_float(1.0F) == 0x3f80 && float_from_bf16(0x3f80) == 1.0F);

}  // namespace stoker::worker::onnx
