#include "worker/onnx/onnx_model.h"

#include <fmt/format.h>
#include <onnxruntime_session_options_config_keys.h>

#include <filesystem>

#include "base/invariant.h"
#include "net/clock.h"
#include "worker/onnx/load_watch.h"
#include "worker/onnx/model_file.h"
#include "worker/onnx/ort_values.h"

namespace stoker::worker::onnx {
namespace {

GraphOptimizationLevel to_ort(GraphOptimization level) {
  switch (level) {
    case GraphOptimization::off:
      return ORT_DISABLE_ALL;
    case GraphOptimization::basic:
      return ORT_ENABLE_BASIC;
    case GraphOptimization::extended:
      return ORT_ENABLE_EXTENDED;
    case GraphOptimization::all:
      return ORT_ENABLE_ALL;
  }
  STOKER_INVARIANT(false, "level {}", static_cast<int>(level));
  return ORT_ENABLE_ALL;
}

/// The engine has no error code for memory that ran out, only the words of its allocators.
bool says_out_of_memory(std::string_view message) {
  return message.find("bad_alloc") != std::string_view::npos ||
         message.find("Failed to allocate memory") != std::string_view::npos;
}

tl::unexpected<LoadError> load_error(const OrtFailure& failed, const std::string& path) {
  const std::string message = fmt::format("ONNX Runtime refuses '{}': {}", path, failed.message);
  if (says_out_of_memory(failed.message)) return load_failure(LoadFailure::out_of_memory, message);
  if (failed.code == ORT_NO_SUCHFILE) return load_failure(LoadFailure::model_missing, message);
  return load_failure(LoadFailure::model_broken, message);
}

OrtResult<OrtPtr<OrtSessionOptions>> session_options(const OrtLibrary& ort, const std::string& path,
                                                     const OnnxOptions& options) {
  const OrtApi& api = ort.api();
  OrtSessionOptions* raw = nullptr;
  auto ok = ort.check(api.CreateSessionOptions(&raw));
  if (!ok) return tl::unexpected(std::move(ok.error()));
  OrtPtr<OrtSessionOptions> made = own(raw, api.ReleaseSessionOptions);
  const auto keep = [&](OrtStatus* status) {
    if (auto done = ort.check(status); ok && !done) ok = std::move(done);
  };
  keep(api.SetIntraOpNumThreads(raw, options.threads));
  keep(api.SetInterOpNumThreads(raw, options.inter_threads));
  keep(api.SetSessionExecutionMode(raw, options.inter_threads > 1 ? ORT_PARALLEL : ORT_SEQUENTIAL));
  keep(api.SetSessionGraphOptimizationLevel(raw, to_ort(options.graph_optimization)));
  // Its threads would otherwise burn CPU between requests, at the expense of other instances.
  keep(api.AddSessionConfigEntry(raw, kOrtSessionOptionsConfigAllowIntraOpSpinning, "0"));
  keep(api.AddSessionConfigEntry(raw, kOrtSessionOptionsConfigAllowInterOpSpinning, "0"));
  // The session is made from memory, so it must be told where weights beside the file are.
  std::error_code ignored;
  const std::filesystem::path folder = std::filesystem::absolute(path, ignored).parent_path();
  keep(api.AddSessionConfigEntry(raw, kOrtSessionOptionsModelExternalInitializersFileFolderPath,
                                 folder.c_str()));
  if (!ok) return tl::unexpected(std::move(ok.error()));
  return made;
}

}  // namespace

RunStop::RunStop(const OrtLibrary& ort, OrtPtr<OrtRunOptions> options)
    : ort_(ort), options_(std::move(options)) {}

void RunStop::stop() {
  // It only sets a flag; there is no way in which it could fail for options that exist.
  const OrtResult<void> ok = ort_.check(ort_.api().RunOptionsSetTerminate(options_.get()));
  STOKER_INVARIANT(ok.has_value(), "{}", ok.error().message);
}

OnnxModel::OnnxModel(const OrtLibrary& ort, OrtPtr<OrtSession> session)
    : ort_(ort), session_(std::move(session)) {}

tl::expected<std::unique_ptr<OnnxModel>, LoadError> OnnxModel::load(const OrtLibrary& ort,
                                                                    const std::string& path,
                                                                    const OnnxOptions& options,
                                                                    LoadProgress& progress) {
  const tl::expected<ModelFile, LoadError> file = ModelFile::open(path);
  if (!file) return tl::unexpected(file.error());
  file->read_ahead(progress);
  if (progress.stopped()) return load_failure(LoadFailure::internal, "the load was stopped");

  const OrtApi& api = ort.api();
  const OrtResult<OrtPtr<OrtSessionOptions>> made = session_options(ort, path, options);
  if (!made) return load_failure(LoadFailure::internal, made.error().message);
  OrtSession* session = nullptr;
  OrtResult<void> created;
  {
    const LoadWatch watch(progress, [&] {
      const OrtResult<void> ignored =
          ort.check(api.SessionOptionsSetLoadCancellationFlag(made->get(), true));
    });
    created = ort.check(api.CreateSessionFromArray(ort.env(), file->bytes().data(),
                                                   file->bytes().size(), made->get(), &session));
  }
  if (!created) return load_error(created.error(), path);
  std::unique_ptr<OnnxModel> model(new OnnxModel(ort, own(session, api.ReleaseSession)));
  OrtResult<ModelSignature> signature = read_signature(ort, session);
  if (!signature) return load_error(signature.error(), path);
  model->signature_ = std::move(*signature);
  return model;
}

std::shared_ptr<RunStop> OnnxModel::make_stop() const {
  const OrtApi& api = ort_.api();
  OrtRunOptions* raw = nullptr;
  OrtResult<void> ok = ort_.check(api.CreateRunOptions(&raw));
  STOKER_INVARIANT(ok.has_value(), "{}", ok.error().message);
  OrtPtr<OrtRunOptions> options = own(raw, api.ReleaseRunOptions);
  // What goes wrong in a run is told to its client; the log is not for wrong requests.
  ok = ort_.check(api.RunOptionsSetRunLogSeverityLevel(raw, ORT_LOGGING_LEVEL_FATAL));
  STOKER_INVARIANT(ok.has_value(), "{}", ok.error().message);
  return std::make_shared<RunStop>(ort_, std::move(options));
}

RunReport OnnxModel::run(std::span<const Tensor> inputs, std::span<const OutputWish> wishes,
                         RunStop& stop) const {
  STOKER_INVARIANT(inputs.size() == signature_.inputs.size() && !wishes.empty(), "{} inputs",
                   inputs.size());
  const OrtApi& api = ort_.api();
  std::vector<OrtPtr<OrtValue>> values;
  std::vector<const OrtValue*> raw_inputs;
  std::vector<const char*> input_names;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    OrtResult<OrtPtr<OrtValue>> value = to_value(ort_, inputs[i]);
    if (!value) return {tl::unexpected(std::move(value.error())), {}};
    raw_inputs.push_back(value->get());
    values.push_back(std::move(*value));
    input_names.push_back(signature_.inputs[i].name.c_str());
  }
  std::vector<const char*> output_names;
  for (const OutputWish& wish : wishes) {
    output_names.push_back(signature_.outputs[wish.output].name.c_str());
  }
  std::vector<OrtValue*> raw_outputs(wishes.size(), nullptr);

  const Instant begun = net::monotonic_now();
  OrtStatus* status =
      api.Run(session_.get(), stop.options_.get(), input_names.data(), raw_inputs.data(),
              raw_inputs.size(), output_names.data(), output_names.size(), raw_outputs.data());
  const Duration device_time = net::monotonic_now() - begun;
  if (OrtResult<void> ran = ort_.check(status); !ran) {
    return {tl::unexpected(std::move(ran.error())), device_time};
  }
  return {take_outputs(raw_outputs), device_time};
}

OrtResult<std::vector<RunOutput>> OnnxModel::take_outputs(std::span<OrtValue* const> values) const {
  std::vector<RunOutput> outputs;
  for (OrtValue* value : values) outputs.push_back({own(value, ort_.api().ReleaseValue), {}});
  for (RunOutput& output : outputs) {
    OrtResult<Tensor> tensor = to_tensor(ort_, output.value.get());
    if (!tensor) return tl::unexpected(std::move(tensor.error()));
    output.tensor = std::move(*tensor);
  }
  return outputs;
}

}  // namespace stoker::worker::onnx
