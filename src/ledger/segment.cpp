#include "ledger/segment.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/invariant.h"
#include "ledger/frame.h"

namespace stoker::ledger {
namespace {

Result<std::byte*> map(FileIo& io, const std::filesystem::path& path, int fd, std::size_t size) {
  // No MAP_POPULATE: on a shared mapping it takes read faults only, and the write faults stay.
  void* at = io.mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
  if (at == MAP_FAILED) {
    return tl::unexpected(errno_error(fmt::format("cannot map {}", path.native())));
  }
  return static_cast<std::byte*>(at);
}

}  // namespace

Result<std::unique_ptr<Segment>> Segment::create(FileIo& io, std::filesystem::path path,
                                                 std::uint64_t number, std::size_t size_bytes) {
  const auto give_up = [&](const char* what) {
    const int reason = errno;
    Error error = errno_error(fmt::format("{} {}", what, path.native()));
    if (reason == ENOSPC || reason == EDQUOT) {
      error.code = ErrorCode::no_capacity;
      error.hint = "free space on the disk of 'state_dir'";
    }
    // If even this fails, the next create() truncates what is left.
    io.unlink(path.c_str());
    return tl::unexpected(std::move(error));
  };
  UniqueFd fd(io.open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return give_up("cannot create");
  if (io.fallocate(fd.get(), 0, static_cast<off_t>(size_bytes)) != 0) {
    return give_up("cannot allocate");
  }
  if (io.fdatasync(fd.get()) != 0) return give_up("cannot sync");
  Result<std::byte*> bytes = map(io, path, fd.get(), size_bytes);
  if (!bytes) {
    io.unlink(path.c_str());
    return tl::unexpected(std::move(bytes.error()));
  }
  return std::unique_ptr<Segment>(
      new Segment(std::move(path), number, std::move(fd), *bytes, size_bytes));
}

Result<std::unique_ptr<Segment>> Segment::reopen(FileIo& io, std::filesystem::path path,
                                                 std::uint64_t number, std::size_t end_bytes) {
  UniqueFd fd(io.open(path.c_str(), O_RDWR | O_CLOEXEC, 0));
  if (!fd) return tl::unexpected(errno_error(fmt::format("cannot open {}", path.native())));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) {
    return tl::unexpected(errno_error(fmt::format("cannot read the size of {}", path.native())));
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  STOKER_INVARIANT(end_bytes <= size, "{}: {} > {}", path.native(), end_bytes, size);
  // Allocated already, unless somebody copied the file and the copy has holes.
  if (io.fallocate(fd.get(), 0, info.st_size) != 0) {
    const int reason = errno;
    Error error = errno_error(fmt::format("cannot allocate {}", path.native()));
    if (reason == ENOSPC || reason == EDQUOT) error.code = ErrorCode::no_capacity;
    return tl::unexpected(std::move(error));
  }
  Result<std::byte*> bytes = map(io, path, fd.get(), size);
  if (!bytes) return tl::unexpected(std::move(bytes.error()));
  std::unique_ptr<Segment> segment(
      new Segment(std::move(path), number, std::move(fd), *bytes, size));
  if (end_bytes != 0) segment->end_ = end_bytes;
  return segment;
}

Segment::Segment(std::filesystem::path path, std::uint64_t number, UniqueFd fd, std::byte* bytes,
                 std::size_t size)
    : path_(std::move(path)),
      number_(number),
      fd_(std::move(fd)),
      bytes_(bytes),
      size_(size),
      end_(segment_header_bytes) {}

Segment::~Segment() {
  ::munmap(bytes_, size_);
}

void Segment::start(Sequence first) {
  STOKER_INVARIANT(end_ == segment_header_bytes, "segment {} is in use", number_);
  write_segment_header(bytes_, {number_, first.value});
}

void Segment::append(Sequence sequence, const Payload& payload) {
  const std::size_t size = frame_bytes(payload.size);
  STOKER_INVARIANT(size <= rest_bytes(), "segment {}: {} > {}", number_, size, rest_bytes());
  const std::size_t end = end_.load(std::memory_order_relaxed);
  write_frame(bytes_ + end, number_, sequence.value, payload);
  end_.store(end + size, std::memory_order_relaxed);
}

void Segment::clear_tail(std::size_t torn_end_bytes) {
  if (torn_end_bytes > end_.load()) std::memset(bytes_ + end_, 0, torn_end_bytes - end_);
}

void Segment::write_again() {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  for (std::size_t at = 0; at < size_; at += page) {
    volatile std::byte& first = bytes_[at];
    first = first;
  }
}

Result<void> Segment::sync(FileIo& io) {
  if (io.fdatasync(fd_.get()) == 0) return {};
  return tl::unexpected(errno_error(fmt::format("cannot sync {}", path_.native())));
}

void Segment::mark(Sequence synced) {
  write_sync_mark(bytes_, number_, synced.value);
}

void Segment::populate_ahead(std::size_t bytes) const {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t end = end_.load(std::memory_order_relaxed);
  const std::size_t from = end / page * page;
  const std::size_t to = std::min(size_, end + bytes);
  // Only speed depends on it: kernels before 5.14 refuse, and the faults come one by one.
  if (to > from) ::madvise(bytes_ + from, to - from, MADV_POPULATE_WRITE);
}

void Segment::release_behind() {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t from = std::max(released_, page);  // the first one holds the mark
  const std::size_t to = end_.load(std::memory_order_relaxed) / page * page;
  if (to <= from) return;
  ::madvise(bytes_ + from, to - from, MADV_DONTNEED);
  released_ = to;
}

}  // namespace stoker::ledger
