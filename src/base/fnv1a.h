// FNV-1a, 64 bits: a short name for a text. Not for secrets and not against people who mean harm.
// Source: Fowler, Noll, Vo; its offset basis and prime.
#pragma once

#include <cstdint>
#include <string_view>

namespace stoker {
[[nodiscard]] constexpr std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}
}  // namespace stoker
