#include "config/yaml_writer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/json_writer.h"

namespace stoker::config {
namespace {

bool is_plain(std::string_view text) {
  const auto word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '/' || c == '_';
  };
  const auto inner = [&](char c) {
    return word(c) || c == '-' || c == ':' || c == '%' || c == '@' || c == '+' || c == '=';
  };
  // A colon at the end makes a key, these words are no text, and "..." would end the document.
  return !text.empty() && word(text.front()) && std::ranges::all_of(text, inner) &&
         text.back() != ':' && text != "null" && text != "Null" && text != "NULL" &&
         !text.starts_with("...");
}

}  // namespace

std::string yaml_from_json(std::string json_text) {
  constexpr std::string_view macro = "${env.";
  for (std::size_t at = json_text.find(macro); at != std::string::npos;
       at = json_text.find(macro, at + macro.size() + 1)) {
    json_text.insert(at, 1, '$');
  }
  return json_text;
}

std::string yaml_scalar(std::string_view text) {
  if (is_plain(text)) return std::string(text);
  std::string quoted;
  append_json_string(quoted, text);
  return yaml_from_json(std::move(quoted));
}

std::string yaml_list(const std::vector<std::string>& lines) {
  return fmt::format("[{}]", fmt::join(lines, ", "));
}

std::string to_flow(const YamlValue& value) {
  if (!value.is_map) return value.line;
  std::vector<std::string> parts;
  for (const auto& [key, inner] : value.entries) {
    std::string text = to_flow(inner);
    if (text != yaml_null) parts.push_back(fmt::format("{}: {}", yaml_scalar(key), text));
  }
  return fmt::format("{{{}}}", fmt::join(parts, ", "));
}

std::string to_block(const YamlValue& value, std::size_t level) {
  std::string out;
  for (const auto& [key, inner] : value.entries) {
    if (!inner.is_map && inner.line == yaml_null) continue;
    out += std::string(level * 2, ' ') + yaml_scalar(key) + ':';
    if (!inner.is_map) {
      out += ' ' + inner.line + '\n';
      continue;
    }
    const std::string block = to_block(inner, level + 1);
    out += block.empty() ? " {}\n" : '\n' + block;
  }
  return out;
}

}  // namespace stoker::config
