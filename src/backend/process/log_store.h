// What instances write to stdout and stderr: the last lines in memory, everything in bounded files,
// and live followers. Writing to a file never blocks the caller; when the disk is full or too slow,
// output is dropped from the file (with a note), never held up in the worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "backend/instance_backend.h"
#include "backend/process/serial_executor.h"
#include "base/unique_fd.h"
#include "base/units.h"

namespace stoker::backend {

struct LogStoreConfig {
  std::string folder;            // exists
  std::string life;              // in each file's name, so that lives do not mix; may be empty
  Bytes file_bytes = mib(8);     // then it becomes NAME.log.1
  Bytes memory_bytes = kib(64);  // per instance
  std::size_t kept_closed = 64;  // instances that ended but can still be asked for
  Bytes pending_bytes = mib(4);  // handed over, not yet written; beyond: dropped
};

class LogStore {
 public:
  explicit LogStore(LogStoreConfig config);
  ~LogStore();

  /// In the life "7", "chat/3" is written to life-7-chat-3.log.
  void open(const std::string& name);
  /// Does nothing for a log that is not open.
  void append(const std::string& name, std::string_view bytes);
  void close(const std::string& name);

  /// Threads: any, these two.
  [[nodiscard]] std::string tail(std::string_view name, std::size_t lines) const;
  [[nodiscard]] std::vector<std::string> names(std::string_view deployment) const;

  void follow(LogFollower& follower);
  void unfollow(LogFollower& follower);

 private:
  class File;
  struct Log {
    std::string tail;            // at most memory_bytes, begins anywhere
    std::shared_ptr<File> file;  // null once closed
  };

  LogStoreConfig config_;
  mutable std::mutex mutex_;  // guards logs_ and closed_
  std::map<std::string, Log, std::less<>> logs_;
  std::deque<std::string> closed_;
  std::vector<LogFollower*> followers_;
  SerialExecutor writer_;
};

/// Deletes the oldest *.log and *.log.1 in `folder`, so that at most `kept` files and `kept_bytes`
/// stay.
void prune_log_files(const std::string& folder, std::size_t kept, Bytes kept_bytes);

}  // namespace stoker::backend
