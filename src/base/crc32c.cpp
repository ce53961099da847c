#include "base/crc32c.h"

#include <nmmintrin.h>

#include <array>
#include <cstring>

namespace stoker {
namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> table = make_table();

std::uint32_t by_table(const unsigned char* p, std::size_t size, std::uint32_t crc) {
  for (std::size_t i = 0; i < size; ++i) crc = table[(crc ^ p[i]) & 0xffU] ^ (crc >> 8);
  return crc;
}

__attribute__((target("sse4.2"))) std::uint32_t by_instruction(const unsigned char* p,
                                                               std::size_t size,
                                                               std::uint32_t crc) {
  std::uint64_t wide = crc;
  for (; size >= 8; size -= 8, p += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, p, 8);
    wide = _mm_crc32_u64(wide, word);
  }
  crc = static_cast<std::uint32_t>(wide);
  for (; size > 0; --size, ++p) crc = _mm_crc32_u8(crc, *p);
  return crc;
}

}  // namespace

std::uint32_t crc32c(const void* bytes, std::size_t size, std::uint32_t seed) {
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  const auto* p = static_cast<const unsigned char*>(bytes);
  const std::uint32_t crc = ~seed;
  return ~(has_instruction ? by_instruction(p, size, crc) : by_table(p, size, crc));
}

}  // namespace stoker
