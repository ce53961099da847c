#include "sim/decision_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/overloaded.h"
#include "core/describe.h"
#include "core/event_codec.h"

namespace stoker::sim {

void DecisionLog::on_server_start(Instant now, const core::CoreConfig& config) {
  if (next_ != nullptr) next_->on_server_start(now, config);
  instances_.clear();  // their ids begin anew
}

void DecisionLog::before_step(Instant now, const core::Event& event) {
  if (next_ != nullptr) next_->before_step(now, event);
  if (const auto* arrived = std::get_if<core::RequestArrived>(&event)) {
    requests_[arrived->request] = arrived->deployment;
  }
}

void DecisionLog::on_action(Instant now, const core::Event& cause, const core::Action& action) {
  if (next_ != nullptr) next_->on_action(now, cause, action);
  Decision decision{now, {}, action};
  // An instance may be named before it is started: it waits for room.
  const auto number = [&](InstanceId& id, DeploymentId owner) {
    Known& known = instances_[id];
    if (known.number == 0) known = {owner, ++numbers_[owner]};
    decision.deployment = known.deployment;
    id = InstanceId{known.number};
  };
  const auto of_known = [&](InstanceId& id) {
    const auto it = instances_.find(id);
    if (it == instances_.end()) return;  // of an old life
    decision.deployment = it->second.deployment;
    id = InstanceId{it->second.number};
  };
  std::visit(Overloaded{
                 [&](core::StartInstance& a) {
                   number(a.instance, a.deployment);
                   a.generation = {};
                 },
                 [&](core::AwaitRoom& a) { number(a.instance, a.deployment); },
                 [&](core::StopInstance& a) {
                   of_known(a.instance);
                   a.generation = {};
                 },
                 [&](core::SuspendInstance& a) {
                   of_known(a.instance);
                   a.generation = {};
                 },
                 [&](core::ResumeInstance& a) {
                   of_known(a.instance);
                   a.generation = {};
                 },
                 [&](core::Dispatch& a) {
                   of_known(a.instance);
                   a.generation = {};
                 },
                 [&](core::CancelRequest& a) {
                   of_known(a.instance);
                   a.generation = {};
                 },
                 [&](core::FailRequest& a) { of_known(a.instance); },
                 [&](core::Refuse& a) { decision.deployment = a.deployment; },
                 [](core::PrefetchModel& a) { a.move = {}; },
                 [](core::DropModel& a) { a.move = {}; },
                 [](core::PinModel&) {},
                 [](core::RefuseCopy&) {},
             },
             decision.action);
  if (decision.deployment != apart_from_) decisions_.push_back(std::move(decision));
}

std::string DecisionLog::describe(std::size_t index) const {
  const Decision& d = decisions_[index];
  return fmt::format("at {:.6f} s, deployment {}: {}", static_cast<double>(d.at.ns) / 1e9,
                     d.deployment.value, core::describe(d.action));
}

bool DecisionLog::same(std::size_t index, const DecisionLog& other) const {
  const Decision& mine = decisions_[index];
  const Decision& theirs = other.decisions_[index];
  if (mine.at != theirs.at || mine.deployment != theirs.deployment) return false;
  std::string my_bytes;
  std::string their_bytes;
  core::encode(my_bytes, mine.action);
  core::encode(their_bytes, theirs.action);
  return my_bytes == their_bytes;
}

std::optional<std::string> first_difference(const DecisionLog& with, const DecisionLog& without) {
  const std::size_t both = std::min(with.size(), without.size());
  for (std::size_t i = 0; i < both; ++i) {
    if (with.same(i, without)) continue;
    return fmt::format("{}; without it {}", with.describe(i), without.describe(i));
  }
  if (with.size() > both) return fmt::format("{}; without it nothing", with.describe(both));
  if (without.size() > both) return fmt::format("nothing; without it {}", without.describe(both));
  return std::nullopt;
}

}  // namespace stoker::sim
