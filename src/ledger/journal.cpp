#include "ledger/journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/invariant.h"
#include "ledger/frame.h"
#include "ledger/journal_impl.h"

namespace stoker::ledger {
namespace {

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

Result<Sequence> Journal::Impl::append(const Dispatch& dispatch) {
  Payload payload;
  encode(dispatch, payload);
  Lock lock(mutex_);
  if (failed_) return tl::unexpected(*failed_);
  if (!open_.requests.contains(dispatch.request.value)) {
    return tl::unexpected(not_open("request", dispatch.request.value));
  }
  if (!fits(frame_bytes(payload.size), open_.size())) return tl::unexpected(no_room());
  const Sequence sequence = put(payload);
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
Result<Sequence> Journal::append(const Dispatch& dispatch) {
  return impl_->append(dispatch);
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
