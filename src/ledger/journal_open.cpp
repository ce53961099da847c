#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "ledger/frame.h"
#include "ledger/journal_impl.h"

namespace stoker::ledger {

Result<void> Journal::Impl::make_directory() {
  if (io_.mkdir(options_.directory.c_str(), 0700) == 0) {
    const std::filesystem::path parent = directory().parent_path();
    return sync_directory(io_, parent.empty() ? "." : parent);
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
    ending.reason =
        open_.dispatched.erase(request) > 0 ? interrupted_running_reason : interrupted_reason;
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

}  // namespace stoker::ledger
