// CRC-32C (Castagnoli), the checksum of journal records.
// Source: RFC 3720 appendix B.4 (polynomial and test vectors).
#pragma once

#include <cstddef>
#include <cstdint>

namespace stoker {
/// Gives: crc of `bytes` continued from `seed` (0 to begin). Uses SSE4.2 where the CPU has it.
[[nodiscard]] std::uint32_t crc32c(const void* bytes, std::size_t size, std::uint32_t seed = 0);
}  // namespace stoker
