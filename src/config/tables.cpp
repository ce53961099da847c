#include "config/tables.h"

#include <algorithm>

#include "config/rules.h"

namespace stoker::config {
namespace {

using R = Reading;

const Choice<DeviceKind>& device_kinds() {
  static const Choice<DeviceKind> kinds{
      {{"cpu", DeviceKind::cpu}, {"cuda", DeviceKind::cuda}, {"fake", DeviceKind::fake}}};
  return kinds;
}

const Choice<Runtime>& runtimes() {
  static const Choice<Runtime> choice{{{"llama.cpp", Runtime::llama_cpp},
                                       {"onnx", Runtime::onnx},
                                       {"command", Runtime::command},
                                       {"container", Runtime::container},
                                       {"echo", Runtime::echo}}};
  return choice;
}

const Table<DeviceConfig>& device_table() {
  using S = DeviceConfig;
  static const Table<S> table = {
      value_key("id", &S::id, Text{"device id", check_device_id},
                "Name of the device in receipts and metrics"),
      value_key(
          "kind", &S::kind, device_kinds(),
          "`cpu`: this machine's processors and memory; `cuda`: an NVIDIA GPU; `fake`: for tests"),
      optional_key("memory", &S::memory, Size{mib(1)},
                   "Memory that instances may take; unset: what is measured"),
      value_key("slots", &S::slots, Count{0, 1024},
                "Instances at the same time; 0: as many as memory allows"),
      value_key("price_per_hour", &S::price_per_hour, Price{},
                "What the device costs you: the dearer, the shorter an idle instance is kept where "
                "`keep_warm` decides. Also in recorded traffic"),
      text_map_key("labels", &S::labels, Text{"label", check_label},
                   "What deployments may ask for with `resources.labels`"),
  };
  return table;
}

const Table<ModelStoreConfig>& model_store_table() {
  using S = ModelStoreConfig;
  static const Table<S> table = {
      value_key("path", &S::path, Text{"path"},
                "Where downloaded models are kept; empty: `models` in `state_dir`", {},
                Effect::later),
      optional_key("disk", &S::disk, Size{mib(1)},
                   "Most that downloaded models may take; unset: free space decides", {},
                   Effect::later),
      optional_key("host_memory", &S::host_memory, Size{},
                   "Host memory for suspended instances (and, later, models that are not on a "
                   "device); part of a "
                   "`cpu` device's memory; unset: nothing is suspended"),
  };
  return table;
}

const Table<TlsConfig>& tls_table() {
  using S = TlsConfig;
  static const Table<S> table = {
      value_key("certificate", &S::certificate, Text{"path"},
                "PEM file with the server's certificate and those that lead to the root; read anew "
                "when it changes"),
      value_key("key", &S::key, Text{"path"}, "PEM file with its private key, without a password"),
  };
  return table;
}

const Table<CorsConfig>& cors_table() {
  using S = CorsConfig;
  static const Table<S> table = {
      list_key("origins", &S::origins, Text{"origin", check_origin},
               "Origins such as `https://console.example.com` whose pages may call the API"),
  };
  return table;
}

const Table<JobsConfig>& jobs_table() {
  using S = JobsConfig;
  static const Table<S> table = {
      value_key("retention", &S::retention, Time{seconds(1)},
                "How long a job that has ended stays with its answer, and its `Idempotency-Key`"),
      value_key("max_open", &S::max_open, Count{1, 10'000'000, "jobs"},
                "Jobs of a deployment that wait or run; one more is refused with 429",
                {{"max_open_jobs"}}),
  };
  return table;
}

const Table<WebhooksConfig>& webhooks_table() {
  using S = WebhooksConfig;
  static const Table<S> table = {
      list_key("allow", &S::allow, Text{"destination", check_destination},
               "Ranges (`10.1.0.0/16`), addresses and host names that may be called besides public "
               "addresses"),
      value_key("give_up_after", &S::give_up_after, Time{seconds(1)},
                "How long after the end of its job a call that fails is tried again"),
  };
  return table;
}

const Table<TrafficConfig>& traffic_table() {
  using S = TrafficConfig;
  static const Table<S> table = {
      value_key(
          "record", &S::record, Flag{},
          "Record each request in `state_dir/traffic`: times, sizes and names, never what was "
          "asked or answered. For `stoker replay`"),
      value_key("file_size", &S::file_size, Size{kib(64)},
                "A file that holds so much is followed by another"),
      value_key("total_size", &S::total_size, Size{kib(64)},
                "The oldest files are deleted when all would hold more"),
  };
  return table;
}

const Table<LogConfig>& log_table() {
  using S = LogConfig;
  static const Table<S> table = {
      value_key("level", &S::level,
                Choice<LogLevel>{{{"debug", LogLevel::debug},
                                  {"info", LogLevel::info},
                                  {"warn", LogLevel::warn},
                                  {"error", LogLevel::error}}},
                "Least important lines that are written"),
      value_key("format", &S::format,
                Choice<LogFormat>{{{"auto", LogFormat::automatic},
                                   {"text", LogFormat::text},
                                   {"logfmt", LogFormat::logfmt},
                                   {"json", LogFormat::json}}},
                "`auto`: `text` on a terminal, `logfmt` elsewhere"),
  };
  return table;
}

const Table<ScheduleEntry>& schedule_table() {
  using S = ScheduleEntry;
  static const Table<S> table = {
      value_key("days", &S::days, Days{}, "Days on which the window begins"),
      value_key("from", &S::from_minute, TimeOfDay{}, "Begin of the window"),
      value_key("to", &S::to_minute, TimeOfDay{},
                "End of the window; not after `from`: on the next day"),
      value_key("timezone", &S::utc_offset_minutes, UtcOffset{},
                "Where `days`, `from` and `to` are read; an offset, so without daylight saving"),
      value_key("min_instances", &S::min_instances, Count{0, 1000}, "Minimum within the window"),
      optional_key("max_instances", &S::max_instances, Count{1, 1000},
                   "Maximum within the window; unset: as without the window"),
  };
  return table;
}

const Table<AutoscalingConfig>& autoscaling_table() {
  using S = AutoscalingConfig;
  static const Table<S> table = {
      value_key("min_instances", &S::min_instances, Count{0, 1000, "instances"},
                "Instances that are always kept warm; 0: scale to zero",
                {{"min_replicas"},
                 {"minReplicas"},
                 {"min_replica"},
                 {"min_containers"},
                 {"min_workers"},
                 {"workersMin"},
                 {"min_scale"},
                 {"min-scale"},
                 {"minScale"}}),
      value_key("max_instances", &S::max_instances, Count{1, 1000, "instances"},
                "Most instances at the same time; unset: `min_instances`, at least 1",
                {{"max_replicas"},
                 {"maxReplicas"},
                 {"max_replica"},
                 {"max_containers"},
                 {"max_workers"},
                 {"workersMax"},
                 {"max_scale"},
                 {"max-scale"},
                 {"maxScale"}}),
      optional_key(
          "target_utilization", &S::target_utilization_percent, Percent{1, 100},
          "Share of `concurrency` that shall be in use, averaged over 60 s and, for a sudden "
          "rise, over 6 s; more instances start above it. Unset: only what waits starts more, "
          "counted with 70%",
          {{"target_utilization_percentage", R::percent},
           {"target-utilization-percentage", R::percent},
           {"targetUtilizationPercentage", R::percent}}),
      optional_key(
          "scale_up_threshold", &S::scale_up_threshold, Count{1, 1'000'000, "requests queued"},
          "Requests without a free slot from which the queue starts more than one instance; unset: "
          "1, or none where `scale_on.queue_wait` or `scale_on.ttft` decides"),
      value_key("spare_instances", &S::spare_instances, Count{0, 100, "instances"},
                "Instances kept beyond those that the requests fill, while there are any",
                {{"buffer_containers"}}),
      optional_key(
          "scale_down_delay", &S::scale_down_delay, Time{.may_be_never = true},
          "Idle time after which an instance above the minimum stops; unset: `keep_warm` decides",
          {{"scaledown_window", R::seconds},
           {"container_idle_timeout", R::seconds},
           {"idle_timeout", R::seconds},
           {"idleTimeout", R::seconds},
           {"downscale_delay_s", R::seconds},
           {"scaleDownDelaySeconds", R::seconds},
           {"scale-down-delay"},
           {"scaleDownDelay"},
           {"keep_warm_seconds", R::seconds},
           {"cooldown", R::seconds},
           {"keep_alive", R::keep_alive},
           {"ttl", R::ttl}}),
      optional_key("scale_to_zero_delay", &S::scale_to_zero_delay, Time{.may_be_never = true},
                   "The same for the last instance; unset: `scale_down_delay`",
                   {{"downscale_to_zero_delay_s", R::seconds},
                    {"scale-to-zero-pod-retention-period"},
                    {"scale_to_zero_pod_retention_period"}}),
      block_list_key("schedule", &S::schedule, schedule_table(),
                     "Windows of the week with a minimum and a maximum of their own; where they "
                     "overlap, the largest of each"),
  };
  return table;
}

const Table<KeepWarmConfig>& keep_warm_table() {
  using S = KeepWarmConfig;
  static const Table<S> table = {
      value_key(
          "policy", &S::policy,
          Choice<KeepWarmPolicy>{{{"fixed", KeepWarmPolicy::fixed},
                                  {"break_even", KeepWarmPolicy::break_even},
                                  {"adaptive", KeepWarmPolicy::adaptive}}},
          "How long an idle instance stays where no delay is written. `fixed`: `max`; "
          "`break_even`: as long as idling is expected to cost less than the next cold start, from "
          "its learned traffic and start time; `adaptive`: the same, and it starts ahead of a "
          "request that can be foreseen"),
      value_key("min", &S::min, Time{}, "Shortest time that the policy may choose"),
      value_key("max", &S::max, Time{.may_be_never = true},
                "Longest time that the policy may choose"),
      value_key("wait_weight", &S::wait_weight, Count{0, 1'000'000},
                "What a second of waiting for a start is worth, in seconds of an idle device: more "
                "keeps instances longer. Where a device has `price_per_hour`: what an hour of "
                "waiting is worth, in units of `currency`"),
  };
  return table;
}

const Table<LimitsConfig>& limits_table() {
  using S = LimitsConfig;
  static const Table<S> table = {
      value_key("max_queued", &S::max_queued, Count{0, 1'000'000, "requests"},
                "Requests that may wait; one more is refused with 429",
                {{"max_queue"}, {"max_queue_size"}, {"max_queued_requests"}}),
      value_key("queue_timeout", &S::queue_timeout, Time{ms(1)},
                "Longest wait for an instance; then 503",
                {{"max_time_in_queue_seconds", R::seconds}, {"max_queue_wait", R::seconds}}),
      value_key("start_timeout", &S::start_timeout, Time{ms(1)},
                "Longest time from spawning a worker until it answers; its load has "
                "`load_timeout`. With `runtime: command` until its engine is ready; unset, that "
                "is 15m",
                {{"startup_timeout", R::seconds},
                 {"init_timeout", R::seconds},
                 {"healthCheckTimeout", R::seconds}}),
      value_key("load_timeout", &S::load_timeout, Time{ms(1)},
                "Longest time that a load may make no progress; with `runtime: command`, that the "
                "engine may answer its health path with anything but 2xx or 5xx"),
      value_key("request_timeout", &S::request_timeout, Time{ms(1)},
                "Longest run of a request, from its dispatch to the last byte",
                {{"timeout", R::seconds},
                 {"timeoutSeconds", R::seconds},
                 {"timeout_seconds", R::seconds},
                 {"execution_timeout", R::seconds},
                 {"executionTimeoutMs", R::milliseconds}}),
  };
  return table;
}

const Table<PricingConfig>& pricing_table() {
  using S = PricingConfig;
  static const Table<S> table = {
      value_key("per_request", &S::per_request, Price{}, "Price of each request that ran",
                {{"cost_per_request"}}),
      value_key(
          "per_gpu_second", &S::per_gpu_second, Price{},
          "Price of a second of a device, shared by the requests that run at the same time; the "
          "same for `cpu` devices",
          {{"per_device_second"}}),
      value_key("per_1k_input_tokens", &S::per_1k_input_tokens, Price{},
                "Price of 1,000 tokens read",
                {{"input_cost_per_token", R::per_token}, {"per_1m_input_tokens", R::per_million}}),
      value_key(
          "per_1k_output_tokens", &S::per_1k_output_tokens, Price{},
          "Price of 1,000 tokens written",
          {{"output_cost_per_token", R::per_token}, {"per_1m_output_tokens", R::per_million}}),
  };
  return table;
}

const Table<ResourcesConfig>& resources_table() {
  using S = ResourcesConfig;
  static const Table<S> table = {
      value_key("devices", &S::devices, Count{1, 64},
                "Devices of one instance; it is billed for each of them",
                {{"gpus"}, {"num_gpus"}, {"gpu_count"}, {"gpuCount"}}),
      optional_key(
          "memory", &S::memory, Size{mib(1)},
          "Memory to reserve on each device before the first load; unset: from the model's file, "
          "in equal parts"),
      optional_key(
          "share", &S::share_percent, Percent{1, 100},
          "Share of each device's computing power that an instance is promised: no more is "
          "promised than there is. Instances that ask for none may be there too"),
      value_key("exclusive", &S::exclusive, Flag{},
                "An instance has its devices for itself: no other one is resident there"),
      optional_key("kind", &S::kind, device_kinds(), "Kind of device; unset: any"),
      text_map_key("labels", &S::labels, Text{"label", check_label},
                   "Labels that each of its devices must have, with these values"),
  };
  return table;
}

const Table<ScaleOnConfig>& scale_on_table() {
  using S = ScaleOnConfig;
  static const Table<S> table = {
      optional_key("queue_wait", &S::queue_wait, Time{ms(1)},
                   "Scale up when a request is going to wait longer for a slot, counting what will "
                   "have been served when a start is done"),
      optional_key("ttft", &S::ttft, Time{ms(1)},
                   "Scale up when the first token of a stream takes longer on average, from its "
                   "request's arrival"),
      optional_key("requests_per_second", &S::requests_per_second_milli, Rate{},
                   "Scale up when more come for each instance, averaged over 60 s and over 6 s"),
  };
  return table;
}

/// `options`: any map, kept as JSON for the worker. An override replaces single entries.
Key<DeploymentConfig> options_key() {
  Key<DeploymentConfig> key;
  key.info = {"options",
              "Settings of the runtime, passed on with their types; which there are "
              "depends on it",
              {},
              Effect::now,
              "map",
              R"({"type":["object","null"]})"};
  key.read = [](Reader& reader, const Sources& sources, DeploymentConfig& out) {
    YamlNode merged;
    merged.kind = YamlNode::Kind::map;
    for (const auto& [block, entry] : entries_of(reader, sources, "a block of settings")) {
      reader.note(block->child(*entry, entry->key));  // for what check_options() says
      const auto known = std::ranges::find(merged.entries, entry->key, &YamlEntry::key);
      if (known == merged.entries.end()) {
        merged.entries.push_back(*entry);
      } else {
        *known = *entry;
      }
    }
    const Source& source = sources.front();
    if (auto json = to_json(merged, source.file, source.path, reader.problems())) {
      out.options = std::move(*json);
    }
  };
  key.print = [](const DeploymentConfig& from) { return YamlValue{yaml_from_json(from.options)}; };
  return key;
}

/// `env`: a map, or a list of "NAME=value" as container tools have it.
Key<DeploymentConfig> env_key() {
  using S = DeploymentConfig;
  Key<S> key = text_map_key("env", &S::env, Text{"variable", check_variable},
                            "Environment variables of the worker; also a list of `NAME=value`");
  key.info.schema = R"({"type":["object","array","null"]})";
  key.read = [read_map = key.read](Reader& reader, const Sources& sources, S& out) {
    Sources maps;
    for (const Source& source : sources) {
      if (source.node->kind != YamlNode::Kind::list) {
        maps.push_back(source);
        continue;
      }
      for (const Source& item : items_of(reader, {source})) {
        const auto text = read_one(reader, item, Text{});
        if (!text) continue;
        const std::size_t equals = text->find('=');
        const std::string name = text->substr(0, equals);
        if (equals == std::string::npos) {
          reader.error(item, "is not NAME=value");
        } else if (auto wrong = check_variable(name)) {
          reader.error(item, wrong->message, wrong->hint);
        } else {
          out.env[name] = text->substr(equals + 1);
        }
      }
    }
    if (!maps.empty()) read_map(reader, maps, out);
  };
  return key;
}

Table<DeploymentConfig> make_deployment_table() {
  using S = DeploymentConfig;
  return {
      list_key(
          "aliases", &S::aliases, Text{"alias", check_alias},
          "Further names that requests may use; may hold slashes; a `:latest` suffix is ignored"),
      value_key("model", &S::model, Text{"path or URL", check_model},
                "File of the model: a path or `file:PATH`. `hf://org/repo/file`, `https://` and "
                "`s3://` are accepted, but nothing is downloaded yet"),
      value_key("sha256", &S::sha256, Text{"64 hexadecimal digits", check_sha256},
                "Checksum that the model file must have. *Is not compared yet in this version*"),
      value_key("runtime", &S::runtime, runtimes(),
                "What serves the model; `container` cannot run yet in this version"),
      options_key(),
      list_key("command", &S::command, Text{},
               "Program and arguments for `runtime: command`; `{model}`, `{port}` and `{host}` are "
               "replaced. How it runs: \"Engines of your own\" in the reference"),
      value_key("image", &S::image, Text{"image"},
                "Image for `runtime: container`, which cannot run yet in this version"),
      env_key(),
      list_key(
          "readable", &S::readable, Text{"path", check_not_empty},
          "Files and folders that the worker's sandbox shows besides what it needs, read-only"),
      value_key("health_path", &S::health_path, Text{"path", check_health_path},
                "Where a foreign engine answers 2xx when it is ready and 5xx before; unset: the "
                "first of `/health`, `/v1/models` and `/v2/health/ready` that it knows, else any "
                "answer of `/`",
                {{"checkEndpoint"}, {"health_check_path"}}),
      value_key("usage", &S::usage,
                Choice<UsageSource>{{{"none", UsageSource::none}, {"inject", UsageSource::inject}}},
                "`inject`: ask a foreign engine to report token counts in its streams"),
      value_key("served_model_name", &S::served_model_name, Text{"name"},
                "What a foreign engine calls its model: `model` of a request is sent as this; "
                "unset: as the client wrote it",
                {{"served_model"}}),
      value_key(
          "cache_salt", &S::cache_salt,
          Choice<CacheSalt>{
              {{"auto", CacheSalt::automatic}, {"on", CacheSalt::on}, {"off", CacheSalt::off}}},
          "Send a foreign engine `cache_salt`, another one for each tenant, so that none "
          "reads from the time of an answer what others have asked. `auto`: where the "
          "`command` names vLLM or SGLang, which know the field"),
      value_key("network", &S::network, Flag{}, "May the worker reach the network"),
      value_key("concurrency", &S::concurrency, Count{1, 4096, "requests"},
                "Hard limit of requests in flight per instance",
                {{"container_concurrency"},
                 {"containerConcurrency"},
                 {"max_ongoing_requests"},
                 {"max_inputs"},
                 {"concurrencyLimit"},
                 {"max_concurrent_requests"},
                 {"replica_concurrency"},
                 {"num_parallel"},
                 {"parallel"}}),
      value_key("priority", &S::priority, Count{-1000, 1000},
                "Larger is served first and evicted last"),
      value_key("mode", &S::mode,
                Choice<Mode>{{{"serverless", Mode::serverless}, {"dedicated", Mode::dedicated}}},
                "`dedicated`: a fixed number of instances, never stopped for being idle"),
      value_key("abandoned_load", &S::abandoned_load,
                Choice<AbandonedLoad>{
                    {{"finish", AbandonedLoad::finish}, {"abort", AbandonedLoad::abort}}},
                "What becomes of a load when the last request that waited for it has left"),
      block_key("autoscaling", &S::autoscaling, autoscaling_table(),
                "When instances start and stop",
                {{"deployment"}, {"autoscaling_config"}, {"auto_scaling_config"}, {"scaling"}}),
      block_key("keep_warm", &S::keep_warm, keep_warm_table(),
                "Idle time where `autoscaling` gives no delay"),
      block_key("limits", &S::limits, limits_table(), "Bounds of waiting, starting and running"),
      block_key("pricing", &S::pricing, pricing_table(), "What requests are billed"),
      block_key("resources", &S::resources, resources_table(), "What one instance needs"),
      block_key("scale_on", &S::scale_on, scale_on_table(),
                "Further reasons to scale up; the largest demand wins"),
  };
}

Key<ServerConfig> devices_key() {
  using S = ServerConfig;
  Key<S> key = block_list_key("devices", &S::devices, device_table(),
                              "`auto`: every GPU, or the processors if there is none; or a list");
  key.read = [read_list = key.read](Reader& reader, const Sources& sources, S& out) {
    const Source source = effective(sources).back();
    out.devices_auto = source.node->kind == YamlNode::Kind::scalar && source.node->text == "auto";
    if (!out.devices_auto) read_list(reader, {source}, out);
  };
  key.print = [print_list = key.print](const S& from) {
    return from.devices_auto ? YamlValue{"auto"} : print_list(from);
  };
  return key;
}

Key<ServerConfig> deployments_key() {
  using S = ServerConfig;
  Key<S> key;
  key.info = {"deployments",
              "What is served: NAME and its settings",
              {},
              Effect::now,
              "map of blocks",
              {},
              Nesting::map_of_blocks,
              infos_of(deployment_table())};
  key.read = [](Reader& reader, const Sources& sources, S& out) {
    std::map<std::string, Sources> by_name;
    for (const auto& [block, entry] : entries_of(reader, sources, "a block of NAME: settings")) {
      by_name[entry->key].push_back(block->child(*entry, entry->key));
    }
    for (const auto& [name, blocks] : by_name) {
      if (auto wrong = check_deployment_name(name)) {
        reader.error(blocks.front(), wrong->message, wrong->hint);
      }
      for (const Source& block : blocks) reader.note(block);
      out.deployments.push_back({.name = name});
      read_block(reader, deployment_table(), blocks, out.deployments.back());
    }
  };
  key.print = [](const S& from) {
    YamlValue map{.line = {}, .is_map = true};
    for (const DeploymentConfig& deployment : from.deployments) {
      map.entries.emplace_back(deployment.name, print_block(deployment_table(), deployment));
    }
    return map;
  };
  return key;
}

const Table<TenantLimitsConfig>& tenant_limits_table() {
  using S = TenantLimitsConfig;
  constexpr Count count{0, 1'000'000'000};
  static const Table<S> table = {
      optional_key("requests_per_minute", &S::requests_per_minute, count,
                   "Requests that begin within any minute; unset: no limit",
                   {{"rpm"}, {"rpm_limit"}}),
      optional_key("input_tokens_per_minute", &S::input_tokens_per_minute, count,
                   "Tokens that models read within any minute; unset: no limit"),
      optional_key("output_tokens_per_minute", &S::output_tokens_per_minute, count,
                   "Tokens that models write within any minute; unset: no limit"),
      optional_key("concurrent_requests", &S::concurrent_requests, count,
                   "Requests at a time; unset: no limit", {{"max_parallel_requests"}}),
      optional_key("gpu_seconds_per_day", &S::gpu_seconds_per_day, count,
                   "Device time within any 24 hours, in seconds; unset: no limit"),
  };
  return table;
}

const Table<TenantConfig>& tenant_table() {
  using S = TenantConfig;
  static const Table<S> table = {
      value_key("weight", &S::weight, Count{1, 1000},
                "Share of a queue while several tenants wait in it: one of 3 is served three times "
                "as much as one of 1"),
      block_key("limits", &S::limits, tenant_limits_table(),
                "Limits of all keys of the tenant together; a key may have its own besides"),
  };
  return table;
}

Key<ServerConfig> tenants_key() {
  using S = ServerConfig;
  Key<S> key;
  key.info = {
      "tenants",
      "Who shares the queues: NAME and its settings, for the tenants that keys name; whoever "
      "is not listed has the weight 1 and no limits",
      {},
      Effect::now,
      "map of blocks",
      {},
      Nesting::map_of_blocks,
      infos_of(tenant_table())};
  key.read = [](Reader& reader, const Sources& sources, S& out) {
    std::map<std::string, Sources> by_name;
    for (const auto& [block, entry] : entries_of(reader, sources, "a block of NAME: settings")) {
      by_name[entry->key].push_back(block->child(*entry, entry->key));
    }
    for (const auto& [name, blocks] : by_name) {
      if (auto wrong = check_tenant_name(name)) {
        reader.error(blocks.front(), wrong->message, wrong->hint);
      }
      for (const Source& block : blocks) reader.note(block);
      const auto known = std::ranges::find(out.tenants, name, &TenantConfig::name);
      TenantConfig& tenant =
          known == out.tenants.end() ? out.tenants.emplace_back(TenantConfig{name}) : *known;
      read_block(reader, tenant_table(), blocks, tenant);
    }
    std::ranges::sort(out.tenants, {}, &TenantConfig::name);
  };
  key.print = [](const S& from) {
    YamlValue map{.line = {}, .is_map = true};
    for (const TenantConfig& tenant : from.tenants) {
      map.entries.emplace_back(tenant.name, print_block(tenant_table(), tenant));
    }
    return map;
  };
  return key;
}

Table<ServerConfig> make_server_table() {
  using S = ServerConfig;
  return {
      value_key("listen", &S::listen, Text{"HOST:PORT", check_listen},
                "Address of the API; also `unix:/path`"),
      block_key("tls", &S::tls, tls_table(), "HTTPS on `listen`; unset: plain HTTP"),
      block_key("cors", &S::cors, cors_table(), "Pages of other origins"),
      value_key("state_dir", &S::state_dir, Text{"path", check_not_empty},
                "Journal, ledger, keys and models; made with mode 0700"),
      value_key("auth", &S::auth, Choice<Auth>{{{"keys", Auth::keys}, {"none", Auth::none}}},
                "`none` is allowed on a loopback listener only"),
      devices_key(),
      block_key("model_store", &S::model_store, model_store_table(), "Tiers of the model store"),
      value_key("currency", &S::currency, Text{"currency code", check_currency},
                "Of every price in the file"),
      tenants_key(),
      value_key(
          "durability", &S::durability,
          Choice<Durability>{{{"process", Durability::process}, {"disk", Durability::disk}}},
          "`process`: the journal survives every `kill -9`; `disk`: also a power cut, for the "
          "price of a sync per group of answers"),
      value_key("drain_timeout", &S::drain_timeout, Time{},
                "How long SIGTERM waits for requests that run"),
      block_key("jobs", &S::jobs, jobs_table(), "Jobs, which are kept on disk until they have run"),
      block_key("webhooks", &S::webhooks, webhooks_table(),
                "Calls to the URLs that jobs name, once they have ended"),
      block_key("traffic", &S::traffic, traffic_table(), "The record of past requests"),
      block_key("log", &S::log, log_table(), "Log lines on stderr"),
      value_key("threads", &S::threads, Count{0, 256},
                "Event loops of the gateway; 0: one per processor, at most 8"),
      value_key("sandbox", &S::sandbox,
                Choice<Sandbox>{{{"auto", Sandbox::automatic},
                                 {"off", Sandbox::off},
                                 {"required", Sandbox::required}}},
                "Isolation of workers; `auto`: where this machine can"),
      deployments_key(),
  };
}

}  // namespace

const Table<DeploymentConfig>& deployment_table() {
  static const Table<DeploymentConfig> table = make_deployment_table();
  return table;
}

const Table<ServerConfig>& server_table() {
  static const Table<ServerConfig> table = make_server_table();
  return table;
}

std::string_view runtime_name(Runtime runtime) {
  for (const auto& option : runtimes().options) {
    if (option.value == runtime) return option.name;
  }
  return {};
}

}  // namespace stoker::config
