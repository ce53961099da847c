// A virtual world with the gateway's metering before it and everybody who looks: checkers, records.
// What happens to it comes as inputs, one by one, drawn from a seed or read from a script.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "sim/checker.h"
#include "sim/failure_checker.h"
#include "sim/metered_gateway.h"
#include "sim/observer_list.h"
#include "sim/script.h"
#include "sim/states.h"
#include "sim/stop_checker.h"
#include "sim/world.h"

namespace stoker::sim {

struct SceneOptions {
  std::function<void(const std::string&)> trace;  // hears every event and order in words
  Observer* listener = nullptr;                   // hears starts of the server, events and orders
};

class Scene {
 public:
  /// Chance draws faults by the plan.
  Scene(std::uint64_t seed, const FaultPlan& plan, std::int32_t sweep_every,
        const SceneOptions& options);
  /// Faults are those of the script; its steps are still to be done.
  Scene(const Script& script, const SceneOptions& options);
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  /// Notes in `script` every input from now on. It outlives the scene.   Needs: nothing happened.
  void record(Script& script);
  /// Adds to the record which faults chance brought, and its end.
  void end_record();

  /// Lets time pass until then; nothing if that is now.
  void run_until(Instant until);
  /// It happens now.
  void perform(const Input& input);

  [[nodiscard]] World& world() { return world_; }
  [[nodiscard]] const World& world() const { return world_; }
  [[nodiscard]] StateCounts states() const;

 private:
  Scene(std::uint64_t seed, const Chances& chances, Duration between_strikes, bool with_limits,
        std::int32_t sweep_every, const SceneOptions& options);
  void note(const Input& input);
  void end_faults();
  void check_settled();
  void check_ended();

  Checker checker_;
  FailureChecker failures_;
  StopChecker stops_;
  MeteredGateway gateway_;
  ObserverList observers_;
  World world_;
  Script* record_ = nullptr;
};

}  // namespace stoker::sim
