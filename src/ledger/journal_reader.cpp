#include "ledger/journal_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <system_error>

namespace stoker::ledger {
namespace {

constexpr std::string_view suffix = ".seg";
constexpr std::size_t read_bytes = 256 * 1024;

std::optional<std::uint64_t> segment_number(std::string_view name) {
  if (!name.ends_with(suffix)) return std::nullopt;
  name.remove_suffix(suffix.size());
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc{} || end != name.data() + name.size() || number == 0) return std::nullopt;
  return number;
}

/// Reads up to buffer.size() bytes and shrinks the buffer to what was there.
Result<void> read_at(int fd, const std::filesystem::path& path, std::uint64_t offset,
                     std::vector<std::byte>& buffer) {
  std::size_t have = 0;
  while (have < buffer.size()) {
    const ssize_t got =
        ::pread(fd, buffer.data() + have, buffer.size() - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::unexpected(errno_error(fmt::format("cannot read {}", path.native())));
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  buffer.resize(have);
  return {};
}

}  // namespace

std::filesystem::path segment_path(const std::filesystem::path& directory, std::uint64_t number) {
  return directory / fmt::format("{:010}{}", number, suffix);
}

Result<std::vector<SegmentFile>> list_segments(const std::filesystem::path& directory) {
  std::vector<SegmentFile> files;
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error)) {
    const std::optional<std::uint64_t> number = segment_number(at->path().filename().native());
    if (number) files.push_back({*number, at->path()});
  }
  if (error) {
    return failure(
        error == std::errc::no_such_file_or_directory ? ErrorCode::not_found
                                                      : ErrorCode::unavailable,
        fmt::format("cannot list the journal {}: {}", directory.native(), error.message()));
  }
  std::ranges::sort(files, {}, &SegmentFile::number);
  return files;
}

Result<JournalReader> JournalReader::open(std::filesystem::path directory) {
  JournalReader reader(std::move(directory));
  // The oldest file may be deleted between the listing and the open; the next listing lacks it.
  for (int attempt = 0; attempt < 3; ++attempt) {
    Result<std::vector<SegmentFile>> files = list_segments(reader.directory_);
    if (!files) return tl::unexpected(std::move(files.error()));
    if (files->empty()) break;
    Result<bool> entered = reader.enter(files->front().number);
    if (!entered) return tl::unexpected(std::move(entered.error()));
    if (*entered) return reader;
  }
  return failure(ErrorCode::not_found,
                 fmt::format("there is no journal in {}", reader.directory_.native()));
}

Result<bool> JournalReader::enter(std::uint64_t number) {
  const std::filesystem::path path = segment_path(directory_, number);
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return false;
  if (!fd) return tl::unexpected(errno_error(fmt::format("cannot open {}", path.native())));
  std::vector<std::byte> head(segment_header_bytes);
  if (Result<void> read = read_at(fd.get(), path, 0, head); !read) {
    return tl::unexpected(std::move(read.error()));
  }
  const std::optional<SegmentHeader> header = read_segment_header(head);
  if (!header || header->number != number) return false;
  if (expected_ != 0 && header->first_sequence != expected_) {
    return failure(ErrorCode::corrupt,
                   fmt::format("{} begins with record {}, not {}", path.native(),
                               header->first_sequence, expected_));
  }
  fd_ = std::move(fd);
  number_ = number;
  expected_ = header->first_sequence;
  offset_ = segment_header_bytes;
  buffer_.clear();
  buffer_from_ = offset_;
  return true;
}

std::span<const std::byte> JournalReader::buffered() const {
  const std::uint64_t skip = offset_ - buffer_from_;
  if (skip >= buffer_.size()) return {};
  return std::span(buffer_).subspan(skip);
}

Result<void> JournalReader::fill() {
  buffer_.resize(read_bytes);
  buffer_from_ = offset_;
  return read_at(fd_.get(), segment_path(directory_, number_), offset_, buffer_);
}

Result<bool> JournalReader::next(JournalEntry& out, Sequence last) {
  if (expected_ > last.value) return false;
  const auto frame_here = [&] {
    std::optional<FrameView> frame = read_frame(buffered(), number_);
    if (frame && frame->sequence != expected_) frame.reset();
    return frame;
  };
  std::optional<FrameView> frame = frame_here();
  if (!frame) {  // the buffer ends here, or was read before this record was written
    if (Result<void> filled = fill(); !filled) return tl::unexpected(std::move(filled.error()));
    frame = frame_here();
  }
  if (!frame) {
    Result<bool> entered = enter(number_ + 1);
    if (!entered) return tl::unexpected(std::move(entered.error()));
    if (*entered) return next(out, last);
    if (last == everything) return false;
  }
  if (!frame || !decode_into(frame->type, frame->version, frame->payload, out.record)) {
    return failure(
        ErrorCode::corrupt,
        fmt::format("the journal is damaged: record {} cannot be read in {} at offset {}",
                    expected_, segment_path(directory_, number_).native(), offset_));
  }
  offset_ += frame_bytes(frame->payload.size());
  out.sequence = {expected_++};
  return true;
}

}  // namespace stoker::ledger
