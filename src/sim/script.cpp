#include "sim/script.h"

#include <algorithm>

#include "base/overloaded.h"

namespace stoker::sim {

bool is_about(const Input& input, DeploymentId deployment) {
  return std::visit(
      Overloaded{
          [&](const AddDeployment& i) { return i.deployment.id == deployment; },
          [&](const ChangeDeployment& i) { return i.deployment.id == deployment; },
          [&](const ChangeBounds& i) { return i.deployment == deployment; },
          [&](const RemoveDeployment& i) { return i.deployment == deployment; },
          [&](const ChangeBehaviour& i) { return i.deployment == deployment; },
          [&](const Arrival& i) { return i.deployment == deployment; },
          [&](const WarmByHand& i) { return i.deployment == deployment; },
          [&](const StopByHand& i) { return i.deployment == deployment; },
          [&](const Strike& i) { return i.instance && i.instance.deployment() == deployment; },
          [](const auto&) { return false; },
      },
      input);
}

Script without(const Script& script, DeploymentId deployment) {
  Script rest = script;
  std::erase_if(rest.steps, [&](const Step& each) { return is_about(each.what, deployment); });
  std::erase_if(rest.hits, [&](const Hit& each) {
    const bool of_instance = !each.who.is_request() && !each.who.is_strike() && !each.who.is_copy();
    return of_instance && each.who.deployment() == deployment;
  });
  return rest;
}

}  // namespace stoker::sim
