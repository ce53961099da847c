// The engine itself, on the small models of tests/data/make_onnx.py.
#include "worker/onnx/onnx_model.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

namespace stoker::worker::onnx {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class RecordedProgress final : public LoadProgress {
 public:
  void advance(double fraction) override { last_fraction = fraction; }
  void advance(const std::string&) override {}
  bool pause(Duration) override { return !stop; }
  [[nodiscard]] bool stopped() const override { return stop; }

  double last_fraction = 0;
  bool stop = false;
};

const OrtLibrary& ort() {
  static const Result<OrtLibrary> opened = OrtLibrary::open();
  if (!opened) throw std::runtime_error(opened.error().message);
  return *opened;
}

std::string data_file(const char* name) {
  return fmt::format("{}/{}", TEST_DATA_DIR, name);
}

std::unique_ptr<OnnxModel> load(const char* name) {
  RecordedProgress progress;
  auto model = OnnxModel::load(ort(), data_file(name), {}, progress);
  if (!model) throw std::runtime_error(model.error().message);
  EXPECT_EQ(progress.last_fraction, 1.0);
  return std::move(*model);
}

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
template <class T>
std::vector<T> values(const Tensor& tensor) {
  std::vector<T> read(tensor.elements.size() / sizeof(T));
  if (!read.empty()) std::memcpy(read.data(), tensor.elements.data(), tensor.elements.size());
  return read;
}

std::vector<Tensor> arithmetic_inputs(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<Tensor> inputs;
  inputs.push_back(tensor_of(DataType::fp32, {std::ssize(a)}, a));
  inputs.push_back(tensor_of(DataType::fp32, {std::ssize(b)}, b));
  inputs.push_back(tensor_of<std::int64_t>(DataType::int64, {1}, {21}));
  return inputs;
}

TEST(OnnxModel, SaysWhatItWants) {
  const auto model = load("arithmetic.onnx");
  const ModelSignature& signature = model->signature();
  ASSERT_EQ(signature.inputs.size(), 3);
  EXPECT_EQ(signature.inputs[0].name, "a");
  EXPECT_EQ(signature.inputs[0].type, DataType::fp32);
  EXPECT_EQ(signature.inputs[0].shape, Shape{-1});
  EXPECT_EQ(signature.inputs[2].type, DataType::int64);
  EXPECT_EQ(signature.inputs[2].shape, Shape{1});
  ASSERT_EQ(signature.outputs.size(), 3);
  EXPECT_EQ(signature.outputs[1].name, "ratio");
}

TEST(OnnxModel, Computes) {
  const auto model = load("arithmetic.onnx");
  const std::vector<OutputWish> wishes{{2, false}, {0, false}, {1, true}};
  const RunReport report =
      model->run(arithmetic_inputs({1, 2, 0}, {3, 0.5, 0}), wishes, *model->make_stop());
  ASSERT_TRUE(report.outputs) << report.outputs.error().message;
  EXPECT_GT(report.device_time, Duration{0});
  const std::vector<RunOutput>& outputs = *report.outputs;
  EXPECT_EQ(values<std::int64_t>(outputs[0].tensor), std::vector<std::int64_t>{42});
  EXPECT_EQ(values<float>(outputs[1].tensor), (std::vector<float>{4, 2.5, 0}));
  EXPECT_EQ(outputs[1].tensor.shape, Shape{3});
  EXPECT_TRUE(std::isnan(values<float>(outputs[2].tensor)[2]));
}

TEST(OnnxModel, NoElements) {
  const auto model = load("arithmetic.onnx");
  const RunReport report = model->run(arithmetic_inputs({}, {}),
                                      std::vector<OutputWish>{{0, false}}, *model->make_stop());
  ASSERT_TRUE(report.outputs) << report.outputs.error().message;
  EXPECT_EQ((*report.outputs)[0].tensor.shape, Shape{0});
}

TEST(OnnxModel, ShapesThatDoNotGoTogetherFailTheRunOnly) {
  const auto model = load("arithmetic.onnx");
  const std::vector<OutputWish> wishes{{0, false}};
  EXPECT_FALSE(
      model->run(arithmetic_inputs({1, 2}, {1, 2, 3}), wishes, *model->make_stop()).outputs);
  EXPECT_TRUE(model->run(arithmetic_inputs({1, 2}, {3, 4}), wishes, *model->make_stop()).outputs);
}

TEST(OnnxModel, EveryTypeGoesThroughUnchanged) {
  const auto model = load("identity.onnx");
  std::vector<Tensor> inputs;
  std::vector<OutputWish> wishes;
  for (const TensorSpec& spec : model->signature().inputs) {
    Tensor tensor;
    tensor.type = spec.type;
    tensor.shape = {1, 2};
    if (spec.type == DataType::bytes) tensor.strings = {std::string("a\0b", 3), ""};
    tensor.storage.assign(2 * element_bytes(spec.type), std::byte{1});
    tensor.elements = tensor.storage;
    inputs.push_back(std::move(tensor));
    wishes.push_back({wishes.size(), true});
  }
  ASSERT_EQ(inputs.size(), 14);
  const RunReport report = model->run(inputs, wishes, *model->make_stop());
  ASSERT_TRUE(report.outputs) << report.outputs.error().message;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    SCOPED_TRACE(model->signature().inputs[i].name);
    const Tensor& output = (*report.outputs)[i].tensor;
    EXPECT_EQ(output.type, inputs[i].type);
    EXPECT_EQ(output.shape, inputs[i].shape);
    EXPECT_EQ(output.strings, inputs[i].strings);
    EXPECT_TRUE(std::ranges::equal(output.elements, inputs[i].elements));
  }
}

TEST(OnnxModel, ARunIsStoppedFromAnotherThread) {
  const auto model = load("loop.onnx");
  std::vector<Tensor> inputs;
  inputs.push_back(tensor_of<std::int64_t>(DataType::int64, {}, {std::int64_t{1} << 40}));  // years
  inputs.push_back(tensor_of<float>(DataType::fp32, {1}, {1}));
  const std::shared_ptr<RunStop> stop = model->make_stop();
  std::jthread other([&] { stop->stop(); });
  const RunReport report = model->run(inputs, std::vector<OutputWish>{{0, false}}, *stop);
  EXPECT_FALSE(report.outputs);
}

class LoadFailures : public testing::Test {
 protected:
  LoadFailures() : folder_(fs::temp_directory_path() / fmt::format("stoker-onnx-{}", ::getpid())) {
    fs::create_directories(folder_);
  }
  ~LoadFailures() override { fs::remove_all(folder_); }

  std::string file(const std::string& content) const {
    std::ofstream(folder_ / "model.onnx", std::ios::binary) << content;
    return folder_ / "model.onnx";
  }
  static LoadError failure_of(const std::string& path) {
    RecordedProgress progress;
    const auto model = OnnxModel::load(ort(), path, {}, progress);
    return model ? LoadError{LoadFailure::internal, "loaded"} : model.error();
  }

  const fs::path folder_;
};

TEST_F(LoadFailures, HaveTheirCodes) {
  EXPECT_EQ(failure_of(folder_ / "nothing.onnx").code, LoadFailure::model_missing);
  EXPECT_EQ(failure_of(folder_).code, LoadFailure::model_missing);
  EXPECT_EQ(failure_of(file("")).code, LoadFailure::model_broken);
  EXPECT_EQ(failure_of(file("this is no model")).code, LoadFailure::model_broken);

  std::ifstream whole(data_file("identity.onnx"), std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(whole), {}};
  const LoadError cut = failure_of(file(bytes.substr(0, bytes.size() / 2)));
  EXPECT_EQ(cut.code, LoadFailure::model_broken);
  EXPECT_THAT(cut.message, HasSubstr("model.onnx"));
}

TEST_F(LoadFailures, AStoppedLoadEnds) {
  RecordedProgress progress;
  progress.stop = true;
  EXPECT_FALSE(OnnxModel::load(ort(), data_file("identity.onnx"), {}, progress));
}

}  // namespace
}  // namespace stoker::worker::onnx
