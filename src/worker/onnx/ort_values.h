// Between our tensors and ONNX Runtime's values, and its description of a model -> ours.
#pragma once

#include <string>

#include "worker/onnx/ort_library.h"
#include "worker/onnx/tensor.h"

namespace stoker::worker::onnx {

/// Gives: a value on the CPU that looks into `tensor.elements` (strings are copied).
/// Needs: `tensor` outlives the value; the value is used as an input only.
[[nodiscard]] OrtResult<OrtPtr<OrtValue>> to_value(const OrtLibrary& ort, const Tensor& tensor);

/// Gives: a tensor that looks into `value` (strings are copied).
/// Errors: ORT_NOT_IMPLEMENTED for what is no tensor, or of a type outside the protocol.
[[nodiscard]] OrtResult<Tensor> to_tensor(const OrtLibrary& ort, OrtValue* value);

/// Errors: ORT_NOT_IMPLEMENTED for an input that is no tensor or of a type outside the protocol.
/// Such outputs are left out instead (classifiers of scikit-learn have a list of maps beside their
/// labels).
[[nodiscard]] OrtResult<ModelSignature> read_signature(const OrtLibrary& ort,
                                                       const OrtSession* session);

}  // namespace stoker::worker::onnx
