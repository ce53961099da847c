// Reads a configuration from the text of a test.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/load.h"

namespace stoker::config {

inline std::optional<std::string> test_environment(std::string_view name) {
  if (name == "TOKEN") return "s3cret";
  if (name == "NUMBER") return "7";
  if (name == "HOME") return "/nowhere";
  return std::nullopt;
}

inline Loaded read(std::string_view yaml, const std::vector<Override>& overrides = {}) {
  return parse(yaml, "f.yaml", test_environment, overrides);
}

inline std::vector<std::string> said(const Loaded& loaded) {
  std::vector<std::string> texts;
  for (const Problem& problem : loaded.problems) texts.push_back(to_text(problem));
  return texts;
}

}  // namespace stoker::config
