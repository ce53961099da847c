// Makes a script that ends in a violation as short as it can while it still ends in the same one.
// Source: Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2),
// 2002: ddmin, here over steps and hits together, after whole deployments and kinds of faults, and
// followed by fields that are set to what they usually are.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "sim/script.h"

namespace stoker::sim {

/// What a violation says, its numbers apart: the same for another instance or time.
[[nodiscard]] std::string kind_of_violation(const std::string& violation);

struct ShrinkProgress {
  std::size_t from = 0;  // steps and hits at first
  std::size_t size = 0;  // now
  std::uint64_t runs = 0;
};
struct Shrunk {
  Script script;
  std::string violation;  // of the last run of `script`; empty: the first one had none
  ShrinkProgress progress;
  bool complete = false;  // nothing more can be taken out one by one
};
/// `go_on`: asked before each run, for a bound on time. `tell`: hears after each success.
/// Gives: a script whose run ends in a violation of the same kind as that of `script`.
[[nodiscard]] Shrunk shrink(const Script& script,
                            const std::function<bool(const ShrinkProgress&)>& go_on);

}  // namespace stoker::sim
