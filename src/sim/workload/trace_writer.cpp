#include "sim/workload/trace_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/json_writer.h"
#include "base/unique_fd.h"
#include "sim/workload/decimal.h"
#include "sim/workload/session_text.h"

namespace stoker::sim {
namespace {

constexpr std::size_t write_size = std::size_t{1} << 20;

std::string ms_text(Duration duration) {
  std::string text;
  append_decimal(text, duration.ns, 6);
  return text;
}

void device(JsonWriter& json, const TraceDevice& d) {
  json.object([&] {
    if (!d.name.empty()) json.field("name", d.name);
    json.field("kind", d.kind);
    json.field("memory_bytes", d.memory.value);
    json.field("slots", d.slots);
    std::string price;
    append_decimal(price, d.price_per_hour.value, 9);
    json.field("price_per_hour", price);
  });
}

void deployment(JsonWriter& json, const TraceDeployment& d) {
  static const TraceDeployment usual;
  const auto field = [&](std::string_view key, const auto& value, const auto& default_value) {
    if (value != default_value) json.field(key, value);
  };
  const auto time = [&](std::string_view key, Duration value, Duration default_value) {
    if (value != default_value) json.raw_field(key, ms_text(value));
  };
  json.object(d.name, [&] {
    field("memory_bytes", d.memory.value, usual.memory.value);
    field("weights_bytes", d.weights.value, std::min(usual.weights, d.memory).value);
    time("start_ms", d.start, usual.start);
    time("load_ms", d.load, usual.load);
    field("concurrency", d.concurrency, usual.concurrency);
    field("prefill_tokens_per_s", d.prefill_tokens_per_s, usual.prefill_tokens_per_s);
    field("decode_tokens_per_s", d.decode_tokens_per_s, usual.decode_tokens_per_s);
    time("request_ms", d.request, usual.request);
  });
}

// A request's line is written by hand: a JsonWriter would make several strings a line.
void append_number(std::string& out, std::string_view key, std::int64_t number) {
  out += key;
  const fmt::format_int digits(number);
  out.append(digits.data(), digits.size());
}

void append_ms(std::string& out, std::string_view key, const std::optional<Duration>& duration) {
  if (!duration) return;
  out += key;
  append_decimal(out, duration->ns, 6);
}

/// Zero is what a reader takes for a missing one.
void append_phase(std::string& out, std::string_view key, Duration duration) {
  if (duration.ns != 0) append_ms(out, key, duration);
}

void append_receipt(std::string& out, const TraceReceipt& receipt) {
  if (receipt.start != TraceStart::none) {
    out += ",\"start\":";
    append_json_string(out, to_text(receipt.start));
  }
  if (!receipt.instance.empty()) {
    out += ",\"instance\":";
    append_json_string(out, receipt.instance);
  }
  append_ms(out, ",\"queue_ms\":", receipt.queue);  // always: it says that there is a receipt
  append_phase(out, ",\"allocate_ms\":", receipt.allocate);
  append_phase(out, ",\"start_ms\":", receipt.starting);
  append_phase(out, ",\"load_ms\":", receipt.load);
  append_phase(out, ",\"warmup_ms\":", receipt.warmup);
  append_phase(out, ",\"ttft_ms\":", receipt.ttft);
}

Result<void> write_all(int fd, const std::string& path, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return tl::unexpected(errno_error(path, "Is there room on the disk?"));
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace

void append_trace_head(std::string& out, const TraceWorld& world) {
  JsonWriter json;
  json.object([&] {
    json.field("stoker_trace", 1);
    if (world.started_at) {
      json.raw_field("started_at_ms", ms_text(Duration{world.started_at->ns}));
    }
    if (!world.devices.empty()) {
      json.array("devices", [&] {
        for (const TraceDevice& d : world.devices) device(json, d);
      });
    }
    if (!world.deployments.empty()) {
      json.object("deployments", [&] {
        for (const TraceDeployment& d : world.deployments) deployment(json, d);
      });
    }
  });
  out += json.text();
  out += '\n';
}

void append_trace_request(std::string& out, const TraceWorld& world, const TraceRequest& request) {
  static const TraceRequest usual;
  append_ms(out, "{\"at_ms\":", request.at);
  if (!request.id.empty()) {
    out += ",\"id\":";
    append_json_string(out, request.id);
  }
  out += ",\"deployment\":";
  append_json_string(out, world.deployments.at(request.deployment).name);
  out += ",\"tenant\":";
  append_json_string(out, world.tenants.at(request.tenant));
  if (request.session != 0) {
    out += ",\"session\":\"";
    append_session_text(out, request.session);
    out += '"';
  }
  if (request.route != usual.route) {
    out += ",\"route\":";
    append_json_string(out, to_text(request.route));
  }
  if (request.stream) out += ",\"stream\":true";
  if (request.priority != usual.priority) {
    append_number(out, ",\"priority\":", request.priority);
  }
  if (request.input_tokens != usual.input_tokens) {
    append_number(out, ",\"input_tokens\":", request.input_tokens);
  }
  if (request.output_tokens != usual.output_tokens) {
    append_number(out, ",\"output_tokens\":", request.output_tokens);
  }
  append_ms(out, ",\"service_ms\":", request.service);
  append_ms(out, ",\"deadline_ms\":", request.deadline);
  append_ms(out, ",\"gone_after_ms\":", request.gone_after);
  if (request.outcome != TraceOutcome::unknown) {
    out += ",\"outcome\":";
    append_json_string(out, to_text(request.outcome));
  }
  if (request.receipt) append_receipt(out, *request.receipt);
  if (!request.prefix.empty()) {
    out += ",\"prefix\":[";
    for (std::size_t i = 0; i < request.prefix.size(); ++i) {
      if (i > 0) out += ',';
      const fmt::format_int digits(request.prefix[i]);
      out.append(digits.data(), digits.size());
    }
    out += ']';
  }
  out += "}\n";
}

Result<std::int64_t> write_trace(const std::string& path, RequestSource& source) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!fd)
    return tl::unexpected(errno_error(path, "Does the folder exist, and may you write there?"));
  std::string bytes;
  append_trace_head(bytes, source.world());
  TraceRequest request;
  for (std::int64_t count = 0;; ++count) {
    const Result<bool> more = source.next(request);
    if (!more) return tl::unexpected(more.error());
    if (*more) append_trace_request(bytes, source.world(), request);
    if (!*more || bytes.size() >= write_size) {
      const Result<void> written = write_all(fd.get(), path, bytes);
      if (!written) return tl::unexpected(written.error());
      bytes.clear();
    }
    if (!*more) return count;
  }
}

}  // namespace stoker::sim
