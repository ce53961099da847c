// A virtual world round the decision core: devices, worker processes, clients and what breaks.
// It carries out the core's orders in virtual time and tells it what came of them, as the
// orchestrator does with real processes. Everything follows from the seed.
//
// It decides nothing that the core should decide, and looks at the core only through step(),
// next_wakeup() and, for checks, summary() and check_invariants().
//
// Where to look: time and events world.cpp, lives of processes world_processes.cpp, what breaks
// world_faults.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/id_table.h"
#include "base/prng.h"
#include "base/units.h"
#include "core/core.h"
#include "sim/event_queue.h"
#include "sim/faults.h"
#include "sim/states.h"

namespace stoker::sim {

using core::ModelId;

/// How instances of a deployment behave, beside what the core is told of it.
struct Behaviour {
  Duration start = ms(50);  // spawn to hello
  Duration load = ms(500);  // hello to ready
  core::MemoryNeed memory;  // what it will really hold, on each device
  bool broken = false;      // every load fails for good
  bool missing = false;     // there is no such program
  Duration suspend = ms(100);
  Duration resume = ms(100);
  Bytes suspended;  // what it will really hold of host memory
};

struct Arrival {
  RequestId request;
  DeploymentId deployment;
  TenantId tenant;
  std::int32_t priority = 0;
  Duration service = ms(100);
  Duration gone_after;  // the client leaves; {0}: it waits for the answer
  Duration deadline;    // latest dispatch, from now; {0}: the deployment's queue_timeout
  std::int64_t cost = 1;
  std::uint64_t affinity = 0;
};

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
  World(std::uint64_t seed, FaultPlan faults, Observer* observer);

  void add_device(const core::DeviceSpec& device);
  void add_node(const core::NodeSpec& node);
  /// A model is brought to a tier of a node, or taken from it.
  void put_model(NodeId node, ModelId model, core::Tier tier);
  void take_model(NodeId node, ModelId model, core::Tier tier);
  void add_pool(const core::PoolSpec& pool);
  void add_deployment(const core::DeploymentSpec& deployment, const Behaviour& behaviour);
  void change_deployment(const core::DeploymentSpec& deployment);
  /// As a schedule does.   Needs: min <= max, and max >= 1.
  void change_bounds(DeploymentId deployment, std::int32_t min, std::int32_t max);
  void remove_deployment(DeploymentId deployment);
  [[nodiscard]] const std::map<DeploymentId, core::DeploymentSpec>& deployments() const {
    return deployments_;
  }
  /// The model is mended, or breaks.
  void set_behaviour(DeploymentId deployment, const Behaviour& behaviour) {
    behaviours_[deployment] = behaviour;
  }
  [[nodiscard]] const Behaviour& behaviour(DeploymentId id) const { return behaviours_.at(id); }

  /// Lets time pass until `until` inclusive.
  void run_until(Instant until);
  void arrive(const Arrival& arrival);
  void tell(const core::Event& event) { step(event); }
  /// The gateway gives the request up, as if its client had left; nothing if it has ended.
  void give_up(RequestId request) { client_leaves(request); }
  /// From now on nothing breaks; what is broken is mended as far as a person would.
  void stop_faults();

  [[nodiscard]] Instant now() const { return now_; }
  [[nodiscard]] const core::Core& core() const { return *core_; }
  [[nodiscard]] bool server_runs() const { return core_ != nullptr; }
  [[nodiscard]] const WorldTotals& totals() const { return totals_; }
  [[nodiscard]] std::size_t open_requests() const { return open_.size(); }
  [[nodiscard]] std::size_t processes() const { return processes_.size() - free_slots_.size(); }
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
    Phase phase = Phase::gone;
    Instant ordered_at;
    Instant busy_since;
    std::optional<Instant> suspended_at;  // while it is off its devices
    std::optional<Instant> resuming_at;   // while it comes back
    std::vector<DeviceId> devices;
    std::vector<RequestId> running;
    bool ready_seen = false;
    bool hung = false;  // it does nothing more, and says nothing
    bool ignores_cancel = false;
    bool unreachable = false;
    bool outlives_kill = false;
    std::int32_t slowness = 1;
  };
  struct Open {  // a request that was admitted and has not ended
    Arrival arrival;
    Generation instance;  // it runs there; zero: it waits
    bool cancelled = false;
    Instant arrived_at;
    Duration first_token;  // from its arrival; {0}: it has not run
  };

  void start_server();
  void step(const core::Event& event);
  void catch_up();
  void apply(const core::Event& cause, const core::Action& action);
  void carry_out(const core::StartInstance& order);
  void carry_out(const core::StopInstance& order);
  void carry_out(const core::SuspendInstance& order);
  void carry_out(const core::ResumeInstance& order);
  void carry_out(const core::Dispatch& order);
  void carry_out(const core::CancelRequest& order);
  void happen(const Planned& planned);
  void load_step(Process& process, std::uint64_t step);
  void load_done(Process& process);
  void keep_model(ModelId model, NodeId node);
  [[nodiscard]] Duration load_time(const Process& process) const;
  [[nodiscard]] NodeId node_of(DeviceId id) const;
  void suspend_done(Process& process);
  void resume_done(Process& process);
  void request_done(RequestId request, Generation generation, bool asked);
  void client_leaves(RequestId request);
  void process_gone(Process& process);
  void die(Process& process, Duration after);
  void let_go(Process& process, RequestId request);
  void end(RequestId request, Ending ending);
  void strike();
  void strike(Fault fault);
  void crash_server();
  void restart_server();
  void say(Happening kind, std::uint64_t id, std::uint64_t second = 0);
  void plan_in(Duration after, Happening kind, std::uint64_t id, std::uint64_t second = 0) {
    queue_.plan(now_ + after, kind, id, second);
  }
  void state(State reached) {
    if (observer_ != nullptr) states.reached(reached);
  }
  Process* find(Generation generation);
  Process& new_process(const core::StartInstance& order);
  void forget(Process& process);
  bool hits(Fault fault);
  Process* any_process(bool (*wanted)(const Process&));
  Duration around(Duration mean);
  void mix(std::uint64_t value) { totals_.action_hash = add_to_hash(totals_.action_hash, value); }

  const std::uint64_t seed_;
  FaultPlan faults_;
  Observer* observer_;
  Prng prng_;
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
    [[nodiscard]] std::vector<ModelId>& of(core::Tier tier) {
      return tier == core::Tier::host ? host : disk;
    }
  };
  std::map<NodeId, Tiers> stores_;
  std::vector<core::PoolSpec> pools_;
  IdTable<RequestId, Open> open_;
  std::vector<Process> processes_;
  std::vector<std::uint32_t> free_slots_;
  IdTable<Generation, std::uint32_t> slots_;  // of processes that are not gone
  std::optional<Instant> asleep_until_;
  WorldTotals totals_;
};

}  // namespace stoker::sim
