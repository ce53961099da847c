#include "worker/onnx/infer_request.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstring>
#include <string>

namespace stoker::worker::onnx {
namespace {

using testing::HasSubstr;

ModelSignature two_inputs() {
  return {{{"x", DataType::fp32, Shape{-1, 2}}, {"n", DataType::int64, Shape{}}},
          {{"y", DataType::fp32, Shape{-1, 2}}, {"z", DataType::fp32, Shape{1}}}};
}
ModelSignature one_input(DataType type, std::optional<Shape> shape = Shape{-1}) {
  return {{{"x", type, std::move(shape)}}, {{"y", type, Shape{-1}}}};
}
constexpr const char* n_input = R"({"name":"n","shape":[],"datatype":"INT64","data":[5]})";

template <class T>
std::vector<T> values(const Tensor& tensor) {
  std::vector<T> read(tensor.elements.size() / sizeof(T));
  if (!read.empty()) std::memcpy(read.data(), tensor.elements.data(), tensor.elements.size());
  return read;
}
template <class T>
std::string raw(std::initializer_list<T> numbers) {
  return {reinterpret_cast<const char*>(std::data(numbers)), numbers.size() * sizeof(T)};
}

TEST(InferRequest, FlatNestedAndKeysInAnyOrder) {
  const std::string bodies[] = {
      fmt::format(
          R"({{"id":"7","inputs":[{{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2.5,-3,4e2]}},{}]}})",
          n_input),
      fmt::format(
          R"({{"inputs":[{},{{"data":[[1,2.5],[-3,400]],"datatype":"FP32","extra":[{{}}],"shape":[2,2],"name":"x"}}],
              "outputs":[{{"name":"y"}},{{"name":"z"}}],"id":"7","unknown":null}})",
          n_input),
  };
  for (const std::string& body : bodies) {
    SCOPED_TRACE(body);
    const auto request = parse_infer_request(body, std::nullopt, two_inputs());
    ASSERT_TRUE(request) << request.error().message;
    EXPECT_EQ(request->id, "7");
    EXPECT_EQ(request->inputs[0].shape, (Shape{2, 2}));
    EXPECT_EQ(values<float>(request->inputs[0]), (std::vector<float>{1, 2.5, -3, 400}));
    EXPECT_EQ(values<std::int64_t>(request->inputs[1]), std::vector<std::int64_t>{5});
    ASSERT_EQ(request->outputs.size(), 2);
    EXPECT_FALSE(request->outputs[0].binary);
  }
}

TEST(InferRequest, ElementsOfEachType) {
  struct Case {
    DataType type;
    const char* data;
    std::string bytes;
  };
  const Case cases[] = {
      {DataType::boolean, "[true,false]", raw<std::uint8_t>({1, 0})},
      {DataType::uint8, "[0,255]", raw<std::uint8_t>({0, 255})},
      {DataType::uint16, "[1,65535]", raw<std::uint16_t>({1, 65535})},
      {DataType::uint32, "[1,4294967295]", raw<std::uint32_t>({1, 4294967295U})},
      {DataType::uint64, "[1,18446744073709551615]", raw<std::uint64_t>({1, ~std::uint64_t{0}})},
      {DataType::int8, "[-128,127]", raw<std::int8_t>({-128, 127})},
      {DataType::int16, "[-32768,32767]", raw<std::int16_t>({-32768, 32767})},
      {DataType::int32, "[-2147483648,7]", raw<std::int32_t>({INT32_MIN, 7})},
      {DataType::int64, "[-9223372036854775808,7]", raw<std::int64_t>({INT64_MIN, 7})},
      {DataType::fp16, "[1,-65504]", raw<std::uint16_t>({0x3c00, 0xfbff})},
      {DataType::bf16, "[1,-2]", raw<std::uint16_t>({0x3f80, 0xc000})},
      {DataType::fp32, "[0.1,-0.0]", raw<float>({0.1F, -0.0F})},
      {DataType::fp64, "[0.1,1e300]", raw<double>({0.1, 1e300})},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(to_text(c.type));
    const std::string body =
        fmt::format(R"({{"inputs":[{{"name":"x","shape":[2],"datatype":"{}","data":{}}}]}})",
                    to_text(c.type), c.data);
    const auto request = parse_infer_request(body, std::nullopt, one_input(c.type));
    ASSERT_TRUE(request) << request.error().message;
    const Tensor& tensor = request->inputs[0];
    EXPECT_EQ(
        std::string(reinterpret_cast<const char*>(tensor.elements.data()), tensor.elements.size()),
        c.bytes);
  }
}

TEST(InferRequest, ElementsOutOfTheirType) {
  struct Case {
    DataType type;
    const char* element;
  };
  const Case cases[] = {
      {DataType::boolean, "1"},        {DataType::boolean, R"("true")"},
      {DataType::uint8, "256"},        {DataType::uint8, "-1"},
      {DataType::uint64, "-1"},        {DataType::int8, "128"},
      {DataType::int32, "2147483648"}, {DataType::int32, "1.0"},
      {DataType::int64, "1e3"},        {DataType::int64, "9223372036854775808"},
      {DataType::fp16, "65520"},       {DataType::fp32, "1e39"},
      {DataType::fp32, "null"},        {DataType::fp32, R"("1")"},
      {DataType::fp64, "1e999"},       {DataType::bytes, "1"},
      {DataType::fp32, "{}"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(fmt::format("{} {}", to_text(c.type), c.element));
    const std::string body =
        fmt::format(R"({{"inputs":[{{"name":"x","shape":[1],"datatype":"{}","data":[{}]}}]}})",
                    to_text(c.type), c.element);
    const auto request = parse_infer_request(body, std::nullopt, one_input(c.type));
    ASSERT_FALSE(request);
    EXPECT_THAT(request.error().message, HasSubstr("inputs[0] 'x'.data element 0 is not"));
    EXPECT_THAT(request.error().message, HasSubstr("expected"));
  }
}

TEST(InferRequest, NestingFollowsTheShape) {
  struct Case {
    const char* name;
    const char* shape;
    const char* data;
    const char* problem;  // empty: fine
  };
  const Case cases[] = {
      {"scalar", "[]", "[1]", ""},
      {"flat", "[2,1,2]", "[1,2,3,4]", ""},
      {"nested", "[2,1,2]", "[[[1,2]],[[3,4]]]", ""},
      {"empty", "[0,2]", "[]", ""},
      {"empty rows", "[2,0]", "[[],[]]", ""},
      {"empty rows above more levels", "[2,0,3]", "[[],[]]", ""},
      {"too few", "[3]", "[1,2]", "has 2 elements, shape [3] needs 3"},
      {"too many", "[1]", "[1,2]", "too many elements"},
      {"rows of wrong length", "[2,2]", "[[1,2,3],[4]]", "has 3 entries on level 1"},
      {"wrong number of rows", "[2,2]", "[[1,2]]", "has 1 entries on level 0"},
      {"half nested", "[2,1,2]", "[[1,2],[3,4]]", "on level 1"},
      {"too deep", "[2]", "[[1],[2]]", "nested deeper"},
      {"scalar too deep", "[]", "[[1]]", "nested deeper"},
      {"mixed", "[2,2]", "[[1,2],3,4]", "mixes arrays and elements"},
      {"no array", "[1]", "1", "must be an array"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string body =
        fmt::format(R"({{"inputs":[{{"name":"x","shape":{},"datatype":"INT32","data":{}}}]}})",
                    c.shape, c.data);
    const auto request =
        parse_infer_request(body, std::nullopt, one_input(DataType::int32, std::nullopt));
    EXPECT_EQ(request.has_value(), *c.problem == '\0');
    if (!request) {
      EXPECT_THAT(request.error().message, HasSubstr(c.problem));
    }
  }
}

TEST(InferRequest, MalformedOnes) {
  const auto x = [](const char* rest) {
    return fmt::format(R"({{"inputs":[{{"name":"x",{}}},{}]}})", rest, n_input);
  };
  struct Case {
    const char* name;
    std::string body;
    const char* problem;
  };
  const Case cases[] = {
      {"empty", "", "not valid JSON"},
      {"no object", "[1]", "must be a JSON object"},
      {"cut off", R"({"inputs":[{"name":"x")", "not valid JSON"},
      {"text behind", x(R"("shape":[1,2],"datatype":"FP32","data":[1,2])") + " {}", "text after"},
      {"no inputs", "{}", "no 'inputs'"},
      {"inputs twice", fmt::format(R"({{"inputs":[{}],"inputs":[]}})", n_input), "given twice"},
      {"inputs no array", R"({"inputs":{}})", "'inputs' must be an array"},
      {"input no object", R"({"inputs":[1]})", "inputs[0] must be an object"},
      {"input without a name", R"({"inputs":[{}]})", "inputs[0] has no 'name'"},
      {"name no text", R"({"inputs":[{"name":1}]})", "inputs[0].name must be a string"},
      {"unknown input", R"({"inputs":[{"name":"m"}]})", "did you mean"},
      {"very unknown input", R"({"inputs":[{"name":"image"}]})", "the model has 'x', 'n'"},
      {"input twice", fmt::format(R"({{"inputs":[{},{}]}})", n_input, n_input), "given twice"},
      {"input missing", fmt::format(R"({{"inputs":[{}]}})", n_input),
       "input 'x' is missing: the model wants FP32 [-1,2]"},
      {"no datatype", x(R"("shape":[1,2],"data":[1,2])"), "inputs[0] 'x' has no 'datatype'"},
      {"wrong datatype", x(R"("shape":[1,2],"datatype":"FP64","data":[1,2])"),
       "datatype is 'FP64', the model wants FP32"},
      {"no shape", x(R"("datatype":"FP32","data":[1,2])"), "has no 'shape'"},
      {"shape no array", x(R"("shape":2,"datatype":"FP32","data":[1,2])"),
       "shape must be an array"},
      {"negative size", x(R"("shape":[-1,2],"datatype":"FP32","data":[1,2])"),
       "shape[0] is not a size"},
      {"size no integer", x(R"("shape":[1.5,2],"datatype":"FP32","data":[1,2])"), "is not a size"},
      {"too many dimensions",
       x(R"("shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"datatype":"FP32","data":[1])"),
       "more than 16 dimensions"},
      {"wrong rank", x(R"("shape":[2],"datatype":"FP32","data":[1,2])"),
       "shape is [2], the model wants [-1,2]"},
      {"wrong size", x(R"("shape":[1,3],"datatype":"FP32","data":[1,2,3])"),
       "the model wants [-1,2]"},
      {"more elements than memory",
       x(R"("shape":[4611686018427387904,2],"datatype":"FP32","data":[1])"),
       "more elements than the request has bytes"},
      {"many more elements than bytes", x(R"("shape":[1000000,2],"datatype":"FP32","data":[1])"),
       "more elements than the request has bytes"},
      {"bare NaN", x(R"("shape":[1,2],"datatype":"FP32","data":[1,NaN])"), "data is broken JSON"},
      {"no data", x(R"("shape":[1,2],"datatype":"FP32")"), "needs either 'data' or"},
      {"both kinds of data",
       x(R"("shape":[1,2],"datatype":"FP32","data":[1,2],"parameters":{"binary_data_size":8})"),
       "needs either 'data' or"},
      {"binary without the field",
       x(R"("shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8})"),
       "no Inference-Header-Content-Length"},
      {"bad size", x(R"("shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":-8})"),
       "must be a number of bytes"},
      {"shared memory",
       x(R"("shape":[1,2],"datatype":"FP32","parameters":{"shared_memory_region":"r"})"),
       "shared_memory_region is not supported"},
      {"unknown output", fmt::format(R"({{"inputs":[{}],"outputs":[{{"name":"w"}}]}})", n_input),
       "outputs[0] 'w' is not an output"},
      {"output twice",
       fmt::format(R"({{"inputs":[{}],"outputs":[{{"name":"y"}},{{"name":"y"}}]}})", n_input),
       "outputs[1] 'y' is given twice"},
      {"classification",
       fmt::format(
           R"({{"inputs":[{}],"outputs":[{{"name":"y","parameters":{{"classification":3}}}}]}})",
           n_input),
       "classification is not supported"},
      {"id no text", R"({"id":7,"inputs":[]})", "id must be a string"},
      {"parameters no object", R"({"parameters":[],"inputs":[]})", "must be an object"},
      {"flag no boolean", R"({"parameters":{"binary_data_output":1},"inputs":[]})",
       "must be true or false"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto request = parse_infer_request(c.body, std::nullopt, two_inputs());
    ASSERT_FALSE(request);
    EXPECT_EQ(request.error().code, ErrorCode::invalid);
    EXPECT_THAT(request.error().message, HasSubstr(c.problem));
  }
}

/// `json` with a blank at its end so that the binary part begins at `offset` modulo 8.
struct BinaryBody {
  std::string text;
  std::size_t json_bytes;
};
BinaryBody with_binary(std::string json, std::size_t offset, std::string_view binary) {
  while (json.size() % 8 != offset) json += ' ';
  const std::size_t json_bytes = json.size();
  return {json + std::string(binary), json_bytes};
}

TEST(InferRequest, BinaryDataAtAnyAlignment) {
  const std::string json = fmt::format(
      R"({{"inputs":[{},{{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{{"binary_data_size":8}}}}],
          "parameters":{{"binary_data_output":true}},
          "outputs":[{{"name":"z","parameters":{{"binary_data":false}}}},{{"name":"y"}}]}})",
      n_input);
  for (std::size_t offset = 0; offset < 8; ++offset) {
    SCOPED_TRACE(offset);
    const BinaryBody body = with_binary(json, offset, raw<float>({1.5F, -2.0F}));
    const auto request = parse_infer_request(body.text, body.json_bytes, two_inputs());
    ASSERT_TRUE(request) << request.error().message;
    const Tensor& x = request->inputs[0];
    EXPECT_EQ(values<float>(x), (std::vector<float>{1.5F, -2.0F}));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(x.elements.data()) % sizeof(float), 0);
    EXPECT_EQ(values<std::int64_t>(request->inputs[1]), std::vector<std::int64_t>{5});
    ASSERT_EQ(request->outputs.size(), 2);
    EXPECT_EQ(request->outputs[0].output, 1);
    EXPECT_FALSE(request->outputs[0].binary);
    EXPECT_TRUE(request->outputs[1].binary);
  }
}

TEST(InferRequest, BinaryBooleansAreZeroOrOne) {
  const BinaryBody body = with_binary(
      R"({"inputs":[{"name":"x","shape":[3],"datatype":"BOOL","parameters":{"binary_data_size":3}}]})",
      0, raw<std::uint8_t>({0, 1, 0x80}));
  const auto request =
      parse_infer_request(body.text, body.json_bytes, one_input(DataType::boolean));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(values<std::uint8_t>(request->inputs[0]), (std::vector<std::uint8_t>{0, 1, 1}));
}

TEST(InferRequest, BinaryDataThatDoesNotFit) {
  struct Case {
    const char* name;
    DataType type;
    std::size_t declared;
    std::string binary;
    const char* problem;
  };
  const std::string two_strings = raw<std::uint32_t>({1}) + "a" + raw<std::uint32_t>({0});
  const Case cases[] = {
      {"fits", DataType::int16, 4, "abcd", ""},
      {"strings fit", DataType::bytes, two_strings.size(), two_strings, ""},
      {"too short for the shape", DataType::int16, 2, "ab", "shape [2] of INT16 needs 4"},
      {"too long for the shape", DataType::int16, 6, "abcdef", "shape [2] of INT16 needs 4"},
      {"more than the body has", DataType::int16, 4, "ab", "the body has 2 bytes left"},
      {"nobody's bytes", DataType::int16, 4, "abcdefg", "3 bytes of binary data that no input"},
      {"string cut off", DataType::bytes, 6, raw<std::uint32_t>({9}) + "ab",
       "string 0 has 9 bytes"},
      {"length cut off", DataType::bytes, 3, "abc", "holds 0 strings and 3 more bytes"},
      {"too few strings", DataType::bytes, 4, raw<std::uint32_t>({0}), "holds 1 strings"},
      {"too many strings", DataType::bytes, 9, two_strings + raw<std::uint32_t>({0}),
       "4 more bytes"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const std::size_t declared = c.type == DataType::bytes ? c.binary.size() : c.declared;
    const BinaryBody body = with_binary(
        fmt::format(
            R"({{"inputs":[{{"name":"x","shape":[2],"datatype":"{}","parameters":{{"binary_data_size":{}}}}}]}})",
            to_text(c.type), declared),
        0, c.binary);
    const auto request = parse_infer_request(body.text, body.json_bytes, one_input(c.type));
    EXPECT_EQ(request.has_value(), *c.problem == '\0');
    if (!request) {
      EXPECT_THAT(request.error().message, HasSubstr(c.problem));
    }
  }
}

TEST(InferRequest, LengthOfTheJsonPart) {
  EXPECT_EQ(parse_json_bytes("17").value(), 17);
  for (const char* text : {"", "-1", "1 ", "0x10", "99999999999999999999"}) {
    EXPECT_FALSE(parse_json_bytes(text)) << text;
  }
  const auto request = parse_infer_request("{}", 3, two_inputs());
  ASSERT_FALSE(request);
  EXPECT_THAT(request.error().message, HasSubstr("is 3, the body has 2 bytes"));
}

}  // namespace
}  // namespace stoker::worker::onnx
