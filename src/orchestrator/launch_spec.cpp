#include "orchestrator/launch_spec.h"

#include "base/json_writer.h"

namespace stoker::orchestrator {

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
