// Who sends a generated request and what it is like: the part that all generators share.
#pragma once

#include <optional>

#include "base/prng.h"
#include "base/random_variates.h"
#include "sim/workload/generators.h"

namespace stoker::sim {

/// A seed for one use of randomness, so that uses do not disturb each other.
[[nodiscard]] std::uint64_t seed_for(std::uint64_t seed, std::string_view use);

class RequestMaker {
 public:
  explicit RequestMaker(const GeneratorOptions& options);
  [[nodiscard]] const TraceWorld& world() const { return world_; }

  /// Overwrites all of `out` but its session and prefix, which are cleared.
  void make(Duration at, TraceRequest& out);

 private:
  TraceWorld world_;
  std::optional<WeightedChoice> deployments_;  // unset: there is one
  std::optional<WeightedChoice> tenants_;
  TokenSampler input_;
  TokenSampler output_;
  TraceRequest usual_;  // what all have in common
  double gone_share_;
  Duration gone_within_;
  Prng who_;
  Prng likes_;
};

}  // namespace stoker::sim
