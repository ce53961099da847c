// Tensors -> body of the answer to POST .../infer.
// Source: Open Inference Protocol, inference_rest.md, and its binary tensor data extension.
//
// JSON has no NaN and no infinity. They are written as null, and the output then carries
// "parameters": {"non_finite": COUNT}; who needs them asks for binary data. (Triton writes the bare
// words NaN and Infinity, which strict readers refuse together with the whole answer.)
// Strings that are not UTF-8 are exact only as binary data. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "worker/onnx/tensor.h"

namespace stoker::worker::onnx {

struct AnswerOutput {
  std::string_view name;
  const Tensor* tensor = nullptr;
  bool binary = false;
};

struct InferAnswer {
  std::string body;
  /// Length of the JSON part, for Inference-Header-Content-Length; nullopt: all of it is JSON.
  std::optional<std::size_t> json_bytes;
};

struct AnswerHead {
  std::string_view model;  // deployment
  std::string_view version;
  std::optional<std::string_view> id;
};

/// Floating-point numbers are the shortest text that reads back as the same float32 (or float64).
/// Cost: about 30 ns per floating-point element; binary data is one copy.
[[nodiscard]] InferAnswer write_infer_answer(const AnswerHead& head,
                                             std::span<const AnswerOutput> outputs);

}  // namespace stoker::worker::onnx
