// Looks at every event and every order from outside and holds them against what must be true; its
// own books are kept from events and actions alone, so that a core that miscounts cannot talk
// itself out of it. Numbers are those of RELIABILITY.md 4.
//
// Where to look: what events tell checker_events.cpp, orders checker_requests.cpp and
// checker_instances.cpp, who waits checker_waiting.cpp, what lies in stores checker_store.cpp,
// limits of time checker_limits.cpp, the full sweep and the end checker_sweep.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "base/id_table.h"
#include "sim/states.h"
#include "sim/world.h"

namespace stoker::sim {

class Checker final : public Observer {
 public:
  /// `sweep_every`: events between two full sweeps of the core; each step has the shadow.
  /// `listener`: hears what the checker hears, before it; may be null.
  explicit Checker(std::int32_t sweep_every = 64, Observer* listener = nullptr)
      : sweep_every_(sweep_every), listener_(listener) {}

  void on_server_start(Instant now, const core::CoreConfig& config) override {
    if (listener_ != nullptr) listener_->on_server_start(now, config);
  }
  void before_step(Instant now, const core::Event& event) override;
  void on_action(Instant now, const core::Event& cause, const core::Action& action) override;
  void after_step(Instant now, const core::Event& event, const core::Core& core) override;
  void on_arrival(Instant now, const Arrival& arrival) override;
  void on_ended(Instant now, RequestId request, Ending ending) override;
  void on_process_gone(Instant now, InstanceId instance) override;
  void on_fault(Instant now, Fault fault) override;
  void on_server_crash(Instant now) override;

  /// Hears every event and order in words.
  void set_trace(std::function<void(const std::string&)> trace) { trace_ = std::move(trace); }

  /// Needs: faults have stopped, nobody sends, and time has passed. Liveness L1-L6.
  void check_settled(const core::Core& core, const World& world);

  [[nodiscard]] const StateCounts& states() const { return states_; }

 private:
  enum class Stage : std::uint8_t {
    starting,
    loading,
    ready,
    suspending,
    suspended,
    resuming,
    leaving
  };
  struct Request {
    DeploymentId deployment;
    TenantId tenant;
    std::int32_t priority = 0;
    std::int64_t cost = 1;
    Instant arrived_at;
    Instant deadline;
    InstanceId instance;  // zero: it waits
    std::uint64_t affinity = 0;
    std::int32_t attempts = 0;
    bool cancelled = false;
    bool own_deadline = false;  // not the deployment's queue_timeout
    std::uint64_t order = 0;
  };
  struct Instance {
    DeploymentId deployment;
    Generation generation;
    Stage stage = Stage::starting;
    core::StartReason reason = core::StartReason::from_zero;
    std::vector<DeviceId> devices;  // until it is gone
    std::vector<DeviceId> started_on;
    PoolId pool;
    core::MemoryNeed held;
    Bytes at_most;  // on one device; more than `held` if it fits on some of its devices only
    Instant started_at;
    Instant resumed_at;
    Instant idle_since;
    std::set<RequestId> running;
    std::int32_t share_permille = 0;
    std::int32_t pool_devices = 0;
    bool exclusive = false;
    bool broken = false;
    bool drained = false;
    std::optional<Instant> asked_to_stop_at;
    Instant stops_by;
    bool unkillable = false;
    std::vector<DeviceId> home;  // suspended: where it was
    NodeId node;                 // whose host memory it holds
    Bytes host;
    Bytes host_before;  // what was measured
    std::int32_t suspends = 0;
  };
  /// A new request that went to an instance at once.
  struct Sent {
    DeploymentId deployment;
    InstanceId instance;
    std::uint64_t affinity = 0;
    std::int32_t beside = 0;  // what ran there before
  };
  /// Waiting requests of one deployment, tenant and priority, by order of arrival.
  struct Lane {
    DeploymentId deployment;
    TenantId tenant;
    std::int32_t priority = 0;
    auto operator<=>(const Lane&) const = default;
  };
  struct Deployment {
    core::DeploymentSpec spec;
    std::int32_t waiting = 0;
    std::int32_t waiting_never_ran = 0;
    std::int32_t most_instances = 1;
    std::map<TenantId, std::int64_t> served;  // see share_of(), dispatched while others waited
    std::int64_t served_now = 0;              // what the last one served had before it
    std::map<TenantId, std::int32_t> waiting_of;
    std::map<TenantId, std::int32_t> waiting_never_ran_of;
    std::int64_t largest_cost = 1;
    core::MemoryNeed need;  // the estimate, or what was measured last
    bool by_hand = false;   // its minimum rests
    bool changed = false;
    bool removed = false;
    bool failing = false;
    Instant failed_at;
    std::optional<Instant> below_minimum_since;
    std::optional<Instant> scaled_up_at;         // by a start that no failure caused
    std::optional<Instant> scaled_down_at;       // for want of requests
    std::vector<Instant> starts;                 // of the last minute, without a ready one
    std::int32_t open = 0;                       // requests that wait or run
    std::int32_t level = 0;                      // so many instances they fill
    std::map<std::int32_t, Instant> fell_below;  // of levels that were reached
    Duration shortest_start;                     // of those that were seen; {0}: none
    Duration shortest_resume;                    // expected or seen
    bool rebounded = false;                      // a schedule moved its bounds
    bool token_late = false;                     // a first token missed the objective
  };
  struct Device {
    core::DeviceSpec spec;
    std::set<InstanceId> residents;
    bool lost = false;
    std::int32_t failed_starts = 0;  // since one worked
    std::set<DeploymentId> failed_deployments;
    Instant may_be_distrusted_until;
  };

  void hear(Instant now, const core::DeviceAdded& e);
  void hear(Instant now, const core::NodeAdded& e);
  void hear(Instant now, const core::PoolAdded& e);
  void hear(Instant now, const core::TenantWeighed& e);
  void hear(Instant now, const core::DeviceLost& e);
  void hear(Instant now, const core::DeviceReturned& e);
  void hear(Instant now, const core::DeploymentAdded& e);
  void hear(Instant now, const core::DeploymentChanged& e);
  void hear(Instant now, const core::BoundsChanged& e);
  void hear(Instant now, const core::DeploymentRemoved& e);
  void hear(Instant now, const core::RequestArrived& e);
  void hear(Instant now, const core::RequestUndelivered& e);
  void hear(Instant now, const core::FirstTokenSent& e);
  void hear(Instant now, const core::RequestCancelled& e);
  void hear(Instant now, const core::InstanceUp& e);
  void hear(Instant now, const core::LoadProgressed& e);
  void hear(Instant now, const core::InstanceReady& e);
  void hear(Instant now, const core::InstanceExited& e);
  void hear(Instant now, const core::InstanceHung& e);
  void hear(Instant now, const core::LoadFailed& e);
  void hear(Instant now, const core::StartFailed& e);
  void hear(Instant now, const core::StartOutcomeUnknown& e);
  void hear(Instant now, const core::InstancePlaced& e);
  void hear(Instant now, const core::InstanceUnkillable& e);
  void hear(Instant now, const core::ModelInTier& e);
  void hear(Instant now, const core::ModelLost& e);
  void hear(Instant now, const core::TierLost& e);
  void hear(Instant now, const core::StoreAdded& e);
  void hear(Instant now, const core::ModelFetched& e);
  void hear(Instant now, const core::ModelDropped& e);
  void hear(Instant now, const core::MoveFailed& e);
  void hear(Instant now, const core::InstanceSuspended& e);
  void hear(Instant now, const core::SuspendFailed& e);
  void hear(Instant now, const core::InstanceResumed& e);
  void hear(Instant now, const core::ResumeFailed& e);
  void hear(Instant now, const core::WarmRequested& e);
  void hear(Instant now, const core::StopRequested& e);
  void hear(Instant now, const core::ShutdownRequested& e);
  template <class Event>
  void hear(Instant, const Event&) {}  // of the others nothing is kept

  /// A copy of a model, there or not.
  using Copy = std::tuple<ModelId, NodeId, core::Tier>;
  struct Move {
    Copy copy;
    Bytes bytes;
    bool is_fetch = true;
  };
  /// A store that the core fills.
  struct Store {
    core::StoreSpec spec;
    std::map<Copy, Bytes> copies;
    std::map<core::MoveId, Move> moves;  // that go on
    std::map<Copy, Instant> moved_at;    // when the last one ended
    std::map<ModelId, Instant> strays;   // in host memory without a file, and may go: seen since
    bool shrunk = false;  // it held more than it may since it got smaller, or its models larger
    [[nodiscard]] Bytes capacity(core::Tier tier) const {
      return tier == core::Tier::host ? spec.host_memory : spec.disk;
    }
    [[nodiscard]] Bytes held(core::Tier tier) const;
    [[nodiscard]] bool moves_now(const Copy& copy) const;
  };

  void on(Instant now, const core::Dispatch& a, const core::Event& cause);
  void on(Instant now, const core::Refuse& a, const core::Event& cause);
  void on(Instant now, const core::StartInstance& a);
  void on(Instant now, const core::StopInstance& a);
  void on(Instant now, const core::SuspendInstance& a, const core::Event& cause);
  void on(Instant now, const core::ResumeInstance& a, const core::Event& cause);
  void on(Instant now, const core::PrefetchModel& a);
  void on(Instant now, const core::DropModel& a);
  void on(const core::PinModel& a);
  void on(const core::RefuseCopy& a);
  void on(Instant now, const core::FailRequest& a);
  void on(Instant now, const core::CancelRequest& a);
  void on(Instant now, const core::AwaitRoom& a);
  void note_burst(Instant now, DeploymentId deployment);
  void wait(RequestId id, Request& request);
  void no_longer_waits(RequestId id, Request& request);
  void let_go(Instant now, RequestId id, Request& request);
  void note_end_of_move(Instant now, core::MoveId id);
  void note_size(ModelId model, Bytes bytes);
  [[nodiscard]] bool is_pinned(NodeId node, ModelId model, core::Tier tier) const;
  void check_stores(Instant now, const core::Summary& summary);
  void check_strays(Instant now, NodeId node, Store& store) const;
  void check_settled_stores() const;
  [[nodiscard]] bool is_used(NodeId node, ModelId model) const;
  void check_memory(DeviceId id) const;
  void check_host(NodeId id) const;
  void check_tier(const Deployment& d, const core::StartInstance& a);
  [[nodiscard]] Bytes host_held(NodeId id) const;
  void take_devices(const Deployment& d, InstanceId id, const std::vector<DeviceId>& devices);
  void check_cool_down(const Deployment& d, core::StartReason reason, DeploymentId id,
                       Instant wanted_at) const;
  void idle_choice(Instant now, const Instance& each, Deployment& d, InstanceId id);
  void check_shares(Deployment& d, TenantId served, std::int64_t cost);
  /// What `cost` takes of its tenant's share; exact for the weights that are drawn.
  [[nodiscard]] std::int64_t share_of(TenantId tenant, std::int64_t cost) const;
  static void note_level(Instant now, Deployment& d);
  void check_kept(Instant now, const Instance& each, const Deployment& d);
  void sweep(Instant now, const core::Core& core);
  void check_waiting(Instant now, const core::Summary& summary) const;
  void check_asleep(const core::Summary& summary) const;
  void check_swaps(Instant now, const core::Summary& summary) const;
  [[nodiscard]] bool could_be_made(Instant now, const Deployment& d,
                                   const core::Summary& summary) const;
  void note_failed_start(Instant now, const Instance& instance);
  void note_worked_start(const Instance& instance);
  void check_distrust(const core::AwaitRoom& a) const;
  void note_asked_to_stop(Instant now, const core::StopRequested& e);
  void check_limits(Instant now, const core::Summary& summary) const;
  void check_forgotten(Instant now, const core::Summary& summary) const;
  void check_least(const core::Summary& summary) const;
  static void note_failure(Instant now, Deployment& d);
  Instance& instance(InstanceId id);
  Request& request(RequestId id);
  /// It has the kind and the labels that are asked for.
  [[nodiscard]] static bool suits(const core::DeviceSpec& device, const core::DeviceNeed& needs);
  /// Of all that the maximum bounds.
  [[nodiscard]] std::int32_t live_of(DeploymentId id) const;
  /// Of those that serve or are about to.
  [[nodiscard]] std::int32_t warm_of(DeploymentId id) const;
  /// Some node has the devices for it; `now`: with what is free.
  [[nodiscard]] bool could_hold(const Deployment& d, bool now) const;
  void reached(State state) { states_.reached(state); }

  const std::int32_t sweep_every_;
  Observer* const listener_;
  std::function<void(const std::string&)> trace_;
  std::int32_t until_sweep_ = 1;
  bool fault_struck_ = false;
  Instant last_;      // of this step
  Instant previous_;  // of the one before
  StateCounts states_;
  std::map<DeploymentId, Deployment> deployments_;
  std::map<DeviceId, Device> devices_;
  std::map<NodeId, core::NodeSpec> nodes_;
  std::set<Copy> stored_;  // that a start may count on
  std::map<NodeId, Store> stores_;
  std::map<PoolId, core::PoolSpec> pools_;
  std::map<TenantId, std::int32_t> weights_;
  std::map<InstanceId, Instance> instances_;
  IdTable<RequestId, Request> requests_;
  std::set<std::pair<Instant, RequestId>> deadlines_;
  std::map<Lane, std::set<std::pair<std::uint64_t, RequestId>>> lanes_;
  IdTable<RequestId, std::int32_t> overtaken_;
  std::optional<core::MemoryNeed> measured_;  // of what becomes ready in the step
  InstanceId measured_of_;
  core::MemoryNeed before_measured_;  // what it held until then
  std::uint64_t next_order_ = 1;
  std::int32_t victims_in_step_ = 0;
  bool shutting_down_ = false;
  std::optional<Instant> shut_down_by_;
  std::optional<Sent> sent_;                // the only one of a step that a new request caused
  std::optional<Instant> start_failed_at_;  // the last one, anywhere
  Instant burst_at_;
  std::map<DeploymentId, std::int32_t> burst_;  // that arrived at that instant
};

}  // namespace stoker::sim
