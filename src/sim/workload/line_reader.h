// Lines of a file, one at a time, through one buffer: files of many gigabytes are fine.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace stoker::sim {

class LineReader {
 public:
  /// So many bytes after each line may be read (they mean nothing): simdjson wants it.
  static constexpr std::size_t padding = 64;
  /// A longer line is no line of a trace.
  static constexpr std::size_t longest_line = std::size_t{64} << 20;

  [[nodiscard]] static Result<LineReader> open(std::string path);
  /// Sets `line` to the next line that is not blank, without its end (LF or CRLF). It is valid
  /// until the next call.   Gives: false at the end of the file.
  [[nodiscard]] Result<bool> next(std::string_view& line);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::int64_t line_number() const { return line_number_; }
  /// The last line had no end: whoever wrote the file may have died in the middle of it.
  [[nodiscard]] bool cut_off() const { return cut_off_; }
  /// An Error of the line that was read last: "FILE:LINE: what".
  [[nodiscard]] tl::unexpected<Error> wrong(std::string_view what, std::string hint = {}) const;

 private:
  [[nodiscard]] Result<bool> fill();  // gives: false at the end of the file

  std::string path_;
  UniqueFd fd_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;  // of what was not handed out yet
  std::size_t end_ = 0;
  std::int64_t line_number_ = 0;
  bool cut_off_ = false;
};

}  // namespace stoker::sim
