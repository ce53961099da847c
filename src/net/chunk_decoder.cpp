#include <algorithm>

#include "net/http_chars.h"
#include "net/http_parser.h"

namespace stoker::net {
namespace {

constexpr HttpError ok{};
constexpr HttpError bad(const char* message) {
  return {400, message};
}

constexpr int max_size_digits = 16;              // 2^64 - 1
constexpr std::size_t max_size_line_bytes = 64;  // with extension, without CR LF
constexpr std::size_t max_trailer_bytes = 8 << 10;

constexpr HttpError malformed_extension = bad("chunk extension is malformed");

/// What may stand between quotes: RFC 9112 would allow tabs and bytes from 0x80 on too.
bool is_quotable(char byte) {
  return byte == ' ' || (byte > ' ' && byte < 0x7f);
}

}  // namespace

void ChunkDecoder::reset() {
  part_ = Part::size_start;
  size_digits_ = 0;
  line_bytes_ = extension_bytes_ = chunks_ = name_bytes_ = 0;
  empty_ = true;
  left_ = total_ = 0;
  error_ = {};
}

ChunkDecoder::State ChunkDecoder::fail(HttpError error) {
  error_ = error;
  part_ = Part::failed;
  return State::failed;
}

ChunkDecoder::State ChunkDecoder::next(std::string_view& input, std::string_view& data) {
  if (part_ == Part::failed) return State::failed;
  while (part_ != Part::end && !input.empty()) {
    if (part_ == Part::data) {
      const std::size_t taken =
          left_ < input.size() ? static_cast<std::size_t>(left_) : input.size();
      data = input.substr(0, taken);
      input.remove_prefix(taken);
      left_ -= taken;
      if (left_ == 0) part_ = Part::data_cr;
      return State::data;
    }
    const HttpError error = step(input.front());
    if (error.status != 0) return fail(error);
    input.remove_prefix(1);
  }
  return part_ == Part::end ? State::end : State::need_more;
}

HttpError ChunkDecoder::step(char byte) {
  switch (part_) {
    case Part::size_start:
    case Part::size:
    case Part::extension_name:
    case Part::extension_value:
    case Part::extension_quoted:
    case Part::extension_escaped:
    case Part::extension_end:
    case Part::size_lf:
      return step_size(byte);
    case Part::data_cr:
      if (byte != '\r') return bad("chunk is longer than its size");
      part_ = Part::data_lf;
      return ok;
    case Part::data_lf:
      if (byte != '\n') return bad("chunk is longer than its size");
      part_ = Part::size_start;
      return ok;
    default:
      return step_trailer(byte);
  }
}

HttpError ChunkDecoder::step_size(char byte) {
  if (part_ == Part::size_start) {
    size_digits_ = 0;
    line_bytes_ = 0;
    left_ = 0;
    part_ = Part::size;
  }
  if (part_ == Part::size_lf) return byte == '\n' ? end_of_size() : bad("CR without LF");
  if (byte == '\r') {
    if (size_digits_ == 0) return bad("chunk size is missing");
    if (part_ != Part::size && part_ != Part::extension_end && empty_) return malformed_extension;
    part_ = Part::size_lf;
    return ok;
  }
  if (++line_bytes_ > max_size_line_bytes) return bad("chunk size line is too long");
  if (part_ != Part::size) return step_extension(byte);
  if (byte == ';' && size_digits_ > 0) {
    part_ = Part::extension_name;
    empty_ = true;
    return ok;
  }
  const int digit = hex_digit(byte);
  if (digit < 0 || ++size_digits_ > max_size_digits) return bad("chunk size is malformed");
  left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
  return ok;
}

/// token [ "=" ( token / quoted-string ) ], without the white space that RFC 9112 7.1.1 tolerates.
/// In a quoted value `empty_` stays true, so that it cannot end in the middle.
HttpError ChunkDecoder::step_extension(char byte) {
  if (++extension_bytes_ > limits_.chunk_extension_bytes) return bad("too many chunk extensions");
  switch (part_) {
    case Part::extension_quoted:
      if (byte == '"') part_ = Part::extension_end;
      if (byte == '\\') part_ = Part::extension_escaped;
      return is_quotable(byte) ? ok : malformed_extension;
    case Part::extension_escaped:
      part_ = Part::extension_quoted;
      return is_quotable(byte) ? ok : malformed_extension;
    case Part::extension_end:
      if (byte != ';') return malformed_extension;
      part_ = Part::extension_name;
      empty_ = true;
      return ok;
    default:
      break;
  }
  if (is_char(byte, char_token)) {
    empty_ = false;
    return ok;
  }
  if (byte == '"' && part_ == Part::extension_value && empty_) {
    part_ = Part::extension_quoted;
    return ok;
  }
  if (empty_ || (byte != ';' && (byte != '=' || part_ == Part::extension_value))) {
    return malformed_extension;
  }
  part_ = byte == ';' ? Part::extension_name : Part::extension_value;
  empty_ = true;
  return ok;
}

/// The limit of the whole body is checked when a chunk is announced, before any byte of it.
HttpError ChunkDecoder::end_of_size() {
  line_bytes_ = 0;
  if (left_ == 0) {
    part_ = Part::trailer_start;
    return ok;
  }
  if (++chunks_ > limits_.chunks) return bad("too many chunks");
  if (left_ > limits_.body_bytes - total_) return {413, "request body is too large"};
  total_ += left_;
  part_ = Part::data;
  return ok;
}

HttpError ChunkDecoder::step_trailer(char byte) {
  if (++line_bytes_ > max_trailer_bytes) return {431, "trailer is too large"};
  switch (part_) {
    case Part::trailer_start:
      if (byte == '\r') {
        part_ = Part::end_lf;
        return ok;
      }
      part_ = Part::trailer_name;
      name_bytes_ = 0;
      [[fallthrough]];
    case Part::trailer_name:
      if (byte == ':' && name_bytes_ > 0) {
        part_ = Part::trailer_value;
        const std::string_view name(name_.data(), std::min(name_bytes_, name_.size()));
        return name_bytes_ <= name_.size() && decides_end_or_host(name)
                   ? bad("trailer field belongs in the header")
                   : ok;
      }
      if (name_bytes_ < name_.size()) name_[name_bytes_] = byte;
      ++name_bytes_;
      return is_char(byte, char_token) ? ok : bad("trailer field name is malformed");
    case Part::trailer_value:
      if (byte == '\r') {
        part_ = Part::trailer_lf;
        return ok;
      }
      return is_char(byte, char_value) ? ok : bad("trailer field holds a control character");
    case Part::trailer_lf:
      part_ = Part::trailer_start;
      return byte == '\n' ? ok : bad("CR without LF");
    default:
      part_ = Part::end;
      return byte == '\n' ? ok : bad("CR without LF");
  }
}

}  // namespace stoker::net
