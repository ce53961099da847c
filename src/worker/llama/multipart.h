// multipart/form-data bodies (RFC 7578), which llama.cpp's routes for audio take. Strict: a part
// without a name, or a body without its closing delimiter, is refused whole.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stoker::worker {

/// Views into the body.
struct FormPart {
  std::string_view name;
  std::string_view file_name;     // empty: a plain field
  std::string_view content_type;  // empty: not said
  std::string_view content;
};

/// The boundary of a Content-Type value; nullopt if it is not multipart/form-data with one.
[[nodiscard]] std::optional<std::string> form_boundary(std::string_view content_type);
/// Gives: the parts in their order; nullopt if `body` is malformed.
[[nodiscard]] std::optional<std::vector<FormPart>> parse_form(std::string_view body,
                                                              std::string_view boundary);

}  // namespace stoker::worker
