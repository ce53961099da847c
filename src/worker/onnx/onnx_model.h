// One loaded ONNX model: session, signature, and one blocking run at a time per caller.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/units.h"
#include "worker/onnx/infer_request.h"
#include "worker/onnx/onnx_options.h"
#include "worker/onnx/ort_library.h"
#include "worker/onnx/tensor.h"
#include "worker/runtime.h"

namespace stoker::worker::onnx {

/// Lets any thread end a run. Made per run; may outlive it.
class RunStop {
 public:
  RunStop(const OrtLibrary& ort, OrtPtr<OrtRunOptions> options);
  /// Threads: any; never blocks. The run ends before its next operator; nothing if it has ended.
  void stop();

 private:
  friend class OnnxModel;
  const OrtLibrary& ort_;
  OrtPtr<OrtRunOptions> options_;
};

struct RunOutput {
  OrtPtr<OrtValue> value;  // owns what `tensor.elements` looks at
  Tensor tensor;
};
struct RunReport {
  OrtResult<std::vector<RunOutput>> outputs;  // one per wish, in that order
  Duration device_time;                       // inside ONNX Runtime, however the run ended
};

class OnnxModel {
 public:
  /// `ort` must outlive the model. Reports the fraction of the file that is read, then, while the
  /// graph is built, only that work goes on.
  /// Errors: model_missing, model_broken (not ONNX, or of a kind that cannot be served: inputs that
  /// are no tensors, element types outside the protocol), out_of_memory.
  static tl::expected<std::unique_ptr<OnnxModel>, LoadError> load(const OrtLibrary& ort,
                                                                  const std::string& path,
                                                                  const OnnxOptions& options,
                                                                  LoadProgress& progress);
  [[nodiscard]] const ModelSignature& signature() const { return signature_; }

  [[nodiscard]] std::shared_ptr<RunStop> make_stop() const;
  /// Needs: `inputs` match signature().inputs one by one; at least one wish.
  /// Errors: ONNX Runtime's, among them ORT_INVALID_ARGUMENT for shapes that do not go together.
  /// Threads: any, several at once.
  RunReport run(std::span<const Tensor> inputs, std::span<const OutputWish> wishes,
                RunStop& stop) const;

 private:
  OnnxModel(const OrtLibrary& ort, OrtPtr<OrtSession> session);
  OrtResult<std::vector<RunOutput>> take_outputs(std::span<OrtValue* const> values) const;

  const OrtLibrary& ort_;
  OrtPtr<OrtSession> session_;
  ModelSignature signature_;
};

}  // namespace stoker::worker::onnx
