#include "worker/onnx/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/invariant.h"

namespace stoker::worker::onnx {
namespace {

struct DataTypeRow {
  DataType type;
  std::string_view text;
  std::size_t element_bytes;
};
constexpr std::array data_types{
    DataTypeRow{DataType::boolean, "BOOL", 1},  DataTypeRow{DataType::uint8, "UINT8", 1},
    DataTypeRow{DataType::uint16, "UINT16", 2}, DataTypeRow{DataType::uint32, "UINT32", 4},
    DataTypeRow{DataType::uint64, "UINT64", 8}, DataTypeRow{DataType::int8, "INT8", 1},
    DataTypeRow{DataType::int16, "INT16", 2},   DataTypeRow{DataType::int32, "INT32", 4},
    DataTypeRow{DataType::int64, "INT64", 8},   DataTypeRow{DataType::fp16, "FP16", 2},
    DataTypeRow{DataType::bf16, "BF16", 2},     DataTypeRow{DataType::fp32, "FP32", 4},
    DataTypeRow{DataType::fp64, "FP64", 8},     DataTypeRow{DataType::bytes, "BYTES", 0},
};

const DataTypeRow& row_of(DataType type) {
  const auto index = static_cast<std::size_t>(type);
  STOKER_INVARIANT(index < data_types.size() && data_types[index].type == type, "{}", index);
  return data_types[index];
}

}  // namespace

std::string_view to_text(DataType type) {
  return row_of(type).text;
}

std::size_t element_bytes(DataType type) {
  return row_of(type).element_bytes;
}

std::optional<DataType> parse_data_type(std::string_view text) {
  const auto* row = std::ranges::find(data_types, text, &DataTypeRow::text);
  if (row == data_types.end()) return std::nullopt;
  return row->type;
}

std::optional<std::int64_t> element_count(std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  bool empty = false;
  bool too_many = false;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0) return std::nullopt;
    empty |= dimension == 0;
    too_many |= __builtin_mul_overflow(count, dimension, &count);
  }
  if (empty) return 0;
  if (too_many) return std::nullopt;
  return count;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ","));
}

bool shape_fits(std::span<const std::int64_t> shape, const TensorSpec& spec) {
  if (!spec.shape) return true;
  return std::ranges::equal(shape, *spec.shape, [](std::int64_t actual, std::int64_t wanted) {
    return wanted < 0 || actual == wanted;
  });
}

Shape declared_shape(const TensorSpec& spec) {
  return spec.shape.value_or(Shape{-1});
}

}  // namespace stoker::worker::onnx
