// What the core is told about the world before anything happens: deployments, devices and pools.
// Plain data, made by the shell from the checked configuration.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/money.h"
#include "base/units.h"

namespace stoker::core {

enum class DeviceKind : std::uint8_t { cpu, cuda, fake };
constexpr std::size_t device_kinds = 3;

/// Where weights lie that are not on a device, fastest first.
enum class Tier : std::uint8_t { host, disk, remote };
constexpr std::size_t tiers = 3;
using ModelId = Id<struct ModelTag>;
/// A model of the store. Without an id it lies on every node's disk.
struct StoredModel {
  ModelId id;
  Bytes bytes;                 // {0}: as many as it needs of its device
  std::optional<Tier> pinned;  // it is kept there, and in the tiers below, on each node that suits
};

/// A name that devices carry and deployments ask for; the shell numbers them.
using LabelId = Id<struct LabelTag>;

struct DeviceSpec {
  DeviceId id;
  std::string name;  // "cpu0", for messages only
  DeviceKind kind = DeviceKind::cpu;
  Bytes memory;            // what instances may reserve in all
  std::int32_t slots = 1;  // most instances that may be resident at once
  NodeId node;
  std::vector<LabelId> labels;  // ascending
  NanoPrice price_per_hour;     // {0}: not known
};

/// A machine that devices are in. One that the core is not told of has no host memory to lend.
struct NodeSpec {
  NodeId id;
  Bytes host_memory;  // what suspended instances may hold in all
};

/// Where a node keeps models. One that the core is not told of is filled by nobody.
struct StoreSpec {
  NodeId node;
  Bytes disk;
  Bytes host_memory;            // for copies of models; what suspended instances hold is apart
  Duration rest = minutes(10);  // between two moves of a model in a tier
};

/// Devices that somebody else hands out: the core asks for a shape and counts a quota.
struct PoolSpec {
  PoolId id;
  std::string name;
  std::int32_t quota_devices = 0;  // most devices that instances may hold or wait for at once
  Duration pending_limit;          // a start that is not placed by then is given up; 0: never
};

enum class KeepWarmPolicy : std::uint8_t {
  fixed,       // for `max`
  break_even,  // as long as the expected cost of a cold start exceeds that of idling
  adaptive     // break_even, with a start ahead of a request that is expected
};
struct KeepWarm {
  KeepWarmPolicy policy = KeepWarmPolicy::break_even;
  Duration min;
  Duration max = minutes(60);
  /// What a second of waiting for a cold start is worth, in seconds of an idle device that costs
  /// one unit of the currency per hour. See break_even.h.
  std::int32_t wait_weight = 30;
  /// Suspend an instance that is not needed instead of stopping it, where it can and is worth it.
  bool suspend = true;
  /// What all host memory of a node costs, in thousandths of a device: a suspended instance pays
  /// its part of that.
  std::int32_t host_cost_permille = 50;
  Duration suspended_max = minutes(24 * 60);  // at most so long suspended
};

/// Signals to scale by, beside the depth of the queue. The largest demand wins.
struct ScaleOn {
  bool utilization = false;             // slots in use over time, at target_utilization_percent
  std::optional<Duration> queue_wait;   // most that a request should wait for a slot
  std::optional<Duration> first_token;  // most from arrival to first token, on average
  std::int64_t rate_milli = 0;  // requests/s that one instance should serve, in thousandths; 0: any

  /// Averages over time say how many there should be.
  [[nodiscard]] bool by_average() const { return utilization || first_token || rate_milli > 0; }
  /// Load over time is kept.
  [[nodiscard]] bool any() const { return by_average() || queue_wait; }
};

struct ScalePolicy {
  std::int32_t min_instances = 0;
  std::int32_t max_instances = 1;
  std::int32_t concurrency = 1;  // hard limit of requests in flight per instance
  std::int32_t target_utilization_percent = 70;
  /// Queued requests beyond the free slots; 0: the depth of the queue starts no second instance.
  std::int32_t scale_up_threshold = 1;
  std::int32_t spare_instances = 0;  // beyond those that requests need, while there are requests
  ScaleOn on;
  /// Idle time before an instance stops, and the same for the last one. nullopt: keep_warm decides.
  std::optional<Duration> scale_down_delay = minutes(5);
  std::optional<Duration> scale_to_zero_delay = minutes(10);
  KeepWarm keep_warm;
};

struct RequestLimits {
  std::int32_t max_queued = 512;
  std::int32_t max_queued_per_tenant = 0;  // 0: as many as max_queued
  Duration queue_timeout = minutes(2);
  Duration start_timeout = minutes(5);       // spawn to hello
  Duration load_stall_timeout = minutes(2);  // longest silence of a load
  Duration drain_limit = seconds(30);        // running requests get so long when an instance drains
  Duration cancel_grace = seconds(10);    // a worker that holds a cancelled request longer is hung
  Duration stop_grace = seconds(5);       // shutdown to kill
  Duration suspend_timeout = minutes(1);  // longest silence of a suspend or a resume
};

/// Memory of one instance on each of its devices: private to it, and shared by the instances that
/// map the same weights.
struct MemoryNeed {
  Bytes private_bytes;
  Bytes shared_bytes;
};

/// What an instance asks of the device or devices that it gets.
struct DeviceNeed {
  std::vector<DeviceKind> kinds;    // it can run on; empty: any
  std::vector<LabelId> labels;      // all of them must be there; ascending
  std::int32_t devices = 1;         // all on one node; the memory need is of each
  std::int32_t share_permille = 0;  // of the device's compute, promised; 0: none is
  bool exclusive = false;           // no other instance may be resident there
};

struct DeploymentSpec {
  DeploymentId id;
  std::string name;
  ScalePolicy scale;
  RequestLimits limits;
  MemoryNeed estimate;                        // from the file's metadata, until one was measured
  std::map<DeviceKind, MemoryNeed> measured;  // by an earlier life of the server, per device kind
  WeightsId weights;                          // zero: nothing is shared
  StoredModel model;
  DeviceNeed needs;
  bool finish_abandoned_load = true;
  std::int32_t priority = 0;             // larger gets room first
  PoolId pool;                           // zero: our own devices
  Duration expected_start = seconds(5);  // spawn to ready, until one was measured
  bool can_suspend = false;              // its worker says so
  Duration expected_resume;              // until one was measured; {0}: a quarter of a start
  Bytes suspended_bytes;                 // of host memory, until measured; {0}: as on its devices
};

struct CoreConfig {
  Epoch epoch;
  std::uint64_t seed = 1;
  Duration shutdown_limit = seconds(30);  // running and queued requests get so long at shutdown
};

}  // namespace stoker::core
