// One segment file of the journal, mapped for writing. All of its blocks are allocated before it is
// used, so that a store into it never meets a full disk; appending is a copy.
//
// Threads: append() and start() under the journal's lock; sync(), mark(), populate_ahead() and
// release_behind() from the journal's thread beside them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

#include "base/result.h"
#include "base/unique_fd.h"
#include "ledger/codec.h"
#include "ledger/file_io.h"
#include "ledger/sequence.h"

namespace stoker::ledger {

class Segment {
 public:
  /// Makes the file (or makes it anew), allocates and syncs it. It holds zeros: no header yet.
  /// Errors: no_capacity (disk full: nothing is left behind), unavailable.
  [[nodiscard]] static Result<std::unique_ptr<Segment>> create(FileIo& io,
                                                               std::filesystem::path path,
                                                               std::uint64_t number,
                                                               std::size_t size_bytes);
  /// Maps a file that recovery has read; appending goes on at `end_bytes` (0: it has no header).
  [[nodiscard]] static Result<std::unique_ptr<Segment>> reopen(FileIo& io,
                                                               std::filesystem::path path,
                                                               std::uint64_t number,
                                                               std::size_t end_bytes);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  /// Writes the header.   Needs: the segment is empty.
  void start(Sequence first);
  /// Needs: a frame of this payload fits rest_bytes().
  void append(Sequence sequence, const Payload& payload);
  /// Clears what a crash left behind the last whole record.
  void clear_tail(std::size_t torn_end_bytes);
  /// Makes the kernel take every page for changed, so that the next sync writes it.
  void write_again();

  [[nodiscard]] Result<void> sync(FileIo& io);
  /// Writes down that everything up to `synced` is on the disk. Synced itself by the next sync().
  void mark(Sequence synced);
  /// Takes the page faults of the next `bytes` of appending here and now. A synced page is
  /// write-protected again, and a store into one costs ~16 us instead of ~10 ns.
  void populate_ahead(std::size_t bytes) const;
  /// Whole pages behind the end leave this process's memory; they stay in the file, and in the
  /// kernel's cache of it.
  void release_behind();

  [[nodiscard]] std::size_t rest_bytes() const {
    return size_ - end_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::size_t size_bytes() const { return size_; }
  [[nodiscard]] std::uint64_t number() const { return number_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  Segment(std::filesystem::path path, std::uint64_t number, UniqueFd fd, std::byte* bytes,
          std::size_t size);

  std::filesystem::path path_;
  std::uint64_t number_;
  UniqueFd fd_;
  std::byte* bytes_;
  std::size_t size_;
  std::size_t released_ = 0;         // pages up to here
  std::atomic<std::size_t> end_{0};  // written under the lock; populate_ahead() reads it without
};

}  // namespace stoker::ledger
