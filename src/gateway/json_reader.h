// All JSON that the gateway looks into: request bodies, usage and errors of engines. One reader per
// event loop, so that its buffers are used again. Must never keep a view past the next call.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/api_error.h"
#include "gateway/dispatcher.h"

namespace stoker::gateway {

/// What the gateway must know of a request's body.
struct BodyFacts {
  std::string model;
  bool stream = false;
  bool wants_usage = false;                 // stream_options.include_usage
  std::optional<std::int64_t> most_output;  // tokens of one answer that the client bounds it to
  std::int64_t choices = 1;                 // answers wanted
  std::string_view model_in_form;           // where a form has it; a view into the body
};

/// What a foreign engine must get instead of what the client wrote.
struct BodyChange {
  bool add_include_usage = false;
  std::string_view model;  // empty: unchanged
  /// Goes before the client's own `cache_salt`, so that nobody's equals another's; empty: no salt.
  std::string cache_salt;
  [[nodiscard]] bool empty() const {
    return !add_include_usage && model.empty() && cache_salt.empty();
  }
};

class JsonReader {
 public:
  JsonReader();
  ~JsonReader();

  /// Reads a whole body: it must be one JSON object, at most 1,024 deep, that names its model.
  /// A key that the gateway acts on must not come twice, as two readers would take different ones.
  /// Errors: a 400 that names the field. Cost: one copy and one pass.
  [[nodiscard]] std::optional<ApiError> read_request(std::string_view body, BodyFacts& facts);
  /// body_affinity() of the body that read_request() read last.
  /// Needs: it gave no error, and nothing was read since.
  [[nodiscard]] std::uint64_t affinity(TenantId tenant) const;
  /// The same check for a body whose model the path names: it must be one JSON object.
  [[nodiscard]] std::optional<ApiError> check_object(std::string_view body);
  /// `body` with `change` made. Values keep their text, but white space between them goes.
  /// Needs: read_request(body) gave no error.
  [[nodiscard]] std::string rewrite(std::string_view body, const BodyChange& change);

  /// Token counts in an answer or event of an engine, in any of the dialects.
  [[nodiscard]] std::optional<WorkerUsage> engine_usage(std::string_view json);
  /// True for the extra event that stream_options.include_usage asks for: usage and no choices.
  [[nodiscard]] bool is_usage_event(std::string_view json);
  /// The same object without its member `usage`; its values keep their text.
  /// Needs: engine_usage(json) or is_usage_event(json) could read it.
  [[nodiscard]] std::string without_usage(std::string_view json);
  /// error.message of an engine's error answer; empty if there is none.
  [[nodiscard]] std::string error_message(std::string_view json);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// "input=12,output=34,cached=0,device_ms=120" (docs/worker-contract.md). Gives nullopt unless all
/// four are there once and not negative.
[[nodiscard]] std::optional<WorkerUsage> parse_worker_usage(std::string_view text);

/// Takes the larger of each count: an engine may report input and output in different events.
void merge_usage(WorkerUsage& into, const WorkerUsage& more);

}  // namespace stoker::gateway
