// Cuts a stream of bytes into server-sent events, for relaying them: an event is given back as the
// bytes that came (to be sent on unchanged) and as its parsed parts (to look into).
// Lines end in LF or CRLF, also mixed; an event ends with an empty line. Must never do I/O.
// Source: HTML Living Standard 9.2.5. A lone CR as line end, which that text also allows and no
// engine sends, is not recognised.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace stoker::net {

/// One event. Views are valid until the next call of feed() or next().
struct SseEvent {
  std::string_view raw;      // all bytes of the event with its closing empty line
  std::string_view data;     // values of its `data` fields, joined with '\n'
  std::string_view name;     // value of its last `event` field; empty if none
  std::string_view comment;  // text of its first comment line, after ':' and one space
  bool has_data = false;
  bool comment_only = false;  // no fields at all: comments, or nothing but the empty line
};

class SseFramer {
 public:
  enum class Next { event, need_more, too_large };

  static constexpr std::size_t default_event_bytes = std::size_t{1} << 20;
  explicit SseFramer(std::size_t max_event_bytes = default_event_bytes)
      : max_event_bytes_(max_event_bytes) {}

  /// Hands over the next bytes of the stream. They must stay valid until next() said need_more,
  /// which must have been said of the chunk before.
  /// Cost: copies only the bytes of an event that began in an earlier chunk or is not over yet.
  void feed(std::string_view chunk);
  /// Gives the next whole event, or says that more bytes are needed. After too_large (an event
  /// beyond the limit) it says too_large for ever.
  Next next(SseEvent& event);
  /// Bytes of an event that has begun and not ended; not empty at the end of a stream that was cut.
  /// Needs: next() said need_more.
  [[nodiscard]] std::string_view unfinished() const { return carry_; }

 private:
  bool find_end(std::string_view bytes);
  void parse(std::string_view raw, SseEvent& event);
  void parse_line(std::string_view line, SseEvent& event);

  std::size_t max_event_bytes_;
  std::string_view chunk_;      // not yet given back
  std::string carry_;           // event that began in an earlier chunk
  std::size_t scanned_ = 0;     // bytes of the current event known to hold no end
  std::size_t line_start_ = 0;  // start of its current line
  std::string joined_data_;     // for events with more than one data line
  bool clear_carry_ = false;    // the event given last lay in carry_
  bool failed_ = false;
};

}  // namespace stoker::net
