#include "ledger/recovery.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <span>
#include <variant>

#include "base/overloaded.h"
#include "ledger/frame.h"

namespace stoker::ledger {
namespace {

Result<std::vector<std::byte>> read_file(const std::filesystem::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info{};
  if (!fd || ::fstat(fd.get(), &info) != 0) {
    return tl::unexpected(errno_error(fmt::format("cannot open {}", path.native())));
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(info.st_size));
  for (std::size_t have = 0; have < bytes.size();) {
    const ssize_t got = ::read(fd.get(), bytes.data() + have, bytes.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return tl::unexpected(errno_error(fmt::format("cannot read {}", path.native())));
    have += static_cast<std::size_t>(got);
  }
  return bytes;
}

std::uint64_t used_bytes(std::span<const std::byte> bytes) {
  const auto last =
      std::find_if(bytes.rbegin(), bytes.rend(), [](std::byte b) { return b != std::byte{0}; });
  return static_cast<std::uint64_t>(bytes.rend() - last);
}

class Scan {
 public:
  explicit Scan(std::size_t segment_bytes) : segment_bytes_(segment_bytes) {}

  Result<void> file(const SegmentFile& file) {
    Result<std::vector<std::byte>> bytes = read_file(file.path);
    if (!bytes) return tl::unexpected(std::move(bytes.error()));
    if (const auto mark = read_sync_mark(*bytes, file.number); mark && *mark > out_.synced.value) {
      out_.synced = {*mark};
    }
    if (!continues_here(file, *bytes)) {
      add_leftover(file, *bytes);
      return {};
    }
    out_.segments.push_back({file, out_.last});
    return records(file, *bytes);
  }

  Result<RecoveryScan> finish() {
    // A journal that has lost its first file's header, mark and all, still has that file's number.
    const bool headless = out_.segments.empty() && first_number_ > 1;
    if (out_.synced > out_.last || headless) {
      const bool any = !out_.segments.empty();
      return failure(
          ErrorCode::corrupt,
          fmt::format("the journal is damaged: record {} was on the disk and cannot be read in {} "
                      "at offset {}",
                      out_.last.value + 1,
                      any ? out_.segments.back().file.path.native() : first_.native(),
                      any ? out_.end_bytes : 0),
          "restore 'state_dir' from a backup, or move its journal and ledger.db away to begin "
          "anew");
    }
    return std::move(out_);
  }

 private:
  /// Whether this file holds the records right behind those read so far.
  bool continues_here(const SegmentFile& file, std::span<const std::byte> bytes) {
    if (first_.empty()) {
      first_ = file.path;
      first_number_ = file.number;
    }
    if (!out_.leftovers.empty()) return false;
    const std::optional<SegmentHeader> header = read_segment_header(bytes);
    if (!header || header->number != file.number) return false;
    if (out_.segments.empty()) {
      out_.last = {header->first_sequence - 1};
      return true;
    }
    return file.number == out_.segments.back().file.number + 1 &&
           header->first_sequence == out_.last.value + 1;
  }

  void add_leftover(const SegmentFile& file, std::span<const std::byte> bytes) {
    const std::uint64_t next = !out_.leftovers.empty()  ? out_.leftovers.back().file.number + 1
                               : !out_.segments.empty() ? out_.segments.back().file.number + 1
                                                        : 1;
    const std::uint64_t used = used_bytes(bytes);
    const bool reusable = file.number == next && bytes.size() == segment_bytes_ && used == 0;
    out_.leftovers.push_back({file, used, reusable});
  }

  Result<void> records(const SegmentFile& file, std::span<const std::byte> bytes) {
    std::size_t at = segment_header_bytes;
    while (const std::optional<FrameView> frame = read_frame(bytes.subspan(at), file.number)) {
      if (frame->sequence != out_.last.value + 1) break;
      const std::optional<Record> record = decode(frame->type, frame->version, frame->payload);
      if (!record) {
        return failure(
            ErrorCode::corrupt,
            fmt::format("record {} in {} at offset {} is whole but of an unknown kind (type {}, "
                        "version {})",
                        frame->sequence, file.path.native(), at, frame->type, frame->version),
            "a newer stoker wrote it: start that version");
      }
      out_.open.apply(*record, file.number);
      out_.last = {frame->sequence};
      at += frame_bytes(frame->payload.size());
    }
    out_.segments.back().last = out_.last;
    out_.end_bytes = at;
    out_.torn_end_bytes = std::max<std::uint64_t>(at, used_bytes(bytes));
    return {};
  }

  std::size_t segment_bytes_;
  std::filesystem::path first_;
  std::uint64_t first_number_ = 0;
  RecoveryScan out_;
};

}  // namespace

void OpenWork::apply(const Record& record, std::uint64_t segment) {
  std::visit(
      Overloaded{
          [](const ServerStart&) {},
          [&](const Admission& r) { requests[r.request.value] = segment; },
          [&](const Usage& r) {
            requests.erase(r.request.value);
            dispatched.erase(r.request.value);
          },
          [&](const Dispatch& r) { dispatched.insert(r.request.value); },
          [&](const InstanceStart& r) {
            instances[{r.epoch, r.instance, r.generation}] = {r, segment};
          },
          [&](const InstanceEnd& r) { instances.erase({r.epoch, r.instance, r.generation}); },
      },
      record);
}

Result<RecoveryScan> scan_for_recovery(const std::filesystem::path& directory,
                                       std::size_t segment_bytes) {
  Result<std::vector<SegmentFile>> files = list_segments(directory);
  if (!files) return tl::unexpected(std::move(files.error()));
  Scan scan(segment_bytes);
  for (const SegmentFile& file : *files) {
    if (Result<void> read = scan.file(file); !read) return tl::unexpected(std::move(read.error()));
  }
  return scan.finish();
}

}  // namespace stoker::ledger
