#include "config/runtime_options.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/text.h"
#include "config/tables.h"

namespace stoker::config {
namespace {

using T = OptionInfo::Type;
using Choices = std::span<const std::string_view>;

constexpr std::array<std::string_view, 5> poolings = {"none", "mean", "cls", "last", "rank"};
constexpr std::array<std::string_view, 6> load_modes = {"auto",  "none",       "mmap",
                                                        "mlock", "mmap+mlock", "dio"};
constexpr std::array<std::string_view, 3> three_ways = {"auto", "on", "off"};
constexpr std::array<std::string_view, 9> cache_types = {"f16",  "f32",  "bf16", "q8_0",  "q4_0",
                                                         "q4_1", "q5_0", "q5_1", "iq4_nl"};
constexpr std::array<std::string_view, 4> graph_levels = {"off", "basic", "extended", "all"};
constexpr std::array<std::string_view, 2> endpoints = {"relay", "direct"};

constexpr std::int64_t most_tokens = 1 << 24;

constexpr std::array llama_options = {
    OptionInfo{"context",
               T::integer,
               "the model's, at most 4096",
               "Tokens of one request, prompt and output together; each of `concurrency` slots has "
               "as many. More than the model was trained with is cut to that",
               {},
               8,
               most_tokens},
    OptionInfo{"threads", T::integer, "1", "Compute threads of an instance", {}, 1, 1024},
    OptionInfo{
        "gpu_layers",
        T::integer,
        "-1",
        "Layers on the GPU; -1: as many as llama.cpp puts there. No effect on a `cpu` device",
        {},
        -1,
        10'000},
    OptionInfo{"embeddings", T::flag_or_choice, "false",
               "Serve `/v1/embeddings` and not chat. `mean` suits most models and is what `true` "
               "means for a model that names no pooling of its own; `rank` serves `/v1/rerank`; "
               "`none` gives a vector per token, which `/v1/embeddings` refuses",
               Choices(poolings)},
    OptionInfo{"batch",
               T::integer,
               "512",
               "Most tokens of one decode step; with `embeddings` the longest input, and then the "
               "default is `context`",
               {},
               8,
               most_tokens},
    OptionInfo{
        "ubatch", T::integer, "`batch`", "Most tokens computed in one piece", {}, 8, most_tokens},
    OptionInfo{"chat_template", T::text, "the model's", "A built-in name or a Jinja text"},
    OptionInfo{"jinja", T::flag, "true", "Chat templates are Jinja"},
    OptionInfo{"load_mode", T::choice, "auto",
               "How the file is read; `auto` is `mmap`, whose pages instances share",
               Choices(load_modes)},
    OptionInfo{"mlock", T::flag, "false", "Lock the weights into memory"},
    OptionInfo{"repack", T::flag, "false",
               "Rewrite weights for this processor at load: slower start, faster decoding"},
    OptionInfo{"flash_attention", T::choice, "auto", "Attention kernel", Choices(three_ways)},
    OptionInfo{"kv_cache_type", T::choice, "f16", "Number type of the cache", Choices(cache_types)},
    OptionInfo{"prompt_cache_memory", T::size, "0",
               "Host memory for prompts that have lost their slot"},
    OptionInfo{"multimodal", T::path, "unset",
               "Projector file (mmproj) of a model that takes images or audio"},
    OptionInfo{"extra_args", T::texts, "[]",
               "Further arguments of llama-server as they are; the last of equals wins"},
};

constexpr std::array onnx_options = {
    OptionInfo{"threads",
               T::integer,
               "1",
               "Threads of one operator, of all requests together",
               {},
               1,
               1024},
    OptionInfo{"inter_threads",
               T::integer,
               "1",
               "Above 1: independent operators of a request run at once on so many threads",
               {},
               1,
               1024},
    OptionInfo{"graph_optimization", T::choice, "all",
               "How far the graph is rewritten at load; `off` for a model that was saved after it",
               Choices(graph_levels)},
};

constexpr std::array command_options = {
    OptionInfo{"endpoint", T::choice, "relay",
               "`direct`: requests go straight to the engine's port, which then needs "
               "`network: true`",
               Choices(endpoints)},
    OptionInfo{"health_interval", T::duration, "5s",
               "How often a running engine is asked whether it lives; 0: never"},
    OptionInfo{"health_failures",
               T::integer,
               "3",
               "Failures in a row, with nothing relayed meanwhile, after which it is ended",
               {},
               1,
               1000},
};

constexpr std::array echo_options = {
    OptionInfo{"load_time", T::duration, "0", "How long it pretends to load"},
    OptionInfo{"warmup_time", T::duration, "0", "How long it pretends to warm up"},
    OptionInfo{"prefill_delay", T::duration, "0", "Wait before the first token"},
    OptionInfo{"token_delay", T::duration, "0", "Wait before each further token"},
    OptionInfo{"tokens", T::integer, "as many as the message has", "Tokens of an answer"},
    OptionInfo{"reply_bytes", T::integer, "unset", "Pad or cut the answer's text to so many bytes"},
    OptionInfo{"memory", T::size, "0", "Memory that it takes and touches"},
    OptionInfo{"faults", T::map, "{}", "Faults for tests; see the worker contract"},
};

bool is_text(simdjson::dom::element value) {
  return value.is_string();
}

bool is_texts(simdjson::dom::element value) {
  simdjson::dom::array list;
  return value.get(list) == simdjson::SUCCESS && std::ranges::all_of(list, is_text);
}

/// A whole number of any unit, "5 minutes"; which units there are the worker knows.
bool is_quantity(simdjson::dom::element value, std::span<const std::string_view> units) {
  std::int64_t number = 0;
  if (value.get(number) == simdjson::SUCCESS) return number >= 0;
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) return false;
  const std::size_t digits = text.find_first_not_of("0123456789");
  if (digits == 0 || digits == std::string_view::npos) return false;
  text.remove_prefix(digits);
  while (text.starts_with(' ')) text.remove_prefix(1);
  return std::ranges::find(units, text) != units.end();
}

// As worker/options.cpp has them.
constexpr std::array<std::string_view, 13> time_units = {
    "ns",  "us",     "ms",      "s", "second", "seconds", "m",
    "min", "minute", "minutes", "h", "hour",   "hours"};
constexpr std::array<std::string_view, 8> size_units = {"B",   "KiB", "MiB", "GiB",
                                                        "TiB", "KB",  "MB",  "GB"};

bool fits(const OptionInfo& option, simdjson::dom::element value) {
  std::int64_t number = 0;
  std::string_view text;
  const auto is_chosen = [&] {
    return value.get(text) == simdjson::SUCCESS &&
           std::ranges::find(option.choices, text) != option.choices.end();
  };
  switch (option.type) {
    case T::integer:
      return value.get(number) == simdjson::SUCCESS && number >= option.min && number <= option.max;
    case T::flag:
      return value.is_bool();
    case T::text:
    case T::path:
      return value.is_string();
    case T::texts:
      return is_texts(value);
    case T::duration:
      return is_quantity(value, time_units);
    case T::size:
      return is_quantity(value, size_units);
    case T::choice:
      return is_chosen();
    case T::flag_or_choice:
      return value.is_bool() || is_chosen();
    case T::map:
      return value.is_object();
  }
  return false;
}

/// What llama.cpp's own users write.
std::string_view other_name(std::string_view key) {
  constexpr std::array<std::array<std::string_view, 2>, 9> names = {{{"ctx_size", "context"},
                                                                     {"n_ctx", "context"},
                                                                     {"max_model_len", "context"},
                                                                     {"n_gpu_layers", "gpu_layers"},
                                                                     {"ngl", "gpu_layers"},
                                                                     {"n_threads", "threads"},
                                                                     {"batch_size", "batch"},
                                                                     {"ubatch_size", "ubatch"},
                                                                     {"mmproj", "multimodal"}}};
  const auto* found = std::ranges::find(names, key, [](const auto& pair) { return pair[0]; });
  return found == names.end() ? std::string_view() : (*found)[1];
}

std::string guess(std::string_view key, std::span<const OptionInfo> options) {
  std::vector<std::string_view> names;
  for (const OptionInfo& option : options) names.push_back(option.name);
  const std::string_view other = other_name(key);
  if (std::ranges::find(names, other) != names.end()) {
    return fmt::format("did you mean '{}'?", other);
  }
  if (const auto near = closest(key, names)) return fmt::format("did you mean '{}'?", *near);
  return fmt::format("there are {}", fmt::join(names, ", "));
}

}  // namespace

std::span<const OptionInfo> options_of(Runtime runtime) {
  switch (runtime) {
    case Runtime::llama_cpp:
      return llama_options;
    case Runtime::onnx:
      return onnx_options;
    case Runtime::command:
      return command_options;
    case Runtime::echo:
      return echo_options;
    case Runtime::container:
      break;
  }
  return {};
}

std::string type_text(const OptionInfo& option) {
  const std::string words = fmt::format("{}", fmt::join(option.choices, ", "));
  switch (option.type) {
    case T::integer:
      return option.max == std::numeric_limits<std::int64_t>::max()
                 ? fmt::format("whole number, at least {}", option.min)
                 : fmt::format("whole number, {} to {}", option.min, option.max);
    case T::flag:
      return "true or false";
    case T::text:
      return "text";
    case T::texts:
      return "list of texts";
    case T::duration:
      return "duration";
    case T::size:
      return "size";
    case T::path:
      return "path";
    case T::choice:
      return fmt::format("one of {}", words);
    case T::flag_or_choice:
      return fmt::format("true, false, or one of {}", words);
    case T::map:
      return "map";
  }
  return {};
}

void check_options(const DeploymentConfig& deployment, Reader& reader) {
  const std::span<const OptionInfo> options = options_of(deployment.runtime);
  simdjson::dom::parser parser;
  simdjson::dom::object given;
  if (parser.parse(deployment.options).get(given) != simdjson::SUCCESS || options.empty()) return;
  for (const auto field : given) {
    const std::string path = fmt::format("deployments.{}.options.{}", deployment.name, field.key);
    const auto option = std::ranges::find(options, field.key, &OptionInfo::name);
    if (option == options.end()) {
      reader.error_at(
          path, fmt::format("runtime {} has no such option", runtime_name(deployment.runtime)),
          guess(field.key, options));
    } else if (!field.value.is_null() && !fits(*option, field.value)) {
      reader.error_at(path, fmt::format("must be: {}", type_text(*option)));
    }
  }
}

}  // namespace stoker::config
