// Speaks for a load that cannot speak for itself. ONNX Runtime builds a session in one call of
// seconds without a word. Meanwhile this thread reports progress as long as the process really
// computes (its CPU time grows), and passes on that the load is no longer wanted. A load that waits
// for something that never comes uses no CPU, and is rightly silent.
#pragma once

#include <functional>
#include <stop_token>
#include <thread>

#include "worker/runtime.h"

namespace stoker::worker::onnx {

class LoadWatch {
 public:
  /// `give_up` is called once on the watch's thread if the load is stopped. Both must outlive this.
  LoadWatch(LoadProgress& progress, std::function<void()> give_up);
  ~LoadWatch() = default;  // the thread is asked to stop and joined
  LoadWatch(const LoadWatch&) = delete;
  LoadWatch& operator=(const LoadWatch&) = delete;

 private:
  void watch(const std::stop_token& ended);

  LoadProgress& progress_;
  std::function<void()> give_up_;
  std::jthread thread_;  // last, so that it ends before what it uses
};

}  // namespace stoker::worker::onnx
