// The one journal: what was promised and what became of it, in order, on disk.
//
// Admissions and endings are appended here before the last byte of an answer goes out; SQLite, the
// recorded trace and recovery after a crash all read from it. A record is in the kernel when
// append() returns (the segment file is mapped MAP_SHARED), so no `kill -9` loses it. A background
// thread syncs, prepares the next segment ahead and deletes segments nobody needs.
//
// An admission reserves room for its ending: with a full disk new work is refused, and running work
// can always be ended. A failed sync is fatal: the kernel may have dropped the pages, so nothing
// that is tried again can be believed. The journal then refuses everything and says so once.
//
// Must never hold prompts or outputs.   Format: ledger/frame.h.   Source: DESIGN.md 4.11.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "ledger/file_io.h"
#include "ledger/record.h"
#include "ledger/sequence.h"

namespace stoker::ledger {

enum class Durability : std::uint8_t {
  process,  // a killed process loses nothing; a power cut loses at most `sync_interval`
  disk,     // durable means synced: many records share one fdatasync
};

struct JournalOptions {
  std::filesystem::path directory;  // state_dir/journal; created 0700
  Durability durability = Durability::process;
  Duration sync_interval = ms(40);             // process mode; under the promised 50 ms
  Bytes segment_size = mib(16);                // 64 KiB .. 1 GiB
  std::uint32_t keep_segments = 8;             // full ones kept for the recorded trace
  std::uint32_t prepared_segments = 2;         // empty ones kept ready ahead
  Duration space_retry_interval = seconds(1);  // how often a full disk is tried again
};

/// What a start found. `open_instances` may have left processes: the caller looks for them.
struct Recovered {
  std::uint64_t interrupted_requests = 0;     // ended as `interrupted` by this start
  std::vector<InstanceStart> open_instances;  // started, never ended, in order of start
  std::uint64_t torn_bytes = 0;               // cut off at the tail: a record half written
  std::string torn_at;                        // "FILE at OFFSET", empty if nothing was cut
};

struct JournalStats {
  Sequence appended;                // last record
  Sequence synced;                  // last record known to be on the disk
  std::uint64_t open_requests = 0;  // admitted, not ended
  std::uint64_t segments = 0;       // files, the prepared ones included
  std::uint64_t refused = 0;        // admissions refused for want of space, ever
  bool failed = false;              // a sync failed: the process must end
};

class Journal {
 public:
  /// Called once with the error that ended the journal, from any thread, with no lock held. The
  /// process must then exit non-zero: only a new start, which reads the disk again, may go on.
  using OnFatal = std::function<void(const Error&)>;
  using OnDurable = std::function<void(const Result<void>&)>;

  /// Opens or creates the journal: cuts a torn tail, ends what earlier lives left open (outcome
  /// `interrupted`, at `start.at`), appends `start`, and syncs. Crashing in here any number of
  /// times changes nothing about the result.
  /// Needs:  the lock of the state directory (StateDir) is held; `io` outlives the journal.
  /// Errors: corrupt (file and offset: a synced record is damaged), no_capacity, unavailable.
  [[nodiscard]] static Result<std::unique_ptr<Journal>> open(JournalOptions options,
                                                             const ServerStart& start,
                                                             OnFatal on_fatal,
                                                             FileIo& io = real_file_io());
  /// Syncs what is left and stops the background thread. Pending on_durable calls are made first.
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  [[nodiscard]] const Recovered& recovered() const;

  /// Gives:   the record's number; the bytes are in the kernel.
  /// Errors:  no_capacity (an admission or instance record without room; the ending of an admitted
  ///          request always has room), invalid (a request that is admitted twice or ended without
  ///          being open), unavailable (after a fatal failure). Nothing was written then.
  /// Threads: any.
  /// Cost:    a copy under a short lock, no system call but one wake-up per sync interval.
  [[nodiscard]] Result<Sequence> append(const Admission& admission);
  [[nodiscard]] Result<Sequence> append(const Usage& ending);
  [[nodiscard]] Result<Sequence> append(const InstanceEnd& end);
  [[nodiscard]] Result<Sequence> append(const Dispatch& dispatch);
  /// The intent, synced to disk before this returns in either mode: the spawn comes after it.
  /// Cost: a disk sync; never on an event loop.
  [[nodiscard]] Result<Sequence> append_synced(const InstanceStart& start);

  /// Calls `then` once `record` is as durable as the mode promises: in process mode at once on the
  /// calling thread; in disk mode at once if it is synced already, else from the journal's thread
  /// after the group sync, or with the error if that failed.
  /// Threads: any; never blocks.
  void when_durable(Sequence record, OnDurable then);

  /// Waits until everything appended before the call is on the disk, whatever the mode.
  [[nodiscard]] Result<void> sync();

  /// The reader of the journal (SQLite) has safely stored everything up to `record`: older segments
  /// may go. Nothing is deleted before the first call.
  void release(Sequence record);
  /// Waits until something after `record` is synced. Gives: the last synced number; not larger than
  /// `record` if `stop` was requested or the journal has failed.
  [[nodiscard]] Sequence wait_synced_after(Sequence record, std::stop_token stop);

  /// Admitted and not ended.   Threads: any.
  [[nodiscard]] bool is_open(RequestId request) const;
  [[nodiscard]] JournalStats stats() const;
  [[nodiscard]] const std::filesystem::path& directory() const;

 private:
  class Impl;
  explicit Journal(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::ledger
