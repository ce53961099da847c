#include "traffic/rotating_files.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string>
#include <utility>

namespace stoker::traffic {
namespace {

constexpr std::string_view prefix = "traffic-";
constexpr std::string_view suffix = ".jsonl";

std::optional<std::uint64_t> number_of(const std::string& name) {
  if (!name.starts_with(prefix) || !name.ends_with(suffix)) return std::nullopt;
  std::uint64_t number = 0;
  const char* const end = name.data() + name.size() - suffix.size();
  const auto [stop, error] = std::from_chars(name.data() + prefix.size(), end, number);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return number;
}

Error cannot_write(const std::filesystem::path& path) {
  const bool full = errno == ENOSPC || errno == EDQUOT;
  Error error = errno_error(fmt::format("cannot write {}", path.native()),
                            full ? "make room, or record less: traffic.total_size"
                                 : "traffic.record: false records nothing");
  if (full) error.code = ErrorCode::no_capacity;
  return error;
}

}  // namespace

RotatingFiles::RotatingFiles(Options options, ledger::FileIo& io)
    : options_(std::move(options)), io_(io) {
  std::error_code none_yet;
  for (const auto& entry : std::filesystem::directory_iterator(options_.directory, none_yet)) {
    const std::optional<std::uint64_t> number = number_of(entry.path().filename().string());
    if (!number) continue;
    std::error_code gone;
    const std::uintmax_t size = entry.file_size(gone);
    files_.push_back({*number, gone ? 0 : static_cast<std::int64_t>(size)});
  }
  std::sort(files_.begin(), files_.end(),
            [](const File& a, const File& b) { return a.number < b.number; });
}

std::filesystem::path RotatingFiles::path_of(std::uint64_t number) const {
  return options_.directory / fmt::format("{}{:010}{}", prefix, number, suffix);
}

bool RotatingFiles::wants_new(std::size_t more_bytes) const {
  if (!fd_) return true;
  return files_.back().size + static_cast<std::int64_t>(more_bytes) > options_.file_size.value;
}

Result<void> RotatingFiles::begin(std::string_view head) {
  fd_.reset();
  if (io_.mkdir(options_.directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return tl::unexpected(cannot_write(options_.directory));
  }
  const std::uint64_t number = files_.empty() ? 1 : files_.back().number + 1;
  const std::filesystem::path path = path_of(number);
  fd_.reset(io_.open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600));
  if (!fd_) return tl::unexpected(cannot_write(path));
  files_.push_back({number, 0});
  delete_old();
  const Result<void> written = append(head);
  if (written) return {};
  (void)io_.unlink(path.c_str());
  files_.pop_back();
  return written;
}

Result<void> RotatingFiles::append(std::string_view lines) {
  while (!lines.empty()) {
    const ssize_t written = io_.write(fd_.get(), lines.data(), lines.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      Error error = cannot_write(path_of(files_.back().number));
      fd_.reset();  // what it ends with is not known: the next one is a new one
      return tl::unexpected(std::move(error));
    }
    files_.back().size += written;
    lines.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

/// Leaves room for the newest to become full.
void RotatingFiles::delete_old() {
  std::int64_t size = options_.file_size.value;
  for (std::size_t i = 0; i + 1 < files_.size(); ++i) size += files_[i].size;
  while (files_.size() > 1 && (size > options_.total_size.value || files_.size() > most_files)) {
    (void)io_.unlink(path_of(files_.front().number).c_str());
    size -= files_.front().size;
    files_.pop_front();
  }
}

std::vector<std::filesystem::path> RotatingFiles::paths() const {
  std::vector<std::filesystem::path> paths;
  for (auto file = files_.rbegin(); file != files_.rend(); ++file) {
    paths.push_back(path_of(file->number));
  }
  return paths;
}

}  // namespace stoker::traffic
