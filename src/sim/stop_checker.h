// When and how instances may be stopped, and must be: what is cut, what is spared, and how long an
// order to stop may go unheard. Its own books.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "base/id_table.h"
#include "sim/world.h"

namespace stoker::sim {

class StopChecker final : public Observer {
 public:
  void on_server_start(Instant now, const core::CoreConfig& config) override;
  void before_step(Instant now, const core::Event& event) override;
  void on_action(Instant now, const core::Event& cause, const core::Action& action) override;
  void after_step(Instant now, const core::Event& event, const core::Core& core) override;
  void on_ended(Instant now, RequestId request, Ending ending) override;
  void on_process_gone(Instant now, InstanceId instance) override;

 private:
  struct Instance {
    DeploymentId deployment;
    Generation generation;
    std::int32_t running = 0;
    std::optional<Instant> ready_at;
    std::optional<Instant> stop_again_at;  // it was ordered to stop, and must be again by then
    bool stopping = false;
  };

  void stopped(Instant now, const core::StopInstance& a, const core::Event& cause);
  void no_longer_runs(RequestId request);
  void bounds_lowered(DeploymentId deployment, std::int32_t most);

  std::map<DeploymentId, core::DeploymentSpec> deployments_;
  std::map<InstanceId, Instance> instances_;
  IdTable<RequestId, InstanceId> running_on_;
  std::optional<Instant> end_by_;  // the server
  DeploymentId shedding_;          // in this step
  std::int32_t must_go_ = 0;       // of those that do not work
};

}  // namespace stoker::sim
