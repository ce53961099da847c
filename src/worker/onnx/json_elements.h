// The "data" array of one tensor -> its elements. Nested arrays must have the tensor's shape; one
// flat array in row-major order is accepted for any shape.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "worker/onnx/tensor.h"

namespace stoker::worker::onnx {

/// Fills `tensor.storage` or `tensor.strings`.
/// Needs: tensor.type and tensor.shape are set; `count` is the number of elements of that shape.
/// Errors: invalid; the message begins with what is wrong inside the data ("element 3 is ...").
[[nodiscard]] Result<void> read_json_elements(simdjson::ondemand::value data, std::int64_t count,
                                              Tensor& tensor);

}  // namespace stoker::worker::onnx
