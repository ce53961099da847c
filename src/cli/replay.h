// The three kinds of `stoker replay`, one file each.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "sim/workload/trace.h"

namespace stoker::cli {

/// Which deployment stands for one of the trace: --map and --to.
class NameMap {
 public:
  /// `pairs`: "TRACE-NAME=NAME" each; `to`: for all others, empty: they keep their names.
  /// Errors: invalid, a pair without '='.
  [[nodiscard]] static Result<NameMap> parse(const std::vector<std::string>& pairs,
                                             const std::string& to);
  [[nodiscard]] std::string operator()(const std::string& name) const;

 private:
  std::map<std::string, std::string> named_;
  std::string to_;
};

struct ReplayOptions {
  std::string trace;
  std::string events;
  bool live = false;
  bool print_steps = false;
  double speed = 1;
  std::vector<std::string> map;
  std::string to;
  std::string calibrate;
};

int replay_events(const Context& context, const std::string& path, bool print_steps);
int replay_simulated(const Context& context, const ReplayOptions& options,
                     const ServerFunction& simulated_server);
int replay_live(const Context& context, const ReplayOptions& options);

/// The trace, read ahead, so that its mistakes are found before anything runs.
[[nodiscard]] Result<std::unique_ptr<sim::RequestSource>> open_for_replay(const std::string& path);
/// "12.3 ms", for a table.
[[nodiscard]] std::string ms_cell(Duration duration);

}  // namespace stoker::cli
