// How the fuzzers cut their input: the first byte says into pieces of which size.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace stoker::fuzz {

struct Input {
  std::size_t piece_bytes = 1;
  std::string_view bytes;
};

inline Input cut(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return {};
  return {std::size_t{data[0]} + 1, {reinterpret_cast<const char*>(data) + 1, size - 1}};
}

/// A property that must hold, whatever the input.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

}  // namespace stoker::fuzz
