// Writes YAML that parse_yaml() reads back to the same tree.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stoker::config {

/// A value to write: YAML text on one line, or a map.
struct YamlValue {
  std::string line;  // of yaml_scalar(), or flow style; "" in a map
  std::vector<std::pair<std::string, YamlValue>> entries = {};
  bool is_map = false;
};
/// What unset settings are written as; to_block() leaves them out.
inline constexpr std::string_view yaml_null = "null";

/// `text` as one scalar, quoted where it must be, macros escaped.
[[nodiscard]] std::string yaml_scalar(std::string_view text);
/// The same for text that is a JSON value already.
[[nodiscard]] std::string yaml_from_json(std::string json_text);
/// "[a, b]" of values on one line each.
[[nodiscard]] std::string yaml_list(const std::vector<std::string>& lines);
/// "{a: 1, b: x}", unset settings left out.
[[nodiscard]] std::string to_flow(const YamlValue& value);
/// The entries of a map in block style, `level` x 2 spaces deep, unset settings left out.
[[nodiscard]] std::string to_block(const YamlValue& value, std::size_t level = 0);

}  // namespace stoker::config
