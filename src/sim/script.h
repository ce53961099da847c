// A run of the virtual world, written down: what happened to it from outside, when, and which
// faults chance brought. Run again it gives the same orders; run with less it is another run, in
// which whatever has nothing to do with what was left out is as it was.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sim/chances.h"
#include "sim/inputs.h"

namespace stoker::sim {

struct Step {
  Instant at;
  Input what;
};

struct Script {
  std::uint64_t seed = 1;
  bool varied = true;            // times vary, as in a run with faults
  bool with_limits = true;       // keys and tenants may have limits
  Duration between_strikes;      // of changes of prices and limits; {0}: there are none
  std::int32_t sweep_every = 1;  // steps of the core between two full sweeps
  /// The deployment without which the run is done once more, and the decisions about the others
  /// compared (V22); zero: it is not.
  DeploymentId looping;
  Instant until;            // the run ends then
  std::vector<Step> steps;  // by time
  std::vector<Hit> hits;

  [[nodiscard]] std::size_t size() const { return steps.size() + hits.size(); }
};

/// The input is about nothing but this deployment.
[[nodiscard]] bool is_about(const Input& input, DeploymentId deployment);
/// The same without all that is about the deployment.
[[nodiscard]] Script without(const Script& script, DeploymentId deployment);

/// Text, one step or hit a line; times and sizes are exact.
[[nodiscard]] std::string to_text(const Script& script);
[[nodiscard]] std::string to_text(const Step& step);
[[nodiscard]] std::string to_text(const Hit& hit);
/// Errors: the number of the line and what is wrong there (invalid).
[[nodiscard]] Result<Script> parse_script(std::string_view text);

}  // namespace stoker::sim
