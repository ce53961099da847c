// multipart/form-data bodies (RFC 7578), which routes for audio and images take. Strict, because
// the gateway routes by what it reads here and an engine reads the same bytes again: a part without
// one name, an escaped quote, or bytes around the parts are refused whole. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stoker::net {

/// Views into the body.
struct FormPart {
  std::string_view name;
  std::string_view file_name;     // empty: a plain field
  std::string_view content_type;  // empty: not said
  std::string_view content;
};

/// The boundary of a Content-Type value; nullopt if it is not multipart/form-data with one.
[[nodiscard]] std::optional<std::string> form_boundary(std::string_view content_type);
/// Gives: the parts in their order; nullopt if `body` is malformed or has more than 1,000.
[[nodiscard]] std::optional<std::vector<FormPart>> parse_form(std::string_view body,
                                                              std::string_view boundary);

}  // namespace stoker::net
