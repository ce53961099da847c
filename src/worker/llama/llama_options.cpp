#include "worker/llama/llama_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>

#include "worker/options.h"

namespace stoker::worker {

namespace {

constexpr std::int64_t kDefaultContext = 4096;
constexpr std::int64_t kDefaultBatch = 512;
constexpr std::int64_t kMinBatch = 8;    // llama.cpp probes its context with two tokens
constexpr std::int64_t kMaxSlots = 256;  // LLAMA_MAX_SEQ
constexpr std::int64_t kMaxTokens = 1 << 24;

constexpr std::string_view kPoolings[] = {"none", "mean", "cls", "last", "rank"};
constexpr std::string_view kLoadModes[] = {"auto", "none", "mmap", "mlock", "mmap+mlock", "dio"};
constexpr std::string_view kThreeWays[] = {"auto", "on", "off"};
constexpr std::string_view kCacheTypes[] = {"f16",  "f32",  "bf16", "q8_0",  "q4_0",
                                            "q4_1", "q5_0", "q5_1", "iq4_nl"};

// They print and exit, or take what the load order says, or unload the model behind our back.
constexpr std::string_view kRefusedArguments[] = {"-h",
                                                  "--help",
                                                  "--usage",
                                                  "--version",
                                                  "-cl",
                                                  "--cache-list",
                                                  "--completion-bash",
                                                  "-m",
                                                  "--model",
                                                  "-np",
                                                  "--parallel",
                                                  "-a",
                                                  "--sleep-idle-seconds",
                                                  "--list-devices",
                                                  "--alias"};

std::string one_of(OptionReader& options, std::string_view key, std::string_view fallback,
                   std::span<const std::string_view> allowed) {
  std::string value = options.text(key, fallback);
  if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
    options.problem(fmt::format("{}: '{}' is not one of {}", key, value, fmt::join(allowed, ", ")));
    return std::string(fallback);
  }
  return value;
}

// `embeddings: true`, `embeddings: mean`, or absent. Gives: the pooling, "model" for the model's
// own, empty when the deployment generates. A model that names no pooling would give a vector per
// token, which the OpenAI route refuses, so that `true` alone would never serve it.
std::string embeddings_pooling(OptionReader& options, bool names_pooling) {
  const auto raw = options.raw("embeddings");
  if (!raw || *raw == "false") return {};
  if (*raw == "true") return names_pooling ? "model" : "mean";
  return one_of(options, "embeddings", "none", kPoolings);
}

class Arguments {
 public:
  void flag(std::string name) { list_.push_back(std::move(name)); }
  void pair(std::string name, std::string value) {
    list_.push_back(std::move(name));
    list_.push_back(std::move(value));
  }
  void pair(std::string name, std::int64_t value) { pair(std::move(name), std::to_string(value)); }
  std::vector<std::string> take() { return std::move(list_); }

 private:
  std::vector<std::string> list_;
};

void add_model_arguments(OptionReader& options, const LoadOrder& order, Arguments& out) {
  out.pair("--model", order.model);
  out.pair("--alias", order.deployment.empty() ? "model" : order.deployment);
  out.flag("--offline");
  out.pair("--log-verbosity", 2);  // warnings; see log_filter.h for the time after the load
  std::string mode = one_of(options, "load_mode", "auto", kLoadModes);
  if (options.boolean("mlock", false)) {
    if (mode == "dio") options.problem("mlock: cannot go with load_mode dio");
    mode = mode == "none" ? "mlock" : "mmap+mlock";
  }
  out.pair("--load-mode", std::move(mode));
  if (!options.boolean("repack", false)) out.flag("--no-repack");
  if (order.device_kind == "cpu") {
    out.pair("--device", "none");
    options.integer("gpu_layers", 0);
  } else if (const auto layers = options.integer("gpu_layers", -1, {.min = -1, .max = 10'000});
             layers >= 0) {
    out.pair("--gpu-layers", layers);
  }
  // Fitting would load the model twice; memory is the orchestrator's ledger's concern.
  out.pair("--fit", "off");
}

void add_chat_arguments(OptionReader& options, LlamaArguments& result, Arguments& out) {
  result.jinja = options.boolean("jinja", true);
  out.flag(result.jinja ? "--jinja" : "--no-jinja");
  result.chat_template = options.text("chat_template", "");
  if (!result.chat_template.empty()) out.pair("--chat-template", result.chat_template);
}

void add_serving_arguments(OptionReader& options, Arguments& out) {
  out.flag("--no-warmup");  // the contract has a phase of its own for it
  out.flag("--metrics");
  out.flag("--no-slots");  // they show other requests' prompts
  const auto cache = options.bytes("prompt_cache_memory", Bytes{0});
  out.pair("--cache-ram", (cache.value + mib(1).value - 1) / mib(1).value);
  if (cache.value == 0) out.flag("--no-cache-idle-slots");
}

}  // namespace

tl::expected<LlamaArguments, LoadError> llama_arguments(const LoadOrder& order,
                                                        std::int64_t trained_context,
                                                        bool names_pooling) {
  OptionReader options(order.options);
  Arguments out;
  LlamaArguments result;

  add_model_arguments(options, order, out);
  const std::int64_t trained = trained_context > 0 ? trained_context : kDefaultContext;
  const std::int64_t context =
      std::min(options.integer("context", std::min(kDefaultContext, trained),
                               {.min = kMinBatch, .max = kMaxTokens}),
               trained);
  if (order.concurrency > kMaxSlots) {
    options.problem(fmt::format("concurrency: {} is more than the {} slots that llama.cpp has",
                                order.concurrency, kMaxSlots));
  }
  out.pair("--parallel", order.concurrency);
  out.pair("--ctx-size", context * order.concurrency);
  out.flag("--no-kv-unified");
  out.pair("--threads", options.integer("threads", 1, {.min = 1, .max = 1024}));

  const std::string pooling = embeddings_pooling(options, names_pooling);
  const std::int64_t default_batch = pooling.empty() ? std::min(kDefaultBatch, context) : context;
  const auto batch = options.integer("batch", default_batch, {.min = kMinBatch, .max = kMaxTokens});
  const auto ubatch = options.integer("ubatch", batch, {.min = kMinBatch, .max = kMaxTokens});
  // An embedding is computed in one piece, so there the smaller of both is what counts.
  result.batch = static_cast<std::int32_t>(pooling.empty() ? batch : std::min(batch, ubatch));
  out.pair("--batch-size", result.batch);
  out.pair("--ubatch-size", std::min<std::int64_t>(ubatch, result.batch));
  if (!pooling.empty()) out.flag("--embeddings");
  if (!pooling.empty() && pooling != "model") out.pair("--pooling", pooling);

  out.pair("--flash-attn", one_of(options, "flash_attention", "auto", kThreeWays));
  const std::string cache_type = one_of(options, "kv_cache_type", "f16", kCacheTypes);
  out.pair("--cache-type-k", cache_type);
  out.pair("--cache-type-v", cache_type);
  add_chat_arguments(options, result, out);
  add_serving_arguments(options, out);
  result.projector = options.text("multimodal", "");
  if (!result.projector.empty()) out.pair("--mmproj", result.projector);
  result.arguments = out.take();
  for (std::string& argument : options.texts("extra_args")) {
    if (std::find(std::begin(kRefusedArguments), std::end(kRefusedArguments), argument) !=
        std::end(kRefusedArguments)) {
      options.problem(fmt::format("extra_args: {} is not possible here", argument));
    }
    result.arguments.push_back(std::move(argument));
  }
  if (auto problem = options.finish()) return load_failure(LoadFailure::bad_option, *problem);
  return result;
}

}  // namespace stoker::worker
