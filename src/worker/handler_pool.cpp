#include "worker/handler_pool.h"

#include "base/invariant.h"

namespace stoker::worker {

HandlerPool::HandlerPool(int threads, Handler handler) : handler_(std::move(handler)) {
  STOKER_INVARIANT(threads > 0, "{} handler threads", threads);
  threads_.reserve(static_cast<std::size_t>(threads));
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

HandlerPool::~HandlerPool() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void HandlerPool::submit(WorkerExchangePtr exchange) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(exchange));
  }
  wake_.notify_one();
}

void HandlerPool::run() {
  for (;;) {
    WorkerExchangePtr exchange;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      exchange = std::move(waiting_.front());
      waiting_.pop_front();
    }
    if (!exchange->stopped()) handler_(*exchange);
    exchange->release();
  }
}

}  // namespace stoker::worker
