#include "app/plans.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "app/engine_paths.h"
#include "base/json_writer.h"
#include "config/check.h"
#include "config/runtime_options.h"

namespace stoker::app {
namespace {

namespace fs = std::filesystem;
using config::DeploymentConfig;
using config::Runtime;
using orchestrator::DeploymentPlan;

/// A worker before it has loaded anything: program, libraries, stacks.
constexpr Bytes process_bytes = mib(64);
/// First guess for an engine behind `runtime: command`, of which nothing is known.
constexpr Bytes unknown_engine_bytes = mib(512);

struct WorkerKind {
  const char* name;
  bool speaks_contract;
};

Result<WorkerKind> worker_for(const DeploymentConfig& d) {
  switch (d.runtime) {
    case Runtime::llama_cpp:
      return WorkerKind{"llama", true};
    case Runtime::onnx:
      return WorkerKind{"onnx", true};
    case Runtime::echo:
      return WorkerKind{"echo", true};
    case Runtime::command:
      return WorkerKind{"exec", false};
    case Runtime::container:
      break;
  }
  return failure(ErrorCode::invalid,
                 fmt::format("deployments.{}.runtime: containers cannot be started yet", d.name),
                 "run the engine with `runtime: command`");
}

/// Engines that share what they read of a prompt with later ones, but for those with another
/// `cache_salt`. Others may refuse a field that they do not know.
bool salts_prompts(const DeploymentConfig& d) {
  if (d.cache_salt != config::CacheSalt::automatic) return d.cache_salt == config::CacheSalt::on;
  return std::ranges::any_of(d.command, [](const std::string& word) {
    return word.find("vllm") != std::string::npos || word.find("sglang") != std::string::npos;
  });
}

gateway::RuntimeKind gateway_kind(Runtime runtime) {
  switch (runtime) {
    case Runtime::llama_cpp:
      return gateway::RuntimeKind::llama_cpp;
    case Runtime::onnx:
      return gateway::RuntimeKind::onnx;
    case Runtime::command:
      return gateway::RuntimeKind::command;
    case Runtime::container:
      return gateway::RuntimeKind::container;
    case Runtime::echo:
      return gateway::RuntimeKind::echo;
  }
  return gateway::RuntimeKind::echo;
}

Bytes file_size(const std::string& path) {
  std::error_code error;
  const std::uintmax_t size = fs::file_size(path, error);
  return error ? Bytes{} : Bytes{static_cast<std::int64_t>(size)};
}

/// `memory` of the echo worker's options, in bytes; "64MiB" and plain numbers.
Bytes echo_memory(const std::string& options) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (parser.parse(options).get(root) != simdjson::SUCCESS) return {};
  std::int64_t number = 0;
  if (root["memory"].get(number) == simdjson::SUCCESS) return Bytes{number};
  std::string_view text;
  if (root["memory"].get(text) != simdjson::SUCCESS) return {};
  const std::int64_t amount = std::atoll(std::string(text).c_str());
  if (text.ends_with("GiB")) return gib(amount);
  if (text.ends_with("MiB")) return mib(amount);
  if (text.ends_with("KiB")) return kib(amount);
  return Bytes{amount};
}

/// First reservation, from the file alone. The measured one replaces it after the first load.
core::MemoryNeed first_estimate(const DeploymentConfig& d, const std::string& model) {
  const Bytes file = file_size(model);
  core::MemoryNeed need{process_bytes, {}};
  switch (d.runtime) {
    case Runtime::llama_cpp:  // weights are mapped; caches and buffers grow with the model
      need.shared_bytes = file;
      need.private_bytes += Bytes{file.value / 8};
      break;
    case Runtime::onnx:
      need.private_bytes += Bytes{file.value * 3 / 2};
      break;
    case Runtime::echo:
      need.private_bytes += echo_memory(d.options);
      break;
    case Runtime::command:
    case Runtime::container:
      need.private_bytes = unknown_engine_bytes;
      break;
  }
  // What is in the file is spread over its devices; what is written is for each of them.
  need.shared_bytes.value /= d.resources.devices;
  need.private_bytes.value /= d.resources.devices;
  if (d.resources.memory) {
    const Bytes all = *d.resources.memory;
    need.shared_bytes = std::min(need.shared_bytes, all);
    need.private_bytes = all - need.shared_bytes;
  }
  return need;
}

/// "zone=a": as deployments and devices both write them.
std::vector<std::string> label_texts(const std::map<std::string, std::string>& labels) {
  std::vector<std::string> texts;
  texts.reserve(labels.size());
  for (const auto& [name, value] : labels) texts.push_back(fmt::format("{}={}", name, value));
  return texts;
}

std::vector<core::DeviceKind> kinds_of(const DeploymentConfig& d) {
  if (!d.resources.kind) return {};
  switch (*d.resources.kind) {
    case config::DeviceKind::cpu:
      return {core::DeviceKind::cpu};
    case config::DeviceKind::cuda:
      return {core::DeviceKind::cuda};
    case config::DeviceKind::fake:
      return {core::DeviceKind::fake};
  }
  return {};
}

core::KeepWarmPolicy keep_warm_policy(config::KeepWarmPolicy policy) {
  switch (policy) {
    case config::KeepWarmPolicy::fixed:
      return core::KeepWarmPolicy::fixed;
    case config::KeepWarmPolicy::break_even:
      return core::KeepWarmPolicy::break_even;
    case config::KeepWarmPolicy::adaptive:
      return core::KeepWarmPolicy::adaptive;
  }
  return core::KeepWarmPolicy::break_even;
}

core::DeploymentSpec spec_of(const DeploymentConfig& d, DeploymentId id, const std::string& model,
                             WeightsId weights) {
  core::DeploymentSpec spec;
  spec.id = id;
  spec.name = d.name;
  const config::AutoscalingConfig& a = d.autoscaling;
  spec.scale.min_instances = a.min_instances;
  spec.scale.max_instances = std::max(a.max_instances, 1);
  spec.scale.concurrency = d.concurrency;
  spec.scale.target_utilization_percent =
      a.target_utilization_percent.value_or(config::usual_target_percent);
  // An objective for waits says when the queue is too long, unless a depth is written too.
  const bool waits_decide = d.scale_on.queue_wait || d.scale_on.ttft;
  spec.scale.scale_up_threshold = a.scale_up_threshold.value_or(waits_decide ? 0 : 1);
  if (d.mode == config::Mode::serverless) {
    spec.scale.spare_instances = a.spare_instances;
    spec.scale.on = {a.target_utilization_percent.has_value(), d.scale_on.queue_wait,
                     d.scale_on.ttft, d.scale_on.requests_per_second_milli.value_or(0)};
  }
  // One delay that is written holds for the last instance too; with none, keep_warm decides.
  spec.scale.scale_down_delay = a.scale_down_delay;
  spec.scale.scale_to_zero_delay =
      a.scale_to_zero_delay ? a.scale_to_zero_delay : a.scale_down_delay;
  spec.scale.keep_warm = {keep_warm_policy(d.keep_warm.policy), d.keep_warm.min, d.keep_warm.max,
                          d.keep_warm.wait_weight};
  spec.priority = d.priority;
  spec.can_suspend = d.runtime == Runtime::echo;  // of our workers, the only one so far
  spec.limits.max_queued = d.limits.max_queued;
  spec.limits.queue_timeout = d.limits.queue_timeout;
  spec.limits.start_timeout = d.limits.start_timeout;
  spec.limits.load_stall_timeout = d.limits.load_timeout;
  spec.estimate = first_estimate(d, model);
  spec.weights = spec.estimate.shared_bytes.value > 0 ? weights : WeightsId{};
  spec.needs.kinds = kinds_of(d);
  spec.needs.labels = orchestrator::label_ids(label_texts(d.resources.labels));
  spec.needs.devices = d.resources.devices;
  spec.needs.share_permille = d.resources.share_percent.value_or(0) * 10;
  spec.needs.exclusive = d.resources.exclusive;
  spec.finish_abandoned_load = d.abandoned_load == config::AbandonedLoad::finish;
  return spec;
}

std::vector<WeeklyWindow> schedule_of(const DeploymentConfig& d) {
  std::vector<WeeklyWindow> windows;
  if (d.mode == config::Mode::dedicated) return windows;
  for (const config::ScheduleEntry& each : d.autoscaling.schedule) {
    windows.push_back({each.days, each.from_minute, each.to_minute, each.utc_offset_minutes,
                       each.min_instances, each.max_instances});
  }
  return windows;
}

/// What stoker-worker-exec reads: the deployment's options, and how to run its engine.
std::string exec_options(const DeploymentConfig& d, const std::string& model, bool sandboxed) {
  JsonWriter json;
  json.object([&] {
    simdjson::dom::parser parser;
    simdjson::dom::object given;
    if (parser.parse(d.options).get(given) == simdjson::SUCCESS) {
      for (const auto field : given) json.raw_field(field.key, simdjson::minify(field.value));
    }
    json.array("command", [&] {
      for (std::string word : d.command) {
        const std::size_t at = word.find("{model}");
        if (at != std::string::npos) word.replace(at, 7, model);
        json.value(word);
      }
    });
    json.object("env", [&] {
      for (const auto& [name, value] : d.env) json.field(name, value);
    });
    if (!d.health_path.empty()) json.field("health_path", d.health_path);
    json.field("start_timeout", whole_ms(d.limits.start_timeout));
    json.field("load_timeout", whole_ms(d.limits.load_timeout));
    json.field("sandboxed", sandboxed);
  });
  return json.take();
}

/// Paths that the worker reads besides its model: a projector.
std::vector<std::string> option_paths(const DeploymentConfig& d) {
  std::vector<std::string> paths;
  simdjson::dom::parser parser;
  simdjson::dom::object given;
  if (parser.parse(d.options).get(given) != simdjson::SUCCESS) return paths;
  for (const config::OptionInfo& option : config::options_of(d.runtime)) {
    std::string_view path;
    if (option.type == config::OptionInfo::Type::path &&
        given[option.name].get(path) == simdjson::SUCCESS && path.starts_with('/')) {
      paths.emplace_back(path);
    }
  }
  return paths;
}

}  // namespace

DeploymentId PlanIds::deployment(const std::string& name) {
  const auto [known, is_new] = deployments_.try_emplace(name);
  if (is_new) known->second = DeploymentId{++deployments_given_};
  return known->second;
}

WeightsId PlanIds::weights(const std::string& model) {
  return weights_.emplace(model, WeightsId{weights_.size() + 1}).first->second;
}

Result<std::vector<DeploymentPlan>> make_plans(const config::ServerConfig& config, PlanIds& ids) {
  std::vector<DeploymentPlan> plans;
  for (const DeploymentConfig& d : config.deployments) {
    const Result<WorkerKind> worker = worker_for(d);
    if (!worker) return tl::unexpected(worker.error());
    const std::string local = config::local_path(d.model);
    const std::string model = local.empty() ? d.model : local;
    DeploymentPlan plan;
    plan.labels = label_texts(d.resources.labels);
    plan.spec = spec_of(d, ids.deployment(d.name), model, ids.weights(model));
    plan.schedule = schedule_of(d);
    plan.prices = {d.pricing.per_request, d.pricing.per_gpu_second, d.pricing.per_1k_input_tokens,
                   d.pricing.per_1k_output_tokens};
    plan.launch.worker = worker->name;
    plan.launch.speaks_contract = worker->speaks_contract;
    plan.launch.model = model;
    plan.launch.options = d.runtime == Runtime::command
                              ? exec_options(d, model, config.sandbox != config::Sandbox::off)
                              : d.options;
    if (d.runtime != Runtime::command) plan.launch.env.assign(d.env.begin(), d.env.end());
    plan.launch.sandbox.enabled = config.sandbox != config::Sandbox::off;
    plan.launch.sandbox.network = d.network;
    std::vector<std::string>& readable = plan.launch.sandbox.readable_paths;
    readable = engine_paths(d.command);
    for (std::string& path : option_paths(d)) readable.push_back(std::move(path));
    readable.insert(readable.end(), d.readable.begin(), d.readable.end());
    if (model.starts_with('/')) readable.push_back(model);  // else a name that an engine knows
    // It holds the environments of all deployments, and a script likes to lie beside it.
    std::error_code no_file;
    const fs::path real_file = fs::canonical(config.file, no_file);
    if (!no_file) plan.launch.sandbox.hidden_files.push_back(real_file.string());
    if (d.resources.memory) {  // stated by the user: it is a limit, not a guess
      plan.launch.memory_limit_percent = 100;
      plan.launch.memory_limit_slack = {};
    } else {
      plan.launch.memory_limit_percent = 0;
    }
    plans.push_back(std::move(plan));
  }
  return plans;
}

Result<gateway::DirectoryPtr> make_directory(const config::ServerConfig& config,
                                             const std::vector<DeploymentPlan>& plans) {
  std::vector<gateway::Deployment> deployments;
  for (std::size_t i = 0; i < config.deployments.size(); ++i) {
    const DeploymentConfig& d = config.deployments[i];
    gateway::Deployment out;
    out.id = plans[i].spec.id;
    out.name = d.name;
    out.aliases = d.aliases;
    out.runtime = gateway_kind(d.runtime);
    out.usage = plans[i].launch.speaks_contract          ? gateway::UsageMode::contract
                : d.usage == config::UsageSource::inject ? gateway::UsageMode::inject
                                                         : gateway::UsageMode::none;
    if (!plans[i].launch.speaks_contract) {
      out.engine_model = d.served_model_name;
      out.salts_prompts = salts_prompts(d);
    }
    out.request_timeout = d.limits.request_timeout;
    out.queue_timeout = d.limits.queue_timeout;
    out.priority = d.priority;
    out.max_instances = plans[i].spec.scale.max_instances;
    out.reports_first_token = plans[i].spec.scale.on.first_token.has_value();
    for (const WeeklyWindow& each : plans[i].schedule) {
      out.max_instances = std::max(out.max_instances, each.max_instances.value_or(0));
    }
    out.prices = plans[i].prices;
    deployments.push_back(std::move(out));
  }
  return gateway::Directory::create(std::move(deployments));
}

std::vector<backend::DeviceRequest> device_requests(const config::ServerConfig& config) {
  std::vector<backend::DeviceRequest> requests;
  if (config.devices_auto) return requests;
  for (const config::DeviceConfig& d : config.devices) {
    backend::DeviceRequest request;
    request.id = d.id;
    request.kind = d.kind == config::DeviceKind::cuda   ? backend::DeviceKind::cuda
                   : d.kind == config::DeviceKind::fake ? backend::DeviceKind::fake
                                                        : backend::DeviceKind::cpu;
    request.memory = d.memory.value_or(Bytes{});
    request.slots = d.slots;
    request.price_per_hour = d.price_per_hour;
    request.labels = label_texts(d.labels);
    requests.push_back(std::move(request));
  }
  return requests;
}

Bytes lend_host_memory(const config::ServerConfig& config, std::vector<backend::Device>& devices) {
  Bytes lent = config.model_store.host_memory.value_or(Bytes{});
  for (const backend::Device& each : devices) {
    if (each.kind == backend::DeviceKind::cpu) lent = std::min(lent, Bytes{each.memory.value / 2});
  }
  for (backend::Device& each : devices) {
    if (each.kind == backend::DeviceKind::cpu) each.memory -= lent;
  }
  return lent;
}

}  // namespace stoker::app
