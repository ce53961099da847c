// The parts of a worker process put together, and the few decisions that concern all of them: what
// each order does, and the one way out.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "net/event_loop.h"
#include "net/http_server.h"
#include "worker/command_line.h"
#include "worker/control_channel.h"
#include "worker/http_front.h"
#include "worker/loader.h"
#include "worker/request_registry.h"
#include "worker/runtime.h"

namespace stoker::worker {

/// Made on the main thread, which becomes the loop thread. Never destroyed: the process exits
/// inside, since threads of an engine may be stuck and cannot be joined.
class WorkerProcess final : private ControlHandler, private net::FdHandler {
 public:
  WorkerProcess(Runtime& runtime, net::EventLoop& loop);

  [[noreturn]] void run_supervised(const Supervised& start);
  /// Errors: the address cannot be listened on.
  [[noreturn]] void run_standalone(const Standalone& start);

  /// Threads: any. Ends what the runtime started, sends what waits, exits. The first call wins.
  [[noreturn]] void exit_now(int code);

 private:
  // ControlHandler
  void on_order(Order order) override;
  [[nodiscard]] std::string progress() override;
  void on_closed() override;
  void on_deadline() override;
  void suspend_or_resume(bool suspend);
  // FdHandler of the signalfd
  void on_events(std::uint32_t events) override;

  void listen(UniqueFd listener);
  [[noreturn]] void serve();
  void send(std::string packet);
  /// Finishes what runs, for at most `grace`, then exits 0. Threads: any.
  void shut_down(Duration grace);
  void load_failed(const LoadError& error);

  Runtime& runtime_;
  net::EventLoop& loop_;
  WorkerCounters counters_;
  std::atomic<bool> mute_control_{false};
  RequestRegistry registry_;
  ExchangeHome home_;
  HttpFront front_;
  WorkerContext context_;
  UniqueFd signals_;
  UniqueFd kept_listener_;
  std::unique_ptr<net::HttpServer> server_;
  ControlChannel* control_ = nullptr;  // null when standalone; lives as long as the process
  Loader* loader_ = nullptr;           // the same
  std::atomic<bool> shutting_down_{false};
  std::atomic<bool> exiting_{false};
};

}  // namespace stoker::worker
