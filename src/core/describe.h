// Events and actions in words, one line each; production and simulation print the same. Names are
// the caller's: the core knows numbers.
#pragma once

#include <functional>
#include <string>

#include "core/actions.h"
#include "core/events.h"

namespace stoker::core {

struct Names {
  std::function<std::string(DeploymentId)> deployment;
  std::function<std::string(InstanceId)> instance;
  std::function<std::string(DeviceId)> device;
  std::function<std::string(RequestId)> request;
};
/// "deployment 3", "instance 7", ...
[[nodiscard]] const Names& plain_names();

[[nodiscard]] std::string describe(const Event& event, const Names& names = plain_names());
[[nodiscard]] std::string describe(const Action& action, const Names& names = plain_names());

}  // namespace stoker::core
