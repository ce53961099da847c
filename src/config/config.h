// The checked configuration: plain structs, defaults in the member initialisers, frozen after
// load.h has filled them. Whoever needs a part of it gets that part by constructor; there is no
// global. Must never hold a pointer into the YAML, a clock or a file descriptor.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/money.h"
#include "base/units.h"

namespace stoker::config {

/// Written `never`: longer than any run, and yet an Instant plus it does not overflow.
inline constexpr Duration never = seconds(std::int64_t{100} * 365 * 86'400);

enum class Auth : std::uint8_t { keys, none };
enum class Durability : std::uint8_t { process, disk };
enum class Sandbox : std::uint8_t { automatic, off, required };
/// Both empty: plain HTTP.
struct TlsConfig {
  std::string certificate;  // PEM file: the server's, then those that lead to the root
  std::string key;          // PEM file
};

/// Pages of other origins that may call the API.
struct CorsConfig {
  std::vector<std::string> origins;  // "https://console.example.com"
};

enum class LogLevel : std::uint8_t { debug, info, warn, error };
enum class LogFormat : std::uint8_t { automatic, text, logfmt, json };
enum class DeviceKind : std::uint8_t { cpu, cuda, fake };
enum class Runtime : std::uint8_t { llama_cpp, onnx, command, container, echo };
enum class UsageSource : std::uint8_t { none, inject };
enum class CacheSalt : std::uint8_t { automatic, on, off };
enum class KeepWarmPolicy : std::uint8_t { fixed, break_even, adaptive };
enum class Mode : std::uint8_t { serverless, dedicated };
enum class AbandonedLoad : std::uint8_t { finish, abort };

struct DeviceConfig {
  std::string id;  // "cpu0", "cuda0"
  DeviceKind kind = DeviceKind::cpu;
  std::optional<Bytes> memory;  // unset: measured
  std::int32_t slots = 0;       // instances at once; 0: as many as memory allows
  NanoPrice price_per_hour;     // what this device costs you; 0: not known
  std::map<std::string, std::string> labels;
};

struct ModelStoreConfig {
  std::string path;           // "": STATE_DIR/models
  std::optional<Bytes> disk;  // most that downloaded models may take; unset: free space rules
  std::optional<Bytes> host_memory;  // lent to suspended instances, part of a cpu device's memory;
                                     // unset: nothing is suspended
};

/// Whose keys are counted together, and whose requests share a queue with those of others.
inline constexpr const char* default_tenant = "default";
/// Of all keys of a tenant together. Unset: no limit. A minute and a day slide.
struct TenantLimitsConfig {
  std::optional<std::int32_t> requests_per_minute;
  std::optional<std::int32_t> input_tokens_per_minute;
  std::optional<std::int32_t> output_tokens_per_minute;
  std::optional<std::int32_t> concurrent_requests;
  std::optional<std::int32_t> gpu_seconds_per_day;
};
struct TenantConfig {
  std::string name;  // [a-z0-9][a-z0-9._-]{0,62}
  std::int32_t weight = 1;
  TenantLimitsConfig limits;
};

/// Requests that are kept on disk until they have been answered.
struct JobsConfig {
  Duration retention = minutes(24 * 60);  // of ended ones and their answers
  std::int32_t max_open = 100'000;        // of a deployment, waiting and running; beyond: 429
};

/// Calls to the URLs that jobs name, once they have ended.
struct WebhooksConfig {
  /// Where a call may go besides public addresses: "10.1.0.0/16", "192.168.1.7", "hooks.internal".
  std::vector<std::string> allow;
  Duration give_up_after = minutes(24 * 60);  // from the end of the job
};

/// The traffic that is recorded in `state_dir`, for `stoker replay`.
struct TrafficConfig {
  bool record = true;
  Bytes file_size = mib(64);
  Bytes total_size = mib(512);
};

struct LogConfig {
  LogLevel level = LogLevel::info;
  LogFormat format = LogFormat::automatic;  // text on a terminal, logfmt elsewhere
};

/// A recurring window with its own bounds; `to` <= `from` ends on the next day.
struct ScheduleEntry {
  std::uint8_t days = 0x7f;             // bit 0 is Monday; the day on which the window begins
  std::int32_t from_minute = 0;         // of the day
  std::int32_t to_minute = 24 * 60;     // of the day, exclusive
  std::int32_t utc_offset_minutes = 0;  // local time - UTC
  std::int32_t min_instances = 0;
  std::optional<std::int32_t> max_instances;
};

struct AutoscalingConfig {
  std::int32_t min_instances = 0;
  /// 1: a second copy takes memory, so it is asked for. Unset in the file, it rises to
  /// min_instances.
  std::int32_t max_instances = 1;
  /// Share of `concurrency` that scaling aims at, whole percent, 1..100. Unset: the slots in use
  /// are no reason to scale, and the depth of the queue counts with usual_target_percent.
  std::optional<std::int32_t> target_utilization_percent;
  /// Backlog from which queue depth starts more than one instance. Unset: 1, and where `scale_on`
  /// has an objective for waits, that alone.
  std::optional<std::int32_t> scale_up_threshold;
  std::int32_t spare_instances = 0;
  /// Idle time before an instance above the minimum stops. Unset: keep_warm decides.
  std::optional<Duration> scale_down_delay;
  /// The same for the last instance. Unset in the file, it is scale_down_delay.
  std::optional<Duration> scale_to_zero_delay;
  std::vector<ScheduleEntry> schedule;
};

inline constexpr std::int32_t usual_target_percent = 70;

/// Decides the idle time where no delay is written; `min` and `max` bound what it decides.
struct KeepWarmConfig {
  KeepWarmPolicy policy = KeepWarmPolicy::break_even;  // fixed: always `max`
  Duration min = seconds(30);
  Duration max = minutes(15);
  /// What a second of a request's wait for a start is worth, in seconds of an idle device that
  /// costs one unit of the currency per hour, or has no price.
  std::int32_t wait_weight = 30;
};

/// Engines that compile or download before they answer take ten minutes and more.
inline constexpr Duration foreign_start_timeout = minutes(15);

struct LimitsConfig {
  std::int32_t max_queued = 512;
  Duration queue_timeout = minutes(2);  // waiting for an instance
  /// Spawn to the worker's hello; of `runtime: command` to its engine's being ready, which may take
  /// long, so unset in the file it is foreign_start_timeout there.
  Duration start_timeout = minutes(5);
  Duration load_timeout = minutes(1);      // load without progress
  Duration request_timeout = minutes(10);  // dispatch to last byte
};

struct PricingConfig {
  NanoPrice per_request;
  NanoPrice per_gpu_second;  // of device time, whatever the kind of the device
  NanoPrice per_1k_input_tokens;
  NanoPrice per_1k_output_tokens;
};

struct ResourcesConfig {
  std::int32_t devices = 1;
  std::optional<Bytes> memory;  // first reservation per device; unset: from the model's metadata
  std::optional<std::int32_t> share_percent;  // promised, of each device's compute; unset: none
  bool exclusive = false;                     // nobody else on its devices
  std::optional<DeviceKind> kind;             // unset: any
  std::map<std::string, std::string> labels;  // that each of its devices must have
};

/// Further reasons to scale up. Unset: not looked at.
struct ScaleOnConfig {
  std::optional<Duration> queue_wait;
  std::optional<Duration> ttft;
  std::optional<std::int64_t> requests_per_second_milli;  // per instance, in thousandths
};

struct DeploymentConfig {
  std::string name;                  // [a-z0-9][a-z0-9._-]{0,62}
  std::vector<std::string> aliases;  // in the order of the file
  std::string model;   // path, or file:, hf://, https://, s3://; "" where the runtime needs none
  std::string sha256;  // 64 lower-case hex digits or ""
  Runtime runtime = Runtime::llama_cpp;
  std::string options = "{}";        // JSON object for the worker, types as written
  std::vector<std::string> command;  // runtime: command
  std::string image;                 // runtime: container
  std::map<std::string, std::string> env;
  std::vector<std::string> readable;  // what its sandbox shows besides, read-only
  std::string health_path;            // "": the usual ones are tried
  std::string served_model_name;      // what a foreign engine calls its model; "": our name
  UsageSource usage = UsageSource::none;
  CacheSalt cache_salt = CacheSalt::automatic;
  bool network = false;          // may the worker reach the network
  std::int32_t concurrency = 4;  // hard limit of requests in flight per instance
  std::int32_t priority = 0;     // larger is served first
  Mode mode = Mode::serverless;
  AbandonedLoad abandoned_load = AbandonedLoad::finish;
  AutoscalingConfig autoscaling;
  KeepWarmConfig keep_warm;
  LimitsConfig limits;
  PricingConfig pricing;
  ResourcesConfig resources;
  ScaleOnConfig scale_on;
};

/// Paths are absolute when load() gave it; parse() leaves them as they are written.
struct ServerConfig {
  std::string file;  // that it was loaded from, absolute; no setting
  std::string listen = "127.0.0.1:8080";
  std::string state_dir = "./state";
  TlsConfig tls;
  CorsConfig cors;
  Auth auth = Auth::keys;
  bool devices_auto = true;  // false: `devices` is the whole list
  std::vector<DeviceConfig> devices;
  ModelStoreConfig model_store;
  std::string currency = "USD";
  std::vector<TenantConfig> tenants = {{default_tenant}};  // sorted by name, that one always there
  Durability durability = Durability::process;
  Duration drain_timeout = seconds(30);
  JobsConfig jobs;
  WebhooksConfig webhooks;
  TrafficConfig traffic;
  LogConfig log;
  std::int32_t threads = 0;  // event loops of the gateway; 0: one per CPU, at most 8
  Sandbox sandbox = Sandbox::automatic;
  std::vector<DeploymentConfig> deployments;  // sorted by name, names and aliases unique
};

}  // namespace stoker::config
