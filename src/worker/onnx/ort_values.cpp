#include "worker/onnx/ort_values.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace stoker::worker::onnx {
namespace {

constexpr std::array type_pairs{
    std::pair{DataType::boolean, ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL},
    std::pair{DataType::uint8, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
    std::pair{DataType::uint16, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16},
    std::pair{DataType::uint32, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32},
    std::pair{DataType::uint64, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64},
    std::pair{DataType::int8, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8},
    std::pair{DataType::int16, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16},
    std::pair{DataType::int32, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
    std::pair{DataType::int64, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},
    std::pair{DataType::fp16, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16},
    std::pair{DataType::bf16, ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16},
    std::pair{DataType::fp32, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    std::pair{DataType::fp64, ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE},
    std::pair{DataType::bytes, ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING},
};

std::optional<DataType> from_ort(ONNXTensorElementDataType type) {
  for (const auto& [ours, theirs] : type_pairs) {
    if (theirs == type) return ours;
  }
  return std::nullopt;
}

ONNXTensorElementDataType to_ort(DataType type) {
  for (const auto& [ours, theirs] : type_pairs) {
    if (ours == type) return theirs;
  }
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

tl::unexpected<OrtFailure> not_served(std::string what) {
  return tl::unexpected(OrtFailure{ORT_NOT_IMPLEMENTED, std::move(what)});
}

struct TypeAndShape {
  DataType type = DataType::fp32;
  std::optional<Shape> shape;
};

OrtResult<TypeAndShape> read_type_and_shape(const OrtLibrary& ort,
                                            const OrtTensorTypeAndShapeInfo* info) {
  const OrtApi& api = ort.api();
  ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  if (auto ok = ort.check(api.GetTensorElementType(info, &element)); !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  const std::optional<DataType> type = from_ort(element);
  if (!type) {
    return not_served(fmt::format("element type {} has no counterpart in the protocol",
                                  static_cast<int>(element)));
  }
  if (!api.TensorTypeAndShape_HasShape(info)) return TypeAndShape{*type, std::nullopt};
  std::size_t rank = 0;
  if (auto ok = ort.check(api.GetDimensionsCount(info, &rank)); !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  Shape shape(rank);
  if (auto ok = ort.check(api.GetDimensions(info, shape.data(), rank)); !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  return TypeAndShape{*type, std::move(shape)};
}

OrtResult<std::vector<std::string>> read_strings(const OrtLibrary& ort, const OrtValue* value,
                                                 std::size_t count) {
  const OrtApi& api = ort.api();
  std::vector<std::string> strings(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t length = 0;
    if (auto ok = ort.check(api.GetStringTensorElementLength(value, i, &length)); !ok) {
      return tl::unexpected(std::move(ok.error()));
    }
    strings[i].resize(length);
    if (auto ok = ort.check(api.GetStringTensorElement(value, length, i, strings[i].data())); !ok) {
      return tl::unexpected(std::move(ok.error()));
    }
  }
  return strings;
}

OrtResult<OrtPtr<OrtValue>> to_string_value(const OrtLibrary& ort, const Tensor& tensor) {
  const OrtApi& api = ort.api();
  OrtAllocator* allocator = nullptr;  // the library's own, never released
  if (auto ok = ort.check(api.GetAllocatorWithDefaultOptions(&allocator)); !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  OrtValue* raw = nullptr;
  if (auto ok = ort.check(api.CreateTensorAsOrtValue(
          allocator, tensor.shape.data(), tensor.shape.size(), to_ort(tensor.type), &raw));
      !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  OrtPtr<OrtValue> value = own(raw, api.ReleaseValue);
  for (std::size_t i = 0; i < tensor.strings.size(); ++i) {
    const std::string& text = tensor.strings[i];
    char* buffer = nullptr;  // by length, so that strings may hold NUL
    if (auto ok = ort.check(
            api.GetResizedStringTensorElementBuffer(value.get(), i, text.size(), &buffer));
        !ok) {
      return tl::unexpected(std::move(ok.error()));
    }
    text.copy(buffer, text.size());
  }
  return value;
}

/// What one of the session's inputs or outputs is, by the pair of functions that asks for it.
struct SpecSource {
  OrtStatus*(ORT_API_CALL* name)(const OrtSession*, std::size_t, OrtAllocator*, char**);
  OrtStatus*(ORT_API_CALL* type)(const OrtSession*, std::size_t, OrtTypeInfo**);
  const char* kind;  // for messages
};

OrtResult<TensorSpec> read_spec(const OrtLibrary& ort, const OrtSession* session,
                                const SpecSource& source, std::size_t index) {
  const OrtApi& api = ort.api();
  OrtAllocator* allocator = nullptr;
  char* text = nullptr;
  auto ok = ort.check(api.GetAllocatorWithDefaultOptions(&allocator));
  if (ok) ok = ort.check(source.name(session, index, allocator, &text));
  if (!ok) return tl::unexpected(std::move(ok.error()));
  TensorSpec spec;
  spec.name = text;
  allocator->Free(allocator, text);

  OrtTypeInfo* raw = nullptr;
  if (ok = ort.check(source.type(session, index, &raw)); !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  const OrtPtr<OrtTypeInfo> info = own(raw, api.ReleaseTypeInfo);
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;  // owned by `info`
  ok = ort.check(api.CastTypeInfoToTensorInfo(info.get(), &tensor));
  if (!ok) return tl::unexpected(std::move(ok.error()));
  const std::string what = fmt::format("{} '{}'", source.kind, spec.name);
  if (tensor == nullptr) return not_served(what + " is a sequence or a map, not a tensor");
  OrtResult<TypeAndShape> read = read_type_and_shape(ort, tensor);
  if (!read) {
    return tl::unexpected(OrtFailure{read.error().code, what + ": " + read.error().message});
  }
  spec.type = read->type;
  spec.shape = std::move(read->shape);
  return spec;
}

}  // namespace

OrtResult<OrtPtr<OrtValue>> to_value(const OrtLibrary& ort, const Tensor& tensor) {
  if (tensor.type == DataType::bytes) return to_string_value(ort, tensor);
  const OrtApi& api = ort.api();
  OrtMemoryInfo* raw_memory = nullptr;
  if (auto ok =
          ort.check(api.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &raw_memory));
      !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  const OrtPtr<OrtMemoryInfo> memory = own(raw_memory, api.ReleaseMemoryInfo);
  // A tensor without elements still needs an address. Inputs are never written.
  static std::byte nothing{};
  std::byte* elements =
      tensor.elements.empty() ? &nothing : const_cast<std::byte*>(tensor.elements.data());
  OrtValue* value = nullptr;
  if (auto ok = ort.check(api.CreateTensorWithDataAsOrtValue(
          memory.get(), elements, tensor.elements.size(), tensor.shape.data(), tensor.shape.size(),
          to_ort(tensor.type), &value));
      !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  return own(value, api.ReleaseValue);
}

OrtResult<Tensor> to_tensor(const OrtLibrary& ort, OrtValue* value) {
  const OrtApi& api = ort.api();
  int is_tensor = 0;
  if (auto ok = ort.check(api.IsTensor(value, &is_tensor)); !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  if (is_tensor == 0) return not_served("the output is no tensor");
  OrtTensorTypeAndShapeInfo* raw = nullptr;
  if (auto ok = ort.check(api.GetTensorTypeAndShape(value, &raw)); !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  const OrtPtr<OrtTensorTypeAndShapeInfo> info = own(raw, api.ReleaseTensorTypeAndShapeInfo);
  OrtResult<TypeAndShape> read = read_type_and_shape(ort, info.get());
  if (!read) return tl::unexpected(std::move(read.error()));
  Tensor tensor;
  tensor.type = read->type;
  tensor.shape = std::move(read->shape).value_or(Shape{});
  const auto count = static_cast<std::size_t>(element_count(tensor.shape).value_or(0));
  if (tensor.type == DataType::bytes) {
    OrtResult<std::vector<std::string>> strings = read_strings(ort, value, count);
    if (!strings) return tl::unexpected(std::move(strings.error()));
    tensor.strings = std::move(*strings);
    return tensor;
  }
  void* elements = nullptr;
  if (auto ok = ort.check(api.GetTensorMutableData(value, &elements)); !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  tensor.elements = {static_cast<const std::byte*>(elements), count * element_bytes(tensor.type)};
  return tensor;
}

OrtResult<ModelSignature> read_signature(const OrtLibrary& ort, const OrtSession* session) {
  const OrtApi& api = ort.api();
  std::size_t inputs = 0;
  std::size_t outputs = 0;
  auto ok = ort.check(api.SessionGetInputCount(session, &inputs));
  if (ok) ok = ort.check(api.SessionGetOutputCount(session, &outputs));
  if (!ok) return tl::unexpected(std::move(ok.error()));

  ModelSignature signature;
  const SpecSource input{api.SessionGetInputName, api.SessionGetInputTypeInfo, "input"};
  for (std::size_t i = 0; i < inputs; ++i) {
    OrtResult<TensorSpec> spec = read_spec(ort, session, input, i);
    if (!spec) return tl::unexpected(std::move(spec.error()));
    signature.inputs.push_back(std::move(*spec));
  }
  const SpecSource output{api.SessionGetOutputName, api.SessionGetOutputTypeInfo, "output"};
  for (std::size_t i = 0; i < outputs; ++i) {
    OrtResult<TensorSpec> spec = read_spec(ort, session, output, i);
    if (!spec && spec.error().code != ORT_NOT_IMPLEMENTED) {
      return tl::unexpected(std::move(spec.error()));
    }
    if (spec) signature.outputs.push_back(std::move(*spec));
  }
  if (signature.outputs.empty()) return not_served("the model has no output that is a tensor");
  return signature;
}

}  // namespace stoker::worker::onnx
