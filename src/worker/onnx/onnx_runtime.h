// The Open Inference Protocol over ONNX Runtime, as a Runtime: routes, runs, errors in the
// protocol's shape {"error": "..."}. One model, one version ("1").
#pragma once

#include <future>
#include <memory>
#include <optional>
#include <string>

#include "worker/handler_pool.h"
#include "worker/onnx/onnx_model.h"
#include "worker/runtime.h"

namespace stoker::worker::onnx {

class OnnxRuntime final : public Runtime {
 public:
  [[nodiscard]] std::string_view name() const override { return "onnx"; }
  /// Opens ONNX Runtime in the background: a standby worker has it before it is given a model.
  void attach(WorkerContext& context) override;
  LoadResult load(const LoadOrder& order, LoadProgress& progress) override;
  /// One run on zeros, with 1 for each free dimension. A model that refuses that is simply not
  /// warmed up: such zeros need not make sense to it.
  LoadResult warm_up() override;
  void unload() override;
  void serve(WorkerExchangePtr exchange) override;

 private:
  /// Threads: the pool's, several at once.
  void infer(WorkerExchange& exchange);
  [[nodiscard]] std::string model_metadata() const;

  WorkerContext* context_ = nullptr;
  std::shared_future<Result<OrtLibrary>> ort_;
  std::string deployment_;
  std::unique_ptr<OnnxModel> model_;
  std::optional<HandlerPool> pool_;
};

}  // namespace stoker::worker::onnx
