// Letters of ASCII, whatever the locale.
#pragma once

#include <string>
#include <string_view>

namespace stoker {

/// `text` with A to Z as a to z; other bytes stay as they are.
[[nodiscard]] inline std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

}  // namespace stoker
