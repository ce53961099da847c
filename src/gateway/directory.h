// The deployments as the gateway sees them: an immutable snapshot, replaced as a whole when the
// configuration is loaded anew. Only names and constants; what runs where is the dispatcher's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "ledger/record.h"

namespace stoker::gateway {

enum class RuntimeKind : std::uint8_t { llama_cpp, onnx, command, container, echo };
[[nodiscard]] const char* to_text(RuntimeKind kind);

/// Where the token counts of a request come from.
enum class UsageMode : std::uint8_t {
  contract,  // our own worker says (docs/worker-contract.md)
  inject,    // a foreign engine: ask it with stream_options.include_usage, read its answer
  none,      // a foreign engine that does not know stream_options: only read its answer
};

struct Deployment {
  DeploymentId id;
  std::string name;
  std::vector<std::string> aliases;  // other names that requests may use; may hold slashes
  RuntimeKind runtime = RuntimeKind::echo;
  UsageMode usage = UsageMode::contract;
  /// Name that the engine knows its model by; replaces `model` in the request. Empty: untouched.
  std::string engine_model;
  /// It reuses what it read of a prompt for others that begin alike, and does so by `cache_salt`.
  bool salts_prompts = false;
  Duration request_timeout = minutes(10);  // from dispatch to the last byte; 0: none
  Duration queue_timeout = minutes(2);     // from arrival to dispatch, where a request says nothing
  std::int32_t priority = 0;
  std::int32_t max_instances = 1;    // at any time
  bool reports_first_token = false;  // it scales by the time to first token
  Prices prices;
};
using DeploymentPtr = std::shared_ptr<const Deployment>;

class Directory {
 public:
  /// Errors: invalid, if two deployments claim one name.
  static Result<std::shared_ptr<const Directory>> create(std::vector<Deployment> deployments);

  /// By name or alias; a `:latest` suffix is ignored. nullptr if unknown.
  [[nodiscard]] DeploymentPtr find(std::string_view model) const;
  /// The known name nearest to `model`, empty if none is near.
  [[nodiscard]] std::string_view nearest(std::string_view model) const;
  /// By name, ascending.
  [[nodiscard]] const std::vector<DeploymentPtr>& all() const { return deployments_; }

 private:
  std::vector<DeploymentPtr> deployments_;
  std::map<std::string, DeploymentPtr, std::less<>> by_name_;  // names and aliases
};
using DirectoryPtr = std::shared_ptr<const Directory>;

}  // namespace stoker::gateway
