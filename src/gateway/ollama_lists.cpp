#include "gateway/ollama_lists.h"

#include <simdjson.h>

#include <algorithm>
#include <map>

#include "base/json_writer.h"

namespace stoker::gateway {
namespace {

using simdjson::SUCCESS;
using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr std::string_view unknown_time = "1970-01-01T00:00:00Z";

void write_details(JsonWriter& json, std::string_view runtime) {
  json.object("details", [&] {
    json.field("parent_model", "");
    json.field("format", runtime == "llama.cpp" ? "gguf" : runtime);
    json.field("family", "");
    json.array("families", [] {});
    json.field("parameter_size", "");
    json.field("quantization_level", "");
  });
}

void write_names(JsonWriter& json, std::string_view name) {
  json.field("name", name);
  json.field("model", name);
}

std::string_view string_in(const object& from, std::string_view name) {
  std::string_view text;
  return from[name].get(text) == SUCCESS ? text : std::string_view{};
}

std::int64_t integer_in(const object& from, std::string_view name) {
  std::int64_t number = 0;
  return from[name].get(number) == SUCCESS ? number : 0;
}

/// The ids of the devices whose memory is a GPU's.
std::vector<std::string> gpus_in(const object& ps) {
  std::vector<std::string> ids;
  array devices;
  if (ps["devices"].get(devices) != SUCCESS) return ids;
  for (const element device : devices) {
    object of;
    if (device.get(of) == SUCCESS && string_in(of, "kind") == "cuda") {
      ids.emplace_back(string_in(of, "id"));
    }
  }
  return ids;
}

struct InMemory {
  std::int64_t bytes = 0;
  std::int64_t gpu_bytes = 0;
};

/// By deployment, all of its ready instances together.
std::map<std::string, InMemory> in_memory(const object& ps) {
  std::map<std::string, InMemory> models;
  const std::vector<std::string> gpus = gpus_in(ps);
  array instances;
  if (ps["instances"].get(instances) != SUCCESS) return models;
  for (const element instance : instances) {
    object of;
    if (instance.get(of) != SUCCESS || string_in(of, "state") != "ready") continue;
    InMemory& model = models[std::string(string_in(of, "deployment"))];
    const std::int64_t bytes = integer_in(of, "private_bytes") + integer_in(of, "shared_bytes");
    model.bytes += bytes;
    const std::string_view device = string_in(of, "device");
    const bool on_gpu = std::find(gpus.begin(), gpus.end(), device) != gpus.end();
    if (on_gpu) model.gpu_bytes += bytes;
  }
  return models;
}

}  // namespace

std::string ollama_version_json() {
  JsonWriter json;
  json.object([&] {
    json.field("version", ollama_level);
    json.field("stoker", STOKER_VERSION);
  });
  return json.take();
}

std::string ollama_tags_json(const std::vector<DeploymentPtr>& deployments) {
  JsonWriter json;
  json.object([&] {
    json.array("models", [&] {
      for (const DeploymentPtr& deployment : deployments) {
        json.object([&] {
          write_names(json, deployment->name);
          json.field("modified_at", unknown_time);
          json.field("size", 0);
          json.field("digest", "");
          write_details(json, to_text(deployment->runtime));
        });
      }
    });
  });
  return json.take();
}

std::string ollama_show_json(const Deployment& deployment) {
  JsonWriter json;
  json.object([&] {
    json.field("modelfile", "");
    json.field("parameters", "");
    json.field("template", "");
    write_details(json, to_text(deployment.runtime));
    json.object("model_info", [] {});
    json.array("capabilities", [&] {
      if (deployment.runtime == RuntimeKind::onnx) return;
      json.value("completion");
    });
    json.field("modified_at", unknown_time);
  });
  return json.take();
}

std::string ollama_ps_json(std::string_view ps_json) {
  simdjson::dom::parser parser;
  object ps;
  JsonWriter json;
  const bool readable = parser.parse(ps_json.data(), ps_json.size()).get(ps) == SUCCESS;
  json.object([&] {
    json.array("models", [&] {
      if (!readable) return;
      for (const auto& [name, model] : in_memory(ps)) {
        json.object([&] {
          write_names(json, name);
          json.field("size", model.bytes);
          json.field("digest", "");
          write_details(json, "");
          json.field("size_vram", model.gpu_bytes);
        });
      }
    });
  });
  return json.take();
}

std::optional<std::string> ollama_model_of(std::string_view body) {
  simdjson::dom::parser parser;
  object top;
  if (parser.parse(body.data(), body.size()).get(top) != SUCCESS) return std::nullopt;
  for (const std::string_view name : {"model", "name"}) {
    const std::string_view model = string_in(top, name);
    if (!model.empty()) return std::string(model);
  }
  return std::nullopt;
}

}  // namespace stoker::gateway
