// The options of stoker-worker-exec: which engine to run and how to see that it is up. Plain data.
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "base/units.h"

namespace stoker::worker {

struct ExecOptions {
  std::vector<std::string> command;  // with {model}, {port} and {host}; never empty
  std::vector<std::pair<std::string, std::string>> env;
  std::string health_path;               // empty: what answers of the usual ones
  Duration start_timeout = minutes(15);  // from its spawn until it is ready
  Duration load_timeout = minutes(1);    // up, and refusing its health path
  bool sandboxed = false;                // this worker may be in a sandbox, for messages
  bool direct = false;  // `endpoint: direct`: the gateway talks to the engine's port itself
  Duration health_interval = seconds(5);  // 0: no health probes
  std::int64_t health_failures = 3;       // in a row, with nothing relayed meanwhile: it hangs
};

/// `json` is the deployment's `options` with its `command` added.   Errors: all problems, one line.
tl::expected<ExecOptions, std::string> read_exec_options(const std::string& json);

/// `word` with its placeholders filled in; an unknown {...} stays as it is.
[[nodiscard]] std::string fill_placeholders(std::string word, const std::string& model, int port);

}  // namespace stoker::worker
