#include "backend/process/log_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <utility>

namespace stoker::backend {

/// One log file. Used on the writer's thread, except note_pending() and the counters.
class LogStore::File {
 public:
  File(std::string path, std::int64_t limit_bytes)
      : path_(std::move(path)), limit_bytes_(limit_bytes) {}

  /// Threads: any. Gives: false if too much is waiting already.
  bool reserve(std::int64_t bytes, std::int64_t limit) {
    if (pending_ + bytes > limit) {
      dropped_ += bytes;
      return false;
    }
    pending_ += bytes;
    return true;
  }

  void write(std::string_view bytes) {
    pending_ -= static_cast<std::int64_t>(bytes.size());
    if (const std::int64_t lost = dropped_.exchange(0); lost > 0) {
      put(fmt::format("[stoker: {} bytes of output were not written]\n", lost));
    }
    put(bytes);
  }

 private:
  void put(std::string_view bytes) {
    if (!fd_) open();
    if (size_ > 0 && size_ + static_cast<std::int64_t>(bytes.size()) > limit_bytes_) {
      std::rename(path_.c_str(), (path_ + ".1").c_str());
      open();
    }
    while (fd_ && !bytes.empty()) {
      const ssize_t done = ::write(fd_.get(), bytes.data(), bytes.size());
      if (done < 0 && errno == EINTR) continue;
      if (done <= 0) {  // a full disk: the memory tail still has it
        dropped_ += static_cast<std::int64_t>(bytes.size());
        return;
      }
      size_ += done;
      bytes.remove_prefix(static_cast<std::size_t>(done));
    }
  }
  void open() {
    fd_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
    struct stat status{};
    size_ = fd_ && ::fstat(fd_.get(), &status) == 0 ? status.st_size : 0;
  }

  std::string path_;
  std::int64_t limit_bytes_;
  std::int64_t size_ = 0;
  UniqueFd fd_;
  std::atomic<std::int64_t> pending_ = 0;
  std::atomic<std::int64_t> dropped_ = 0;
};

LogStore::LogStore(LogStoreConfig config) : config_(std::move(config)), writer_("stoker-logs") {}
LogStore::~LogStore() = default;

void LogStore::open(const std::string& name) {
  std::string file_name = name;
  std::replace(file_name.begin(), file_name.end(), '/', '-');
  if (!config_.life.empty()) file_name = fmt::format("life-{}-{}", config_.life, file_name);
  const std::lock_guard lock(mutex_);
  Log& log = logs_[name];
  log.file = std::make_shared<File>(fmt::format("{}/{}.log", config_.folder, file_name),
                                    config_.file_bytes.value);
  std::erase(closed_, name);
}

void LogStore::append(const std::string& name, std::string_view bytes) {
  std::shared_ptr<File> file;
  {
    const std::lock_guard lock(mutex_);
    const auto found = logs_.find(name);
    if (found == logs_.end() || !found->second.file) return;
    std::string& tail = found->second.tail;
    tail.append(bytes);
    const auto limit = static_cast<std::size_t>(config_.memory_bytes.value);
    if (tail.size() > limit) tail.erase(0, tail.size() - limit);
    file = found->second.file;
  }
  if (file->reserve(static_cast<std::int64_t>(bytes.size()), config_.pending_bytes.value)) {
    writer_.submit([file, text = std::string(bytes)] { file->write(text); });
  }
  for (LogFollower* follower : followers_) follower->on_log(name, bytes);
}

void LogStore::close(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = logs_.find(name);
  if (found == logs_.end() || !found->second.file) return;
  found->second.file.reset();
  closed_.push_back(name);
  if (closed_.size() > config_.kept_closed) {
    logs_.erase(closed_.front());
    closed_.pop_front();
  }
}

std::string LogStore::tail(std::string_view name, std::size_t lines) const {
  const std::lock_guard lock(mutex_);
  const auto found = logs_.find(name);
  if (found == logs_.end()) return {};
  const std::string& text = found->second.tail;
  std::size_t begin = text.size();
  for (std::size_t left = lines; left > 0 && begin > 0; --left) {
    // A line ends with its newline, so the search starts before the one that ends this line.
    const std::size_t newline = begin >= 2 ? text.rfind('\n', begin - 2) : std::string::npos;
    begin = newline == std::string::npos ? 0 : newline + 1;
  }
  return text.substr(begin);
}

std::vector<std::string> LogStore::names(std::string_view deployment) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, log] : logs_) {
    const bool of_deployment = name.size() > deployment.size() && name.starts_with(deployment) &&
                               name[deployment.size()] == '/';
    if (deployment.empty() || of_deployment) names.push_back(name);
  }
  return names;
}

void LogStore::follow(LogFollower& follower) {
  followers_.push_back(&follower);
}
void LogStore::unfollow(LogFollower& follower) {
  std::erase(followers_, &follower);
}

void prune_log_files(const std::string& folder, std::size_t kept, Bytes kept_bytes) {
  namespace fs = std::filesystem;
  std::vector<std::pair<fs::file_time_type, fs::path>> files;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".log") || name.ends_with(".log.1")) {
      files.emplace_back(entry.last_write_time(ignored), entry.path());
    }
  }
  std::sort(files.rbegin(), files.rend());
  std::uintmax_t bytes = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::uintmax_t size = fs::file_size(files[i].second, ignored);
    if (!ignored) bytes += size;
    if (i >= kept || bytes > static_cast<std::uintmax_t>(kept_bytes.value)) {
      fs::remove(files[i].second, ignored);
    }
  }
}

}  // namespace stoker::backend
