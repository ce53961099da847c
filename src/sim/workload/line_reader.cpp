#include "sim/workload/line_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace stoker::sim {
namespace {

constexpr std::size_t first_buffer = std::size_t{256} << 10;

bool blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace

Result<LineReader> LineReader::open(std::string path) {
  LineReader reader;
  reader.fd_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!reader.fd_) return tl::unexpected(errno_error(path, "Does the file exist?"));
  reader.path_ = std::move(path);
  reader.buffer_.resize(first_buffer + padding);
  return reader;
}

Result<bool> LineReader::fill() {
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  if (end_ + padding == buffer_.size()) {  // one line fills it
    if (end_ >= longest_line) {
      ++line_number_;
      return wrong("the line is longer than 64 MiB", "Is this a trace?");
    }
    buffer_.resize(end_ * 2 + padding);
  }
  for (;;) {
    const ssize_t got = ::read(fd_.get(), buffer_.data() + end_, buffer_.size() - padding - end_);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::unexpected(errno_error(path_));
    end_ += static_cast<std::size_t>(got);
    return got > 0;
  }
}

Result<bool> LineReader::next(std::string_view& line) {
  std::size_t searched = 0;
  for (;;) {
    const char* const from = buffer_.data() + begin_;
    const auto* const found =
        static_cast<const char*>(std::memchr(from + searched, '\n', end_ - begin_ - searched));
    if (found != nullptr) {
      line = std::string_view(from, static_cast<std::size_t>(found - from));
      begin_ += line.size() + 1;
      searched = 0;
    } else {
      searched = end_ - begin_;
      const Result<bool> more = fill();
      if (!more) return tl::unexpected(more.error());
      if (*more) continue;
      if (begin_ == end_) return false;
      line = std::string_view(buffer_.data() + begin_, end_ - begin_);
      begin_ = end_;
      searched = 0;
      cut_off_ = true;
    }
    ++line_number_;
    if (blank(line)) continue;
    if (line.back() == '\r') line.remove_suffix(1);
    return true;
  }
}

tl::unexpected<Error> LineReader::wrong(std::string_view what, std::string hint) const {
  return failure(ErrorCode::invalid, fmt::format("{}:{}: {}", path_, line_number_, what),
                 std::move(hint));
}

}  // namespace stoker::sim
