#include "worker/onnx/infer_answer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/prng.h"
#include "worker/onnx/half_float.h"
#include "worker/onnx/infer_request.h"

namespace stoker::worker::onnx {
namespace {

template <class T>
Tensor tensor_of(DataType type, Shape shape, const std::vector<T>& numbers) {
  Tensor tensor;
  tensor.type = type;
  tensor.shape = std::move(shape);
  tensor.storage.resize(numbers.size() * sizeof(T));
  if (!numbers.empty()) std::memcpy(tensor.storage.data(), numbers.data(), tensor.storage.size());
  tensor.elements = tensor.storage;
  return tensor;
}

TEST(InferAnswer, Json) {
  const Tensor y = tensor_of<float>(DataType::fp32, {2, 2}, {1, 0.1F, -2.5e-8F, 16777216});
  Tensor names;
  names.type = DataType::bytes;
  names.shape = {2};
  names.strings = {"a\"b", ""};
  const std::array outputs{AnswerOutput{"y", &y}, AnswerOutput{"names", &names}};
  const InferAnswer answer = write_infer_answer({"vad", "1", "42"}, outputs);
  EXPECT_EQ(answer.json_bytes, std::nullopt);
  EXPECT_EQ(answer.body,
            R"({"model_name":"vad","model_version":"1","id":"42","outputs":[)"
            R"({"name":"y","datatype":"FP32","shape":[2,2],"data":[1,0.1,-2.5e-08,16777216]},)"
            R"({"name":"names","datatype":"BYTES","shape":[2],"data":["a\"b",""]}]})");
}

TEST(InferAnswer, NaNAndInfinityAreNullAndCounted) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const Tensor y = tensor_of<double>(DataType::fp64, {4}, {1.5, infinity, std::nan(""), -infinity});
  const std::array outputs{AnswerOutput{"y", &y}};
  EXPECT_EQ(write_infer_answer({"m", "1", std::nullopt}, outputs).body,
            R"({"model_name":"m","model_version":"1","outputs":[{"name":"y","datatype":"FP64",)"
            R"("shape":[4],"data":[1.5,null,null,null],"parameters":{"non_finite":3}}]})");
}

TEST(InferAnswer, BinaryFollowsTheJsonInOrder) {
  const Tensor a = tensor_of<std::int16_t>(DataType::int16, {1}, {0x4142});
  const Tensor b = tensor_of<std::uint8_t>(DataType::boolean, {1}, {1});
  Tensor c;
  c.type = DataType::bytes;
  c.shape = {1};
  c.strings = {"xy"};
  const std::array outputs{AnswerOutput{"a", &a, true}, AnswerOutput{"b", &b, false},
                           AnswerOutput{"c", &c, true}};
  const InferAnswer answer = write_infer_answer({"m", "1", std::nullopt}, outputs);
  ASSERT_TRUE(answer.json_bytes);
  EXPECT_EQ(answer.body.substr(0, *answer.json_bytes),
            R"({"model_name":"m","model_version":"1","outputs":[)"
            R"({"name":"a","datatype":"INT16","shape":[1],"parameters":{"binary_data_size":2}},)"
            R"({"name":"b","datatype":"BOOL","shape":[1],"data":[true]},)"
            R"({"name":"c","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":6}}]})");
  EXPECT_EQ(answer.body.substr(*answer.json_bytes), std::string("BA\x02\0\0\0xy", 8));
}

TEST(InferAnswer, NoElements) {
  const Tensor y = tensor_of<float>(DataType::fp32, {0, 3}, {});
  const std::array outputs{AnswerOutput{"y", &y}};
  EXPECT_NE(write_infer_answer({"m", "1", std::nullopt}, outputs).body.find(R"("data":[])"),
            std::string::npos);
}

// --- Property: what an answer holds is read back bit for bit when it is sent as a request ---

bool finite(DataType type, const std::byte* element) {
  const auto load = [&]<class T>(T value) {
    std::memcpy(&value, element, sizeof value);
    return value;
  };
  switch (type) {
    case DataType::fp16:
      return std::isfinite(float_from_fp16(load(std::uint16_t{})));
    case DataType::bf16:
      return std::isfinite(float_from_bf16(load(std::uint16_t{})));
    case DataType::fp32:
      return std::isfinite(load(float{}));
    case DataType::fp64:
      return std::isfinite(load(double{}));
    default:
      return true;
  }
}

Tensor random_tensor(Prng& prng, DataType type) {
  Tensor tensor;
  tensor.type = type;
  const std::uint64_t rank = prng.below(4);
  for (std::uint64_t i = 0; i < rank; ++i) {
    tensor.shape.push_back(static_cast<std::int64_t>(prng.below(5)));
  }
  const auto count = static_cast<std::size_t>(element_count(tensor.shape).value());
  for (std::size_t i = 0; type == DataType::bytes && i < count; ++i) {
    std::string& text = tensor.strings.emplace_back();
    for (std::uint64_t length = prng.below(6); length > 0; --length) {
      text += static_cast<char>(prng.below(128));  // NUL and control characters included
    }
  }
  const std::size_t size = element_bytes(type);
  tensor.storage.resize(count * size);
  for (std::size_t at = 0; at < tensor.storage.size(); at += size) {
    do {
      const std::uint64_t bits = type == DataType::boolean ? prng.below(2) : prng.next();
      std::memcpy(&tensor.storage[at], &bits, size);
    } while (!finite(type, &tensor.storage[at]));
  }
  tensor.elements = tensor.storage;
  return tensor;
}

TEST(InferAnswer, AnswersReadBackAsRequests) {
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Prng prng(seed);
    std::vector<Tensor> tensors;
    std::vector<AnswerOutput> outputs;
    ModelSignature model;
    const std::uint64_t count = 1 + prng.below(4);
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto type = static_cast<DataType>(prng.below(14));
      tensors.push_back(random_tensor(prng, type));
      model.inputs.push_back({fmt::format("t{}", i), type, std::nullopt});
    }
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      outputs.push_back({model.inputs[i].name, &tensors[i], prng.below(2) == 1});
    }
    InferAnswer answer = write_infer_answer({"m", "1", std::nullopt}, outputs);
    answer.body.replace(answer.body.find("outputs"), 7, "inputs");
    if (answer.json_bytes) *answer.json_bytes -= 1;

    const auto request = parse_infer_request(answer.body, answer.json_bytes, model);
    ASSERT_TRUE(request) << request.error().message;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      ASSERT_EQ(request->inputs[i].shape, tensors[i].shape);
      ASSERT_EQ(request->inputs[i].strings, tensors[i].strings);
      ASSERT_TRUE(std::ranges::equal(request->inputs[i].elements, tensors[i].elements)) << i;
    }
  }
}

}  // namespace
}  // namespace stoker::worker::onnx
