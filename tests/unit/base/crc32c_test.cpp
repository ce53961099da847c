#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <string>
#include <string_view>

#include "base/prng.h"

namespace stoker {
namespace {

std::uint32_t of(std::string_view bytes) {
  return crc32c(bytes.data(), bytes.size());
}

// Source: RFC 3720, appendix B.4; "123456789" is the customary check value.
TEST(Crc32c, KnownVectors) {
  EXPECT_EQ(of(""), 0U);
  EXPECT_EQ(of("123456789"), 0xe3069283U);
  EXPECT_EQ(of(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(of(std::string(32, '\xff')), 0x62a8ab43U);
  std::array<unsigned char, 32> bytes{};
  std::iota(bytes.begin(), bytes.end(), static_cast<unsigned char>(0));
  EXPECT_EQ(crc32c(bytes.data(), bytes.size()), 0x46dd794eU);
  std::iota(bytes.rbegin(), bytes.rend(), static_cast<unsigned char>(0));
  EXPECT_EQ(crc32c(bytes.data(), bytes.size()), 0x113fdb5cU);
}

TEST(Crc32c, GoesOnFromASeedAtAnySplit) {
  std::string bytes;
  Prng prng(1);
  for (int i = 0; i < 100; ++i) bytes += static_cast<char>(prng.below(256));
  const std::uint32_t whole = of(bytes);
  for (std::size_t split = 0; split <= bytes.size(); ++split) {
    const std::uint32_t front = crc32c(bytes.data(), split);
    EXPECT_EQ(crc32c(bytes.data() + split, bytes.size() - split, front), whole) << split;
  }
}

TEST(Crc32c, EveryBitCounts) {
  std::string bytes(64, 'a');
  const std::uint32_t before = of(bytes);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const auto mask = static_cast<char>(1U << bit % 8);
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ mask);
    EXPECT_NE(of(bytes), before) << bit;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ mask);
  }
}

}  // namespace
}  // namespace stoker
