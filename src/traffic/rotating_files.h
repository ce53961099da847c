// A bounded row of files of lines: traffic-0000000001.jsonl and so on. One is appended to until it
// is full; the oldest go when all together hold too much. Each life of the server begins a new one,
// so that nothing is ever appended behind a line that a crash cut in two. Nothing is synced.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "base/units.h"
#include "ledger/file_io.h"

namespace stoker::traffic {

class RotatingFiles {
 public:
  struct Options {
    std::filesystem::path directory;  // made with mode 0700 when the first file is
    Bytes file_size;
    Bytes total_size;  // of all files.   Needs: at least file_size
  };
  /// Most files, however small: a server that is started again and again makes many.
  static constexpr std::size_t most_files = 1000;

  /// Looks at what earlier lives left; changes nothing yet.   Needs: `io` outlives it.
  explicit RotatingFiles(Options options, ledger::FileIo& io = ledger::real_file_io());

  /// Whether so many more bytes want begin() first: there is no file, or it would be too large.
  [[nodiscard]] bool wants_new(std::size_t more_bytes) const;
  /// Begins the next file with `head`, its first line, and deletes the oldest ones.
  /// Errors: unavailable, no_capacity: there is no file then, and nothing is left of a new one.
  [[nodiscard]] Result<void> begin(std::string_view head);
  /// Needs: whole lines, and a file.   Errors: as above; the last line in the file may be cut.
  [[nodiscard]] Result<void> append(std::string_view lines);

  /// The newest first.
  [[nodiscard]] std::vector<std::filesystem::path> paths() const;

 private:
  struct File {
    std::uint64_t number = 0;
    std::int64_t size = 0;
  };
  [[nodiscard]] std::filesystem::path path_of(std::uint64_t number) const;
  void delete_old();

  Options options_;
  ledger::FileIo& io_;
  std::deque<File> files_;  // the oldest first; the last is written to while fd_ is open
  UniqueFd fd_;
};

}  // namespace stoker::traffic
