// Tensors as the Open Inference Protocol describes them, free of any engine: datatypes, shapes, and
// what a model says of its inputs and outputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace stoker::worker::onnx {

/// More dimensions than any operator has; bounds recursion over nested JSON arrays.
inline constexpr std::size_t max_tensor_rank = 16;

/// Datatypes of the protocol. `bytes` is a tensor of strings.
enum class DataType : std::uint8_t {
  boolean,
  uint8,
  uint16,
  uint32,
  uint64,
  int8,
  int16,
  int32,
  int64,
  fp16,
  bf16,
  fp32,
  fp64,
  bytes,
};
/// "BOOL", "UINT8", ... as requests spell them.
[[nodiscard]] std::string_view to_text(DataType type);
[[nodiscard]] std::optional<DataType> parse_data_type(std::string_view text);
/// Units: bytes of one element; 0 for `bytes`, whose elements have no fixed size.
[[nodiscard]] std::size_t element_bytes(DataType type);

using Shape = std::vector<std::int64_t>;

/// Product of the dimensions, 1 for a scalar.  Gives: nullopt for a negative dimension, or if the
/// product does not fit 63 bits (a zero dimension makes it 0 whatever the others are).
[[nodiscard]] std::optional<std::int64_t> element_count(std::span<const std::int64_t> shape);
/// "[2,-1,80]".
[[nodiscard]] std::string shape_text(std::span<const std::int64_t> shape);

/// One input or output of a model. Shape: -1 is a dimension that the request chooses; nullopt when
/// the model says nothing, not even the rank.
struct TensorSpec {
  std::string name;
  DataType type = DataType::fp32;
  std::optional<Shape> shape;
};
/// Whether a tensor of `shape` may be given to `spec`.
[[nodiscard]] bool shape_fits(std::span<const std::int64_t> shape, const TensorSpec& spec);
/// The declared shape as the protocol writes it; [-1] where the model declares none.
[[nodiscard]] Shape declared_shape(const TensorSpec& spec);

struct ModelSignature {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
};

/// Elements of one tensor, row-major, little-endian, without padding; `boolean` is one byte, 0
/// or 1. Exactly one of `elements` and `strings` is used, by `type`. Move-only: `elements` may look
/// into `storage`, or into memory that its maker names.
struct Tensor {
  DataType type = DataType::fp32;
  Shape shape;
  std::span<const std::byte> elements;
  std::vector<std::byte> storage;
  std::vector<std::string> strings;

  Tensor() = default;
  Tensor(Tensor&&) = default;
  Tensor& operator=(Tensor&&) = default;
};

}  // namespace stoker::worker::onnx
