// What failures may cost and must cost (V22): backoff that grows, requests that are told at once
// and when to come again, and nothing of it once the failures are forgotten. Its own books.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "sim/world.h"

namespace stoker::sim {

class FailureChecker final : public Observer {
 public:
  void on_server_start(Instant now, const core::CoreConfig& config) override;
  void before_step(Instant now, const core::Event& event) override;
  void on_action(Instant now, const core::Event& cause, const core::Action& action) override;
  void after_step(Instant now, const core::Event& event, const core::Core& core) override;

 private:
  /// asleep: from the order to suspend until it is back; what fails meanwhile is no failure of the
  /// model.
  enum class Stage : std::uint8_t { starting, up, ready, asleep, leaving };
  struct Instance {
    DeploymentId deployment;
    Generation generation;
    Stage stage = Stage::starting;
    bool resuming = false;  // asleep, and ordered back: what came of that may be told twice
  };
  struct Deployment {
    std::vector<Instant> failures;  // in a row
    std::optional<Instant> forgotten_at;
    std::int32_t ready = 0;  // draining ones too
    std::int32_t asleep = 0;
    /// To serve without a start.
    [[nodiscard]] std::int32_t able() const { return ready + asleep; }
    bool loops = false;
    bool removed = false;
  };

  Instance* find(InstanceId id, Generation generation);
  void failed(Instant now, Deployment& d);
  static void clear(Deployment& d);
  static void forget(Instant now, Deployment& d);
  [[nodiscard]] static Instant earliest_retry(const Deployment& d);
  void left(Instance& instance);
  void check_start(Instant now, const core::StartInstance& a);
  void check_refusal(Instant now, const core::Refuse& a);
  void stopped(Instant now, const core::StopInstance& a);
  void suspended(const core::SuspendInstance& a);

  std::map<DeploymentId, Deployment> deployments_;
  std::map<InstanceId, Instance> instances_;
  InstanceId became_ready_;        // in this step
  DeploymentId load_refused_;      // in this step, while none was ready
  std::optional<RequestId> open_;  // that arrived in this step and was not decided
};

}  // namespace stoker::sim
