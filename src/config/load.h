// YAML file + environment -> checked ServerConfig, or every problem at once. Nothing here starts
// anything, and no exception of the YAML library gets out.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "config/problem.h"

namespace stoker::config {

/// Looks up an environment variable; nullopt when unset. A function, so that tests bring their own.
using Environment = std::function<std::optional<std::string>(std::string_view name)>;
[[nodiscard]] Environment process_environment();

/// A setting from the command line: `--set deployments.chat.concurrency=2`.
struct Override {
  std::string path;            // canonical keys joined by '.'
  std::string value;           // YAML text
  std::string flag = "--set";  // how it was given, for messages
};

struct Loaded {
  ServerConfig config;            // complete and checked unless `problems` has errors
  std::vector<Problem> problems;  // errors and warnings, in the order of the file
  [[nodiscard]] bool ok() const { return !has_errors(problems); }
};

/// Cost: the text is limited to 1 MiB, 64 levels of nesting and has no anchors, so memory is
/// bounded by a small multiple of the text.
[[nodiscard]] Loaded parse(std::string_view yaml, std::string_view file_name,
                           const Environment& environment,
                           const std::vector<Override>& overrides = {});
/// Also makes relative paths absolute (paths.h) and looks at the files that are named.
[[nodiscard]] Loaded load(const std::string& path, const Environment& environment,
                          const std::vector<Override>& overrides = {});

/// The file to use: `flag` if given, else STOKER_CONFIG, ./stoker.yaml,
/// ~/.config/stoker/stoker.yaml. The first two are taken without asking whether they exist; nullopt
/// if none of the others does.
[[nodiscard]] std::optional<std::string> locate(const std::optional<std::string>& flag,
                                                const Environment& environment);

/// The configuration as YAML with canonical keys and values, defaults included; parse() of it gives
/// the same configuration. Secrets that came from the environment are in it: print it to its owner
/// only.
[[nodiscard]] std::string to_yaml(const ServerConfig& config);
/// Sixteen hex digits that change when any setting does, the values of `env` apart; printed at
/// start, kept with traces.
[[nodiscard]] std::string fingerprint(const ServerConfig& config);

/// Names of the top-level settings that differ, in the order of the reference.
[[nodiscard]] std::vector<std::string> changed_settings(const ServerConfig& a,
                                                        const ServerConfig& b);
/// True if instances that were started with the one can serve for the other: they differ at most in
/// names, bounds, limits, prices and what else is not theirs.
[[nodiscard]] bool same_instances(const DeploymentConfig& a, DeploymentConfig b);
/// True if they differ in nothing.
[[nodiscard]] bool same(const DeploymentConfig& a, const DeploymentConfig& b);

}  // namespace stoker::config
