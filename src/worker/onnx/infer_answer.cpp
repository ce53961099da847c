#include "worker/onnx/infer_answer.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "base/invariant.h"
#include "base/json_writer.h"
#include "worker/onnx/half_float.h"

namespace stoker::worker::onnx {
namespace {

std::size_t binary_size(const Tensor& tensor) {
  if (tensor.type != DataType::bytes) return tensor.elements.size();
  std::size_t size = 0;
  for (const std::string& text : tensor.strings) size += sizeof(std::uint32_t) + text.size();
  return size;
}

void append_binary(std::string& out, const Tensor& tensor) {
  if (tensor.type != DataType::bytes) {
    out.append(reinterpret_cast<const char*>(tensor.elements.data()), tensor.elements.size());
    return;
  }
  for (const std::string& text : tensor.strings) {
    const auto length = static_cast<std::uint32_t>(text.size());
    out.append(reinterpret_cast<const char*>(&length), sizeof length);
    out += text;
  }
}

/// Elements of one tensor as the inside of a JSON array. Written straight into the string: a value
/// at a time through JsonWriter would be most of the time of an answer.
class ElementText {
 public:
  explicit ElementText(std::size_t expected_bytes) {
    text_.reserve(expected_bytes + 2);
    text_ += '[';
  }

  /// `convert`: stored element -> number that std::to_chars writes.
  template <class Stored, class Convert>
  void append_all(std::span<const std::byte> elements, Convert convert) {
    for (; !elements.empty(); elements = elements.subspan(sizeof(Stored))) {
      Stored stored;
      std::memcpy(&stored, elements.data(), sizeof stored);
      append(convert(stored));
    }
  }
  template <class Number>
  void append_all(std::span<const std::byte> elements) {
    append_all<Number>(elements, [](Number number) { return number; });
  }
  void append_flags(std::span<const std::byte> elements) {
    for (const std::byte element : elements) {
      separate();
      text_ += element == std::byte{0} ? "false" : "true";
    }
  }
  void append_strings(std::span<const std::string> strings) {
    for (const std::string& string : strings) {
      separate();
      append_json_string(text_, string);
    }
  }

  [[nodiscard]] std::string take() {
    text_ += ']';
    return std::move(text_);
  }
  /// NaNs and infinities met so far; each was written as null.
  [[nodiscard]] std::size_t non_finite() const { return non_finite_; }

 private:
  void separate() {
    if (text_.size() > 1) text_ += ',';
  }

  template <class Number>
  void append(Number number) {
    separate();
    if constexpr (std::is_floating_point_v<Number>) {
      if (!std::isfinite(number)) {
        ++non_finite_;
        text_ += "null";
        return;
      }
    }
    std::array<char, 32> digits;
    const auto [end, code] = std::to_chars(digits.data(), digits.data() + digits.size(), number);
    STOKER_INVARIANT(code == std::errc{}, "{}", number);
    text_.append(digits.data(), end);
  }

  std::string text_;
  std::size_t non_finite_ = 0;
};

void append_elements(ElementText& text, const Tensor& tensor) {
  const std::span<const std::byte> elements = tensor.elements;
  switch (tensor.type) {
    case DataType::boolean:
      return text.append_flags(elements);
    case DataType::uint8:
      return text.append_all<std::uint8_t>(elements);
    case DataType::uint16:
      return text.append_all<std::uint16_t>(elements);
    case DataType::uint32:
      return text.append_all<std::uint32_t>(elements);
    case DataType::uint64:
      return text.append_all<std::uint64_t>(elements);
    case DataType::int8:
      return text.append_all<std::int8_t>(elements);
    case DataType::int16:
      return text.append_all<std::int16_t>(elements);
    case DataType::int32:
      return text.append_all<std::int32_t>(elements);
    case DataType::int64:
      return text.append_all<std::int64_t>(elements);
    case DataType::fp16:
      return text.append_all<std::uint16_t>(elements, float_from_fp16);
    case DataType::bf16:
      return text.append_all<std::uint16_t>(elements, float_from_bf16);
    case DataType::fp32:
      return text.append_all<float>(elements);
    case DataType::fp64:
      return text.append_all<double>(elements);
    case DataType::bytes:
      return text.append_strings(tensor.strings);
  }
  STOKER_INVARIANT(false, "datatype {}", static_cast<int>(tensor.type));
}

void write_output(JsonWriter& json, const AnswerOutput& output) {
  const Tensor& tensor = *output.tensor;
  json.field("name", output.name);
  json.field("datatype", to_text(tensor.type));
  json.array("shape", [&] {
    for (const std::int64_t size : tensor.shape) json.value(size);
  });
  if (output.binary) {
    json.object("parameters", [&] { json.field("binary_data_size", binary_size(tensor)); });
    return;
  }
  ElementText text(tensor.elements.size() * 3);
  append_elements(text, tensor);
  const std::size_t non_finite = text.non_finite();
  json.raw_field("data", text.take());
  if (non_finite > 0) json.object("parameters", [&] { json.field("non_finite", non_finite); });
}

}  // namespace

InferAnswer write_infer_answer(const AnswerHead& head, std::span<const AnswerOutput> outputs) {
  bool any_binary = false;
  JsonWriter json;
  json.object([&] {
    json.field("model_name", head.model);
    json.field("model_version", head.version);
    if (head.id) json.field("id", *head.id);
    json.array("outputs", [&] {
      for (const AnswerOutput& output : outputs) {
        json.object([&] { write_output(json, output); });
        any_binary |= output.binary;
      }
    });
  });
  InferAnswer answer{json.take(), std::nullopt};
  if (!any_binary) return answer;
  answer.json_bytes = answer.body.size();
  for (const AnswerOutput& output : outputs) {
    if (output.binary) append_binary(answer.body, *output.tensor);
  }
  return answer;
}

}  // namespace stoker::worker::onnx
