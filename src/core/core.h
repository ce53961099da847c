// THE decisions: state, and step(now, event) -> actions. Production, simulator and tests run this
// same object code. It reads no clock, does no I/O, knows no thread, logs nothing.
//
// Entry points: step() and next_wakeup(). Where to look: requests core_requests.cpp, lives of
// instances core_instances.cpp, how many and where core_scaling.cpp, checks core_invariants.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/id_table.h"
#include "base/prng.h"
#include "base/units.h"
#include "core/actions.h"
#include "core/events.h"
#include "core/failure_policy.h"
#include "core/lifecycle.h"
#include "core/memory_ledger.h"
#include "core/placement.h"
#include "core/spec.h"
#include "core/timers.h"

namespace stoker::core {

using Actions = std::vector<Action>;

/// What people and the console see; a copy, made under the caller's lock.
struct InstanceSummary {
  InstanceId id;
  Generation generation;
  DeploymentId deployment;
  DeviceId device;
  InstanceState state = InstanceState::planned;
  std::int32_t in_flight = 0;
  Bytes private_bytes;
  Bytes shared_bytes;
  Instant since;  // of the present state
};
struct DeploymentSummary {
  DeploymentId id;
  std::int32_t queued = 0;
  std::int32_t running = 0;
  std::int32_t ready_instances = 0;
  std::int32_t live_instances = 0;
  std::int32_t desired_instances = 0;
  std::int32_t failures = 0;  // in a row
  bool crash_loop = false;
  Instant retry_at;  // {0}: no backoff
};
struct DeviceSummary {
  DeviceId id;
  DeviceKind kind = DeviceKind::cpu;
  std::string name;
  Bytes memory;
  Bytes reserved;
  std::int32_t slots = 0;
  std::int32_t residents = 0;
  bool lost = false;
};
struct Summary {
  std::vector<DeploymentSummary> deployments;  // each list ordered by id
  std::vector<InstanceSummary> instances;
  std::vector<DeviceSummary> devices;
};

class Core {
 public:
  explicit Core(const CoreConfig& config);

  /// Appends to `actions` the orders to carry out, in order. What was due at or before `now` is
  /// done first.
  /// Needs: now >= every earlier now; ids in events that the caller made are new or known.
  /// Cost: O(log n) in what the event touches, never O(deployments).
  void step(Instant now, const Event& event, Actions& actions);

  /// When to send WokeUp if nothing else happens first; nullopt: no timer is needed.
  [[nodiscard]] std::optional<Instant> next_wakeup() const { return timers_.next(); }

  [[nodiscard]] Summary summary() const;
  /// True if a request that arrives at `now` would be queued or run, a full queue apart.
  [[nodiscard]] bool would_admit(Instant now, DeploymentId deployment) const;
  /// True once shutdown was asked for and nothing is queued, running or alive.
  [[nodiscard]] bool quiet() const;
  /// The full sweep; for tests and simulation. Source: RELIABILITY.md 4.
  void check_invariants() const;

 private:
  enum class RequestState : std::uint8_t { queued, running, cancelling };
  struct Request {
    DeploymentId deployment;
    TenantId tenant;
    std::int32_t priority = 0;
    std::uint64_t order = 0;  // of arrival; kept when it goes back to the queue
    RequestState state = RequestState::queued;
    InstanceId instance;
    std::int32_t attempts = 0;
  };
  struct QueueKey {
    std::int32_t minus_priority = 0;
    std::uint64_t order = 0;
    auto operator<=>(const QueueKey&) const = default;
  };
  struct Deployment {
    DeploymentSpec spec;
    std::map<QueueKey, RequestId> queue;
    std::vector<InstanceId> instances;          // all that are not gone, ascending
    std::map<DeviceKind, MemoryNeed> measured;  // last use per device kind
    FailureState failures;
    bool minimum_suspended = false;
    std::int32_t desired = 0;
  };
  struct Instance {
    DeploymentId deployment;
    Generation generation;
    InstanceState state = InstanceState::planned;
    StartReason reason = StartReason::from_zero;
    DeviceId device;  // zero while planned
    DeviceId awaits;  // planned: where room is being made
    std::vector<RequestId> in_flight;
    Instant wanted_at;
    Instant since;
    Instant idle_since;
    bool idle_check_set = false;
    bool wait_told = false;
  };
  struct Device {
    DeviceSpec spec;
    MemoryLedger memory;
    bool lost = false;
  };
  struct Counts {
    std::int32_t live = 0;  // planned, starting, loading, ready
    std::int32_t ready = 0;
    std::int32_t draining = 0;
    std::int32_t free_slots = 0;
  };

  // core.cpp
  void handle(const Event& event);
  void fire(const Timers::Due& due);
  Deployment& deployment(DeploymentId id);
  Instance* live_instance(InstanceId id, Generation generation);
  void advance(InstanceId id, Instance& instance, InstanceInput input);

  // core_requests.cpp
  void on(const RequestArrived& e);
  void on(const RequestEnded& e);
  void on(const RequestCancelled& e);
  void on(const RequestUndelivered& e);
  void dispatch(RequestId id, Request& request, InstanceId to);
  void dispatch_waiting(Deployment& d);
  void refuse(RequestId id, RefuseReason reason, Duration retry_after);
  void refuse_all_queued(Deployment& d, RefuseReason reason);
  void leave_queue(RequestId id, Request& request);
  void leave_instance(RequestId id, Request& request);
  std::optional<RefuseReason> refusal_at(Instant now, const Deployment& d) const;
  std::optional<InstanceId> least_loaded(const Deployment& d) const;
  Duration until_retry(const Deployment& d) const;

  // core_instances.cpp
  void on(const DeviceAdded& e);
  void on(const DeploymentAdded& e);
  void on(const InstanceUp& e);
  void on(const LoadProgressed& e);
  void on(const InstanceReady& e);
  void on(const LoadFailed& e);
  void on(const InstanceExited& e);
  void on(const StartFailed& e);
  void on(const InstanceHung& e);
  void on(const InstanceUnkillable& e);
  void on(const WarmRequested& e);
  void on(const StopRequested& e);
  void on(const ShutdownRequested& e);
  void became_idle(InstanceId id, Instance& instance);
  void check_idle(InstanceId id);
  void stop(InstanceId id, Instance& instance, StopMode mode, StopReason reason);
  void drain(InstanceId id, Instance& instance, StopReason reason);
  void break_down(InstanceId id, Instance& instance, StopReason reason);
  void remove(InstanceId id, Instance& instance);
  void note_failure(Deployment& d, FailureKind kind);
  void note_refused_load(Deployment& d);
  void wind_down(Deployment& d);
  void abandon_unneeded(Deployment& d);

  // core_scaling.cpp
  [[nodiscard]] Counts count(const Deployment& d) const;
  void scale(Deployment& d);
  void plan(Deployment& d, StartReason reason);
  bool try_place(InstanceId id);
  void retry_waiting();
  void drop_planned(InstanceId id, Instance& instance);
  [[nodiscard]] MemoryNeed need_of(const Deployment& d, DeviceKind kind) const;
  [[nodiscard]] std::vector<DeviceView> views_for(InstanceId id, const Deployment& d) const;
  [[nodiscard]] bool may_evict(const Instance& instance) const;

  CoreConfig config_;
  Instant now_;
  Actions* actions_ = nullptr;  // of the step that runs
  Prng prng_;
  Timers timers_;
  std::map<DeploymentId, Deployment> deployments_;
  std::map<InstanceId, Instance> instances_;
  std::map<DeviceId, Device> devices_;
  IdTable<RequestId, Request> requests_;
  std::vector<InstanceId> waiting_;  // planned instances in the order of their wish
  std::uint64_t next_instance_ = 1;
  std::uint64_t next_order_ = 1;
  std::int32_t queued_ = 0;
  std::int32_t running_ = 0;
  bool room_changed_ = false;
  bool shutting_down_ = false;
};

}  // namespace stoker::core
