// stoker-worker-exec: speaks the worker contract for an engine that does not. It starts the engine,
// waits until it answers HTTP, relays to it, and takes it down with everything that it started.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "net/event_loop.h"
#include "worker/exec/engine_process.h"
#include "worker/exec/exec_options.h"
#include "worker/exec/health_watch.h"
#include "worker/exec/ready_probe.h"
#include "worker/exec/relay.h"
#include "worker/runtime.h"

namespace stoker::worker {

class ExecRuntime final : public Runtime, private net::FdHandler {
 public:
  [[nodiscard]] std::string_view name() const override { return "exec"; }
  void attach(WorkerContext& context) override;
  LoadResult load(const LoadOrder& order, LoadProgress& progress) override;
  LoadResult warm_up() override { return {}; }  // the engine's own matter
  void unload() override;
  void serve(WorkerExchangePtr exchange) override;

  [[nodiscard]] bool accepts_itself() const override { return true; }
  void drain(std::function<void()> done) override { relay_->drain(std::move(done)); }
  [[nodiscard]] std::vector<std::string> weights_files() const override;
  [[nodiscard]] std::vector<pid_t> processes_below() const override { return list_descendants(); }
  [[nodiscard]] std::string endpoint() const override;
  void abandon() override;

 private:
  LoadResult start_engine(const LoadOrder& order);
  LoadResult wait_until_up(LoadProgress& progress);
  [[nodiscard]] std::string advice_for(const ReadyProbe& probe) const;
  void watch_health();
  void run_relay(bool on);
  void on_events(std::uint32_t events) override;  // SIGCHLD
  void engine_died(int status);

  WorkerContext* context_ = nullptr;
  std::unique_ptr<Relay> relay_;  // loop thread
  UniqueFd child_signals_;
  EngineProcess engine_;
  ExecOptions options_;
  std::string model_;
  int port_ = 0;
  std::string health_path_;  // the one that answered
  std::unique_ptr<HealthWatch> health_;
  /// True while the end of the engine would be news: not during a load or an unload.
  std::atomic<bool> expected_alive_{false};
};

}  // namespace stoker::worker
