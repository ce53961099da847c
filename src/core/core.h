// THE decisions: state, and step(now, event) -> actions. Production, simulator and tests run this
// same object code. It reads no clock, does no I/O, knows no thread, logs nothing.
//
// Entry points: step() and next_wakeup(). Where to look: requests core_requests.cpp, what they
// wait for core_waiting.cpp, lives of instances core_instances.cpp, suspended ones
// core_suspend.cpp, how many core_scaling.cpp, where core_rooms.cpp, what lies in the stores
// core_cache.cpp, checks core_invariants.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/id_table.h"
#include "base/prng.h"
#include "base/units.h"
#include "core/actions.h"
#include "core/affinity.h"
#include "core/autoscaler.h"
#include "core/cache_plan.h"
#include "core/events.h"
#include "core/failure_policy.h"
#include "core/fair_queue.h"
#include "core/level_keep.h"
#include "core/lifecycle.h"
#include "core/load_times.h"
#include "core/load_windows.h"
#include "core/memory_ledger.h"
#include "core/next_use.h"
#include "core/placement.h"
#include "core/spec.h"
#include "core/start_estimate.h"
#include "core/suspend_policy.h"
#include "core/timers.h"

namespace stoker::core {

using Actions = std::vector<Action>;

/// What people and the console see; a copy, made under the caller's lock.
struct InstanceSummary {
  InstanceId id;
  Generation generation;
  DeploymentId deployment;
  std::vector<DeviceId> devices;  // empty: planned, suspended, or a pool's own business
  InstanceState state = InstanceState::planned;
  std::int32_t in_flight = 0;
  Bytes private_bytes;  // of all its devices
  Bytes shared_bytes;
  Bytes host_bytes;          // of host memory, for being suspended
  Instant since;             // of the present state
  bool wanted_back = false;  // it is suspended, and waits for room on its own devices
  StopReason drains_for = StopReason::stop_request;  // of one that drains
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
  Duration expected_start;
  std::int32_t suspended_instances = 0;
  Duration expected_resume;
};
/// What a queued request waits for.
struct WaitSummary {
  /// From 1, among all that wait for its deployment, in the order in which they will be served as
  /// things are; 0: beyond what is worth the counting.
  std::int32_t position = 0;
  InstanceId awaits;  // the next instance to be ready; zero: one is, or none is on its way
  InstanceState state = InstanceState::planned;  // of it
  bool all_busy = false;  // instances are ready, and no slot of theirs is free
  /// Until its turn, by the starts and the requests that were seen. nullopt: none were, or what it
  /// waits for takes longer than that.
  std::optional<Duration> expected;
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
struct NodeSummary {
  NodeId id;
  Bytes host_memory;
  Bytes host_reserved;
};
/// One tier of a node's store.
struct StoreSummary {
  NodeId id;
  Tier tier = Tier::disk;
  Bytes capacity;
  Bytes held;  // there or on its way
};
struct Summary {
  std::vector<DeploymentSummary> deployments;  // each list ordered by id
  std::vector<InstanceSummary> instances;
  std::vector<DeviceSummary> devices;
  std::vector<NodeSummary> nodes;
  std::vector<StoreSummary> stores;
};

class Core {
 public:
  explicit Core(const CoreConfig& config);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  /// Appends to `actions` the orders to carry out, in order. What was due at or before `now` is
  /// done first.
  /// Needs: now >= every earlier now; ids in events that the caller made are new or known.
  /// Cost: O(log n) in what the event touches, never O(deployments). A start or a stop looks at
  ///   each device once.
  void step(Instant now, const Event& event, Actions& actions);

  /// When to send WokeUp if nothing else happens first; nullopt: no timer is needed.
  [[nodiscard]] std::optional<Instant> next_wakeup() const { return timers_.next(); }

  [[nodiscard]] Summary summary() const;
  /// True if a request that arrives at `now` would be queued or run, a full queue apart.
  [[nodiscard]] bool would_admit(Instant now, DeploymentId deployment) const;
  /// nullopt: the request does not wait.   Cost: O(its position), which is counted up to 1000.
  [[nodiscard]] std::optional<WaitSummary> waiting(Instant now, RequestId request) const;
  /// True once shutdown was asked for and nothing is queued, running or alive.
  [[nodiscard]] bool quiet() const;
  /// The full sweep; for tests and simulation. Source: RELIABILITY.md 4.
  void check_invariants() const;

 private:
  struct Deployment;
  struct Instance;
  enum class RequestState : std::uint8_t { queued, running, cancelling };
  struct Request {
    Deployment* deployment = nullptr;
    Instance* instance = nullptr;  // null while it is queued
    TenantId tenant;
    std::uint64_t order = 0;  // of arrival; kept when it goes back to the queue
    std::uint64_t affinity = 0;
    std::int64_t cost = 1;
    Instant dispatched_at;
    Instant deadline;  // its own latest dispatch; {0}: the deployment's queue_timeout
    std::int32_t priority = 0;
    std::int32_t attempts = 0;
    RequestState state = RequestState::queued;
  };
  /// Of the instances of a deployment, by what their states say. Kept by advance().
  struct Counts {
    std::int32_t live = 0;     // planned, starting, loading, ready, resuming, or asked back
    std::int32_t planned = 0;  // of the live ones: they may wait for room for long
    std::int32_t ready = 0;
    std::int32_t draining = 0;
    std::int32_t asleep = 0;       // suspending or suspended, and not asked back
    std::int32_t coming_back = 0;  // of the live ones: resuming, or asked back
    [[nodiscard]] std::int32_t placed() const { return live - planned; }
    /// A request may be served without a start.
    [[nodiscard]] bool may_serve() const { return ready + asleep + coming_back > 0; }
    /// What the maximum bounds.   Source: RELIABILITY.md V17.
    [[nodiscard]] std::int32_t all() const { return live + draining + asleep; }
    auto operator<=>(const Counts&) const = default;
  };
  struct Deployment {
    DeploymentSpec spec;
    FairQueue queue;
    std::vector<Instance*> instances;           // all that are not gone, ascending by id
    std::map<DeviceKind, MemoryNeed> measured;  // last use per device kind
    FailureState failures;
    Prng jitter{0};            // its own, so that others' failures change nothing here
    StartEstimate start_time;  // of its starts, wherever they were
    OwnTimes own_times;        // of the same, by kind of device and tier
    StartEstimate resume_time;
    std::optional<Bytes> suspended_bytes;  // measured last
    std::int32_t suspend_failures = 0;     // in a row, of suspends and resumes
    Instant suspend_failed_at;
    NextUse::Model next_use;
    std::unique_ptr<LoadWindows> load;   // where averages over time are looked at
    std::unique_ptr<LevelKeep> levels;   // once requests filled more than one instance
    Instant scaled_up_at;                // the last start that no failure caused
    Instant scaled_down_at;              // the last stop for want of requests
    Instant calm_at;                     // end of a panic: until then none stops
    std::optional<Duration> keep_wish;   // of the last who had one: how long idle ones stay
    Duration service_time = seconds(1);  // of a request on its instance, learned
    Counts counts;
    std::int32_t ready_in_flight = 0;  // on ready instances
    std::int32_t in_flight = 0;        // on all
    std::int32_t desired = 0;
    std::int32_t wanted_by_load = 0;      // as averages over time had it last
    std::uint32_t instances_planned = 0;  // since it was added
    bool came_up = false;  // an instance of it was ready once; until then it teaches nobody
    bool minimum_suspended = false;
    bool stored = false;         // some store may serve it: its model is one, and a device suits
    bool cache_touched = false;  // its model is to be looked at
    bool removed = false;
    bool changed = false;  // by a new spec: what was admitted under the old one may exceed it
  };
  struct Instance {
    InstanceId id;
    Generation generation;
    std::uint32_t number = 0;  // of its deployment's instances, ascending with the ids
    Deployment* owner = nullptr;
    InstanceState state = InstanceState::planned;
    StartReason reason = StartReason::from_zero;
    StopReason drain_reason = StopReason::stop_request;
    std::vector<DeviceId> devices;  // while they hold memory for it; ascending
    std::vector<DeviceId> awaits;   // planned or asked back: where room is being made
    std::vector<DeviceId> home;     // suspending, suspended: the devices that it can go back to
    NodeId node;                    // whose host memory it holds or waits for
    std::uint64_t wish = 0;         // order in which they came to wait
    Tier from = Tier::disk;         // where its weights came from
    ModelId model;                  // of the store, that it was started with on store_node
    NodeId store_node;
    std::vector<RequestId> in_flight;
    PoolId pool;  // what it holds of a pool, and of each of its devices
    std::int32_t pool_devices = 0;
    std::int32_t priority = 0;  // of its deployment when it was planned
    std::int32_t share_permille = 0;
    NanoPrice price_per_hour;  // of its devices together; {0}: not known
    bool exclusive = false;
    Instant wanted_at;
    Instant started_at;
    Instant ready_at;
    Instant since;
    Instant idle_since;
    Instance* longer_idle = nullptr;  // neighbours in the list of idle instances
    Instance* shorter_idle = nullptr;
    bool is_idle = false;
    bool keep_check_set = false;
    bool holds_host = false;       // host memory is reserved for it
    bool suspend_ordered = false;  // suspending: its worker was told
    bool wanted_back = false;      // suspending or suspended: as if planned, on its own devices
    bool wait_told = false;
    bool unkillable = false;
  };
  struct Device {
    DeviceId id;  // this and the next three as in spec
    NodeId node;
    std::int32_t slots;
    DeviceKind kind;
    bool lost = false;
    bool distrusted = false;
    std::int32_t unkillable = 0;       // residents that outlive a kill
    std::int32_t share_permille = 0;   // promised to residents
    std::int32_t exclusive = 0;        // residents that want it alone
    std::vector<Instance*> residents;  // that hold memory here, in the order of their coming
    std::vector<Instance*> promised;   // planned instances that await room here
    MemoryLedger memory;
    DeviceSpec spec;
    std::vector<DeploymentId> failed_deployments;  // of the failed starts since one worked
    std::int32_t failed_starts = 0;

    explicit Device(const DeviceSpec& device)
        : id(device.id),
          node(device.node),
          slots(device.slots),
          kind(device.kind),
          memory(device.memory),
          spec(device) {}
    [[nodiscard]] bool unusable() const { return lost || unkillable > 0; }
  };
  struct Node {
    NodeSpec spec;
    MemoryLedger host;
    std::vector<Instance*> sleepers;  // that hold host memory or wait for it, in their order
  };
  struct Pool {
    PoolSpec spec;
    std::int32_t devices_held = 0;
    std::vector<Instance*> residents;
  };
  struct Store {
    CachePlan plan;
    std::vector<DeviceId> devices;  // of its node, ascending
  };
  struct KnownModel {
    std::vector<Deployment*> users;  // ascending by id
    Bytes bytes;                     // as a store told last; {0}: none did
  };
  /// Instances that wait for room: larger priority first, then the order of their wish.
  struct WaitKey {
    std::int32_t minus_priority = 0;
    std::uint64_t wish = 0;
    InstanceId instance;
    auto operator<=>(const WaitKey&) const = default;
  };

  // core.cpp
  void handle(const Event& event);
  void fire(const Timers::Due& due);
  void start_overdue(Instance& instance);
  void forget();
  Deployment* find_deployment(DeploymentId id) const;
  Deployment& deployment(DeploymentId id) const;
  Instance* find_instance(InstanceId id) const;
  Instance& instance(InstanceId id) const;
  Instance* live_instance(InstanceId id, Generation generation) const;
  [[nodiscard]] const Device& device(DeviceId id) const;
  Device& device_to_change(DeviceId id);
  void advance(Instance& instance, InstanceInput input);
  void count(Instance& instance, std::int32_t sign);

  // core_requests.cpp
  void on(const RequestArrived& e);
  void admit(const RequestArrived& e, Deployment& d);
  void on(const RequestEnded& e);
  void on(const FirstTokenSent& e);
  void on(const RequestCancelled& e);
  void on(const RequestUndelivered& e);
  void dispatch(RequestId id, Request& request, Instance& to);
  void dispatch_waiting(Deployment& d);
  void enqueue(RequestId id, const Request& request, Instant deadline);
  void refuse(RequestId id, RefuseReason reason, Duration retry_after);
  void refuse_all_queued(Deployment& d, RefuseReason reason);
  void leave_queue(RequestId id, const Request& request);
  void leave_instance(RequestId id, const Request& request);
  std::optional<RefuseReason> refusal_at(Instant now, const Deployment& d) const;
  Instance* choose_for(const Deployment& d, std::uint64_t affinity);
  [[nodiscard]] Duration until_retry(const Deployment& d) const;
  [[nodiscard]] Duration until_shorter(const Deployment& d) const;

  // core_waiting.cpp
  struct NextReady {
    const Instance* instance = nullptr;  // null: none is on its way
    std::optional<Duration> in;          // nullopt: it cannot be told
  };
  [[nodiscard]] NextReady next_ready(Instant now, const Deployment& d) const;
  [[nodiscard]] std::optional<Duration> learned_start(const Instance& instance) const;

  // core_instances.cpp
  void on(const DeviceAdded& e);
  void on(const NodeAdded& e);
  void on(const PoolAdded& e);
  void on(const DeviceLost& e);
  void on(const DeviceReturned& e);
  void on(const DeploymentAdded& e);
  void on(const DeploymentChanged& e);
  void on(const BoundsChanged& e);
  void on(const KeepWished& e);
  void on(const TenantWeighed& e);
  void on(const DeploymentRemoved& e);
  void on(const InstancePlaced& e);
  void on(const StartOutcomeUnknown& e);
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
  bool take_measured(Instance& instance, const MemoryNeed& measured);
  void serve(Instance& instance);
  void look_elsewhere(DeviceId device);
  void became_idle(Instance& instance);
  void no_longer_idle(Instance& instance);
  void stop(Instance& instance, StopMode mode, StopReason reason);
  void drain(Instance& instance, StopReason reason);
  void drained(Instance& instance);
  void break_down(Instance& instance, StopReason reason);
  void remove(Instance& instance);
  void note_failure(Deployment& d, FailureKind kind);
  void note_refused_load(Deployment& d);
  void note_came_up(Deployment& d);
  void note_device_start(const Instance& instance, bool worked);
  void shed_surplus(Deployment& d);
  void wind_down(Deployment& d);
  void abandon_unneeded(Deployment& d);
  void drop_unneeded_plans(Deployment& d);
  void forget_if_empty(Deployment& d);

  // core_suspend.cpp
  void on(const ModelInTier& e);
  void on(const ModelLost& e);
  void on(const TierLost& e);
  void on(const InstanceSuspended& e);
  void on(const SuspendFailed& e);
  void on(const InstanceResumed& e);
  void on(const ResumeFailed& e);
  void put_away(Instance& instance, StopReason reason);
  bool try_suspend(Instance& instance, StopReason reason);
  void go_on_suspending(Instance& instance);
  void suspend_overdue(Instance& instance);
  void release_host(Instance& instance);
  void bring(Deployment& d, StartReason reason);
  std::int32_t ask_back(Deployment& d, std::int32_t count, StartReason reason);
  void ask_back(Instance& instance, StartReason reason, Instant wanted_at);
  [[nodiscard]] Placement place_at_home(const Instance& instance);
  [[nodiscard]] Instance* sibling_with_room(const Instance& instance);
  bool leave_to_sibling(Instance& instance);
  [[nodiscard]] bool has_victims_for(const Instance& instance);
  void want_no_more(Instance& instance);
  void try_resume(Instance& instance);
  void resume(Instance& instance);
  void check_suspended(Instance& instance);
  void note_suspend_failure(Deployment& d);
  void stop_asleep(Instance& instance, StopReason reason);
  [[nodiscard]] bool home_is_lost(const Instance& instance) const;
  [[nodiscard]] Node* find_node(NodeId id);
  [[nodiscard]] bool may_suspend(const Deployment& d) const;
  [[nodiscard]] Bytes host_need_of(const Instance& instance) const;
  [[nodiscard]] double worth_of(const Instance& instance, std::int32_t others_asleep);
  [[nodiscard]] Duration host_break_even(const Deployment& d, Bytes bytes, Bytes capacity) const;
  [[nodiscard]] Instant asleep_until(const Instance& instance, Bytes capacity);
  [[nodiscard]] Duration reload_time(const Deployment& d) const;
  [[nodiscard]] Duration reload_time(const Instance& instance) const;
  [[nodiscard]] Duration bring_time(const Deployment& d) const;

  // core_scaling.cpp
  [[nodiscard]] std::int32_t minimum_of(const Deployment& d) const;
  void scale(Deployment& d);
  [[nodiscard]] Demand demand_of(Deployment& d);
  LoadAverages load_now(Deployment& d);
  [[nodiscard]] std::int32_t wait_shortfall(const Deployment& d);
  void note_level(Deployment& d);
  void note_load(Deployment& d);
  void watch_load(Deployment& d);
  void check_load(Deployment& d);
  void drop_load_plans(Deployment& d);
  [[nodiscard]] std::int32_t filled_instances(const Deployment& d) const;
  [[nodiscard]] std::int32_t kept_by_load(const Deployment& d) const;
  [[nodiscard]] std::int32_t preferred_instances(const Deployment& d) const;
  [[nodiscard]] static Instant settled_at(const Deployment& d);
  void plan(Deployment& d, StartReason reason, std::optional<Instant> wanted_at = {});
  void start(Instance& instance, const std::vector<DeviceId>& devices, const MemoryNeed& need);
  void drop_planned(Instance& instance);
  void check_keep(Instance& instance);
  void note_arrival(Deployment& d);
  void note_if_idle(Deployment& d);
  [[nodiscard]] KeepPlan keep_plan(const Instance& instance);
  void look_again_at_idle(Deployment& d);
  void prewarm(Deployment& d);
  void plan_prewarm(const Instance& last);
  [[nodiscard]] Instant keep_until(const Instance& instance);
  [[nodiscard]] static std::optional<Duration> idle_delay(const Deployment& d, bool last);
  [[nodiscard]] Duration break_even_of(const Instance& instance) const;
  [[nodiscard]] Duration first_check_of(const Instance& instance);
  [[nodiscard]] double idle_loss(const Instance& instance);

  // core_rooms.cpp
  bool try_place(Instance& instance, const std::vector<DeviceId>* only);
  /// It is of a kind, and has the labels, that are asked for.
  [[nodiscard]] static bool suits(const Device& device, const DeviceNeed& needs);
  [[nodiscard]] bool any_suits(const std::vector<DeviceId>& devices, const DeviceNeed& needs) const;
  bool try_anywhere(Instance& instance);
  bool try_there(Instance& instance, const std::vector<DeviceId>& only);
  bool start_at(Instance& instance, const Placement& placement);
  enum class Trust : std::uint8_t { as_known, all };
  [[nodiscard]] Placement find_place(const Instance& instance, Trust trust);
  [[nodiscard]] static DeviceRoom room_of(const Device& device);
  bool try_pool(Instance& instance);
  [[nodiscard]] Instance* idle_in(const Pool& pool, const Instance& seeker,
                                  std::optional<Instant>& later);
  void make_room(Instance& instance, const Placement& placement,
                 const std::vector<const Device*>& where);
  void await_at(Instance& instance, std::vector<DeviceId> devices);
  void await_no_more(Instance& instance);
  void note_leaving(const Instance& instance);
  void room_changed(const Instance& instance);
  void take_room(Instance& instance, const std::vector<DeviceId>& devices);
  void release_room(Instance& instance);

  // core_cache.cpp
  void on(const StoreAdded& e);
  void on(const ModelFetched& e);
  void on(const ModelDropped& e);
  void on(const MoveFailed& e);
  void add_user(Deployment& d);
  void remove_user(const Deployment& d);
  void look_where_stored(Deployment& d);
  void note_store_device(const DeviceSpec& spec);
  void note_found(const ModelInTier& e);
  void note_size(ModelId model, Bytes bytes);
  void note_lost(NodeId node, ModelId model, Tier tier);
  void note_model_use(Instance& instance, InstanceState before);
  void touch_model(ModelId model);
  void touch(Deployment& d);
  void cache_round();
  void decide_cache(NodeId node, Store& store, std::optional<Instant>& again);
  void update_model(ModelId model);
  [[nodiscard]] Bytes bytes_of(const KnownModel& known) const;
  [[nodiscard]] const Device* device_for(const Deployment& d, const Store& store) const;
  [[nodiscard]] std::int32_t copies_elsewhere(ModelId model, Tier tier, NodeId node) const;
  Store* find_store(NodeId node);

  // core_tiers.cpp
  void note_copy(NodeId node, ModelId model, Tier tier, bool is_there);
  [[nodiscard]] Tier tier_for(const Deployment& d, NodeId node) const;
  [[nodiscard]] Duration start_on(const Deployment& d, DeviceKind kind, Tier from) const;
  [[nodiscard]] Duration start_at_device(const Deployment& d, const Device& device) const;
  [[nodiscard]] Bytes weights_of(const Deployment& d, DeviceKind kind) const;
  [[nodiscard]] Duration soonest_start(const Deployment& d) const;
  void fill_ready_times(const Deployment& d, ReadyTimes& ready);
  void note_start_time(const Instance& instance);
  void never_fits(Instance& instance);
  void try_unplaceable(const std::vector<DeviceId>& came);
  void retry_waiting();
  [[nodiscard]] static WaitKey wait_key(const Instance& instance);
  [[nodiscard]] static bool is_leaving(const Instance& instance);
  [[nodiscard]] static bool is_for_waiters(const Instance& instance);
  [[nodiscard]] static MemoryNeed need_of(const Deployment& d, DeviceKind kind);
  [[nodiscard]] DeviceView view_of(const Device& device, const Instance* seeker,
                                   const Deployment& d) const;
  struct Promised {  // to others that looked for room before
    Bytes bytes;
    std::int32_t slots = 0;
  };
  [[nodiscard]] static Promised promised_before(const Device& device, const Instance* seeker);
  /// How many more of a deployment's instances may go without it falling below its minimum.
  using Spare = std::vector<std::pair<const Deployment*, std::int32_t>>;
  [[nodiscard]] EvictionView eviction_view_of(const Device& device, const Instance& seeker,
                                              Spare& spare, std::optional<Instant>& later);
  [[nodiscard]] std::vector<const Device*> likely_devices(const Deployment& d) const;
  [[nodiscard]] std::optional<Instant> evictable_at(const Instance& instance) const;

  CoreConfig config_;
  Instant now_;
  Actions* actions_ = nullptr;  // of the step that runs
  Timers timers_;
  NextUse next_use_;
  std::set<DeploymentId> teachers_;  // deployments that came up
  DeploymentId last_silent_;         // of those whose silence is told in turn
  Instant silent_told_at_;
  std::map<DeploymentId, std::unique_ptr<Deployment>> deployments_;
  IdTable<DeploymentId, Deployment*> deployment_by_id_;
  std::map<InstanceId, std::unique_ptr<Instance>> instances_;
  IdTable<InstanceId, Instance*> instance_by_id_;
  std::vector<Device> devices_;             // ascending by id
  std::vector<DeviceRoom> rooms_;           // of the same devices, but for the stale ones
  std::vector<std::size_t> stale_rooms_;    // by index
  std::vector<std::size_t> unusual_rooms_;  // buffer of find_place
  LoadTimes load_times_;
  std::map<ModelId, std::vector<ModelPlace>> model_places_;  // by node
  ReadyTimes ready_times_;                                   // buffer of find_place
  std::map<NodeId, Node> nodes_;                             // that lend host memory
  std::map<NodeId, Store> stores_;
  std::map<ModelId, KnownModel> known_models_;  // that a deployment or a store named
  std::vector<ModelId> touched_models_;         // whose worth may have changed, in that order
  ModelId last_looked_at_;                      // of those that are looked at in turn
  Instant cache_round_at_;                      // the last one
  std::uint64_t next_move_ = 1;                 // set apart by the epoch
  std::vector<CacheOrder> cache_orders_;        // buffer of a round
  std::map<PoolId, Pool> pools_;
  std::map<TenantId, std::int32_t> weights_;  // of tenants that were told
  IdTable<RequestId, Request> requests_;
  std::map<WaitKey, Instance*> waiting_;
  std::vector<DeviceId> changed_devices_;  // whose room changed since waiters were asked
  std::vector<PoolId> changed_pools_;
  std::vector<DeploymentId> unplaceable_;  // no device could hold them when they were wanted
  std::vector<DeploymentId> forgotten_;    // removed and empty; erased at the end of the step
  Instance* longest_idle_ = nullptr;
  Instance* shortest_idle_ = nullptr;
  std::vector<DeviceView> views_;  // buffers of find_place and try_place
  std::vector<const Device*> where_;
  std::vector<ReadyInstance> ready_;  // buffers of choose_for
  std::vector<Instance*> ready_instances_;
  std::vector<Duration> starting_;  // buffer of wait_shortfall
  std::uint64_t next_instance_ = 1;
  std::uint64_t next_order_ = 1;
  std::uint64_t next_wish_ = 1;
  std::int32_t queued_ = 0;
  std::int32_t running_ = 0;
  bool shutting_down_ = false;
};

}  // namespace stoker::core
