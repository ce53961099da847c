// Log lines: one event name and its fields, one line, one write(2). Event names are nouns and past
// or present participles, stable like an API. A Logger is passed by reference; there is no global
// one. Must never throw, never block on anything but its descriptor, and never be handed prompts,
// outputs or keys.
//
//   log.info("instance_ready", {{"instance", name}, {"load_ms", whole_ms(load)}});
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/units.h"

namespace stoker::obs {

/// error: a person must act; warn: degraded; info: a state changed; debug: for its developers.
enum class Level : std::uint8_t { debug, info, warn, error };
/// text: short and aligned, without empty fields, for a person at a terminal; logfmt: key=value;
/// json: an object a line.
enum class Format : std::uint8_t { text, logfmt, json };

/// One key with a value. A view: strings must outlive the call that it is passed to.
struct LogField {
  using Value = std::variant<std::string_view, std::int64_t, std::uint64_t, double, bool>;

  constexpr LogField(std::string_view name, std::string_view text) : key(name), value(text) {}
  constexpr LogField(std::string_view name, const char* text)
      : key(name), value(std::string_view(text)) {}
  LogField(std::string_view name, const std::string& text)
      : key(name), value(std::string_view(text)) {}
  constexpr LogField(std::string_view name, bool b) : key(name), value(b) {}
  constexpr LogField(std::string_view name, double number) : key(name), value(number) {}
  template <std::signed_integral Integer>
  constexpr LogField(std::string_view name, Integer number)
      : key(name), value(std::int64_t{number}) {}
  template <std::unsigned_integral Integer>
    requires(!std::same_as<Integer, bool>)
  constexpr LogField(std::string_view name, Integer number)
      : key(name), value(std::uint64_t{number}) {}
  template <class Tag>
  constexpr LogField(std::string_view name, Id<Tag> id) : key(name), value(id.value) {}

  std::string_view key;  // [a-z0-9_]+, the unit last: "queued_ms"
  Value value;
};
using LogFields = std::initializer_list<LogField>;

/// The line without its line feed. Control characters and quotes in values are escaped, bytes that
/// are not UTF-8 become U+FFFD, so that a value cannot forge a line or a field.
[[nodiscard]] std::string format_line(Format format, WallTime at, Level level,
                                      std::string_view event, LogFields fields);
/// text on a terminal, logfmt elsewhere.
[[nodiscard]] Format default_format(int fd);
[[nodiscard]] WallTime wall_now();
[[nodiscard]] const char* to_text(Level level);

class Logger {
 public:
  struct Options {
    int fd = 2;  // not owned
    Level level = Level::info;
    Format format = Format::logfmt;
    WallTime (*now)() = &wall_now;
  };

  explicit Logger(Options options) : options_(options) {}
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  void debug(std::string_view event, LogFields fields = {}) noexcept {
    write(Level::debug, event, fields);
  }
  void info(std::string_view event, LogFields fields = {}) noexcept {
    write(Level::info, event, fields);
  }
  void warn(std::string_view event, LogFields fields = {}) noexcept {
    write(Level::warn, event, fields);
  }
  void error(std::string_view event, LogFields fields = {}) noexcept {
    write(Level::error, event, fields);
  }

  /// For callers that would have to compute a field first.
  [[nodiscard]] bool writes(Level level) const noexcept { return level >= options_.level; }
  /// Threads: any. Lines of at most PIPE_BUF bytes never mix on a pipe; longer values are cut.
  void write(Level level, std::string_view event, LogFields fields) noexcept;
  /// Lines that the descriptor would not take (full and non-blocking, closed, disk full).
  [[nodiscard]] std::uint64_t lost_lines() const noexcept {
    return lost_lines_.load(std::memory_order_relaxed);
  }

 private:
  Options options_;
  std::atomic<std::uint64_t> lost_lines_ = 0;
};

}  // namespace stoker::obs
