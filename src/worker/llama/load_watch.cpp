#include "worker/llama/load_watch.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace stoker::worker {

namespace {

constexpr auto kInterval = std::chrono::milliseconds(250);

// 0 if it cannot be read: then only the engine's own word counts.
std::int64_t resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  long long size = 0;
  long long resident = 0;
  const int read = std::fscanf(file, "%lld %lld", &size, &resident);
  std::fclose(file);
  return read == 2 ? resident * ::sysconf(_SC_PAGESIZE) : 0;
}

}  // namespace

LoadWatch::LoadWatch(LoadProgress& progress, std::int64_t expected_bytes)
    : progress_(progress), expected_bytes_(std::max<std::int64_t>(expected_bytes, 1)) {
  thread_ = std::thread([this] { run(); });
}

LoadWatch::~LoadWatch() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  ended_.notify_all();
  thread_.join();
}

void LoadWatch::advance(double fraction) {
  const std::lock_guard lock(mutex_);
  reported_ = std::max(reported_, std::min(fraction, 1.0));
  progress_.advance(reported_);
}

void LoadWatch::run() {
  const std::int64_t before = resident_bytes();
  std::int64_t last = before;
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, kInterval, [this] { return ending_; })) {
    const std::int64_t now = resident_bytes();
    if (now <= last) continue;  // silence means no progress
    last = now;
    const double share = static_cast<double>(now - before) / static_cast<double>(expected_bytes_);
    reported_ = std::max(reported_, std::min(share, 1.0));
    progress_.advance(reported_);
  }
}

}  // namespace stoker::worker
