// Reads the journal's files in order, while a server appends to them or after it is gone. Used by
// the SQLite ledger and by whoever wants the recorded trace (planner, replay). Never writes, takes
// no lock, and believes nothing whose checksum is wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "ledger/frame.h"
#include "ledger/record.h"
#include "ledger/sequence.h"

namespace stoker::ledger {

struct SegmentFile {
  std::uint64_t number = 0;
  std::filesystem::path path;
};

/// "0000000042.seg"
[[nodiscard]] std::filesystem::path segment_path(const std::filesystem::path& directory,
                                                 std::uint64_t number);
/// Gives:  by number, ascending; other files are ignored.   Errors: unavailable.
[[nodiscard]] Result<std::vector<SegmentFile>> list_segments(
    const std::filesystem::path& directory);

struct JournalEntry {
  Sequence sequence;
  Record record;
};

class JournalReader {
 public:
  static constexpr Sequence everything{std::numeric_limits<std::uint64_t>::max()};

  /// Begins at the oldest record still kept.
  /// Errors: not_found (no journal there), corrupt, unavailable.
  [[nodiscard]] static Result<JournalReader> open(std::filesystem::path directory);

  /// Gives:  true and the next record in `out`; false after `last`, or at the end of the journal if
  ///         `last` is `everything`. More may follow later: call again.
  /// Errors: corrupt (file and offset: a record up to `last` is damaged or missing), unavailable.
  /// Cost:   now and then one read of 256 KiB; the texts in `out` are used again.
  [[nodiscard]] Result<bool> next(JournalEntry& out, Sequence last = everything);

  /// The number that the next record has.
  [[nodiscard]] Sequence upcoming() const { return {expected_}; }

 private:
  explicit JournalReader(std::filesystem::path directory) : directory_(std::move(directory)) {}
  /// Gives: false if there is no such file or it has no header yet.
  [[nodiscard]] Result<bool> enter(std::uint64_t number);
  [[nodiscard]] std::span<const std::byte> buffered() const;
  [[nodiscard]] Result<void> fill();

  std::filesystem::path directory_;
  UniqueFd fd_;
  std::uint64_t number_ = 0;    // of the segment that is being read
  std::uint64_t offset_ = 0;    // in it, of the next frame
  std::uint64_t expected_ = 0;  // sequence of the next frame
  std::vector<std::byte> buffer_;
  std::uint64_t buffer_from_ = 0;  // offset in the file of the buffer's first byte
};

}  // namespace stoker::ledger
