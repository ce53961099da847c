// The gateway's numbers, per deployment. Made once per deployment and loop; after that a request
// costs a few relaxed additions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "ledger/record.h"
#include "obs/metrics.h"

namespace stoker::gateway {

/// The series of one deployment. Valid as long as the registry.
struct DeploymentMetrics {
  std::array<obs::Counter*, 5> ended_by_class{};  // status 1xx..5xx
  obs::Counter* cancelled = nullptr;
  obs::Counter* refused_by_limit = nullptr;
  obs::Gauge* in_flight = nullptr;
  obs::Histogram* queue = nullptr;
  obs::Histogram* ttft = nullptr;
  obs::Histogram* duration = nullptr;
  std::array<obs::Histogram*, 4> cold_start{};  // allocate, start, load, warmup
  obs::Counter* input_tokens = nullptr;
  obs::Counter* output_tokens = nullptr;
  obs::Counter* request_bytes = nullptr;
  obs::Counter* answer_bytes = nullptr;

  void on_ended(const ledger::Usage& usage) const;
};

class GatewayMetrics {
 public:
  /// Needs: one per registry, which outlives it.
  explicit GatewayMetrics(obs::Registry& registry);
  /// Threads: any, under locks; keep the result.
  [[nodiscard]] DeploymentMetrics of(std::string_view deployment);
  void accept_paused() const { accept_paused_->add(); }
  /// Of the loop with this number.
  [[nodiscard]] obs::Histogram& rounds_of(std::size_t loop);

 private:
  obs::Family<obs::Counter>* requests_;
  obs::Family<obs::Gauge>* in_flight_;
  obs::Family<obs::Histogram>* queue_;
  obs::Family<obs::Histogram>* ttft_;
  obs::Family<obs::Histogram>* duration_;
  obs::Family<obs::Histogram>* cold_start_;
  obs::Family<obs::Counter>* tokens_;
  obs::Family<obs::Counter>* bytes_;
  obs::Counter* accept_paused_;
  obs::Family<obs::Histogram>* rounds_;
};

}  // namespace stoker::gateway
