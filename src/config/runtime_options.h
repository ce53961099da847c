// The `options` that each runtime takes, so that `stoker check` can refuse a wrong one and the
// reference can list them. The worker's own parser is the authority, since a worker may be newer
// than this: a test holds both to the same names.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "config/config.h"
#include "config/reader.h"

namespace stoker::config {

struct OptionInfo {
  enum class Type : std::uint8_t {
    integer,
    flag,
    text,
    texts,     // a list
    duration,  // "200ms", or a number of milliseconds
    size,      // "64MiB", or a number of bytes
    path,      // of a file that the worker reads
    choice,
    flag_or_choice,
    map,
  };
  std::string_view name;
  Type type = Type::text;
  std::string_view initial;  // the default, for people
  std::string_view doc;      // one sentence without a full stop; Markdown
  std::span<const std::string_view> choices = {};
  std::int64_t min = 0;
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
};

/// In the order of the reference. Empty for `container`, whose options nobody knows.
[[nodiscard]] std::span<const OptionInfo> options_of(Runtime runtime);
/// "whole number, 1 to 1024": what a value must be, for people.
[[nodiscard]] std::string type_text(const OptionInfo& option);

/// Finds unknown options and values of a wrong type. Values are never quoted: they may come from
/// the environment.
void check_options(const DeploymentConfig& deployment, Reader& reader);

}  // namespace stoker::config
