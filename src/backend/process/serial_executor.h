// One thread that runs blocking work in order, so that the event loop never waits.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace stoker::backend {

class SerialExecutor {
 public:
  explicit SerialExecutor(const char* thread_name);
  /// Runs what is still queued, then ends.
  ~SerialExecutor();
  SerialExecutor(const SerialExecutor&) = delete;
  SerialExecutor& operator=(const SerialExecutor&) = delete;

  /// Threads: any.
  void submit(std::function<void()> work);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable more_;
  std::deque<std::function<void()>> queue_;
  bool ending_ = false;
  std::thread thread_;  // last: it starts when the rest is there
};

}  // namespace stoker::backend
