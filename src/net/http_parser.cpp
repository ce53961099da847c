#include "net/http_parser.h"

#include <cstring>

#include "base/invariant.h"
#include "net/http_chars.h"

namespace stoker::net {
namespace {

constexpr HttpError ok{};
constexpr HttpError bad(const char* message) {
  return {400, message};
}

/// Calls `take` with each member of a comma-separated list, blanks trimmed, empty ones included.
template <class Take>
void for_each_member(std::string_view list, Take&& take) {
  while (true) {
    const std::size_t comma = list.find(',');
    take(trim_blanks(list.substr(0, comma)));
    if (comma == list.npos) return;
    list.remove_prefix(comma + 1);
  }
}

/// True if each '%' begins an escape of another byte than NUL.
bool has_whole_escapes(std::string_view path) {
  for (std::size_t at = path.find('%'); at != path.npos; at = path.find('%', at + 1)) {
    if (path.size() - at < 3) return false;
    const int high = hex_digit(path[at + 1]);
    const int low = hex_digit(path[at + 2]);
    if (high < 0 || low < 0 || high + low == 0) return false;
  }
  return true;
}

/// 1*DIGIT below 2^63; nullopt for anything else.
std::optional<std::uint64_t> parse_length(std::string_view text) {
  if (text.empty() || text.size() > 19) return std::nullopt;  // 2^63 has 19 digits
  std::uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  if (value > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
  return value;
}

/// uri-host [ ":" port ], not empty.   Source: RFC 9110 7.2.
bool is_authority(std::string_view text) {
  std::size_t host_end = 0;
  if (!text.empty() && text.front() == '[') {
    host_end = text.find(']');
    if (host_end == text.npos || host_end == 1) return false;
    for (const char c : text.substr(1, host_end - 1)) {
      if (hex_digit(c) < 0 && c != ':' && c != '.') return false;
    }
    ++host_end;
  } else {
    host_end = std::min(text.find(':'), text.size());
    const std::string_view name = text.substr(0, host_end);
    if (name.empty() || !all_chars(name, char_host)) return false;
    if (name.front() == '.' || name.find("..") != name.npos) return false;  // an empty label
  }
  if (host_end == text.size()) return true;
  if (text[host_end] != ':') return false;
  for (const char c : text.substr(host_end + 1)) {
    if (c < '0' || c > '9') return false;
  }
  return true;
}

}  // namespace

// --- Lines of a head -------------------------------------------------------------------------

void HeadParser::reset_lines() {
  scanned_ = line_start_ = start_ = fields_start_ = 0;
  fields_.clear();
  part_ = Part::before;
  state_ = State::need_more;
  error_ = no_error;
}

HeadParser::State HeadParser::fail(HttpError error) {
  error_ = error;
  return state_ = State::failed;
}

std::size_t HeadParser::most_bytes() const {
  if (part_ == Part::fields) return fields_start_ + limits_.header_block_bytes + 1;
  return limits_.start_line_bytes + limits_.header_block_bytes;
}

/// Limits of the line that begins at line_start_ and has been read up to `end`: with its CR LF if
/// it is whole, else with a CR at most.
HttpError HeadParser::check_limits(std::size_t end, bool whole_line) const {
  if (part_ == Part::fields) {
    if (end - fields_start_ > limits_.header_block_bytes) return {431, "header block is too large"};
    return ok;
  }
  const std::size_t line_ending = whole_line ? 2 : 1;
  if (end - line_start_ > limits_.start_line_bytes + line_ending) {
    return {414, "request line is too long"};
  }
  return ok;
}

/// Skips one empty line before the start line (RFC 9112 2.2). Gives false if more bytes are needed.
bool HeadParser::skip_to_start(std::string_view bytes) {
  if (bytes.empty()) return false;
  if (start_ == 0 && bytes.front() == '\r') {
    if (bytes.size() < 2) return false;
    if (bytes[1] != '\n') {
      fail(bad("CR without LF"));
      return true;
    }
    start_ = line_start_ = scanned_ = 2;
  }
  if (bytes.size() == start_) return false;
  part_ = Part::start_line;
  if (const HttpError error = on_first_byte(bytes[start_]); error.status != 0) fail(error);
  return true;
}

HeadParser::State HeadParser::advance(std::string_view bytes) {
  if (state_ != State::need_more) return state_;
  base_ = bytes.data();
  if (part_ == Part::before && !skip_to_start(bytes)) return state_;
  while (state_ == State::need_more) {
    const void* found = scanned_ < bytes.size()
                            ? std::memchr(base_ + scanned_, '\n', bytes.size() - scanned_)
                            : nullptr;
    if (found == nullptr) {
      scanned_ = bytes.size();
      const HttpError error = check_limits(bytes.size(), false);
      return error.status != 0 ? fail(error) : state_;
    }
    const auto newline = static_cast<std::size_t>(static_cast<const char*>(found) - base_);
    const std::string_view line = bytes.substr(line_start_, newline - line_start_);
    if (const HttpError error = check_limits(newline + 1, true); error.status != 0) {
      return fail(error);
    }
    scanned_ = line_start_ = newline + 1;
    if (const HttpError error = take_line(line); error.status != 0) return fail(error);
  }
  return state_;
}

HttpError HeadParser::take_line(std::string_view line) {
  if (line.empty() || line.back() != '\r') return bad("line does not end in CR LF");
  line.remove_suffix(1);
  if (part_ == Part::start_line) {
    part_ = Part::fields;
    fields_start_ = line_start_;
    return on_start_line(line);
  }
  if (!line.empty()) return take_field(line);
  const HttpError error = on_end();
  if (error.status == 0) state_ = State::done;
  return error;
}

HttpError HeadParser::take_field(std::string_view line) {
  if (fields_.size() == limits_.header_fields) return {431, "too many header fields"};
  std::size_t colon = 0;
  while (colon < line.size() && is_char(line[colon], char_token)) ++colon;
  // Refused here: continuation lines, space before the colon, no colon, no name.
  if (colon == 0 || colon == line.size() || line[colon] != ':') {
    return bad("header field name is malformed");
  }
  const std::string_view name = line.substr(0, colon);
  const std::string_view padded = line.substr(colon + 1);
  if (!all_chars(padded, char_value)) {
    return bad("header field value holds a control character");
  }
  // RFC 9110 5.5 takes a tab for white space, nginx and node do not: two servers that see one
  // request as two different ones are what smuggling needs (A28).
  if (padded.find('\t') != padded.npos && decides_end_or_host(name)) {
    return bad("tab in Host, Content-Length or Transfer-Encoding");
  }
  const std::string_view value = trim_blanks(padded);
  fields_.emplace_back(span_of(name), span_of(value));
  return on_field(name, value);
}

void HeadParser::collect_fields(const char* base, Fields& fields) const {
  fields.clear();
  for (const auto& [name, value] : fields_) fields.add(name.in(base), value.in(base));
}

// --- Head of a request -----------------------------------------------------------------------

void RequestHeadParser::reset() {
  reset_lines();
  framing_ = {};
  method_ = target_ = path_ = query_ = authority_ = host_ = {};
  http10_ = has_host_ = has_authority_ = connection_close_ = connection_keep_alive_ = false;
  connection_upgrade_ = upgrade_ = has_socket_key_ = false;
}

/// So that a TLS hello is answered at once, and not when its line ends.
HttpError RequestHeadParser::on_first_byte(char first) {
  return is_char(first, char_token) ? ok : bad("request line is malformed");
}

HttpError RequestHeadParser::on_start_line(std::string_view line) {
  const std::size_t method_end = line.find(' ');
  const std::size_t target_end = line.rfind(' ');
  if (method_end == line.npos || method_end == target_end) return bad("request line is malformed");
  const std::string_view method = line.substr(0, method_end);
  const std::string_view target = line.substr(method_end + 1, target_end - method_end - 1);
  const std::string_view version = line.substr(target_end + 1);
  if (!all_chars(method, char_token)) return bad("method is malformed");

  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (version.size() != 8 || !version.starts_with("HTTP/") || !is_digit(version[5]) ||
      version[6] != '.' || !is_digit(version[7])) {
    return bad("HTTP version is malformed");
  }
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return {505, "only HTTP/1.1 is spoken here"};
  http10_ = version == "HTTP/1.0";

  if (method == "CONNECT" || method == "TRACE") return {405, "method is not supported"};
  method_ = span_of(method);
  target_ = span_of(target);
  return take_target(target);
}

/// Origin form, or absolute form whose authority must then be that of the Host field.
HttpError RequestHeadParser::take_target(std::string_view target) {
  if (!all_chars(target, char_target)) return bad("request target is malformed");
  std::string_view path = target;
  if (!target.starts_with('/')) {
    constexpr std::string_view scheme = "http://";
    if (!equal_ignoring_case(target.substr(0, scheme.size()), scheme)) {
      return bad("request target is not a path");
    }
    const std::string_view rest = target.substr(scheme.size());
    const std::string_view authority = rest.substr(0, rest.find('/'));
    if (authority.size() == rest.size()) return bad("request target has no path");
    authority_ = span_of(authority);
    has_authority_ = true;
    path = rest.substr(authority.size());
  }
  const std::size_t question = path.find('?');
  path_ = span_of(path.substr(0, question));
  if (!has_whole_escapes(path.substr(0, question))) {
    return bad("request target holds a malformed escape");
  }
  query_ = span_of(question == path.npos ? path.substr(path.size()) : path.substr(question + 1));
  return ok;
}

HttpError RequestHeadParser::on_field(std::string_view name, std::string_view value) {
  switch (name.size()) {  // most names are told apart from ours by their length
    case 4:
      if (equal_ignoring_case(name, "Host")) return take_host(value);
      break;
    case 6:
      if (equal_ignoring_case(name, "Expect")) return take_expect(value);
      break;
    case 7:
      if (equal_ignoring_case(name, "Upgrade")) return take_upgrade(value);
      break;
    case 10:
      if (equal_ignoring_case(name, "Connection")) take_connection(value);
      break;
    case 14:
      if (equal_ignoring_case(name, "Content-Length")) return take_content_length(value);
      break;
    case 17:
      if (equal_ignoring_case(name, "Transfer-Encoding")) return take_transfer_encoding(value);
      if (equal_ignoring_case(name, "Sec-WebSocket-Key")) has_socket_key_ = !value.empty();
      break;
    default:
      break;
  }
  return ok;
}

HttpError RequestHeadParser::take_host(std::string_view value) {
  if (has_host_) return bad("more than one Host field");
  if (!is_authority(value)) return bad("Host field is malformed");
  has_host_ = true;
  host_ = span_of(value);
  return ok;
}

HttpError RequestHeadParser::take_content_length(std::string_view value) {
  if (framing_.content_length) return bad("more than one Content-Length field");
  framing_.content_length = parse_length(value);
  return framing_.content_length ? ok : bad("Content-Length is malformed");
}

/// Only "chunked" is understood. Any other coding that is spelled well is 501; whatever looks like
/// a disguised "chunked" is 400.
HttpError RequestHeadParser::take_transfer_encoding(std::string_view value) {
  if (framing_.chunked) return bad("more than one Transfer-Encoding field");
  if (equal_ignoring_case(value, "chunked")) {
    framing_.chunked = true;
    return ok;
  }
  bool well_formed = true;
  bool chunked_before = false;
  for_each_member(value, [&](std::string_view coding) {
    const bool is_chunked = equal_ignoring_case(coding, "chunked");
    const bool names_chunked =
        coding.size() >= 7 && (equal_ignoring_case(coding.substr(0, 7), "chunked") ||
                               equal_ignoring_case(coding.substr(coding.size() - 7), "chunked"));
    well_formed = well_formed && !coding.empty() && all_chars(coding, char_token) &&
                  !equal_ignoring_case(coding, "identity") && names_chunked == is_chunked &&
                  !chunked_before;
    chunked_before = chunked_before || is_chunked;
  });
  if (!well_formed) return bad("Transfer-Encoding is malformed");
  return {501, "transfer coding is not supported"};
}

HttpError RequestHeadParser::take_expect(std::string_view value) {
  if (framing_.expect_continue) return bad("more than one Expect field");
  if (!equal_ignoring_case(value, "100-continue")) return {417, "expectation is not supported"};
  framing_.expect_continue = true;
  return ok;
}

void RequestHeadParser::take_connection(std::string_view value) {
  for_each_member(value, [this](std::string_view option) {
    if (equal_ignoring_case(option, "close")) connection_close_ = true;
    if (equal_ignoring_case(option, "keep-alive")) connection_keep_alive_ = true;
    if (equal_ignoring_case(option, "upgrade")) connection_upgrade_ = true;
  });
}

/// Only WebSockets: h2c has been a way past proxies (A24 in RELIABILITY.md).
HttpError RequestHeadParser::take_upgrade(std::string_view value) {
  if (upgrade_ || !equal_ignoring_case(value, "websocket")) {
    return bad("upgrading to another protocol than WebSocket is not supported");
  }
  upgrade_ = true;
  return ok;
}

/// RFC 6455 4.1.
HttpError RequestHeadParser::check_upgrade() const {
  if (!upgrade_) return ok;
  const bool has_body = framing_.chunked || framing_.content_length.value_or(0) > 0;
  if (http10_ || !connection_upgrade_ || !has_socket_key_ || has_body ||
      method_.in(base()) != "GET") {
    return bad(
        "an upgrade is a GET of HTTP/1.1 without a body, with 'Connection: Upgrade' and "
        "Sec-WebSocket-Key");
  }
  return ok;
}

HttpError RequestHeadParser::on_end() {
  if (framing_.chunked && framing_.content_length) {
    return bad("both Content-Length and Transfer-Encoding");
  }
  if (framing_.chunked && http10_) return bad("Transfer-Encoding in HTTP/1.0");
  if (!has_host_ && !http10_) return bad("Host field is missing");
  if (has_authority_ && !equal_ignoring_case(authority_.in(base()), host_.in(base()))) {
    return bad("request target and Host field name different hosts");
  }
  if (framing_.content_length.value_or(0) > limits_.body_bytes) {
    return {413, "request body is too large"};
  }
  if (const HttpError error = check_upgrade(); error.status != 0) return error;
  framing_.keep_alive = !connection_close_ && (!http10_ || connection_keep_alive_);
  if (http10_) framing_.expect_continue = false;  // RFC 9110 10.1.1
  return ok;
}

void RequestHeadParser::fill(const char* base, HttpRequest& request) const {
  STOKER_INVARIANT(state() == State::done, "head is not whole, state {}",
                   static_cast<int>(state()));
  request.method = method_.in(base);
  request.target = target_.in(base);
  request.path = path_.in(base);
  request.query = query_.in(base);
  request.http10 = http10_;
  request.upgrade = upgrade_;
  request.body = {};
  collect_fields(base, request.fields);
}

// --- Head of an answer -----------------------------------------------------------------------

void ResponseHeadParser::reset(Answers answers) {
  reset_lines();
  reason_ = {};
  status_ = 0;
  content_length_.reset();
  answers_ = answers;
  http10_ = chunked_ = connection_close_ = connection_keep_alive_ = false;
}

HttpError ResponseHeadParser::on_first_byte(char first) {
  return first == 'H' ? ok : bad("status line is malformed");
}

HttpError ResponseHeadParser::on_start_line(std::string_view line) {
  if (!line.starts_with("HTTP/1.1 ") && !line.starts_with("HTTP/1.0 ")) {
    return bad("status line is malformed");
  }
  http10_ = line[7] == '0';
  // The blank before an empty reason is often left out.
  if (line.size() < 12 || (line.size() > 12 && line[12] != ' ')) return bad("status is malformed");
  for (const char c : line.substr(9, 3)) {
    if (c < '0' || c > '9') return bad("status is malformed");
    status_ = status_ * 10 + (c - '0');
  }
  if (status_ < 100 || status_ > 599) return bad("status is out of range");
  if (status_ == 101 && !answers_.upgrade_request) return bad("answer switches the protocol");
  const std::string_view reason = line.substr(std::min<std::size_t>(13, line.size()));
  if (!all_chars(reason, char_value)) return bad("reason phrase holds a control character");
  reason_ = span_of(reason);
  return ok;
}

HttpError ResponseHeadParser::on_field(std::string_view name, std::string_view value) {
  if (equal_ignoring_case(name, "Content-Length")) {
    if (content_length_) return bad("more than one Content-Length field");
    content_length_ = parse_length(value);
    return content_length_ ? ok : bad("Content-Length is malformed");
  }
  if (equal_ignoring_case(name, "Transfer-Encoding")) {
    if (chunked_ || !equal_ignoring_case(value, "chunked")) {
      return bad("Transfer-Encoding is not chunked");
    }
    chunked_ = true;
  } else if (equal_ignoring_case(name, "Connection")) {
    for_each_member(value, [this](std::string_view option) {
      if (equal_ignoring_case(option, "close")) connection_close_ = true;
      if (equal_ignoring_case(option, "keep-alive")) connection_keep_alive_ = true;
    });
  }
  return ok;
}

HttpError ResponseHeadParser::on_end() {
  if (chunked_ && content_length_) return bad("both Content-Length and Transfer-Encoding");
  if (chunked_ && http10_) return bad("Transfer-Encoding in HTTP/1.0");
  return ok;
}

BodyEnd ResponseHeadParser::body_end() const {
  if (status_ == 101) return BodyEnd::connection_close;  // of another protocol, but bytes
  if (answers_.head_request || status_ < 200 || status_ == 204 || status_ == 304) {
    return BodyEnd::none;
  }
  if (chunked_) return BodyEnd::chunked;
  return content_length_ ? BodyEnd::length : BodyEnd::connection_close;
}

bool ResponseHeadParser::keep_alive() const {
  return !connection_close_ && (!http10_ || connection_keep_alive_) &&
         body_end() != BodyEnd::connection_close;
}

void ResponseHeadParser::fill(const char* base, HttpResponseHead& head) const {
  STOKER_INVARIANT(state() == State::done, "head is not whole, state {}",
                   static_cast<int>(state()));
  head.status = status_;
  head.reason = reason_.in(base);
  head.content_length = content_length_;
  collect_fields(base, head.fields);
}

}  // namespace stoker::net
