// Character classes of HTTP, as tables made at compile time.   Source: RFC 9110 5.6.2, 5.5.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace stoker::net {

enum CharClass : std::uint8_t {
  char_token = 1,   // tchar
  char_value = 2,   // field-vchar, obs-text, SP, HTAB
  char_target = 4,  // what we let stand in a request target: visible ASCII but '#'
  char_host = 8,    // reg-name and IP literal, without brackets and colon
};

constexpr std::array<std::uint8_t, 256> make_char_table() {
  std::array<std::uint8_t, 256> table{};
  const auto is_in = [](char c, std::string_view set) { return set.find(c) != set.npos; };
  for (int i = 0; i < 256; ++i) {
    const char c = static_cast<char>(i);
    const bool alnum = (i >= '0' && i <= '9') || (i >= 'A' && i <= 'Z') || (i >= 'a' && i <= 'z');
    const bool visible = i > 0x20 && i < 0x7f;
    int classes = 0;
    if (alnum || is_in(c, "!#$%&'*+-.^_`|~")) classes |= char_token;
    if (visible || i >= 0x80 || i == ' ' || i == '\t') classes |= char_value;
    if (visible && i != '#') classes |= char_target;
    if (alnum || is_in(c, "-._~!$&'()*+,;=%")) classes |= char_host;
    table[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(classes);
  }
  return table;
}
inline constexpr auto char_table = make_char_table();

constexpr bool is_char(char c, CharClass wanted) {
  return (char_table[static_cast<unsigned char>(c)] & wanted) != 0;
}
/// True if all of `text` is of the class; the empty text is.
constexpr bool all_chars(std::string_view text, CharClass wanted) {
  for (const char c : text) {
    if (!is_char(c, wanted)) return false;
  }
  return true;
}
/// Value of a hexadecimal digit, -1 if it is none.
constexpr int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}
/// Without blanks and tabs at both ends (OWS).
constexpr std::string_view trim_blanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace stoker::net
