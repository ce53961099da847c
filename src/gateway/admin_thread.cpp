#include "gateway/admin_thread.h"

#include <utility>

namespace stoker::gateway {

AdminThread::AdminThread() : thread_([this] { run(); }) {}

AdminThread::~AdminThread() {
  stop();
}

bool AdminThread::submit(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || jobs_.size() >= max_queued) return false;
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
  return true;
}

void AdminThread::submit_always(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
}

void AdminThread::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void AdminThread::run() {
  while (true) {
    std::function<void()> job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

}  // namespace stoker::gateway
