// Bytes as hexadecimal digits.
#pragma once

#include <string>
#include <string_view>

namespace stoker {

/// Two lower-case digits for each byte.
[[nodiscard]] inline std::string to_hex(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

}  // namespace stoker
