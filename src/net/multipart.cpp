#include "net/multipart.h"

#include <algorithm>

#include "net/http.h"
#include "net/http_chars.h"

namespace stoker::net {

namespace {

constexpr std::string_view line_end = "\r\n";

/// Walks "a; name=value; other="quoted"".   Gives: false if it is malformed.
template <class Visit>
bool for_each_parameter(std::string_view field, Visit&& visit) {
  while (true) {
    const std::size_t semicolon = field.find(';');
    if (semicolon == field.npos) return trim_blanks(field).empty();
    if (!trim_blanks(field.substr(0, semicolon)).empty()) return false;
    field = trim_blanks(field.substr(semicolon + 1));
    const std::size_t equals = field.find('=');
    if (equals == field.npos) return false;
    const std::string_view key = field.substr(0, equals);
    std::string_view value = field.substr(equals + 1);
    if (value.starts_with('"')) {
      const std::size_t quote = value.find('"', 1);
      // Some readers undo an escaped quote and some end there.
      if (quote == value.npos || value[quote - 1] == '\\') return false;
      field = value.substr(quote + 1);
      value = value.substr(1, quote - 1);
    } else {
      const std::size_t end = std::min(value.find(';'), value.size());
      field = value.substr(end);
      value = trim_blanks(value.substr(0, end));
    }
    if (!visit(key, value)) return false;
  }
}

/// The value without its first word, which names the type.
std::string_view parameters_of(std::string_view value) {
  const std::size_t semicolon = value.find(';');
  return semicolon == value.npos ? std::string_view{} : value.substr(semicolon);
}

/// Reads the one Content-Disposition of a part.   Gives: false if it does not name the part.
bool read_disposition(std::string_view value, FormPart& part) {
  bool named = false;
  bool is_file = false;
  return for_each_parameter(parameters_of(value),
                            [&](std::string_view key, std::string_view text) {
                              const bool is_name = equal_ignoring_case(key, "name");
                              if (is_name) part.name = text;
                              const bool is_file_name = equal_ignoring_case(key, "filename");
                              if (is_file_name) part.file_name = text;
                              const bool twice = (is_name && named) || (is_file_name && is_file);
                              named = named || is_name;
                              is_file = is_file || is_file_name;
                              return !twice;
                            }) &&
         named;
}

/// `head`: the lines of one part before its content.
std::optional<FormPart> part_of(std::string_view head, std::string_view content) {
  FormPart part;
  part.content = content;
  bool named = false;
  while (!head.empty()) {
    const std::size_t end = std::min(head.find(line_end), head.size());
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(std::min(head.size(), end + line_end.size()));
    const std::size_t colon = line.find(':');
    // No folded lines: some readers put them together, some do not.
    if (colon == line.npos || line.front() == ' ' || line.front() == '\t') return std::nullopt;
    const std::string_view name = line.substr(0, colon);
    const std::string_view value = trim_blanks(line.substr(colon + 1));
    if (equal_ignoring_case(name, "content-disposition")) {
      if (named || !read_disposition(value, part)) return std::nullopt;
      named = true;
    } else if (equal_ignoring_case(name, "content-type")) {
      part.content_type = value;
    }
  }
  return named ? std::optional(part) : std::nullopt;
}

}  // namespace

std::optional<std::string> form_boundary(std::string_view content_type) {
  const std::string_view type = trim_blanks(content_type.substr(0, content_type.find(';')));
  if (!equal_ignoring_case(type, "multipart/form-data")) return std::nullopt;
  std::optional<std::string> boundary;
  const bool whole = for_each_parameter(parameters_of(content_type),
                                        [&](std::string_view key, std::string_view value) {
                                          if (!equal_ignoring_case(key, "boundary")) return true;
                                          const bool first = !boundary;
                                          boundary = value;
                                          return first;
                                        });
  constexpr std::size_t most_bytes = 70;  // RFC 2046 5.1.1
  if (!whole || !boundary || boundary->empty() || boundary->size() > most_bytes) {
    return std::nullopt;
  }
  return boundary;
}

std::optional<std::vector<FormPart>> parse_form(std::string_view body, std::string_view boundary) {
  constexpr std::size_t most_parts = 1000;
  const std::string opening = std::string("--").append(boundary);
  const std::string delimiter = std::string(line_end) + opening;
  if (!body.starts_with(opening)) return std::nullopt;
  body.remove_prefix(opening.size());
  std::vector<FormPart> parts;
  while (!body.starts_with("--")) {
    if (!body.starts_with(line_end)) return std::nullopt;
    body.remove_prefix(line_end.size());
    const std::size_t end = body.find(delimiter);
    const std::size_t head_end = body.find("\r\n\r\n");
    if (end == body.npos || head_end == body.npos || head_end > end) return std::nullopt;
    const std::size_t content = head_end + 2 * line_end.size();
    if (content > end) return std::nullopt;
    const auto part = part_of(body.substr(0, head_end), body.substr(content, end - content));
    if (!part || parts.size() == most_parts) return std::nullopt;
    parts.push_back(*part);
    body.remove_prefix(end + delimiter.size());
  }
  body.remove_prefix(std::string_view("--").size());
  if (!body.empty() && body != line_end) return std::nullopt;
  return parts;
}

}  // namespace stoker::net
