// The devices of this machine as plain data: what the placement ledger is made from. Read once at
// start; readings of use are separate (NvmlReader), because they change.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/money.h"
#include "base/result.h"
#include "base/units.h"

namespace stoker::backend {

enum class DeviceKind : std::uint8_t { cpu, cuda, fake };
[[nodiscard]] const char* to_text(DeviceKind kind);
[[nodiscard]] std::optional<DeviceKind> parse_device_kind(std::string_view text);

struct Device {
  std::string id;  // "cpu0", "cuda0", or as configured
  DeviceKind kind = DeviceKind::cpu;
  Bytes memory;                          // what may be reserved in all
  std::int32_t slots = 0;                // instances at most; 0: memory alone decides
  std::string model;                     // "AMD EPYC 9B14", "NVIDIA H100 80GB HBM3"
  std::int32_t cores = 0;                // of a cpu: usable by this process
  std::string uuid;                      // of a cuda device; what CUDA_VISIBLE_DEVICES gets
  std::int32_t index = 0;                // among the devices of its kind
  NanoPrice price_per_hour = {};         // as configured; {0}: not known
  std::vector<std::string> labels = {};  // as configured: "zone=a"
};

/// One entry of `devices:` in the configuration. Zero or empty: as found.
struct DeviceRequest {
  std::string id;
  DeviceKind kind = DeviceKind::cpu;
  std::optional<std::int32_t> index;  // cuda: which one; default: the next not yet named
  Bytes memory;
  std::int32_t slots = 0;
  NanoPrice price_per_hour;
  std::vector<std::string> labels;
};

struct ProbeOptions {
  std::vector<DeviceRequest> requests;  // empty: auto, all cuda devices, else one cpu
  std::string nvml_library = "libnvidia-ml.so.1";
};

struct DeviceProbe {
  std::vector<Device> devices;
  std::string cuda_state;  // "2 devices, driver 550.54", or why there is none
};

/// Errors: not_found (a requested cuda device does not exist), invalid (more memory asked for than
/// there is, an id twice).
/// Cost: blocks; milliseconds for a cpu, up to seconds for NVML.
[[nodiscard]] Result<DeviceProbe> probe_devices(const ProbeOptions& options);

/// 80 % of what this process could still get: the machine's MemAvailable, and less where a cgroup
/// allows less.   Source: DESIGN.md 4.6.
[[nodiscard]] Bytes default_cpu_memory();

}  // namespace stoker::backend
