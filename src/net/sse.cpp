#include "net/sse.h"

#include <cstring>

namespace stoker::net {

void SseFramer::feed(std::string_view chunk) {
  chunk_ = chunk;
}

/// Looks for the empty line that ends the event which `bytes` begin with, from where the last look
/// ended. Gives true with scanned_ = size of the event.
bool SseFramer::find_end(std::string_view bytes) {
  while (scanned_ < bytes.size()) {
    const void* found = std::memchr(bytes.data() + scanned_, '\n', bytes.size() - scanned_);
    if (found == nullptr) {
      scanned_ = bytes.size();
      return false;
    }
    const auto newline = static_cast<std::size_t>(static_cast<const char*>(found) - bytes.data());
    const std::string_view line = bytes.substr(line_start_, newline - line_start_);
    scanned_ = line_start_ = newline + 1;
    if (line.empty() || line == "\r") return true;
  }
  return false;
}

SseFramer::Next SseFramer::next(SseEvent& event) {
  if (failed_) return Next::too_large;
  if (clear_carry_) {
    carry_.clear();
    clear_carry_ = false;
  }
  const std::size_t carried = carry_.size();
  std::string_view bytes = chunk_;
  if (carried > 0) {
    // Only up to what the limit allows, so that a peer cannot make us copy without end.
    carry_.append(chunk_.substr(0, max_event_bytes_ + 1 - carried));
    bytes = carry_;
  }
  const bool whole = find_end(bytes);
  if (whole ? scanned_ > max_event_bytes_ : bytes.size() > max_event_bytes_) {
    failed_ = true;
    return Next::too_large;
  }
  if (!whole) {
    if (carried == 0) carry_.assign(chunk_);
    chunk_ = {};
    return Next::need_more;
  }
  const std::size_t size = scanned_;
  chunk_.remove_prefix(size - carried);
  if (carried > 0) {
    carry_.resize(size);
    bytes = carry_;
    clear_carry_ = true;
  }
  scanned_ = line_start_ = 0;
  parse(bytes.substr(0, size), event);
  return Next::event;
}

void SseFramer::parse(std::string_view raw, SseEvent& event) {
  event = {};
  event.raw = raw;
  event.comment_only = true;
  while (!raw.empty()) {
    const std::size_t newline = raw.find('\n');  // there is one: raw ends with an empty line
    std::string_view line = raw.substr(0, newline);
    raw.remove_prefix(newline + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!line.empty()) parse_line(line, event);
  }
}

void SseFramer::parse_line(std::string_view line, SseEvent& event) {
  const std::size_t colon = line.find(':');
  const std::string_view field = line.substr(0, colon);
  std::string_view value = colon == line.npos ? std::string_view{} : line.substr(colon + 1);
  if (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  if (colon == 0) {
    if (event.comment.data() == nullptr) event.comment = value;
    return;
  }
  event.comment_only = false;
  if (field == "event") {
    event.name = value;
  } else if (field == "data") {
    if (event.has_data) {
      if (event.data.data() != joined_data_.data()) joined_data_.assign(event.data);
      joined_data_.append(1, '\n').append(value);
      event.data = joined_data_;
    } else {
      event.data = value;
      event.has_data = true;
    }
  }
}

}  // namespace stoker::net
