// A thread for what must not block the loop before a spawn: the synced journal record of a start.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace stoker::orchestrator {

class Starter {
 public:
  Starter();
  /// Finishes the task that runs; those that wait are dropped.
  ~Starter();
  /// Threads: any. Tasks run one after the other.
  void run(std::function<void()> task);

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace stoker::orchestrator
