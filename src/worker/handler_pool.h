// Threads for runtimes that block while they answer. Runtime::serve() hands a request over and
// returns; a pool thread runs the handler and releases the exchange when it returns.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "worker/exchange.h"

namespace stoker::worker {

class HandlerPool {
 public:
  using Handler = std::function<void(WorkerExchange&)>;
  /// Needs: threads > 0. `handler` is called on several threads at once; it may block, must look at
  /// stopped(), must not call release(), and must not throw.
  HandlerPool(int threads, Handler handler);
  /// Finishes what was submitted, then joins. Stop the exchanges first if that should be quick.
  ~HandlerPool();
  HandlerPool(const HandlerPool&) = delete;
  HandlerPool& operator=(const HandlerPool&) = delete;

  /// Threads: any; never blocks. The queue is bounded by the number of connections. A request that
  /// is stopped before its turn is released without calling the handler.
  void submit(WorkerExchangePtr exchange);

 private:
  void run();

  const Handler handler_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<WorkerExchangePtr> waiting_;
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace stoker::worker
