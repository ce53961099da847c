// What the key tables say, for editors and people. The texts are committed as
// docs/reference/config.md and configs/example.yaml; a test compares them with these functions.
#pragma once

#include <string>

namespace stoker::config {

/// JSON Schema, draft 2020-12, of the file. Aliases of keys are in it.
[[nodiscard]] std::string schema();
/// Every key with its type, default, meaning and other spellings, in Markdown.
[[nodiscard]] std::string reference_markdown();
/// A file with every key at its default, each with a comment.
[[nodiscard]] std::string example_yaml();

}  // namespace stoker::config
