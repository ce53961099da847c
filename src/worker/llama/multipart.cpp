#include "worker/llama/multipart.h"

#include "net/http.h"

namespace stoker::worker {

namespace {

constexpr std::string_view kLineEnd = "\r\n";

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Value of `name` among "a; name=value; other="quoted"".
std::optional<std::string_view> parameter(std::string_view field, std::string_view name) {
  while (true) {
    const std::size_t semicolon = field.find(';');
    if (semicolon == std::string_view::npos) return std::nullopt;
    field = trimmed(field.substr(semicolon + 1));
    const std::size_t equals = field.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string_view key = field.substr(0, equals);
    std::string_view value = field.substr(equals + 1);
    if (value.starts_with('"')) {
      const std::size_t quote = value.find('"', 1);
      if (quote == std::string_view::npos) return std::nullopt;
      field = value.substr(quote + 1);
      value = value.substr(1, quote - 1);
    } else {
      field = value;
      value = trimmed(value.substr(0, value.find(';')));
    }
    if (net::equal_ignoring_case(key, name)) return value;
  }
}

// `head`: the lines of one part before its content.
std::optional<FormPart> part_of(std::string_view head, std::string_view content) {
  FormPart part;
  part.content = content;
  bool named = false;
  while (!head.empty()) {
    const std::size_t end = head.find(kLineEnd);
    const std::string_view line = head.substr(0, end);
    head = end == std::string_view::npos ? std::string_view{} : head.substr(end + kLineEnd.size());
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const std::string_view name = line.substr(0, colon);
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (net::equal_ignoring_case(name, "content-disposition")) {
      const auto field_name = parameter(value, "name");
      if (!field_name) return std::nullopt;
      part.name = *field_name;
      part.file_name = parameter(value, "filename").value_or(std::string_view{});
      named = true;
    } else if (net::equal_ignoring_case(name, "content-type")) {
      part.content_type = value;
    }
  }
  return named ? std::optional(part) : std::nullopt;
}

}  // namespace

std::optional<std::string> form_boundary(std::string_view content_type) {
  const std::string_view type = trimmed(content_type.substr(0, content_type.find(';')));
  if (!net::equal_ignoring_case(type, "multipart/form-data")) return std::nullopt;
  const auto boundary = parameter(content_type, "boundary");
  if (!boundary || boundary->empty() || boundary->size() > 70) return std::nullopt;
  return std::string(*boundary);
}

std::optional<std::vector<FormPart>> parse_form(std::string_view body, std::string_view boundary) {
  const std::string opening = std::string("--").append(boundary);
  const std::string delimiter = std::string(kLineEnd) + opening;
  if (!body.starts_with(opening)) return std::nullopt;
  body.remove_prefix(opening.size());
  std::vector<FormPart> parts;
  while (!body.starts_with("--")) {
    if (!body.starts_with(kLineEnd)) return std::nullopt;
    body.remove_prefix(kLineEnd.size());
    const std::size_t end = body.find(delimiter);
    const std::size_t head_end = body.find("\r\n\r\n");
    if (end == std::string_view::npos || head_end == std::string_view::npos || head_end > end) {
      return std::nullopt;
    }
    const std::size_t content = head_end + 2 * kLineEnd.size();
    if (content > end) return std::nullopt;
    const auto part = part_of(body.substr(0, head_end), body.substr(content, end - content));
    if (!part) return std::nullopt;
    parts.push_back(*part);
    body.remove_prefix(end + delimiter.size());
  }
  return parts;
}

}  // namespace stoker::worker
