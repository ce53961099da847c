// What the core decided about all deployments but one, in terms that do not change if that one was
// never there: instances are numbered by deployment, and lives of instances are not told apart.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/world.h"

namespace stoker::sim {

class DecisionLog final : public Observer {
 public:
  /// `next`: hears everything too; may be null.
  explicit DecisionLog(DeploymentId apart_from, Observer* next = nullptr)
      : apart_from_(apart_from), next_(next) {}

  void on_server_start(Instant now, const core::CoreConfig& config) override;
  void before_step(Instant now, const core::Event& event) override;
  void on_action(Instant now, const core::Event& cause, const core::Action& action) override;

  [[nodiscard]] std::size_t size() const { return decisions_.size(); }
  /// In words, with its time.   Needs: index < size().
  [[nodiscard]] std::string describe(std::size_t index) const;
  [[nodiscard]] bool same(std::size_t index, const DecisionLog& other) const;

 private:
  struct Decision {
    Instant at;
    DeploymentId deployment;
    core::Action action;  // its ids of instances are numbers of the deployment
  };
  struct Known {
    DeploymentId deployment;
    std::uint64_t number = 0;
  };

  const DeploymentId apart_from_;
  Observer* const next_;
  std::map<InstanceId, Known> instances_;
  std::map<RequestId, DeploymentId> requests_;
  std::map<DeploymentId, std::uint64_t> numbers_;
  std::vector<Decision> decisions_;
};

/// The first decision that differs, in words; nullopt: there is none.
[[nodiscard]] std::optional<std::string> first_difference(const DecisionLog& with,
                                                          const DecisionLog& without);

}  // namespace stoker::sim
