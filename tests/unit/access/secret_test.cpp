// How secrets are compared (C1): by their hashes, whole, by OpenSSL's function for that. What the
// clock says: bench/keys.
#include "access/secret.h"

#include <gtest/gtest.h>

#include <concepts>
#include <cstddef>
#include <iterator>
#include <string>
#include <type_traits>
#include <vector>

#include "access/key_ring.h"

namespace {
/// Sizes of the comparisons since the vector was cleared.
std::vector<std::size_t> comparisons;
}  // namespace

// Stands in for OpenSSL's in this program, so that a comparison by anything else is missed.
extern "C" int CRYPTO_memcmp(const void* a, const void* b, std::size_t size) {
  comparisons.push_back(size);
  const auto* left = static_cast<const unsigned char*>(a);
  const auto* right = static_cast<const unsigned char*>(b);
  int differs = 0;
  for (std::size_t i = 0; i < size; ++i) differs |= left[i] ^ right[i];
  return differs;
}

namespace stoker::access {
namespace {

static_assert(!std::equality_comparable<Digest>, "only Digest::equals() compares hashes");
static_assert(!std::equality_comparable<SecretText> && !std::copyable<SecretText>);
static_assert(!std::is_convertible_v<SecretText, std::string_view>);

Digest from_text(const std::string& bytes) {
  return Digest::from_bytes(bytes).value();
}

Key key_with(std::uint64_t id, const Digest& digest) {
  Key key;
  key.id = KeyId{id};
  key.digest = digest;
  return key;
}

TEST(Digest, IsTheSha256OfTheSecret) {
  // Source: FIPS 180-2, appendix B.1.
  constexpr unsigned char expected[Digest::size] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                                    0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                                    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
                                                    0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
  EXPECT_EQ(Digest("abc").bytes(), std::string(std::begin(expected), std::end(expected)));
}

TEST(Digest, ComparesAllBytesInOneCallWhereverTheyDiffer) {
  const Digest good("a secret");
  for (std::size_t bit = 0; bit < Digest::size * 8; ++bit) {
    std::string other(good.bytes());
    other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << (bit % 8)));
    comparisons.clear();
    EXPECT_FALSE(good.equals(from_text(other))) << bit;
    EXPECT_EQ(comparisons, std::vector<std::size_t>{Digest::size}) << bit;
  }
  comparisons.clear();
  EXPECT_TRUE(good.equals(Digest("a secret")));
  EXPECT_EQ(comparisons, std::vector<std::size_t>{Digest::size});
}

TEST(KeyRing, ComparesWholeHashesOfWhatSharesABucket) {
  const std::string secret = "sk-stoker-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
  std::string other(Digest(secret).bytes());
  other.back() = static_cast<char>(other.back() ^ 1);
  const KeyRing only_other({key_with(1, from_text(other))});
  comparisons.clear();
  EXPECT_EQ(only_other.find(secret), nullptr);
  EXPECT_EQ(comparisons, std::vector<std::size_t>{Digest::size});

  const KeyRing both({key_with(1, from_text(other)), key_with(2, Digest(secret))});
  ASSERT_NE(both.find(secret), nullptr);
  EXPECT_EQ(both.find(secret)->id, KeyId{2});
}

TEST(KeyRing, WhatAgreesWithAGoodSecretIsNotEvenCompared) {
  const std::string secret = "sk-stoker-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
  const KeyRing ring({key_with(1, Digest(secret))});
  for (std::size_t same = 0; same < secret.size(); ++same) {
    std::string wrong = secret;
    wrong[same] = 'b';
    comparisons.clear();
    EXPECT_EQ(ring.find(wrong), nullptr) << same;
    EXPECT_TRUE(comparisons.empty()) << same;
  }
}

}  // namespace
}  // namespace stoker::access
