// Words of HTTP/1.1 that server, client and parser share. Plain data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"

namespace stoker::net {

/// One header field; views into memory that the owner of the list names.
struct Field {
  std::string_view name;   // as received
  std::string_view value;  // without surrounding white space
};

/// Header fields of a message that came in. Look-ups ignore the case of names (RFC 9110 5.1).
class Fields {
 public:
  void clear() { fields_.clear(); }
  void add(std::string_view name, std::string_view value) { fields_.push_back({name, value}); }
  /// First field of that name, nullopt if none.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view name) const;
  [[nodiscard]] auto begin() const { return fields_.begin(); }
  [[nodiscard]] auto end() const { return fields_.end(); }
  [[nodiscard]] std::size_t size() const { return fields_.size(); }

 private:
  std::vector<Field> fields_;
};

/// Limits of what a peer may send, checked before anything is buffered.
/// Sources of the defaults: RELIABILITY.md 2.
struct HttpLimits {
  std::size_t start_line_bytes = 8 << 10;       // beyond: 414
  std::size_t header_block_bytes = 32 << 10;    // beyond: 431
  std::size_t header_fields = 100;              // beyond: 431
  std::size_t body_bytes = 32 << 20;            // beyond: 413
  std::size_t chunks = 65536;                   // beyond: 400
  std::size_t chunk_extension_bytes = 4 << 10;  // all extensions of a body together; beyond: 400
  Duration header_timeout = seconds(10);        // whole header, absolute; beyond: 408
  Duration body_idle_timeout = seconds(10);     // beyond: 408
  std::size_t body_min_bytes_per_s = 1024;      // on average after 5 s; below: 408
  Duration keep_alive_timeout = seconds(75);    // idle connection is closed
  /// Beyond: nobody is let in until one goes, and idle ones go after a second.
  std::size_t max_connections = std::numeric_limits<std::size_t>::max();
  /// Unsent bytes of an answer beyond which its source is paused. With the read that goes beyond it
  /// (64 KiB) a stalled reader costs less than 256 KiB.
  std::size_t write_buffer_bytes = 128 << 10;
  Duration write_stall_timeout = seconds(30);  // no progress for so long: connection is aborted
};

/// A request as received. All views are valid until the exchange has ended.
struct HttpRequest {
  std::string_view method;
  std::string_view target;  // as received
  std::string_view path;    // target without query; percent-encoding untouched
  std::string_view query;   // without '?'
  bool http10 = false;
  bool upgrade = false;  // to a WebSocket: no other protocol comes this far
  Fields fields;
  std::string_view body;  // whole; chunked coding undone
};

/// Status line and fields of an answer, head only.
struct HttpResponseHead {
  int status = 0;
  std::string_view reason;
  Fields fields;
  std::optional<std::uint64_t>
      content_length;  // nullopt: chunked, or until the end of the connection
};

[[nodiscard]] bool equal_letters(const char* a, const char* b, std::size_t size);
/// Most names differ in length or in their first letter, which is told here without a call.
[[nodiscard]] inline bool equal_ignoring_case(std::string_view a, std::string_view b) {
  constexpr int letter_case = 0x20;
  return a.size() == b.size() && (a.empty() || (((a.front() ^ b.front()) & ~letter_case) == 0 &&
                                                equal_letters(a.data(), b.data(), a.size())));
}
/// Fields that decide where a request ends or goes: Content-Length, Transfer-Encoding, Host.
[[nodiscard]] bool decides_end_or_host(std::string_view name);
[[nodiscard]] std::string_view reason_phrase(int status);
/// Undoes percent-encoding; nullopt for a malformed escape or an encoded NUL.
[[nodiscard]] std::optional<std::string> percent_decode(std::string_view text);
/// Value of `name` in a query string, percent-decoded; nullopt if absent or malformed.
[[nodiscard]] std::optional<std::string> query_value(std::string_view query, std::string_view name);

}  // namespace stoker::net
