// Tells a busy worker from a hung one by the progress of its work. Pure: time is handed in.
//
// Armed once an instance is ready; a load is watched by the core through its own progress. A
// watcher that overslept must not judge: what it missed is not the worker's fault (R9).
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "backend/instance_backend.h"
#include "base/units.h"
#include "core/events.h"

namespace stoker::orchestrator {

struct HealthLimits {
  Duration silent = seconds(8);       // no message at all
  Duration no_progress = seconds(8);  // work in progress, but no step of it
  Duration tick = seconds(1);         // how often look() is called
};

class HealthWatch {
 public:
  explicit HealthWatch(HealthLimits limits) : limits_(limits) {}

  void arm(backend::InstanceKey key, Instant now);
  void disarm(backend::InstanceKey key);
  /// A progress message came.
  void heard(backend::InstanceKey key, std::int64_t active, std::int64_t steps, Instant now);

  struct Verdict {
    backend::InstanceKey key;
    core::HangKind kind = core::HangKind::no_progress;
  };
  /// Gives: the instances that are hung now; each is disarmed.
  [[nodiscard]] std::vector<Verdict> look(Instant now);

 private:
  struct Watched {
    Instant heard_at;
    Instant moved_at;  // last time that steps grew or nothing was active
    std::int64_t steps = 0;
  };
  HealthLimits limits_;
  std::map<backend::InstanceKey, Watched> watched_;
  Instant last_look_;
};

}  // namespace stoker::orchestrator
