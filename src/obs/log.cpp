#include "obs/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <ctime>

#include "base/json_writer.h"
#include "base/overloaded.h"
#include "base/text.h"

namespace stoker::obs {
namespace {

constexpr std::size_t line_bytes = PIPE_BUF - 1;  // and the line feed
constexpr std::size_t value_bytes = 1024;
constexpr std::size_t value_bytes_least = 16;

/// At most `limit` bytes of `text`, not ending inside a UTF-8 sequence, and whether that cut it.
std::pair<std::string_view, bool> shortened(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return {text, false};
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0U) == 0x80U) --limit;
  return {text.substr(0, limit), true};
}

bool is_plain(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
  });
}

/// JSON leaves DEL and U+0080..U+009F as they are; a terminal obeys them.
void append_terminal_safe(std::string& out, std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == 0x7f) {
      out += "\\u007f";
    } else if (byte == 0xc2 && i + 1 < text.size() &&
               static_cast<unsigned char>(text[i + 1]) < 0xa0) {
      out +=
          fmt::format("\\u00{:02x}", static_cast<unsigned>(static_cast<unsigned char>(text[++i])));
    } else {
      out += text[i];
    }
  }
}

void append_text_value(std::string& out, std::string_view text, std::size_t limit) {
  const auto [kept, cut] = shortened(text, limit);
  if (is_plain(kept) && !cut) {
    out += kept;
    return;
  }
  std::string quoted;
  append_json_string(quoted, cut ? std::string(kept) + "..." : std::string(kept));
  append_terminal_safe(out, quoted);
}

void append_value(std::string& out, const LogField::Value& value, std::size_t limit) {
  std::visit(Overloaded{[&](std::string_view text) { append_text_value(out, text, limit); },
                        [&](bool b) { out += b ? "true" : "false"; },
                        [&](auto number) { out += fmt::format("{}", number); }},
             value);
}

std::string as_logfmt(WallTime at, Level level, std::string_view event,
                      std::span<const LogField> fields, std::size_t limit) {
  std::string line = fmt::format("time={} level={} event={}", to_text(at), to_text(level), event);
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_value(line, field.value, limit);
  }
  return line;
}

std::string as_text(WallTime at, Level level, std::string_view event,
                    std::span<const LogField> fields, std::size_t limit) {
  const std::string time = to_text(at).substr(11, 12);  // HH:MM:SS.mmm of RFC 3339
  std::string line = fmt::format("{} {:<5} {:<24}", time, to_text(level), event);
  for (const LogField& field : fields) {
    const auto* const text = std::get_if<std::string_view>(&field.value);
    if (text != nullptr && text->empty()) continue;  // says nothing to a person
    line += ' ';
    line += field.key;
    line += '=';
    append_value(line, field.value, limit);
  }
  while (line.back() == ' ') line.pop_back();
  return line;
}

std::string as_json(WallTime at, Level level, std::string_view event,
                    std::span<const LogField> fields, std::size_t limit) {
  JsonWriter json;
  json.object([&] {
    json.field("time", to_text(at));
    json.field("level", to_text(level));
    json.field("event", event);
    for (const LogField& field : fields) {
      json.key(field.key);
      std::visit(Overloaded{[&](std::string_view text) {
                              const auto [kept, cut] = shortened(text, limit);
                              json.value(cut ? std::string(kept) + "..." : std::string(kept));
                            },
                            [&](auto plain) { json.value(plain); }},
                 field.value);
    }
  });
  return json.take();
}

std::string formatted(Format format, WallTime at, Level level, std::string_view event,
                      std::span<const LogField> fields, std::size_t limit) {
  switch (format) {
    case Format::text:
      return as_text(at, level, event, fields, limit);
    case Format::logfmt:
      return as_logfmt(at, level, event, fields, limit);
    case Format::json:
      break;
  }
  return as_json(at, level, event, fields, limit);
}

}  // namespace

const char* to_text(Level level) {
  switch (level) {
    case Level::debug:
      return "debug";
    case Level::info:
      return "info";
    case Level::warn:
      return "warn";
    case Level::error:
      break;
  }
  return "error";
}

std::string format_line(Format format, WallTime at, Level level, std::string_view event,
                        LogFields fields) {
  std::span<const LogField> kept(fields.begin(), fields.size());
  std::size_t limit = value_bytes;
  std::string line = formatted(format, at, level, event, kept, limit);
  // Shorter values first, since every field says something; only then fewer fields.
  while (line.size() > line_bytes && limit > value_bytes_least) {
    limit /= 2;
    line = formatted(format, at, level, event, kept, limit);
  }
  while (line.size() > line_bytes && !kept.empty()) {
    kept = kept.first(kept.size() - 1);
    line = formatted(format, at, level, event, kept, limit);
  }
  return line;
}

Format default_format(int fd) {
  return ::isatty(fd) == 1 ? Format::text : Format::logfmt;
}

WallTime wall_now() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return {std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec};
}

void Logger::write(Level level, std::string_view event, LogFields fields) noexcept {
  if (!writes(level)) return;
  std::string line = format_line(options_.format, options_.now(), level, event, fields);
  line += '\n';
  ssize_t written = -1;
  do {
    written = ::write(options_.fd, line.data(), line.size());
  } while (written < 0 && errno == EINTR);
  // A rest is not sent after it: another thread's line may already stand between.
  if (written != static_cast<ssize_t>(line.size())) {
    lost_lines_.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace stoker::obs
