// The last orders of the core with their reasons, as `stoker decisions` shows them: what was
// started, stopped, refused or made to wait, and why, in the simulator's words. Where each request
// was sent is on its receipt and not here. Bounded; old ones fall out. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>

#include "base/units.h"
#include "core/actions.h"
#include "gateway/admin_api.h"

namespace stoker::orchestrator {

/// Names of what the core has numbers for.
struct DecisionNames {
  std::map<DeploymentId, std::string> deployments;
  std::map<DeviceId, std::string> devices;
};

class DecisionLog {
 public:
  /// Cheap: words are made when somebody asks.
  void add(WallTime at, const core::Action& action);
  /// A JSON object {"decisions": [...]}: the newest `limit` after `since`. Each has its reason as a
  /// code and as a sentence, and the figures that it was made with.
  [[nodiscard]] std::string to_json(const gateway::EventFilter& filter,
                                    const DecisionNames& names) const;

 private:
  struct Entry {
    std::uint64_t sequence = 0;
    WallTime at;
    DeploymentId deployment;  // zero: of an instance that was forgotten
    core::Action action;
  };
  [[nodiscard]] DeploymentId deployment_of(InstanceId instance) const;

  static constexpr std::size_t kept = 4096;
  mutable std::mutex mutex_;
  std::deque<Entry> entries_;
  std::map<InstanceId, DeploymentId> owners_;  // of the newest instances
  std::uint64_t next_sequence_ = 1;
};

}  // namespace stoker::orchestrator
