// llama.cpp as a runtime: its own server library answers (all its routes, batching, sampling,
// templates), we load it, give it threads, watch what each request used, and stop it in time.
// llama.cpp's HTTP server is not linked, and it never reaches the network.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "worker/runtime.h"

namespace stoker::worker {

class LlamaRuntime final : public Runtime {
 public:
  LlamaRuntime();
  ~LlamaRuntime() override;

  [[nodiscard]] std::string_view name() const override { return "llama"; }
  void attach(WorkerContext& context) override;
  LoadResult load(const LoadOrder& order, LoadProgress& progress) override;
  /// Decodes one token.
  LoadResult warm_up() override;
  void unload() override;
  void serve(WorkerExchangePtr exchange) override;
  [[nodiscard]] std::vector<std::string> weights_files() const override { return weights_files_; }

 private:
  struct Engine;

  WorkerContext* context_ = nullptr;
  std::unique_ptr<Engine> engine_;  // while loaded
  std::vector<std::string> weights_files_;
};

}  // namespace stoker::worker
