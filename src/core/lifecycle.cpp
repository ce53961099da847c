#include "core/lifecycle.h"

namespace stoker::core {

const char* to_text(InstanceState state) {
  switch (state) {
    case InstanceState::planned:
      return "planned";
    case InstanceState::starting:
      return "starting";
    case InstanceState::loading:
      return "loading";
    case InstanceState::ready:
      return "ready";
    case InstanceState::draining:
      return "draining";
    case InstanceState::stopping:
      return "stopping";
    case InstanceState::failed:
      return "failed";
    case InstanceState::gone:
      return "gone";
    case InstanceState::suspending:
      return "suspending";
    case InstanceState::suspended:
      return "suspended";
    case InstanceState::resuming:
      return "resuming";
  }
  return "unknown";
}

}  // namespace stoker::core
