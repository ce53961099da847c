// The inside of Journal, over three files: journal_open.cpp takes over what an earlier life left,
// journal.cpp appends and waits, journal_thread.cpp syncs, prepares and deletes.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "ledger/codec.h"
#include "ledger/journal.h"
#include "ledger/recovery.h"
#include "ledger/segment.h"

namespace stoker::ledger {

// The lock guards everything below it. It is held for copies and small maps only, never for I/O;
// the thread (and open(), before there is one) lets go of it to touch the disk.
class Journal::Impl {
 public:
  Impl(JournalOptions options, OnFatal on_fatal, FileIo& io)
      : options_(std::move(options)), on_fatal_(std::move(on_fatal)), io_(io) {}
  ~Impl();

  Result<void> start(const ServerStart& start);

  Result<Sequence> append(const Admission& admission);
  Result<Sequence> append(const Usage& ending);
  Result<Sequence> append(const InstanceStart& start);
  Result<Sequence> append(const InstanceEnd& end);
  Result<Sequence> append(const Dispatch& dispatch);
  void when_durable(Sequence record, OnDurable then);
  Result<void> sync();
  void release(Sequence record);
  Sequence wait_synced_after(Sequence record, std::stop_token stop);
  bool is_open(RequestId request) const;
  JournalStats stats() const;
  const Recovered& recovered() const { return recovered_; }
  const std::filesystem::path& directory() const { return options_.directory; }

 private:
  using Lock = std::unique_lock<std::mutex>;
  struct Known {  // a segment with records
    std::filesystem::path path;
    // The last of its records and of the endings of its admissions: whoever starts to read anew
    // before that ending needs the admission.
    Sequence needed_until;
    std::size_t open_requests = 0;
  };

  Result<void> make_directory();
  Result<void> take_over(Lock& lock, RecoveryScan scan);
  Result<void> open_tail(const RecoveryScan& scan);
  Result<void> drop_leftovers(const RecoveryScan& scan);
  Result<void> end_open_requests(Lock& lock, WallTime at);

  [[nodiscard]] bool fits(std::size_t frame, std::size_t endings_after) const;
  Sequence put(const Payload& payload);
  Error no_room();
  bool told_already();

  void run();
  Result<void> sync_round(Lock& lock);
  Result<void> prepare_segments(Lock& lock);
  Result<void> delete_old(Lock& lock);
  Result<bool> carry_instances(Lock& lock, std::uint64_t segment);
  void fail(Lock& lock, Error error);

  const JournalOptions options_;
  const OnFatal on_fatal_;
  FileIo& io_;
  Recovered recovered_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;  // the thread waits here for something to do
  std::condition_variable_any synced_changed_;
  bool work_ = false;    // the thread has been told
  bool urgent_ = false;  // ... and is not to wait for more
  bool stop_ = false;
  std::optional<Error> failed_;
  std::optional<Error> space_;  // why the next segment could not be prepared

  std::shared_ptr<Segment> current_;
  std::vector<std::shared_ptr<Segment>> retired_;  // full, not synced yet
  std::deque<std::shared_ptr<Segment>> prepared_;
  std::uint64_t next_number_ = 1;         // of the next segment to prepare
  std::map<std::uint64_t, Known> known_;  // by number; the current one is the last
  OpenWork open_;
  Sequence appended_;
  Sequence synced_;
  Sequence released_;
  std::uint64_t refused_ = 0;
  std::size_t appended_bytes_ = 0;                       // since the last sync round
  std::vector<std::pair<Sequence, OnDurable>> waiting_;  // disk mode, in order of arrival

  std::thread thread_;
};

}  // namespace stoker::ledger
