// The one thread on which admin queries run, as they read files and the database. Its queue is
// bounded, so that admin traffic can neither block the event loops nor pile up.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace stoker::gateway {

class AdminThread {
 public:
  AdminThread();
  ~AdminThread();
  AdminThread(const AdminThread&) = delete;
  AdminThread& operator=(const AdminThread&) = delete;

  /// Threads: any. Gives: false, and the job is not run, if too many wait or stop() was called.
  [[nodiscard]] bool submit(std::function<void()> job);
  /// Like submit(), for clean-up that must happen: never refused before stop().
  void submit_always(std::function<void()> job);
  /// Runs what is queued, then ends the thread. Threads: not its own.
  void stop();

 private:
  void run();

  static constexpr std::size_t max_queued = 64;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace stoker::gateway
