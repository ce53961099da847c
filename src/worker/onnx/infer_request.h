// Body of POST .../infer -> tensors, checked against what the model says of its inputs.
// Source: Open Inference Protocol, inference_rest.md, and its binary tensor data extension.
//
// Accepted beyond the protocol's text: FP16 and BF16 as JSON numbers. Ignored: unknown keys and
// parameters. Refused: parameters that would change the meaning of a request (classification,
// shared memory), and null for a number, since it could stand for NaN or an infinity.
// Pure: no I/O, no engine.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/onnx/tensor.h"

namespace stoker::worker::onnx {

/// One output that the answer is to hold.
struct OutputWish {
  std::size_t output = 0;  // index into ModelSignature::outputs
  bool binary = false;     // after the JSON part instead of in it
};

struct InferRequest {
  std::optional<std::string> id;
  std::vector<Tensor> inputs;  // one per ModelSignature::inputs, in that order
  std::vector<OutputWish> outputs;
};

/// `json_bytes`: value of the field Inference-Header-Content-Length, the length of the JSON part;
/// nullopt: the whole body is JSON.
/// Gives: tensors that may look into `body`; they are aligned for their element type.
/// Errors: invalid, naming the place ("inputs[1] 'sr'"), what is wrong and what is expected.
/// Cost: one pass; memory is never reserved beyond what the body can fill.
[[nodiscard]] Result<InferRequest> parse_infer_request(std::string_view body,
                                                       std::optional<std::size_t> json_bytes,
                                                       const ModelSignature& model);

/// Value of Inference-Header-Content-Length.  Errors: invalid, if it is not a decimal number.
[[nodiscard]] Result<std::size_t> parse_json_bytes(std::string_view field_value);

}  // namespace stoker::worker::onnx
