// A virtual world round the decision core: devices, worker processes, clients and what breaks.
// It carries out the core's orders in virtual time and tells it what came of them, as the
// orchestrator does with real processes. Everything follows from the seed.
//
// It decides nothing that the core should decide, and looks at the core only through step(),
// next_wakeup() and, for checks, summary() and check_invariants().
//
// Where to look: time and events world.cpp, lives of processes world_processes.cpp, what lies in
// the stores world_store.cpp, what breaks world_faults.cpp, and how that is drawn
// world_strikes.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/id_table.h"
#include "base/prng.h"
#include "base/units.h"
#include "core/core.h"
#include "sim/chances.h"
#include "sim/event_queue.h"
#include "sim/faults.h"
#include "sim/inputs.h"
#include "sim/states.h"

namespace stoker::sim {

using core::ModelId;

enum class Ending : std::uint8_t { completed, cancelled, refused, failed, interrupted };

/// Hears everything, in order; checks and counts. All calls come from inside World.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_server_start(Instant, const core::CoreConfig&) {}
  virtual void before_step(Instant, const core::Event&) {}
  virtual void on_action(Instant, const core::Event& /*cause*/, const core::Action&) {}
  virtual void after_step(Instant, const core::Event&, const core::Core&) {}
  virtual void on_arrival(Instant, const Arrival&) {}
  virtual void on_ended(Instant, RequestId, Ending) {}
  virtual void on_process_gone(Instant, InstanceId) {}
  virtual void on_fault(Instant, Fault) {}
  virtual void on_server_crash(Instant) {}
};

/// Of orders, or of other such hashes.   Source: Fowler, Noll, Vo, FNV-1a, by words of 64 bits.
inline constexpr std::uint64_t empty_hash = 1469598103934665603ULL;
[[nodiscard]] constexpr std::uint64_t add_to_hash(std::uint64_t hash, std::uint64_t word) {
  return (hash ^ word) * 1099511628211ULL;
}

struct WorldTotals {
  std::uint64_t events = 0;  // steps of the core
  std::uint64_t arrivals = 0;
  std::uint64_t completed = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t refused = 0;
  std::uint64_t failed = 0;
  std::uint64_t interrupted = 0;
  std::uint64_t starts = 0;
  Duration alive;    // sum over instances, order to start .. gone
  Duration serving;  // sum over instances, at least one request in flight
  Duration loading;  // sum over instances, order to start .. ready or gone
  std::uint64_t suspends = 0;
  std::uint64_t resumes = 0;
  Duration suspended;  // sum over instances, off their devices
  Duration resuming;   // sum over instances, order to resume .. ready or gone
  std::uint64_t action_hash = empty_hash;
};

class World {
 public:
  /// `observer` outlives the world; null: nobody looks, as in a replay.
  World(std::uint64_t seed, const Chances& chances, Observer* observer);
  World(std::uint64_t seed, const FaultPlan& faults, Observer* observer)
      : World(seed, Chances(seed, faults), observer) {}

  /// Hears what strikes, and whatever else the world does to itself by chance, before it is done.
  void on_strike(std::function<void(const Input&)> heard) { on_strike_ = std::move(heard); }

  void add_device(const core::DeviceSpec& device);
  void add_node(const core::NodeSpec& node);
  /// A model is brought to a tier of a node, or taken from it.
  void put_model(NodeId node, ModelId model, core::Tier tier);
  void take_model(NodeId node, ModelId model, core::Tier tier);
  /// From now on the core fills it; other nodes keep the last few models that they loaded.
  void add_store(const AddStore& store);
  void add_pool(const core::PoolSpec& pool);
  void weigh_tenant(TenantId tenant, std::int32_t weight);
  void add_deployment(const core::DeploymentSpec& deployment, const Behaviour& behaviour);
  /// Nothing if there is no such deployment, as the next ones do.
  void change_deployment(const core::DeploymentSpec& deployment);
  /// As a schedule does.   Needs: min <= max, and max >= 1.
  void change_bounds(DeploymentId deployment, std::int32_t min, std::int32_t max);
  void remove_deployment(DeploymentId deployment);
  [[nodiscard]] const std::map<DeploymentId, core::DeploymentSpec>& deployments() const {
    return deployments_;
  }
  /// The model is mended, or breaks.
  void set_behaviour(DeploymentId deployment, const Behaviour& behaviour) {
    if (behaviours_.contains(deployment)) behaviours_[deployment] = behaviour;
  }
  [[nodiscard]] const Behaviour& behaviour(DeploymentId id) const { return behaviours_.at(id); }

  /// Lets time pass until `until` inclusive.
  void run_until(Instant until);
  void arrive(const Arrival& arrival);
  void tell(const core::Event& event) { step(event); }
  /// Something breaks now; nothing if what it hits is not there.
  void strike(const Strike& strike);
  void stop_by_hand(const StopByHand& order);
  void warm_by_hand(DeploymentId deployment);
  /// `heard` is called when a time that the gateway asked for has come.
  void on_gateway_due(std::function<void()> heard) { on_gateway_due_ = std::move(heard); }
  void tell_gateway_at(Instant at) { queue_.plan(at, Happening::gateway_due, 0); }
  /// The gateway gives the request up, right after what happens now, as if its client had left;
  /// nothing if it has ended.
  void give_up_soon(RequestId request) {
    plan_in(Duration{}, Happening::client_leaves, request.value);
  }
  /// From now on nothing breaks; what is broken is mended as far as a person would.
  void stop_faults();

  [[nodiscard]] Instant now() const { return now_; }
  [[nodiscard]] const core::Core& core() const { return *core_; }
  [[nodiscard]] bool server_runs() const { return core_ != nullptr; }
  [[nodiscard]] const WorldTotals& totals() const { return totals_; }
  [[nodiscard]] std::size_t open_requests() const { return open_.size(); }
  [[nodiscard]] std::size_t processes() const { return processes_.size() - free_slots_.size(); }
  /// What chance decided, beside strikes.
  [[nodiscard]] const Chances& chances() const { return chances_; }
  StateCounts states;

 private:
  enum class Phase : std::uint8_t {
    pending,
    starting,
    loading,
    ready,
    suspending,
    suspended,
    resuming,
    ending,
    gone
  };
  struct Process {
    InstanceId id;
    Generation generation;
    DeploymentId deployment;
    ModelId model;
    Subject subject;
    Phase phase = Phase::gone;
    Instant ordered_at;
    Instant busy_since;
    std::optional<Instant> suspended_at;  // while it is off its devices
    std::optional<Instant> resuming_at;   // while it comes back
    std::vector<DeviceId> devices;
    std::vector<RequestId> running;
    std::vector<Planned> held_back;  // what it would have done while it was paused
    bool ready_seen = false;
    bool hung = false;  // it does nothing more, and says nothing
    bool paused = false;
    bool ignores_cancel = false;
    bool unreachable = false;
    bool outlives_kill = false;
    bool from_host = false;  // it loads from host memory
    std::int32_t slowness = 1;
    std::uint32_t suspends = 0;
  };
  struct Open {  // a request that was admitted and has not ended
    Arrival arrival;
    Generation instance;  // it runs there; zero: it waits
    bool cancelled = false;
    std::uint32_t attempts = 0;
    Instant arrived_at;
  };

  void start_server();
  void step(const core::Event& event);
  void catch_up();
  void apply(const core::Event& cause, const core::Action& action);
  void carry_out(const core::StartInstance& order);
  void carry_out(const core::StopInstance& order);
  void carry_out(const core::SuspendInstance& order);
  void carry_out(const core::ResumeInstance& order);
  void carry_out(const core::PrefetchModel& order);
  void carry_out(const core::DropModel& order);
  void carry_out(const core::Dispatch& order);
  void carry_out(const core::CancelRequest& order);
  void happen(const Planned& planned);
  void load_step(Process& process, std::uint64_t step);
  void load_done(Process& process);
  void keep_model(ModelId model, const Process& process);
  [[nodiscard]] Duration load_time(const Process& process) const;
  [[nodiscard]] NodeId node_of(DeviceId id) const;
  void suspend_done(Process& process);
  void resume_done(Process& process);
  void lose_tier(const Strike& strike);
  struct Move;
  Move& new_move(core::MoveId id, NodeId node, ModelId model, core::Tier tier, bool is_fetch);
  void move_done(core::MoveId id);
  void move_failed(core::MoveId id, core::MoveFailure failure);
  void tell_moved(core::MoveId id);
  void told_moved(core::MoveId id);
  void forget_moves();
  [[nodiscard]] bool lies_in(NodeId node, ModelId model, core::Tier tier) const;
  [[nodiscard]] bool is_being_fetched(NodeId node, ModelId model, core::Tier tier) const;
  [[nodiscard]] Bytes free_in(NodeId node, core::Tier tier) const;
  [[nodiscard]] Bytes size_of(ModelId model) const;
  void load_failed(Process& process, core::LoadFailure failure);
  void request_done(RequestId request, Generation generation, bool asked);
  void client_leaves(RequestId request);
  void process_gone(Generation generation);
  void die(Process& process, Duration after);
  void let_go(Process& process, RequestId request);
  void end(RequestId request, Ending ending);
  void draw_strikes();
  [[nodiscard]] std::optional<Strike> draw_strike(Fault fault);
  void draw_by_hand(Fault fault);
  void draw_change();
  void draw_clock_step();
  void draw_swizzle();
  void swizzle(const Planned& planned);
  void do_strike(const Strike& strike);
  void strike_process(Process& process, const Strike& strike);
  void fail_start(Generation generation, core::StartFailure failure);
  void lose_device(DeviceId id);
  void return_device(DeviceId id);
  void go_on(Process& process);
  void crash_server();
  void restart_server();
  void say(Happening kind, const Process& process, std::uint32_t time = 0,
           std::uint64_t second = 0);
  void tell_ended(RequestId request, Generation generation, bool asked);
  void send(Happening kind, std::uint64_t id, std::uint64_t second, Subject who,
            std::uint32_t time);
  bool holds_back(const Planned& planned);
  void plan_in(Duration after, Happening kind, std::uint64_t id, std::uint64_t second = 0) {
    queue_.plan(now_ + after, kind, id, second);
  }
  void state(State reached) {
    if (observer_ != nullptr) states.reached(reached);
  }
  Process* find(Generation generation);
  Process& new_process(const core::StartInstance& order);
  void forget(Process& process);
  bool hits(Fault fault, Subject who, std::uint32_t time = 0, std::int32_t times = 1);
  void struck(Fault fault) {
    if (observer_ != nullptr) observer_->on_fault(now_, fault);
  }
  Process* find(Subject subject);
  Process* any_process(bool (*wanted)(const Process&));
  std::optional<DeploymentId> any_deployment();
  void mix(std::uint64_t value) { totals_.action_hash = add_to_hash(totals_.action_hash, value); }

  const std::uint64_t seed_;
  Chances chances_;
  Observer* observer_;
  Prng prng_;  // of strikes
  std::uint64_t strike_times_ = 0;
  std::function<void(const Input&)> on_strike_;
  std::function<void()> on_gateway_due_;
  Instant now_;
  std::unique_ptr<core::Core> core_;
  std::uint64_t epoch_ = 1;
  core::Actions actions_;
  EventQueue queue_;
  std::map<DeploymentId, core::DeploymentSpec> deployments_;
  std::map<DeploymentId, Behaviour> behaviours_;
  std::vector<core::DeviceSpec> devices_;
  std::vector<DeviceId> lost_devices_;
  std::vector<core::NodeSpec> nodes_;
  /// What lies in the tiers of a node, the longest there first.
  struct Tiers {
    std::vector<ModelId> host, disk;
    std::optional<AddStore> filled_by_core;
    [[nodiscard]] std::vector<ModelId>& of(core::Tier tier) {
      return tier == core::Tier::host ? host : disk;
    }
    [[nodiscard]] const std::vector<ModelId>& of(core::Tier tier) const {
      return tier == core::Tier::host ? host : disk;
    }
  };
  /// An order of the core to a store, from then on.
  struct Move {
    NodeId node;
    ModelId model;
    core::Tier tier = core::Tier::disk;
    bool is_fetch = true;
    bool goes_on = true;
    std::optional<core::MoveFailure> failure;
    std::uint32_t time = 0;  // which one of that copy
    [[nodiscard]] Subject subject() const { return Subject::copy(node, model, tier); }
  };
  std::map<NodeId, Tiers> stores_;
  std::map<ModelId, Bytes> sizes_;  // as the first deployment said
  std::map<core::MoveId, Move> moves_;
  std::map<Subject, std::uint32_t> moves_of_;
  std::vector<core::PoolSpec> pools_;
  std::map<TenantId, std::int32_t> weights_;
  IdTable<RequestId, Open> open_;
  std::vector<Process> processes_;
  std::vector<std::uint32_t> free_slots_;
  IdTable<Generation, std::uint32_t> slots_;  // of processes that are not gone
  std::map<DeploymentId, std::uint32_t> starts_of_;
  std::int32_t swizzles_left_ = 0;  // stops and releases of the one that goes on
  std::optional<Instant> asleep_until_;
  WorldTotals totals_;
};

}  // namespace stoker::sim
