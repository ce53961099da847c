#include "worker/onnx/onnx_runtime.h"

#include <fmt/format.h>
#include <malloc.h>

#include <filesystem>

#include "base/json_writer.h"
#include "worker/onnx/infer_answer.h"
#include "worker/onnx/infer_request.h"
#include "worker/onnx/v2_route.h"

namespace stoker::worker::onnx {
namespace {

constexpr std::string_view model_version = "1";
constexpr std::string_view json_type = "application/json";
/// A warm-up is not worth more memory than this.
constexpr std::int64_t max_warm_up_elements = 64 << 20;

void respond_error(WorkerExchange& exchange, int status, std::string_view message,
                   std::string_view head_fields = {}) {
  JsonWriter json;
  json.object([&] { json.field("error", message); });
  exchange.respond(status, json_type, json.text(), head_fields);
}

std::string server_metadata() {
  JsonWriter json;
  json.object([&] {
    json.field("name", "stoker-worker-onnx");
    json.field("version", STOKER_VERSION);
    json.array("extensions", [&] { json.value("binary_tensor_data"); });
  });
  return json.take();
}

std::string health(std::string_view what) {
  JsonWriter json;
  json.object([&] { json.field(what, true); });
  return json.take();
}

std::string model_health(std::string_view model) {
  JsonWriter json;
  json.object([&] {
    json.field("name", model);
    json.field("ready", true);
  });
  return json.take();
}

void write_specs(JsonWriter& json, std::string_view key, const std::vector<TensorSpec>& specs) {
  json.array(key, [&] {
    for (const TensorSpec& spec : specs) {
      json.object([&] {
        json.field("name", spec.name);
        json.field("datatype", to_text(spec.type));
        json.array("shape", [&] {
          for (const std::int64_t size : declared_shape(spec)) json.value(size);
        });
      });
    }
  });
}

/// Zeros, or empty strings, of the declared shape with 1 for each free dimension.
std::optional<std::vector<Tensor>> zeros_for(const std::vector<TensorSpec>& specs) {
  std::vector<Tensor> tensors;
  for (const TensorSpec& spec : specs) {
    if (!spec.shape) return std::nullopt;
    Tensor tensor;
    tensor.type = spec.type;
    for (const std::int64_t size : *spec.shape) tensor.shape.push_back(size < 0 ? 1 : size);
    const std::optional<std::int64_t> count = element_count(tensor.shape);
    if (!count || *count > max_warm_up_elements) return std::nullopt;
    if (spec.type == DataType::bytes) tensor.strings.resize(static_cast<std::size_t>(*count));
    tensor.storage.resize(static_cast<std::size_t>(*count) * element_bytes(spec.type));
    tensor.elements = tensor.storage;
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

Result<InferRequest> parse(const WorkerExchange& exchange, const ModelSignature& signature) {
  const auto field = exchange.field("Inference-Header-Content-Length");
  if (!field) return parse_infer_request(exchange.body(), std::nullopt, signature);
  const Result<std::size_t> json_bytes = parse_json_bytes(*field);
  if (!json_bytes) return tl::unexpected(json_bytes.error());
  return parse_infer_request(exchange.body(), *json_bytes, signature);
}

}  // namespace

void OnnxRuntime::attach(WorkerContext& context) {
  context_ = &context;
  ort_ = std::async(std::launch::async, [] { return OrtLibrary::open(); }).share();
}

LoadResult OnnxRuntime::load(const LoadOrder& order, LoadProgress& progress) {
  const tl::expected<OnnxOptions, std::string> options = parse_options(order.options);
  if (!options) return load_failure(LoadFailure::bad_option, options.error());
  if (order.device_kind == "cuda") {
    return load_failure(LoadFailure::bad_option,
                        "runtime onnx runs on the CPU only; set resources.kind to cpu");
  }
  const Result<OrtLibrary>& ort = ort_.get();
  if (!ort) {
    return load_failure(LoadFailure::start_failed,
                        fmt::format("{}; {}", ort.error().message, ort.error().hint));
  }
  auto loaded = OnnxModel::load(*ort, order.model, *options, progress);
  if (!loaded) return tl::unexpected(std::move(loaded.error()));
  model_ = std::move(*loaded);
  // Started by hand there is no deployment; the file's name is what its starter knows.
  deployment_ = order.deployment.empty() ? std::filesystem::path(order.model).stem().string()
                                         : order.deployment;
  pool_.emplace(order.concurrency, [this](WorkerExchange& exchange) { infer(exchange); });
  return {};
}

LoadResult OnnxRuntime::warm_up() {
  const std::optional<std::vector<Tensor>> inputs = zeros_for(model_->signature().inputs);
  if (!inputs) return {};
  std::vector<OutputWish> all;
  for (std::size_t i = 0; i < model_->signature().outputs.size(); ++i) all.push_back({i, false});
  if (model_->run(*inputs, all, *model_->make_stop()).outputs) count_step(context_->counters);
  return {};
}

void OnnxRuntime::unload() {
  pool_.reset();
  model_.reset();
  // Weights that were copied lie in freed heap pages; a worker kept as a standby must not hold
  // them.
  ::malloc_trim(0);
}

void OnnxRuntime::serve(WorkerExchangePtr exchange) {
  const V2Target target = parse_v2_path(exchange->path());
  if (target.route == V2Route::unknown) {
    respond_error(*exchange, 404,
                  fmt::format("no route '{}'; expected /v2, /v2/health/live, /v2/health/ready or "
                              "/v2/models/NAME[/versions/VERSION][/ready|/infer]",
                              exchange->path()));
  } else if (exchange->method() != method_of(target.route)) {
    const std::string_view method = method_of(target.route);
    respond_error(*exchange, 405, fmt::format("use {} for '{}'", method, exchange->path()),
                  fmt::format("Allow: {}\r\n", method));
  } else if (!target.version.empty() && target.version != model_version) {
    respond_error(*exchange, 404,
                  fmt::format("model '{}' has no version '{}'; it has version {}", deployment_,
                              target.version, model_version));
  } else if (target.route == V2Route::infer) {
    pool_->submit(std::move(exchange));
    return;
  } else {
    std::string body;
    if (target.route == V2Route::server_metadata) body = server_metadata();
    if (target.route == V2Route::server_live) body = health("live");
    if (target.route == V2Route::server_ready) body = health("ready");
    if (target.route == V2Route::model_metadata) body = model_metadata();
    if (target.route == V2Route::model_ready) body = model_health(deployment_);
    exchange->respond(200, json_type, body);
  }
  exchange->release();
}

void OnnxRuntime::infer(WorkerExchange& exchange) {
  const ModelSignature& signature = model_->signature();
  const Result<InferRequest> request = parse(exchange, signature);
  if (!request) return respond_error(exchange, 400, request.error().message);

  const std::shared_ptr<RunStop> stop = model_->make_stop();
  exchange.on_stop([stop] { stop->stop(); });
  const RunReport report = model_->run(request->inputs, request->outputs, *stop);
  exchange.on_stop({});
  count_step(context_->counters);
  RequestUsage usage;
  usage.device_ms = whole_ms(report.device_time + us(500));
  exchange.set_usage(usage);
  if (exchange.stopped()) return;  // the framework ends it
  if (!report.outputs) {
    const OrtFailure& failed = report.outputs.error();
    const bool wrong_request = failed.code == ORT_INVALID_ARGUMENT;
    return respond_error(exchange, wrong_request ? 400 : 500,
                         "the model failed: " + failed.message);
  }
  count_tokens(context_->counters);

  std::vector<AnswerOutput> outputs;
  for (std::size_t i = 0; i < request->outputs.size(); ++i) {
    const OutputWish& wish = request->outputs[i];
    outputs.push_back(
        {signature.outputs[wish.output].name, &(*report.outputs)[i].tensor, wish.binary});
  }
  const InferAnswer answer = write_infer_answer({deployment_, model_version, request->id}, outputs);
  if (!answer.json_bytes) return exchange.respond(200, json_type, answer.body);
  exchange.respond(200, "application/octet-stream", answer.body,
                   fmt::format("Inference-Header-Content-Length: {}\r\n", *answer.json_bytes));
}

std::string OnnxRuntime::model_metadata() const {
  JsonWriter json;
  json.object([&] {
    json.field("name", deployment_);
    json.array("versions", [&] { json.value(model_version); });
    json.field("platform", "onnxruntime_onnx");
    write_specs(json, "inputs", model_->signature().inputs);
    write_specs(json, "outputs", model_->signature().outputs);
  });
  return json.take();
}

}  // namespace stoker::worker::onnx
