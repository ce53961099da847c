#include "orchestrator/launch_spec.h"

#include <algorithm>

#include "base/fnv1a.h"
#include "base/json_writer.h"

namespace stoker::orchestrator {

core::DeviceKind core_kind(backend::DeviceKind kind) {
  switch (kind) {
    case backend::DeviceKind::cpu:
      return core::DeviceKind::cpu;
    case backend::DeviceKind::cuda:
      return core::DeviceKind::cuda;
    case backend::DeviceKind::fake:
      return core::DeviceKind::fake;
  }
  return core::DeviceKind::cpu;
}

core::LabelId label_id(std::string_view label) {
  return core::LabelId{fnv1a(label)};
}

std::vector<core::LabelId> label_ids(const std::vector<std::string>& labels) {
  std::vector<core::LabelId> ids;
  ids.reserve(labels.size());
  for (const std::string& each : labels) ids.push_back(label_id(each));
  std::ranges::sort(ids);
  return ids;
}

core::DeviceSpec device_spec(DeviceId id, const backend::Device& device) {
  constexpr std::int32_t memory_alone_decides = 1 << 20;
  core::DeviceSpec spec;
  spec.id = id;
  spec.name = device.id;
  spec.kind = core_kind(device.kind);
  spec.memory = device.memory;
  spec.node = local_node;
  spec.slots = device.slots > 0 ? device.slots : memory_alone_decides;
  spec.price_per_hour = device.price_per_hour;
  spec.labels = label_ids(device.labels);
  return spec;
}

std::string load_order_json(const DeploymentPlan& plan, const backend::Device& device) {
  JsonWriter json;
  json.object([&] {
    json.field("type", "load");
    json.field("deployment", plan.spec.name);
    if (!plan.launch.model.empty()) json.field("model", plan.launch.model);
    json.raw_field("options", plan.launch.options);
    json.field("concurrency", plan.spec.scale.concurrency);
    json.object("device", [&] {
      json.field("kind", backend::to_text(device.kind));
      json.field("id", device.id);
    });
    json.field("warmup", true);
  });
  return json.take();
}

}  // namespace stoker::orchestrator
