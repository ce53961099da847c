#include "config/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>

#include "base/text.h"
#include "config/rules.h"
#include "config/runtime_options.h"
#include "config/tables.h"

namespace stoker::config {
namespace {

std::string path_of(const DeploymentConfig& deployment, std::string_view key) {
  return fmt::format("deployments.{}.{}", deployment.name, key);
}

void check_devices(const ServerConfig& config, Reader& reader) {
  if (!config.devices_auto && config.devices.empty()) {
    reader.error_at("devices", "is an empty list", "write devices: auto, or list at least one");
  }
  std::set<std::string> ids;
  for (std::size_t i = 0; i < config.devices.size(); ++i) {
    const DeviceConfig& device = config.devices[i];
    const std::string path = fmt::format("devices[{}]", i);
    if (device.id.empty()) {
      reader.error_at(path, "has no id", "write for example id: cuda0");
    } else if (!ids.insert(device.id).second) {
      reader.error_at(path + ".id", fmt::format("'{}' is the id of another device too", device.id));
    }
  }
}

void check_traffic(const ServerConfig& config, Reader& reader) {
  const TrafficConfig& traffic = config.traffic;
  if (traffic.total_size >= traffic.file_size) return;
  reader.error_at("traffic.total_size",
                  fmt::format("{} is less than one file may hold, {}", to_text(traffic.total_size),
                              to_text(traffic.file_size)),
                  "raise it, or lower traffic.file_size");
}

void check_tls(const ServerConfig& config, Reader& reader) {
  const TlsConfig& tls = config.tls;
  if (tls.certificate.empty() != tls.key.empty()) {
    reader.error_at("tls", fmt::format("has no {}", tls.key.empty() ? "key" : "certificate"),
                    "give both, or neither for plain HTTP");
  }
  if (!tls.certificate.empty() && config.listen.starts_with("unix:")) {
    reader.error_at("tls", "has no use on a Unix socket", "listen on HOST:PORT, or remove tls");
  }
}

void check_tls_files(const TlsConfig& tls, Reader& reader) {
  namespace fs = std::filesystem;
  std::error_code error;
  for (const auto& [path, file] :
       {std::pair("tls.certificate", tls.certificate), {"tls.key", tls.key}}) {
    if (!file.empty() && !fs::is_regular_file(file, error)) {
      reader.error_at(path, fmt::format("{} is no file", file), "it is needed to serve at all");
    }
  }
  const fs::perms open_to = fs::status(tls.key, error).permissions();
  if (!tls.key.empty() && !error && (open_to & fs::perms::others_read) != fs::perms::none) {
    reader.warning_at("tls.key", fmt::format("{} can be read by every user", tls.key),
                      "chmod o-r takes that away");
  }
}

void check_names(const ServerConfig& config, Reader& reader) {
  std::map<std::string, std::string> owners;  // name or alias -> deployment
  for (const DeploymentConfig& deployment : config.deployments) {
    owners.emplace(deployment.name, deployment.name);
  }
  for (const DeploymentConfig& deployment : config.deployments) {
    for (const std::string& alias : deployment.aliases) {
      const auto [owner, fresh] = owners.emplace(alias, deployment.name);
      if (fresh) continue;
      reader.error_at(path_of(deployment, "aliases"),
                      fmt::format("'{}' already names deployment '{}'", alias, owner->second),
                      "names and aliases are unique");
    }
  }
}

void check_scaling(const DeploymentConfig& deployment, Reader& reader) {
  const AutoscalingConfig& scaling = deployment.autoscaling;
  const auto path = [&](std::string_view key) {
    return path_of(deployment, fmt::format("autoscaling.{}", key));
  };
  if (scaling.min_instances > scaling.max_instances) {
    reader.error_at(path("min_instances"),
                    fmt::format("is {}, above max_instances = {}", scaling.min_instances,
                                scaling.max_instances),
                    "raise max_instances or lower min_instances");
  }
  if (scaling.spare_instances > scaling.max_instances) {
    reader.error_at(path("spare_instances"),
                    fmt::format("is {}, above max_instances = {}", scaling.spare_instances,
                                scaling.max_instances),
                    "raise max_instances or lower spare_instances");
  }
  if (scaling.scale_up_threshold.value_or(0) > deployment.limits.max_queued) {
    reader.warning_at(path("scale_up_threshold"),
                      fmt::format("is {}, but only {} requests may queue (limits.max_queued)",
                                  *scaling.scale_up_threshold, deployment.limits.max_queued),
                      "it is never reached");
  }
  for (std::size_t i = 0; i < scaling.schedule.size(); ++i) {
    const ScheduleEntry& entry = scaling.schedule[i];
    const std::int32_t most = entry.max_instances.value_or(scaling.max_instances);
    if (entry.min_instances <= most) continue;
    reader.error_at(path(fmt::format("schedule[{}].min_instances", i)),
                    fmt::format("is {}, above max_instances = {}", entry.min_instances, most),
                    "raise max_instances, here or for the deployment");
  }
  if (deployment.mode != Mode::dedicated) return;
  if (scaling.min_instances != scaling.max_instances) {
    reader.error_at(
        path_of(deployment, "mode"),
        fmt::format("dedicated keeps a fixed number of instances, but min_instances is {} "
                    "and max_instances is {}",
                    scaling.min_instances, scaling.max_instances),
        "give one of them, or both the same value");
  }
  for (const std::string_view key : {"scale_down_delay", "scale_to_zero_delay", "spare_instances",
                                     "scale_up_threshold", "target_utilization", "schedule"}) {
    if (reader.is_given(path(key)))
      reader.warning_at(path(key), "has no effect in mode: dedicated");
  }
}

void check_runtime(const DeploymentConfig& deployment, Reader& reader) {
  const Runtime runtime = deployment.runtime;
  const std::string_view name = runtime_name(runtime);
  const auto path = [&](std::string_view key) { return path_of(deployment, key); };
  const bool needs_model = runtime == Runtime::llama_cpp || runtime == Runtime::onnx;
  const bool is_foreign = runtime == Runtime::command || runtime == Runtime::container;

  if (needs_model && deployment.model.empty() && !reader.is_wrong(path("model"))) {
    reader.error_at(path("model"), fmt::format("is missing; runtime {} needs a model", name),
                    "write model: and the path of its file");
  }
  if (runtime == Runtime::command && deployment.command.empty() &&
      !reader.is_wrong(path("command"))) {
    reader.error_at(path("command"), "is missing; runtime command needs it",
                    "write command: [program, argument, ...]");
  }
  if (runtime != Runtime::command && !deployment.command.empty()) {
    reader.error_at(path("command"), fmt::format("is given, but the runtime is {}", name),
                    "write runtime: command, or remove it");
  }
  if (runtime == Runtime::container && deployment.image.empty()) {
    reader.error_at(path("image"), "is missing; runtime container needs it");
  }
  if (runtime != Runtime::container && !deployment.image.empty()) {
    reader.error_at(path("image"), fmt::format("is given, but the runtime is {}", name),
                    "write runtime: container, or remove it");
  }
  if (runtime == Runtime::onnx && deployment.model.ends_with(".gguf")) {
    reader.error_at(path("model"), "is a GGUF file, but the runtime is onnx",
                    "write runtime: llama.cpp");
  }
  if (runtime == Runtime::llama_cpp && deployment.model.ends_with(".onnx")) {
    reader.error_at(path("model"), "is an ONNX file, but the runtime is llama.cpp",
                    "write runtime: onnx");
  }
  for (const std::string& readable : deployment.readable) {
    if (readable != "/") continue;
    reader.error_at(path("readable"), "/ would show everything", "name the folder");
  }
  if (!deployment.sha256.empty() && deployment.model.empty()) {
    reader.error_at(path("sha256"), "is given without a model");
  }
  if (deployment.model.starts_with("http://") && deployment.sha256.empty()) {
    reader.warning_at(path("model"), "comes over plain HTTP and has no checksum",
                      "use https://, or give sha256");
  }
  const DeploymentConfig initial;
  if (!is_foreign && deployment.usage != initial.usage) {
    reader.warning_at(path("usage"), fmt::format("has no effect for runtime {}", name));
  }
  if (!is_foreign && deployment.served_model_name != initial.served_model_name) {
    reader.warning_at(path("served_model_name"), fmt::format("has no effect for runtime {}", name));
  }
  if (!is_foreign && deployment.cache_salt != initial.cache_salt) {
    reader.warning_at(path("cache_salt"), fmt::format("has no effect for runtime {}", name));
  }
  if (!is_foreign && deployment.health_path != initial.health_path) {
    reader.warning_at(path("health_path"), fmt::format("has no effect for runtime {}", name));
  }
}

/// What no device of the file can give. Of those that are found at the start nothing is known.
void check_resources(const ServerConfig& config, const DeploymentConfig& deployment,
                     Reader& reader) {
  const ResourcesConfig& needs = deployment.resources;
  const auto path = [&](std::string_view key) {
    return path_of(deployment, fmt::format("resources.{}", key));
  };
  if (needs.exclusive && needs.share_percent) {
    reader.warning_at(path("share"), "has no effect where nobody shares (resources.exclusive)",
                      "remove one of them");
  }
  if (config.devices_auto) {
    for (const auto& [name, value] : needs.labels) {
      reader.error_at(path("labels." + name),
                      "is asked for, and with devices: auto none has labels",
                      "list the devices with their labels");
    }
    return;
  }
  const auto of_kind = [&](const DeviceConfig& device) {
    return !needs.kind || device.kind == *needs.kind;
  };
  bool all_labels_known = true;
  for (const auto& [name, value] : needs.labels) {
    const bool known = std::ranges::any_of(config.devices, [&](const DeviceConfig& device) {
      const auto label = device.labels.find(name);
      return of_kind(device) && label != device.labels.end() && label->second == value;
    });
    all_labels_known = all_labels_known && known;
    if (known) continue;
    reader.error_at(path("labels." + name),
                    fmt::format("no device that it can run on has {}: {}", name, value),
                    "give one that label, under devices:");
  }
  const auto fitting = std::ranges::count_if(config.devices, [&](const DeviceConfig& device) {
    return of_kind(device) && std::ranges::includes(device.labels, needs.labels);
  });
  if (!all_labels_known || (needs.devices <= 1 && needs.labels.empty())) return;
  if (fitting >= needs.devices) return;
  reader.error_at(needs.devices > 1 ? path("devices") : path("labels"),
                  fmt::format("needs {} that fit, and of those under devices: only {} {}",
                              needs.devices > 1 ? fmt::format("{} devices", needs.devices)
                                                : std::string("a device"),
                              fitting, fitting == 1 ? "does" : "do"),
                  "list more devices of its kind and labels, or ask for less");
}

/// Single values that nothing acts on yet; whole keys are marked in the tables.
void check_support(const DeploymentConfig& deployment, Reader& reader) {
  if (deployment.runtime == Runtime::container) {
    reader.warning_at(path_of(deployment, "runtime"),
                      "container is accepted, but cannot run yet in this version",
                      "runtime: command starts the engine without a container");
  }
  if (!deployment.sha256.empty()) {
    reader.warning_at(path_of(deployment, "sha256"), "is not compared with the file yet",
                      "check the file with sha256sum");
  }
  if (deployment.model.find("://") != std::string::npos) {
    reader.warning_at(path_of(deployment, "model"), "models are not downloaded yet",
                      "download the file and write its path");
  }
}

}  // namespace

void resolve(ServerConfig& config, const Reader& reader) {
  for (DeploymentConfig& deployment : config.deployments) {
    AutoscalingConfig& scaling = deployment.autoscaling;
    const bool has_min = reader.is_given(path_of(deployment, "autoscaling.min_instances"));
    const bool has_max = reader.is_given(path_of(deployment, "autoscaling.max_instances"));
    if (!has_max) scaling.max_instances = std::max(scaling.max_instances, scaling.min_instances);
    if (!has_min && deployment.mode == Mode::dedicated) {
      scaling.min_instances = scaling.max_instances;
    }
    if (deployment.runtime == Runtime::command &&
        !reader.is_given(path_of(deployment, "limits.start_timeout"))) {
      deployment.limits.start_timeout = foreign_start_timeout;
    }
    if (!scaling.scale_to_zero_delay) scaling.scale_to_zero_delay = scaling.scale_down_delay;
    for (char& c : deployment.sha256) {
      if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    }
    for (std::string& alias : deployment.aliases) {
      constexpr std::string_view latest = ":latest";
      if (alias.ends_with(latest)) alias.resize(alias.size() - latest.size());
    }
  }
}

void check(const ServerConfig& config, Reader& reader) {
  if (config.auth == Auth::none && check_listen(config.listen) == std::nullopt &&
      !is_loopback(config.listen)) {
    reader.error_at(
        "auth",
        fmt::format("none is allowed on a loopback listener only, and listen is {}", config.listen),
        "write auth: keys, or listen: 127.0.0.1:8080");
  }
  check_tls(config, reader);
  check_devices(config, reader);
  check_traffic(config, reader);
  check_names(config, reader);
  if (config.deployments.empty()) {
    reader.warning_at("deployments", "there are none, so nothing is served");
  }
  for (const DeploymentConfig& deployment : config.deployments) {
    check_scaling(deployment, reader);
    check_runtime(deployment, reader);
    check_options(deployment, reader);
    check_resources(config, deployment, reader);
    check_support(deployment, reader);
    if (deployment.keep_warm.min > deployment.keep_warm.max) {
      reader.error_at(path_of(deployment, "keep_warm.min"),
                      fmt::format("is {}, above max = {}", duration_text(deployment.keep_warm.min),
                                  duration_text(deployment.keep_warm.max)));
    }
  }
}

std::string local_path(const std::string& model) {
  if (model.starts_with("file://")) return model.substr(7);
  if (model.starts_with("file:")) return model.substr(5);
  return model.find("://") == std::string::npos ? model : std::string();
}

void check_files(const ServerConfig& config, Reader& reader) {
  check_tls_files(config.tls, reader);
  for (const DeploymentConfig& deployment : config.deployments) {
    const std::string path = local_path(deployment.model);
    // A foreign engine may take "org/name" and fetch it itself.
    const bool is_ours =
        deployment.runtime == Runtime::llama_cpp || deployment.runtime == Runtime::onnx;
    std::error_code error;
    const auto is_there = [&error](const std::string& file) {
      return std::filesystem::exists(file, error);
    };
    if (is_ours && !path.empty()) {
      if (!is_there(path)) {
        reader.warning_at(path_of(deployment, "model"), fmt::format("{} does not exist", path),
                          "requests get 503 until it does");
      } else if (std::filesystem::is_directory(path, error)) {
        reader.error_at(path_of(deployment, "model"), fmt::format("{} is a folder", path),
                        "name the file in it");
      }
    }
    if (!deployment.command.empty() && deployment.command[0].starts_with('/') &&
        !is_there(deployment.command[0])) {
      reader.warning_at(path_of(deployment, "command"),
                        fmt::format("{} does not exist", deployment.command[0]),
                        "requests get 503 until it does");
    }
    for (const std::string& readable : deployment.readable) {
      if (is_there(readable)) continue;
      reader.warning_at(path_of(deployment, "readable"), fmt::format("{} does not exist", readable),
                        "it is left out until it does");
    }
  }
}

}  // namespace stoker::config
