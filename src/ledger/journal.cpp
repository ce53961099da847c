#include "ledger/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/invariant.h"
#include "ledger/codec.h"
#include "ledger/frame.h"
#include "ledger/recovery.h"
#include "ledger/segment.h"

namespace stoker::ledger {
namespace {

constexpr std::size_t least_populated_bytes = 64 * 1024;
constexpr std::size_t most_populated_bytes = 2 * 1024 * 1024;

/// How many endings fit for certain into so many bytes.
constexpr std::size_t endings_in(std::size_t bytes) {
  return bytes / max_ending_frame_bytes;
}

Error not_open(const char* what, std::uint64_t id) {
  return {ErrorCode::invalid,
          fmt::format("{} {} is not open: it was never begun, or has ended", what, id),
          {}};
}

}  // namespace

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

// --- Opening -----------------------------------------------------------------------------------

Result<void> Journal::Impl::make_directory() {
  if (io_.mkdir(options_.directory.c_str(), 0700) == 0) {
    return sync_directory(io_, directory().parent_path());
  }
  if (errno == EEXIST) return {};
  return tl::unexpected(errno_error(fmt::format("cannot create {}", directory().native())));
}

Result<void> Journal::Impl::start(const ServerStart& start) {
  if (Result<void> made = make_directory(); !made) return made;
  Result<RecoveryScan> scan =
      scan_for_recovery(directory(), static_cast<std::size_t>(options_.segment_size.value));
  if (!scan) return tl::unexpected(std::move(scan.error()));

  Lock lock(mutex_);
  if (Result<void> taken = take_over(lock, std::move(*scan)); !taken) return taken;
  if (Result<void> ended = end_open_requests(lock, start.at); !ended) return ended;
  Payload payload;
  if (Result<void> encoded = encode(start, payload); !encoded) return encoded;
  if (!fits(frame_bytes(payload.size), open_.size())) return tl::unexpected(no_room());
  put(payload);
  if (Result<void> synced = sync_round(lock); !synced) return synced;
  thread_ = std::thread([this] { run(); });
  return {};
}

Result<void> Journal::Impl::take_over(Lock& lock, RecoveryScan scan) {
  if (Result<void> dropped = drop_leftovers(scan); !dropped) return dropped;
  appended_ = synced_ = scan.last;
  for (const ScannedSegment& segment : scan.segments) {
    known_[segment.file.number] = {segment.file.path, scan.last, 0};
  }
  for (const auto& [request, segment] : scan.open.requests) ++known_[segment].open_requests;
  for (const auto& [key, instance] : scan.open.instances) {
    recovered_.open_instances.push_back(instance.start);
  }
  std::ranges::stable_sort(recovered_.open_instances, {}, &InstanceStart::at);
  if (!scan.segments.empty()) {
    if (Result<void> opened = open_tail(scan); !opened) return opened;
  }
  open_ = std::move(scan.open);
  if (Result<void> prepared = prepare_segments(lock); !prepared) return prepared;
  if (current_) return {};
  if (prepared_.empty()) return tl::unexpected(no_room());
  current_ = std::move(prepared_.front());
  prepared_.pop_front();
  current_->start({appended_.value + 1});
  known_[current_->number()] = {current_->path(), appended_, 0};
  return {};
}

Result<void> Journal::Impl::open_tail(const RecoveryScan& scan) {
  const SegmentFile& tail = scan.segments.back().file;
  Result<std::unique_ptr<Segment>> segment =
      Segment::reopen(io_, tail.path, tail.number, scan.end_bytes);
  if (!segment) return tl::unexpected(std::move(segment.error()));
  current_ = std::move(*segment);
  if (scan.torn_end_bytes > scan.end_bytes) {
    recovered_.torn_bytes += scan.torn_end_bytes - scan.end_bytes;
    recovered_.torn_at = fmt::format("{} at {}", tail.path.native(), scan.end_bytes);
    current_->clear_tail(scan.torn_end_bytes);
  }
  // What the earlier life had not synced is written once more: after a failed sync the kernel may
  // hold pages that it takes for clean and that never reached the disk. The cleared tail must be
  // on the disk, too, before new records take its place.
  for (const ScannedSegment& full : scan.segments) {
    if (full.last <= scan.synced || full.file.number == tail.number) continue;
    Result<std::unique_ptr<Segment>> again =
        Segment::reopen(io_, full.file.path, full.file.number, 0);
    if (!again) return tl::unexpected(std::move(again.error()));
    (*again)->write_again();
    if (Result<void> synced = (*again)->sync(io_); !synced) return synced;
  }
  current_->write_again();
  return current_->sync(io_);
}

Result<void> Journal::Impl::drop_leftovers(const RecoveryScan& scan) {
  next_number_ = scan.segments.empty() ? 1 : scan.segments.back().file.number + 1;
  bool dropped = false;
  for (const LeftoverSegment& leftover : scan.leftovers) {
    if (leftover.reusable && leftover.file.number == next_number_) {
      Result<std::unique_ptr<Segment>> segment =
          Segment::reopen(io_, leftover.file.path, leftover.file.number, 0);
      if (!segment) return tl::unexpected(std::move(segment.error()));
      prepared_.push_back(std::move(*segment));
      ++next_number_;
      continue;
    }
    recovered_.torn_bytes += leftover.used_bytes;
    if (leftover.used_bytes > 0 && recovered_.torn_at.empty()) {
      recovered_.torn_at = fmt::format("{} at 0", leftover.file.path.native());
    }
    dropped = true;
    if (io_.unlink(leftover.file.path.c_str()) != 0) {
      return tl::unexpected(
          errno_error(fmt::format("cannot delete {}", leftover.file.path.native())));
    }
  }
  return dropped ? sync_directory(io_, directory()) : Result<void>{};
}

Result<void> Journal::Impl::end_open_requests(Lock& lock, WallTime at) {
  std::vector<std::uint64_t> requests;
  for (const auto& [request, segment] : open_.requests) requests.push_back(request);
  std::ranges::sort(requests);
  for (const std::uint64_t request : requests) {
    Usage ending;
    ending.request = {request};
    ending.ended_at = at;
    ending.outcome = Outcome::interrupted;
    ending.reason = "interrupted";
    Payload payload;
    encode(ending, payload);
    if (!fits(frame_bytes(payload.size), 0)) return tl::unexpected(no_room());
    Known& segment_of_admission = known_.at(open_.requests.at(request));
    open_.requests.erase(request);
    segment_of_admission.needed_until = put(payload);
    --segment_of_admission.open_requests;
    ++recovered_.interrupted_requests;
    // Many may be open after a crash under load; the prepared segments must keep up.
    if (prepared_.empty()) {
      if (Result<void> prepared = prepare_segments(lock); !prepared) return prepared;
    }
  }
  return {};
}

Journal::Impl::~Impl() {
  if (!thread_.joinable()) return;
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

// --- Appending ---------------------------------------------------------------------------------

// Whether one frame can be written so that `endings_after` endings still fit behind it, whatever
// their sizes. Exact for endings: one that does not fit a segment's rest finds that rest counted 0.
bool Journal::Impl::fits(std::size_t frame, std::size_t endings_after) const {
  std::size_t rest = current_->rest_bytes();
  std::size_t used = 0;
  if (frame > rest) {
    if (prepared_.empty()) return false;
    rest = prepared_.front()->rest_bytes() - frame;
    used = 1;
  }
  std::size_t endings = endings_in(rest);
  for (std::size_t i = used; i < prepared_.size(); ++i) {
    endings += endings_in(prepared_[i]->rest_bytes());
  }
  return endings >= endings_after;
}

Sequence Journal::Impl::put(const Payload& payload) {
  const std::size_t frame = frame_bytes(payload.size);
  if (frame > current_->rest_bytes()) {
    STOKER_INVARIANT(!prepared_.empty(), "record {} has no room", appended_.value + 1);
    retired_.push_back(std::move(current_));
    current_ = std::move(prepared_.front());
    prepared_.pop_front();
    current_->start({appended_.value + 1});
    known_[current_->number()] = {current_->path(), appended_, 0};
    urgent_ = true;
  }
  ++appended_.value;
  current_->append(appended_, payload);
  appended_bytes_ += frame;
  known_.rbegin()->second.needed_until = appended_;
  return appended_;
}

Error Journal::Impl::no_room() {
  Error error{ErrorCode::no_capacity, "the journal has no room for more",
              "free space on the disk of 'state_dir'; requests are accepted again by themselves"};
  if (space_) error.message += ": " + space_->message;
  return error;
}

/// Gives: whether the thread needs no notification. At most one is sent per sync interval.
bool Journal::Impl::told_already() {
  return std::exchange(work_, true) && !urgent_;
}

Result<Sequence> Journal::Impl::append(const Admission& admission) {
  Payload payload;
  if (Result<void> encoded = encode(admission, payload); !encoded) {
    return tl::unexpected(std::move(encoded.error()));
  }
  Lock lock(mutex_);
  if (failed_) return tl::unexpected(*failed_);
  if (!fits(frame_bytes(payload.size), open_.size() + 1)) {
    ++refused_;
    return tl::unexpected(no_room());
  }
  if (!open_.requests.try_emplace(admission.request.value, 0).second) {
    return failure(ErrorCode::invalid,
                   fmt::format("request {} is open already", admission.request.value));
  }
  const Sequence sequence = put(payload);
  open_.requests[admission.request.value] = current_->number();
  ++known_.rbegin()->second.open_requests;
  const bool told = told_already();
  lock.unlock();
  if (!told) wake_.notify_one();
  return sequence;
}

Result<Sequence> Journal::Impl::append(const Usage& ending) {
  Payload payload;
  encode(ending, payload);
  Lock lock(mutex_);
  if (failed_) return tl::unexpected(*failed_);
  const auto open = open_.requests.find(ending.request.value);
  if (open == open_.requests.end())
    return tl::unexpected(not_open("request", ending.request.value));
  Known& segment_of_admission = known_.at(open->second);
  open_.requests.erase(open);
  const Sequence sequence = put(payload);
  --segment_of_admission.open_requests;
  segment_of_admission.needed_until = sequence;
  const bool told = told_already();
  lock.unlock();
  if (!told) wake_.notify_one();
  return sequence;
}

Result<Sequence> Journal::Impl::append(const InstanceStart& start) {
  Payload payload;
  if (Result<void> encoded = encode(start, payload); !encoded) {
    return tl::unexpected(std::move(encoded.error()));
  }
  const std::scoped_lock lock(mutex_);
  if (failed_) return tl::unexpected(*failed_);
  if (!fits(frame_bytes(payload.size), open_.size() + 1)) return tl::unexpected(no_room());
  const Sequence sequence = put(payload);
  open_.instances[{start.epoch, start.instance, start.generation}] = {start, current_->number()};
  return sequence;
}

Result<Sequence> Journal::Impl::append(const InstanceEnd& end) {
  Payload payload;
  encode(end, payload);
  Lock lock(mutex_);
  if (failed_) return tl::unexpected(*failed_);
  if (open_.instances.erase({end.epoch, end.instance, end.generation}) == 0) {
    return tl::unexpected(not_open("instance", end.instance.value));
  }
  const Sequence sequence = put(payload);
  const bool told = told_already();
  lock.unlock();
  if (!told) wake_.notify_one();
  return sequence;
}

// --- Waiting -----------------------------------------------------------------------------------

void Journal::Impl::when_durable(Sequence record, OnDurable then) {
  Lock lock(mutex_);
  STOKER_INVARIANT(record <= appended_, "record {} > {}", record.value, appended_.value);
  if (failed_) {
    const Error error = *failed_;
    lock.unlock();
    then(tl::unexpected(error));
  } else if (options_.durability == Durability::process || record <= synced_) {
    lock.unlock();
    then({});
  } else {
    waiting_.emplace_back(record, std::move(then));
  }
}

Result<void> Journal::Impl::sync() {
  Lock lock(mutex_);
  const Sequence target = appended_;
  if (synced_ < target && !failed_) {
    work_ = urgent_ = true;
    wake_.notify_one();
  }
  synced_changed_.wait(lock, [&] { return synced_ >= target || failed_; });
  if (synced_ < target) return tl::unexpected(*failed_);
  return {};
}

void Journal::Impl::release(Sequence record) {
  const std::scoped_lock lock(mutex_);
  released_ = std::max(released_, record);
}

Sequence Journal::Impl::wait_synced_after(Sequence record, std::stop_token stop) {
  Lock lock(mutex_);
  synced_changed_.wait(lock, std::move(stop), [&] { return synced_ > record || failed_; });
  return synced_;
}

bool Journal::Impl::is_open(RequestId request) const {
  const std::scoped_lock lock(mutex_);
  return open_.requests.contains(request.value);
}

JournalStats Journal::Impl::stats() const {
  const std::scoped_lock lock(mutex_);
  JournalStats stats;
  stats.appended = appended_;
  stats.synced = synced_;
  stats.open_requests = open_.requests.size();
  stats.segments = known_.size() + prepared_.size();
  stats.refused = refused_;
  stats.failed = failed_.has_value();
  return stats;
}

// --- The thread --------------------------------------------------------------------------------

void Journal::Impl::run() {
  const auto pause = std::chrono::nanoseconds(options_.sync_interval.ns);
  const auto space_pause = std::chrono::nanoseconds(options_.space_retry_interval.ns);
  Lock lock(mutex_);
  while (!stop_) {
    const auto something = [&] { return stop_ || work_; };
    if (prepared_.size() < options_.prepared_segments) {
      wake_.wait_for(lock, space_pause, something);
    } else {
      wake_.wait(lock, something);
    }
    if (options_.durability == Durability::process) {
      wake_.wait_for(lock, pause, [&] { return stop_ || urgent_; });
    }
    work_ = urgent_ = false;
    Result<void> done = sync_round(lock);
    if (done) done = prepare_segments(lock);
    if (done) done = delete_old(lock);
    if (!done) return fail(lock, std::move(done.error()));
  }
  if (Result<void> done = sync_round(lock); !done) fail(lock, std::move(done.error()));
}

Result<void> Journal::Impl::sync_round(Lock& lock) {
  const Sequence target = appended_;
  if (target == synced_) return {};
  const std::vector<std::shared_ptr<Segment>> full = std::exchange(retired_, {});
  const std::shared_ptr<Segment> current = current_;
  const std::size_t ahead = std::clamp(2 * std::exchange(appended_bytes_, 0), least_populated_bytes,
                                       most_populated_bytes);
  lock.unlock();
  Result<void> synced;
  for (const std::shared_ptr<Segment>& segment : full) {
    if (synced) synced = segment->sync(io_);
  }
  if (synced) synced = current->sync(io_);
  if (synced) {
    current->mark(target);
    current->populate_ahead(ahead);
  }
  lock.lock();
  if (!synced) return synced;
  synced_ = target;
  synced_changed_.notify_all();
  const auto due = std::ranges::stable_partition(
      waiting_, [&](const auto& waiting) { return waiting.first > target; });
  const std::vector<std::pair<Sequence, OnDurable>> told(std::make_move_iterator(due.begin()),
                                                         std::make_move_iterator(due.end()));
  waiting_.erase(due.begin(), due.end());
  lock.unlock();
  for (const auto& [record, then] : told) then({});
  lock.lock();
  return {};
}

Result<void> Journal::Impl::prepare_segments(Lock& lock) {
  while (prepared_.size() < options_.prepared_segments) {
    const std::uint64_t number = next_number_;
    lock.unlock();
    Result<std::unique_ptr<Segment>> made =
        Segment::create(io_, segment_path(directory(), number), number,
                        static_cast<std::size_t>(options_.segment_size.value));
    Result<void> synced;
    if (made) {
      (*made)->populate_ahead(least_populated_bytes);
      synced = sync_directory(io_, directory());
    }
    lock.lock();
    if (!made) {  // tried again later; what is promised has its room already
      space_ = std::move(made.error());
      return {};
    }
    if (!synced) return synced;
    space_.reset();
    prepared_.push_back(std::move(*made));
    ++next_number_;
  }
  return {};
}

Result<void> Journal::Impl::delete_old(Lock& lock) {
  while (known_.size() > options_.keep_segments + 1) {
    const auto oldest = known_.begin();
    const auto [path, needed_until, open_requests] = oldest->second;
    if (needed_until > released_ || open_requests > 0) return {};
    Result<bool> carried = carry_instances(lock, oldest->first);
    if (!carried) return tl::unexpected(std::move(carried.error()));
    if (!*carried) return {};
    lock.unlock();
    const bool gone = io_.unlink(path.c_str()) == 0;
    // One by one and in order, so that a power cut never leaves a gap.
    Result<void> synced = gone ? sync_directory(io_, directory()) : Result<void>{};
    lock.lock();
    if (!synced) return synced;
    if (!gone) return {};  // tried again with the next segment
    known_.erase(oldest);
  }
  return {};
}

/// An instance may live for weeks: its start is written anew, so that it does not hold the segment.
Result<bool> Journal::Impl::carry_instances(Lock& lock, std::uint64_t segment) {
  bool any = false;
  for (auto& [key, instance] : open_.instances) {
    if (instance.segment != segment) continue;
    Payload payload;
    const Result<void> encoded = encode(instance.start, payload);
    STOKER_INVARIANT(encoded.has_value(), "instance {} was written before", key.instance.value);
    if (!fits(frame_bytes(payload.size), open_.size())) return false;
    put(payload);
    instance.segment = current_->number();
    any = true;
  }
  if (any) {
    if (Result<void> synced = sync_round(lock); !synced) {
      return tl::unexpected(std::move(synced.error()));
    }
  }
  return true;
}

void Journal::Impl::fail(Lock& lock, Error error) {
  error.hint =
      "the disk of 'state_dir' failed; stoker must be started anew, which checks the journal";
  failed_ = error;
  synced_changed_.notify_all();
  const std::vector<std::pair<Sequence, OnDurable>> waiting = std::exchange(waiting_, {});
  lock.unlock();
  for (const auto& [record, then] : waiting) then(tl::unexpected(error));
  if (on_fatal_) on_fatal_(error);
}

// --- The public face ---------------------------------------------------------------------------

Journal::Journal(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Journal::~Journal() = default;

Result<std::unique_ptr<Journal>> Journal::open(JournalOptions options, const ServerStart& start,
                                               OnFatal on_fatal, FileIo& io) {
  if (options.segment_size < kib(64) || options.segment_size > gib(1)) {
    return failure(ErrorCode::invalid, fmt::format("a journal segment of {} bytes; 64 KiB .. 1 GiB",
                                                   options.segment_size.value));
  }
  auto impl = std::make_unique<Impl>(std::move(options), std::move(on_fatal), io);
  if (Result<void> started = impl->start(start); !started) {
    return tl::unexpected(std::move(started.error()));
  }
  return std::unique_ptr<Journal>(new Journal(std::move(impl)));
}

const Recovered& Journal::recovered() const {
  return impl_->recovered();
}
Result<Sequence> Journal::append(const Admission& admission) {
  return impl_->append(admission);
}
Result<Sequence> Journal::append(const Usage& ending) {
  return impl_->append(ending);
}
Result<Sequence> Journal::append(const InstanceEnd& end) {
  return impl_->append(end);
}
Result<Sequence> Journal::append_synced(const InstanceStart& start) {
  Result<Sequence> sequence = impl_->append(start);
  if (!sequence) return sequence;
  if (Result<void> synced = impl_->sync(); !synced) {
    return tl::unexpected(std::move(synced.error()));
  }
  return sequence;
}
void Journal::when_durable(Sequence record, OnDurable then) {
  impl_->when_durable(record, std::move(then));
}
Result<void> Journal::sync() {
  return impl_->sync();
}
void Journal::release(Sequence record) {
  impl_->release(record);
}
Sequence Journal::wait_synced_after(Sequence record, std::stop_token stop) {
  return impl_->wait_synced_after(record, std::move(stop));
}
bool Journal::is_open(RequestId request) const {
  return impl_->is_open(request);
}
JournalStats Journal::stats() const {
  return impl_->stats();
}
const std::filesystem::path& Journal::directory() const {
  return impl_->directory();
}

}  // namespace stoker::ledger
