// YAML text -> a plain tree that knows where everything stands. The only file pair that sees the
// YAML library. Refused here: anchors and aliases (a small text could grow without bound, and there
// is nothing to share), tags, second documents, keys that are not plain text, duplicate keys,
// quoted text of several lines, more than 64 levels.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/problem.h"

namespace stoker::config {

struct Place {
  std::int32_t line = 0;  // 1-based
  std::int32_t column = 0;
  auto operator<=>(const Place&) const = default;
};

struct YamlEntry;

struct YamlNode {
  enum class Kind : std::uint8_t { null, scalar, list, map };

  Kind kind = Kind::null;
  Place place;
  bool quoted = false;     // a scalar in quotes or a block scalar: text, whatever it looks like
  bool unusable = false;   // of a scalar: a problem has been reported, its text means nothing
  bool has_macro = false;  // `text` holds what an environment variable held; never print it
  std::string text;        // of a scalar, macros replaced
  std::string written;     // of a scalar, as in the file
  std::vector<YamlNode> items;     // of a list
  std::vector<YamlEntry> entries;  // of a map, in the order of the file, keys unique

  /// For messages: `text`, but macros as they were written.
  [[nodiscard]] const std::string& shown() const { return has_macro ? written : text; }
};

struct YamlEntry {
  std::string key;
  Place place;
  YamlNode value;
};

inline constexpr std::size_t max_yaml_bytes = std::size_t{1} << 20;
inline constexpr std::size_t max_yaml_levels = 64;

/// Gives: nullopt if the text is broken, and then problems say where. Duplicate keys are problems
/// too, but the tree (with the first of them) is given. An empty text is a null node.
[[nodiscard]] std::optional<YamlNode> parse_yaml(std::string_view text, std::string_view file_name,
                                                 std::vector<Problem>& problems);

/// Replaces `${env.NAME}` in every scalar of the tree; `$${env.NAME}` stands for the text itself.
/// An unset variable is a problem.
void expand_macros(
    YamlNode& node, std::string_view file_name,
    const std::function<std::optional<std::string>(std::string_view name)>& environment,
    std::vector<Problem>& problems);

/// The YAML 1.2 core schema's reading of an unquoted scalar, as JSON: null, true, 12, 1.5, "text".
/// Lists and maps become arrays and objects. Gives: nullopt with a problem for a number that
/// JSON readers cannot hold.
[[nodiscard]] std::optional<std::string> to_json(const YamlNode& node, std::string_view file_name,
                                                 std::string_view path,
                                                 std::vector<Problem>& problems);

}  // namespace stoker::config
