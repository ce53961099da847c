// What the core is told about the world before anything happens: deployments and devices.
// Plain data, made by the shell from the checked configuration.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/units.h"

namespace stoker::core {

enum class DeviceKind : std::uint8_t { cpu, cuda, fake };

struct DeviceSpec {
  DeviceId id;
  std::string name;  // "cpu0", for messages only
  DeviceKind kind = DeviceKind::cpu;
  Bytes memory;            // what instances may reserve in all
  std::int32_t slots = 1;  // most instances that may be resident at once
};

struct ScalePolicy {
  std::int32_t min_instances = 0;
  std::int32_t max_instances = 1;
  std::int32_t concurrency = 1;  // hard limit of requests in flight per instance
  std::int32_t target_utilization_percent = 70;
  std::int32_t scale_up_threshold = 1;         // queued requests beyond the free slots
  Duration scale_down_delay = minutes(5);      // idle time before an instance stops
  Duration scale_to_zero_delay = minutes(10);  // the same for the last instance
};

struct RequestLimits {
  std::int32_t max_queued = 512;
  Duration queue_timeout = minutes(2);
  Duration start_timeout = minutes(5);       // spawn to hello
  Duration load_stall_timeout = minutes(2);  // longest silence of a load
  Duration drain_limit = seconds(30);        // running requests get so long when an instance drains
  Duration cancel_grace = seconds(10);  // a worker that holds a cancelled request longer is hung
  Duration stop_grace = seconds(5);     // shutdown to kill
};

/// Memory of one instance: private to it, and shared by the instances that map the same weights.
struct MemoryNeed {
  Bytes private_bytes;
  Bytes shared_bytes;
};

struct DeploymentSpec {
  DeploymentId id;
  std::string name;
  ScalePolicy scale;
  RequestLimits limits;
  MemoryNeed estimate;            // from the file's metadata, until one was measured
  std::map<DeviceKind, MemoryNeed> measured;  // by an earlier life of the server, per device kind
  WeightsId weights;              // zero: nothing is shared
  std::vector<DeviceKind> kinds;  // device kinds it can run on; empty: any
  bool finish_abandoned_load = true;
};

struct CoreConfig {
  Epoch epoch;
  std::uint64_t seed = 1;
  Duration shutdown_limit = seconds(30);  // running and queued requests get so long at shutdown
};

}  // namespace stoker::core
