#include "worker/control_message.h"

#include <simdjson.h>

#include <algorithm>
#include <limits>

#include "base/json_writer.h"

namespace stoker::worker {
namespace {

using simdjson::dom::element;
using simdjson::dom::object;

tl::unexpected<BadOrder> bad(std::string message) {
  return tl::unexpected(BadOrder{"bad_message", std::move(message)});
}

std::string text_or(const object& fields, std::string_view key, std::string_view fallback) {
  std::string_view value;
  return std::string(fields[key].get(value) == simdjson::SUCCESS ? value : fallback);
}

std::int64_t integer_or(const object& fields, std::string_view key, std::int64_t fallback) {
  std::int64_t value = 0;
  return fields[key].get(value) == simdjson::SUCCESS ? value : fallback;
}

tl::expected<Order, BadOrder> parse_load(const object& fields) {
  LoadOrder order;
  order.deployment = text_or(fields, "deployment", "");
  order.model = text_or(fields, "model", "");
  element options;
  if (fields["options"].get(options) == simdjson::SUCCESS && !options.is_null()) {
    if (!options.is_object()) return bad("load: `options` is not an object");
    order.options = simdjson::minify(options);
  }
  const std::int64_t concurrency = integer_or(fields, "concurrency", 1);
  if (concurrency < 1 || concurrency > std::numeric_limits<int>::max()) {
    return bad("load: `concurrency` is not a positive number");
  }
  order.concurrency = static_cast<int>(concurrency);
  object device;
  if (fields["device"].get(device) == simdjson::SUCCESS) {
    order.device_kind = text_or(device, "kind", "cpu");
    order.device_id = text_or(device, "id", "");
  }
  bool warmup = true;
  if (fields["warmup"].get(warmup) == simdjson::SUCCESS) order.warmup = warmup;
  return order;
}

/// `type` first, then what the caller adds.
template <class Body>
std::string packet(std::string_view type, Body&& body) {
  JsonWriter json;
  json.object([&] {
    json.field("type", type);
    body(json);
  });
  return json.take();
}

void write_memory(JsonWriter& json, MemoryUse memory) {
  json.field("private_bytes", memory.private_bytes.value);
  json.field("shared_bytes", memory.shared_bytes.value);
}

/// Cuts a text to what the orchestrator accepts.
std::string_view bounded(std::string_view text) {
  return text.substr(0, 4 << 10);
}

}  // namespace

tl::expected<Order, BadOrder> parse_order(std::string_view packet) {
  simdjson::dom::parser parser;
  object fields;
  if (parser.parse(packet.data(), packet.size()).get(fields) != simdjson::SUCCESS) {
    return bad("the packet is not a JSON object");
  }
  std::string_view type;
  if (fields["type"].get(type) != simdjson::SUCCESS) return bad("the packet has no `type`");
  if (type == "load") return parse_load(fields);
  if (type == "cancel") {
    std::string request = text_or(fields, "request", "");
    if (request.empty()) return bad("cancel: `request` is missing");
    return CancelOrder{std::move(request)};
  }
  if (type == "unload") return UnloadOrder{};
  if (type == "suspend") return SuspendOrder{};
  if (type == "resume") return ResumeOrder{};
  if (type == "shutdown") {
    constexpr std::int64_t longest_ms = std::int64_t{24} * 3600 * 1000;
    const std::int64_t grace_ms = integer_or(fields, "grace_ms", 0);
    return ShutdownOrder{ms(std::clamp<std::int64_t>(grace_ms, 0, longest_ms))};
  }
  return tl::unexpected(BadOrder{"unsupported", "unknown type " + std::string(bounded(type))});
}

const char* to_text(EndReason reason) {
  switch (reason) {
    case EndReason::cancelled:
      return "cancelled";
    case EndReason::completed:
      return "completed";
    case EndReason::failed:
      return "failed";
    case EndReason::unknown:
      return "unknown";
  }
  return "unknown";
}

const char* to_text(LoadFailure code) {
  switch (code) {
    case LoadFailure::model_missing:
      return "model_missing";
    case LoadFailure::model_broken:
      return "model_broken";
    case LoadFailure::bad_option:
      return "bad_option";
    case LoadFailure::out_of_memory:
      return "out_of_memory";
    case LoadFailure::start_failed:
      return "start_failed";
    case LoadFailure::internal:
      return "internal";
  }
  return "internal";
}

std::string hello_packet(const Hello& hello) {
  return packet("hello", [&](JsonWriter& json) {
    json.field("contract", contract_version);
    json.field("worker", hello.worker);
    json.field("version", STOKER_VERSION);
    json.field("nonce", hello.nonce);
    json.field("pid", hello.pid);
  });
}

std::string loading_packet(std::optional<double> fraction, std::string_view detail) {
  return packet("loading", [&](JsonWriter& json) {
    if (fraction) json.field("fraction", *fraction);
    if (!detail.empty()) json.field("detail", bounded(detail));
  });
}

std::string loaded_packet(MemoryUse memory) {
  return packet("loaded", [&](JsonWriter& json) { write_memory(json, memory); });
}

std::string ready_packet(MemoryUse memory, std::string_view endpoint) {
  return packet("ready", [&](JsonWriter& json) {
    write_memory(json, memory);
    if (!endpoint.empty()) json.field("endpoint", endpoint);
  });
}

std::string load_failed_packet(const LoadError& error) {
  return packet("load_failed", [&](JsonWriter& json) {
    json.field("code", to_text(error.code));
    json.field("message", bounded(error.message));
  });
}

std::string progress_packet(const WorkerCounters& counters) {
  // Who waits for a reader is not computed for: without steps he is no sign of a hang.
  const std::uint64_t held_up = counters.held_up.load(std::memory_order_relaxed);
  const std::uint64_t active = counters.active.load(std::memory_order_relaxed);
  return packet("progress", [&](JsonWriter& json) {
    json.field("active", active - std::min(active, held_up));
    json.field("steps", counters.steps.load(std::memory_order_relaxed));
    json.field("tokens", counters.tokens.load(std::memory_order_relaxed));
  });
}

std::string ended_packet(std::string_view request, const RequestUsage& usage, EndReason reason) {
  return packet("ended", [&](JsonWriter& json) {
    json.field("request", bounded(request));
    json.field("input", usage.input);
    json.field("output", usage.output);
    json.field("cached", usage.cached);
    json.field("device_ms", usage.device_ms);
    json.field("reason", to_text(reason));
  });
}

std::string suspended_packet(MemoryUse memory) {
  return packet("suspended", [&](JsonWriter& json) { write_memory(json, memory); });
}

std::string resumed_packet(MemoryUse memory) {
  return packet("resumed", [&](JsonWriter& json) { write_memory(json, memory); });
}

std::string unloaded_packet() {
  return packet("unloaded", [](JsonWriter&) {});
}

std::string error_packet(std::string_view code, std::string_view message) {
  return packet("error", [&](JsonWriter& json) {
    json.field("code", code);
    json.field("message", bounded(message));
  });
}

}  // namespace stoker::worker
