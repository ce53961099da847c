// What the shell must know of a deployment to start its instances: how, not how many (that is
// core::DeploymentSpec). Plain data, made from the checked configuration by app/.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/devices/devices.h"
#include "backend/instance_backend.h"
#include "base/money.h"
#include "base/units.h"
#include "base/weekly_schedule.h"
#include "core/spec.h"

namespace stoker::orchestrator {

struct LaunchSpec {
  std::string worker;           // "llama", "onnx", "echo", "exec"
  bool speaks_contract = true;  // false: a foreign engine under stoker-worker-exec
  std::string model;            // path of the file; empty where none is needed
  std::string options = "{}";   // JSON object, as in the load order
  std::vector<std::pair<std::string, std::string>> env;
  backend::SandboxSpec sandbox;
  /// Memory limit of the process = its reservation times this, plus the slack; 0: no limit.
  std::int32_t memory_limit_percent = 150;
  Bytes memory_limit_slack = mib(256);
};

struct DeploymentPlan {
  core::DeploymentSpec spec;
  LaunchSpec launch;
  std::vector<WeeklyWindow> schedule;  // of its bounds; outside of it those of `spec` hold
  std::vector<std::string> labels;     // that its devices must have, for people
  std::string footprint_key;           // of footprints.h; empty: what it holds is not kept
  Prices prices;
};

/// All devices of one machine are on this node.
inline constexpr NodeId local_node{1};

[[nodiscard]] core::DeviceKind core_kind(backend::DeviceKind kind);
/// The number of a label, the same for all who write it so.
[[nodiscard]] core::LabelId label_id(std::string_view label);
/// Ascending, as the core wants them.
[[nodiscard]] std::vector<core::LabelId> label_ids(const std::vector<std::string>& labels);
/// The device as the core is told of it.
[[nodiscard]] core::DeviceSpec device_spec(DeviceId id, const backend::Device& device);

/// The `load` message of docs/worker-contract.md.
[[nodiscard]] std::string load_order_json(const DeploymentPlan& plan,
                                          const backend::Device& device);

}  // namespace stoker::orchestrator
