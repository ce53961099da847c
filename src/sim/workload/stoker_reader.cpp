// Stoker's own trace format: JSON lines, the first of them the world.
#include <fmt/format.h>

#include <charconv>

#include "base/fnv1a.h"
#include "sim/workload/json_fields.h"
#include "sim/workload/line_reader.h"
#include "sim/workload/readers.h"
#include "sim/workload/session_text.h"
#include "sim/workload/world_builder.h"

namespace stoker::sim {
namespace {

constexpr std::int64_t most_tokens = 1'000'000'000;
constexpr std::int64_t most_bytes = std::int64_t{1} << 50;
constexpr std::int64_t most_at_once = 1'000'000;
constexpr std::string_view default_tenant = "default";

Problem read_count32(std::string_view name, const JsonValue& value, std::int32_t& out) {
  std::int64_t count = 0;
  if (Problem problem = read_count(name, value, most_at_once, count)) return problem;
  out = static_cast<std::int32_t>(count);
  return std::nullopt;
}

/// 0 is what a recorder writes that does not know it: the default stays.
Problem read_speed(std::string_view name, const JsonValue& value, double& out) {
  double speed = 0;
  if (Problem problem = read_real(name, value, speed)) return problem;
  if (speed > 0) out = speed;
  return std::nullopt;
}

Problem read_string(std::string_view name, const JsonValue& value, std::string& out) {
  std::string_view text;
  if (Problem problem = read_text(name, value, text)) return problem;
  out = text;
  return std::nullopt;
}

/// Any text or number.
Problem read_id(const JsonValue& value, std::string& out) {
  std::string_view text;
  if (Problem problem = read_token("id", value, text)) return problem;
  out = text;
  return std::nullopt;
}

Problem read_optional_ms(std::string_view name, const JsonValue& value,
                         std::optional<Duration>& out) {
  out.emplace();
  return read_ms(name, value, *out);
}

/// The problem with its place in front: "deployments.chat: memory_bytes must be ..".
Problem within(std::string_view place, Problem problem) {
  if (problem) problem = fmt::format("{}: {}", place, *problem);
  return problem;
}

Problem device_field(std::string_view key, const JsonValue& value, TraceDevice& device) {
  if (key == "name") return read_string(key, value, device.name);
  if (key == "kind") return read_string(key, value, device.kind);
  if (key == "memory_bytes") return read_count(key, value, most_bytes, device.memory.value);
  if (key == "slots") return read_count32(key, value, device.slots);
  if (key == "price_per_hour") return read_price(key, value, device.price_per_hour);
  return std::nullopt;
}

Problem deployment_field(std::string_view key, const JsonValue& value,
                         TraceDeployment& deployment) {
  if (key == "memory_bytes") return read_count(key, value, most_bytes, deployment.memory.value);
  if (key == "weights_bytes") return read_count(key, value, most_bytes, deployment.weights.value);
  if (key == "start_ms") return read_ms(key, value, deployment.start);
  if (key == "load_ms") return read_ms(key, value, deployment.load);
  if (key == "concurrency") {
    if (Problem problem = read_count32(key, value, deployment.concurrency)) return problem;
    if (deployment.concurrency == 0) return "concurrency must be at least 1";
    return std::nullopt;
  }
  if (key == "prefill_tokens_per_s") return read_speed(key, value, deployment.prefill_tokens_per_s);
  if (key == "decode_tokens_per_s") return read_speed(key, value, deployment.decode_tokens_per_s);
  if (key == "request_ms") return read_ms(key, value, deployment.request);
  return std::nullopt;
}

/// The phase of a receipt that `key` names; nullptr if it names none.
Duration TraceReceipt::* phase_of(std::string_view key) {
  if (key == "queue_ms") return &TraceReceipt::queue;
  if (key == "allocate_ms") return &TraceReceipt::allocate;
  if (key == "start_ms") return &TraceReceipt::starting;
  if (key == "load_ms") return &TraceReceipt::load;
  if (key == "warmup_ms") return &TraceReceipt::warmup;
  if (key == "ttft_ms") return &TraceReceipt::ttft;
  return nullptr;
}

Problem receipt_field(std::string_view key, const JsonValue& value,
                      std::optional<TraceReceipt>& receipt) {
  std::string_view text;
  if (key == "start") {
    if (Problem problem = read_text(key, value, text)) return problem;
    if (!receipt) receipt.emplace();
    receipt->start = start_from_text(text);
    return std::nullopt;
  }
  if (key == "instance") {
    if (!receipt) receipt.emplace();
    return read_string(key, value, receipt->instance);
  }
  Duration TraceReceipt::* const phase = phase_of(key);
  if (phase == nullptr) return std::nullopt;
  if (!receipt) receipt.emplace();
  return read_ms(key, value, (*receipt).*phase);
}

class StokerReader final : public RequestSource {
 public:
  StokerReader(LineReader lines, const TraceOptions& options)
      : lines_(std::move(lines)), unknown_deployment_(options.unknown_deployment) {}

  [[nodiscard]] const TraceWorld& world() const override { return names_.world(); }
  [[nodiscard]] Result<void> read_head();
  [[nodiscard]] Result<bool> next(TraceRequest& out) override;
  [[nodiscard]] WorldBuilder take_names() { return std::move(names_); }
  void set_names(WorldBuilder names) { names_ = std::move(names); }

 private:
  [[nodiscard]] Problem head_field(std::string_view key, JsonValue value);
  [[nodiscard]] Problem read_devices(JsonValue value);
  [[nodiscard]] Problem read_deployments(JsonValue value);
  [[nodiscard]] Problem request_field(std::string_view key, const JsonValue& value,
                                      TraceRequest& out);
  [[nodiscard]] tl::unexpected<Error> wrong(const std::string& what) const {
    return lines_.wrong(what, "Correct the line or remove it.");
  }

  LineReader lines_;
  simdjson::ondemand::parser parser_;
  TraceDeployment unknown_deployment_;
  WorldBuilder names_;
  Duration last_at_;
  bool has_time_ = false;  // of the line that is being read
  bool has_deployment_ = false;
  bool has_tenant_ = false;
};

Problem StokerReader::read_devices(JsonValue value) {
  simdjson::ondemand::array array;
  if (value.get_array().get(array) != simdjson::SUCCESS) return "devices must be a list";
  std::size_t index = 0;
  for (auto entry : array) {
    simdjson::ondemand::object object;
    if (const auto error = std::move(entry).get_object().get(object)) return broken_json(error);
    TraceDevice device;
    Problem problem = for_each_field(object, [&](std::string_view key, const JsonValue& field) {
      return device_field(key, field, device);
    });
    if (problem) return within(fmt::format("devices[{}]", index), std::move(problem));
    names_.add_device(std::move(device));
    ++index;
  }
  return std::nullopt;
}

Problem StokerReader::read_deployments(JsonValue value) {
  simdjson::ondemand::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) {
    return "deployments must be an object: {\"NAME\": {..}}";
  }
  return for_each_field(object, [&](std::string_view name, JsonValue description) -> Problem {
    TraceDeployment deployment = unknown_deployment_;
    deployment.name = name;
    simdjson::ondemand::object fields;
    if (const auto error = description.get_object().get(fields)) return broken_json(error);
    bool has_weights = false;
    Problem problem = for_each_field(fields, [&](std::string_view key, const JsonValue& field) {
      has_weights = has_weights || key == "weights_bytes";
      return deployment_field(key, field, deployment);
    });
    if (!problem && !has_weights) {
      deployment.weights = std::min(deployment.weights, deployment.memory);
    }
    // Whoever counts the weights apart, or only knows them: an instance holds at least them.
    deployment.memory = std::max(deployment.memory, deployment.weights);
    if (problem) return within("deployments." + deployment.name, std::move(problem));
    names_.add_deployment(std::move(deployment));
    return std::nullopt;
  });
}

Problem StokerReader::head_field(std::string_view key, JsonValue value) {
  if (key == "stoker_trace") {
    std::int64_t version = 0;
    if (Problem problem = read_count(key, value, INT32_MAX, version)) return problem;
    if (version != 1) {
      return fmt::format("this is version {} of the format, and only 1 is known", version);
    }
  }
  if (key == "started_at_ms") {
    Duration since_1970;
    if (Problem problem = read_ms(key, value, since_1970)) return problem;
    names_.set_started_at(WallTime{since_1970.ns});
  }
  if (key == "devices") return read_devices(value);
  if (key == "deployments") return read_deployments(value);
  return std::nullopt;
}

Result<void> StokerReader::read_head() {
  std::string_view line;
  const Result<bool> any = lines_.next(line);
  if (!any) return tl::unexpected(any.error());
  if (!*any) return lines_.wrong("the file is empty");
  const Problem problem = for_each_field_of(
      parser_, line,
      [&](std::string_view key, const JsonValue& value) { return head_field(key, value); });
  if (problem) return wrong(*problem);
  return {};
}

Problem StokerReader::request_field(std::string_view key, const JsonValue& value,
                                    TraceRequest& out) {
  std::string_view text;
  if (key == "at_ms") {
    has_time_ = true;
    return read_ms(key, value, out.at);
  }
  if (key == "deployment") {
    if (Problem problem = read_text(key, value, text)) return problem;
    out.deployment = names_.deployment(text, unknown_deployment_);
    has_deployment_ = true;
    return std::nullopt;
  }
  if (key == "tenant") {
    if (Problem problem = read_text(key, value, text)) return problem;
    out.tenant = names_.tenant(text);
    has_tenant_ = true;
    return std::nullopt;
  }
  if (key == "session") {
    if (Problem problem = read_token(key, value, text)) return problem;
    out.session = session_from_text(text);
    return std::nullopt;
  }
  if (key == "route") {
    if (Problem problem = read_text(key, value, text)) return problem;
    out.route = route_from_text(text);
    return std::nullopt;
  }
  if (key == "outcome") {
    if (Problem problem = read_text(key, value, text)) return problem;
    out.outcome = outcome_from_text(text);
    return std::nullopt;
  }
  if (key == "stream") return read_bool(key, value, out.stream);
  if (key == "priority") return read_whole(key, value, out.priority);
  if (key == "input_tokens") return read_count(key, value, most_tokens, out.input_tokens);
  if (key == "output_tokens") return read_count(key, value, most_tokens, out.output_tokens);
  if (key == "service_ms") return read_optional_ms(key, value, out.service);
  if (key == "deadline_ms") return read_optional_ms(key, value, out.deadline);
  if (key == "gone_after_ms") return read_optional_ms(key, value, out.gone_after);
  if (key == "prefix") {
    out.prefix.clear();
    return read_ids(key, value, out.prefix);
  }
  if (key == "id") return read_id(value, out.id);
  return receipt_field(key, value, out.receipt);
}

Result<bool> StokerReader::next(TraceRequest& out) {
  std::string_view line;
  Result<bool> any = lines_.next(line);
  if (!any || !*any) return any;
  // Whoever wrote the file was stopped in the middle of its last line: it ends before it.
  if (lines_.cut_off() && line.back() != '}') return false;
  out.clear();
  has_time_ = has_deployment_ = has_tenant_ = false;
  const Problem problem = for_each_field_of(
      parser_, line,
      [&](std::string_view key, const JsonValue& value) { return request_field(key, value, out); });
  if (problem) return wrong(*problem);
  if (!has_time_) return wrong("the request has no at_ms, its time from the start of the trace");
  if (out.at < last_at_) {
    return lines_.wrong(fmt::format("at_ms {} comes after {}: requests must stand in the order of "
                                    "their time",
                                    as_ms(out.at), as_ms(last_at_)),
                        "Sort all lines but the first by at_ms.");
  }
  last_at_ = out.at;
  if (!has_deployment_) {
    out.deployment = names_.deployment(unknown_deployment_.name, unknown_deployment_);
  }
  if (!has_tenant_) out.tenant = names_.tenant(default_tenant);
  return true;
}

Result<std::unique_ptr<StokerReader>> start(const std::string& path, const TraceOptions& options) {
  Result<LineReader> lines = LineReader::open(path);
  if (!lines) return tl::unexpected(lines.error());
  auto reader = std::make_unique<StokerReader>(std::move(*lines), options);
  const Result<void> head = reader->read_head();
  if (!head) return tl::unexpected(head.error());
  return reader;
}

}  // namespace

OpenedSource open_stoker_trace(const std::string& path, const TraceOptions& options) {
  Result<std::unique_ptr<StokerReader>> reader = start(path, options);
  if (!reader) return tl::unexpected(reader.error());
  if (!options.read_ahead) return std::move(*reader);
  TraceRequest request;
  for (;;) {
    const Result<bool> more = (*reader)->next(request);
    if (!more) return tl::unexpected(more.error());
    if (!*more) break;
  }
  Result<std::unique_ptr<StokerReader>> again = start(path, options);
  if (!again) return tl::unexpected(again.error());
  (*again)->set_names((*reader)->take_names());
  return std::move(*again);
}

}  // namespace stoker::sim
