#include "worker/onnx/json_elements.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/invariant.h"
#include "worker/onnx/half_float.h"

namespace stoker::worker::onnx {
namespace {

namespace ondemand = simdjson::ondemand;

/// Elements that have no C++ type of their own.
struct Fp16 {
  std::uint16_t bits;
};
struct Bf16 {
  std::uint16_t bits;
};
struct Boolean {
  std::uint8_t value;
};

/// Reads one scalar.  Gives: false if it is not a value of the type, or out of its range.
bool read_scalar(ondemand::value& value, Boolean& element) {
  bool read = false;
  if (value.get_bool().get(read) != simdjson::SUCCESS) return false;
  element.value = read ? 1 : 0;
  return true;
}
bool read_scalar(ondemand::value& value, double& element) {
  return value.get_double().get(element) == simdjson::SUCCESS;
}
bool read_scalar(ondemand::value& value, float& element) {
  double read = 0;
  if (!read_scalar(value, read)) return false;
  element = static_cast<float>(read);
  return std::isfinite(element);
}
bool read_scalar(ondemand::value& value, Fp16& element) {
  float read = 0;
  if (!read_scalar(value, read)) return false;
  element.bits = fp16_from_float(read);
  return std::isfinite(float_from_fp16(element.bits));
}
bool read_scalar(ondemand::value& value, Bf16& element) {
  float read = 0;
  if (!read_scalar(value, read)) return false;
  element.bits = bf16_from_float(read);
  return std::isfinite(float_from_bf16(element.bits));
}
template <std::signed_integral Integer>
bool read_scalar(ondemand::value& value, Integer& element) {
  std::int64_t read = 0;
  if (value.get_int64().get(read) != simdjson::SUCCESS || !std::in_range<Integer>(read))
    return false;
  element = static_cast<Integer>(read);
  return true;
}
template <std::unsigned_integral Integer>
bool read_scalar(ondemand::value& value, Integer& element) {
  std::uint64_t read = 0;
  if (value.get_uint64().get(read) != simdjson::SUCCESS || !std::in_range<Integer>(read))
    return false;
  element = static_cast<Integer>(read);
  return true;
}

template <class Integer>
std::string integers_between() {
  return fmt::format("an integer from {} to {}", std::numeric_limits<Integer>::min(),
                     std::numeric_limits<Integer>::max());
}

std::string expectation(DataType type) {
  switch (type) {
    case DataType::boolean:
      return "true or false";
    case DataType::uint8:
      return integers_between<std::uint8_t>();
    case DataType::uint16:
      return integers_between<std::uint16_t>();
    case DataType::uint32:
      return integers_between<std::uint32_t>();
    case DataType::uint64:
      return integers_between<std::uint64_t>();
    case DataType::int8:
      return integers_between<std::int8_t>();
    case DataType::int16:
      return integers_between<std::int16_t>();
    case DataType::int32:
      return integers_between<std::int32_t>();
    case DataType::int64:
      return integers_between<std::int64_t>();
    case DataType::fp16:
    case DataType::bf16:
    case DataType::fp32:
    case DataType::fp64:
      return "a number in its range; NaN and infinities can be sent as binary data";
    case DataType::bytes:
      return "a string";
  }
  STOKER_INVARIANT(false, "datatype {}", static_cast<int>(type));
  return {};
}

Error broken_json(simdjson::error_code code) {
  return {ErrorCode::invalid, fmt::format("is broken JSON: {}", simdjson::error_message(code)), {}};
}

/// Writes elements of one C++ type one after the other.
template <class Element>
class NumberSink {
 public:
  explicit NumberSink(std::vector<std::byte>& storage) : next_(storage.data()) {}
  bool take(ondemand::value& value) {
    Element element{};
    if (!read_scalar(value, element)) return false;
    std::memcpy(next_, &element, sizeof(Element));
    next_ += sizeof(Element);
    return true;
  }

 private:
  std::byte* next_;
};

class StringSink {
 public:
  explicit StringSink(std::vector<std::string>& strings) : strings_(strings) {}
  bool take(ondemand::value& value) {
    std::string_view text;
    if (value.get_string().get(text) != simdjson::SUCCESS) return false;
    strings_.emplace_back(text);
    return true;
  }

 private:
  std::vector<std::string>& strings_;
};

template <class Sink>
class ArrayReader {
 public:
  ArrayReader(const Tensor& tensor, std::int64_t count, Sink sink)
      : tensor_(tensor), count_(count), sink_(sink) {}

  Result<void> read(ondemand::value data) {
    ondemand::array array;
    if (data.get_array().get(array) != simdjson::SUCCESS) {
      return failure(ErrorCode::invalid, "must be an array");
    }
    if (Result<void> level = read_level(array, 0); !level) return level;
    if (taken_ != count_) return wrong_count(fmt::format("has {} elements", taken_));
    return {};
  }

 private:
  tl::unexpected<Error> wrong_count(std::string what) const {
    return failure(ErrorCode::invalid,
                   fmt::format("{}, shape {} needs {}", what, shape_text(tensor_.shape), count_));
  }

  Result<void> take(ondemand::value& value) {
    if (taken_ == count_) return wrong_count("has too many elements");
    if (!sink_.take(value)) {
      return failure(ErrorCode::invalid,
                     fmt::format("element {} is not {}: expected {}", taken_, to_text(tensor_.type),
                                 expectation(tensor_.type)));
    }
    ++taken_;
    return {};
  }

  /// `depth` arrays are open round this one.  Needs: depth <= rank.
  Result<void> read_level(ondemand::array array, std::size_t depth) {
    const std::size_t rank = tensor_.shape.size();
    std::int64_t children = 0;
    bool nested = false;
    for (auto item : array) {
      ondemand::value value;
      ondemand::json_type type{};
      if (const auto code = item.get(value)) return tl::unexpected(broken_json(code));
      if (const auto code = value.type().get(type)) return tl::unexpected(broken_json(code));
      const bool is_array = type == ondemand::json_type::array;
      if (children > 0 && is_array != nested) {
        return failure(ErrorCode::invalid, "mixes arrays and elements on one level");
      }
      nested = is_array;
      Result<void> child;
      if (!nested) {
        child = take(value);
      } else if (depth + 1 >= rank) {
        return failure(ErrorCode::invalid, fmt::format("is nested deeper than its shape {}",
                                                       shape_text(tensor_.shape)));
      } else {
        child = read_level(value.get_array(), depth + 1);
      }
      if (!child) return child;
      ++children;
    }
    // One flat array of everything is fine on the outermost level; read() checks its length.
    if (depth == 0 && !nested) return {};
    const bool at_leaves = depth + 1 == rank || children == 0;
    if (children != tensor_.shape[depth] || (!nested && !at_leaves)) {
      return failure(ErrorCode::invalid,
                     fmt::format("has {} entries on level {} of its arrays, shape {} needs {}",
                                 children, depth, shape_text(tensor_.shape), tensor_.shape[depth]));
    }
    return {};
  }

  const Tensor& tensor_;
  const std::int64_t count_;
  Sink sink_;
  std::int64_t taken_ = 0;
};

template <class Element>
Result<void> read_numbers(ondemand::value data, std::int64_t count, Tensor& tensor) {
  static_assert(std::is_trivially_copyable_v<Element>);
  tensor.storage.resize(static_cast<std::size_t>(count) * sizeof(Element));
  tensor.elements = tensor.storage;
  return ArrayReader(tensor, count, NumberSink<Element>(tensor.storage)).read(data);
}

}  // namespace

Result<void> read_json_elements(ondemand::value data, std::int64_t count, Tensor& tensor) {
  switch (tensor.type) {
    case DataType::boolean:
      return read_numbers<Boolean>(data, count, tensor);
    case DataType::uint8:
      return read_numbers<std::uint8_t>(data, count, tensor);
    case DataType::uint16:
      return read_numbers<std::uint16_t>(data, count, tensor);
    case DataType::uint32:
      return read_numbers<std::uint32_t>(data, count, tensor);
    case DataType::uint64:
      return read_numbers<std::uint64_t>(data, count, tensor);
    case DataType::int8:
      return read_numbers<std::int8_t>(data, count, tensor);
    case DataType::int16:
      return read_numbers<std::int16_t>(data, count, tensor);
    case DataType::int32:
      return read_numbers<std::int32_t>(data, count, tensor);
    case DataType::int64:
      return read_numbers<std::int64_t>(data, count, tensor);
    case DataType::fp16:
      return read_numbers<Fp16>(data, count, tensor);
    case DataType::bf16:
      return read_numbers<Bf16>(data, count, tensor);
    case DataType::fp32:
      return read_numbers<float>(data, count, tensor);
    case DataType::fp64:
      return read_numbers<double>(data, count, tensor);
    case DataType::bytes:
      return ArrayReader(tensor, count, StringSink(tensor.strings)).read(data);
  }
  STOKER_INVARIANT(false, "datatype {}", static_cast<int>(tensor.type));
  return {};
}

}  // namespace stoker::worker::onnx
