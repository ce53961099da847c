#include "backend/worker_message.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <array>
#include <optional>
#include <utility>

namespace stoker::backend {
namespace {

constexpr std::size_t text_bytes = 4 << 10;

/// Reads the fields of one message. The first problem sticks; later reads give empty values.
class FieldReader {
 public:
  FieldReader(std::string_view type, simdjson::dom::object fields) : type_(type), fields_(fields) {}

  std::string text(std::string_view name) {
    std::string_view value;
    if (fields_[name].get(value) != simdjson::SUCCESS) return fail(name, "must be a text");
    if (value.size() > text_bytes) return fail(name, "is longer than 4 KiB");
    return std::string(value);
  }
  std::string text_or_empty(std::string_view name) {
    return fields_[name].error() == simdjson::NO_SUCH_FIELD ? std::string() : text(name);
  }
  std::int64_t count(std::string_view name) {
    std::int64_t value = 0;
    if (fields_[name].get(value) != simdjson::SUCCESS) fail(name, "must be an integer");
    if (value < 0) fail(name, "is negative");
    return value;
  }
  Bytes bytes(std::string_view name) { return {count(name)}; }
  std::optional<double> fraction_or_none(std::string_view name) {
    if (fields_[name].error() == simdjson::NO_SUCH_FIELD) return std::nullopt;
    double value = 0;
    if (fields_[name].get(value) != simdjson::SUCCESS) fail(name, "must be a number");
    if (!(value >= 0 && value <= 1)) fail(name, "is not in 0..1");
    return value;
  }
  /// Value of the enumeration whose texts are `names` in order.
  template <class Enum, std::size_t N>
  Enum one_of(std::string_view name, const std::array<const char*, N>& names) {
    const std::string word = text(name);
    for (std::size_t i = 0; i < N; ++i) {
      if (word == names[i]) return static_cast<Enum>(i);
    }
    fail(name, "has an unknown value");
    return Enum{};
  }

  [[nodiscard]] Result<WorkerMessage> finish(WorkerMessage message) {
    if (problem_.empty()) return message;
    return failure(ErrorCode::invalid, std::move(problem_));
  }

 private:
  std::string fail(std::string_view name, std::string_view what) {
    if (problem_.empty()) problem_ = fmt::format("`{}` of a `{}` message {}", name, type_, what);
    return {};
  }

  std::string_view type_;
  simdjson::dom::object fields_;
  std::string problem_;
};

constexpr std::array load_failures{"model_missing", "model_broken", "bad_option",
                                   "out_of_memory", "start_failed", "internal"};
constexpr std::array work_ends{"cancelled", "completed", "failed", "unknown"};

Result<WorkerMessage> read_hello(FieldReader& read) {
  const std::int64_t contract = read.count("contract");
  WorkerHello hello{.worker = read.text("worker"),
                    .version = read.text("version"),
                    .nonce = read.text("nonce"),
                    .pid = read.count("pid")};
  Result<WorkerMessage> message = read.finish(std::move(hello));
  if (message && contract != worker_contract) {
    return failure(ErrorCode::invalid,
                   fmt::format("it speaks contract {}, this is {}", contract, worker_contract));
  }
  return message;
}

}  // namespace

const char* to_text(LoadFailure failure) {
  return load_failures[static_cast<std::size_t>(failure)];
}

Result<WorkerMessage> parse_worker_message(std::string_view packet) {
  thread_local simdjson::dom::parser parser;  // keeps its buffers from packet to packet
  simdjson::dom::object fields;
  if (parser.parse(packet.data(), packet.size()).get(fields) != simdjson::SUCCESS) {
    return failure(ErrorCode::invalid, "a message is not a JSON object");
  }
  std::string_view type;
  if (fields["type"].get(type) != simdjson::SUCCESS) {
    return failure(ErrorCode::invalid, "a message has no `type`");
  }
  FieldReader read(type, fields);
  if (type == "hello") return read_hello(read);
  if (type == "progress") {
    return read.finish(WorkerProgress{.active = read.count("active"),
                                      .steps = read.count("steps"),
                                      .tokens = read.count("tokens")});
  }
  if (type == "loading") {
    return read.finish(WorkerLoading{.fraction = read.fraction_or_none("fraction"),
                                     .detail = read.text_or_empty("detail")});
  }
  if (type == "loaded") {
    return read.finish(WorkerLoaded{.private_bytes = read.bytes("private_bytes"),
                                    .shared_bytes = read.bytes("shared_bytes")});
  }
  if (type == "ready") {
    return read.finish(WorkerReady{.private_bytes = read.bytes("private_bytes"),
                                   .shared_bytes = read.bytes("shared_bytes"),
                                   .endpoint = read.text_or_empty("endpoint")});
  }
  if (type == "load_failed") {
    return read.finish(WorkerLoadFailed{.code = read.one_of<LoadFailure>("code", load_failures),
                                        .message = read.text("message")});
  }
  if (type == "ended") {
    return read.finish(WorkerEnded{.request = read.text("request"),
                                   .input = read.count("input"),
                                   .output = read.count("output"),
                                   .cached = read.count("cached"),
                                   .device_ms = read.count("device_ms"),
                                   .reason = read.one_of<WorkEnd>("reason", work_ends)});
  }
  if (type == "unloaded") return read.finish(WorkerUnloaded{});
  if (type == "suspended") {
    return read.finish(WorkerSuspended{.private_bytes = read.bytes("private_bytes"),
                                       .shared_bytes = read.bytes("shared_bytes")});
  }
  if (type == "resumed") {
    return read.finish(WorkerResumed{.private_bytes = read.bytes("private_bytes"),
                                     .shared_bytes = read.bytes("shared_bytes")});
  }
  if (type == "error") {
    return read.finish(WorkerError{.code = read.text("code"), .message = read.text("message")});
  }
  return failure(ErrorCode::invalid, "a message has an unknown `type`");
}

}  // namespace stoker::backend
