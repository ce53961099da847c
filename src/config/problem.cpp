#include "config/problem.h"

#include <fmt/format.h>

#include <algorithm>

namespace stoker::config {

std::string to_text(const Problem& problem) {
  std::string text = problem.file;
  if (problem.line > 0) text += fmt::format(":{}:{}", problem.line, problem.column);
  if (!text.empty()) text += ": ";
  if (problem.severity == Problem::Severity::warning) text += "warning: ";
  const bool is_flag_of_its_own = problem.file == "--" + problem.path;  // --listen
  if (!problem.path.empty() && !is_flag_of_its_own) text += problem.path + ": ";
  text += problem.message;
  if (!problem.hint.empty()) text += fmt::format(" ({})", problem.hint);
  return text;
}

bool has_errors(const std::vector<Problem>& problems) {
  return std::ranges::any_of(
      problems, [](const Problem& p) { return p.severity == Problem::Severity::error; });
}

}  // namespace stoker::config
