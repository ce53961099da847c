#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <iterator>

#include "base/invariant.h"
#include "ledger/frame.h"
#include "ledger/journal_impl.h"

namespace stoker::ledger {
namespace {

constexpr std::size_t least_populated_bytes = 64 * 1024;
constexpr std::size_t most_populated_bytes = 2 * 1024 * 1024;

}  // namespace

void Journal::Impl::run() {
  ::pthread_setname_np(::pthread_self(), "journal");
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
    current->release_behind();
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

}  // namespace stoker::ledger
