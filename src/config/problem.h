// A mistake of the user, as data. All of them are collected before anything is said.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stoker::config {

struct Problem {
  enum class Severity : std::uint8_t { error, warning };

  Severity severity = Severity::error;
  std::string file;
  std::int32_t line = 0;    // 1-based; 0: the whole file, or not from a file
  std::int32_t column = 0;  // 1-based
  std::string path;         // "deployments.chat.autoscaling.min_instances"; "" for the whole file
  std::string message;      // what is wrong, with the value
  std::string hint;         // what to do about it; "" if nothing
};

/// "FILE:LINE:COL: PATH: message (hint)", parts that are empty left out; a warning says so.
[[nodiscard]] std::string to_text(const Problem& problem);
[[nodiscard]] bool has_errors(const std::vector<Problem>& problems);

}  // namespace stoker::config
