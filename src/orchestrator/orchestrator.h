// The shell round the decision core: hands it events under one short lock, carries out its
// actions, and keeps what the core must not know (processes, endpoints, texts, clocks).
//
// Two sides. The *request side* (Dispatcher) runs on the gateway's threads: admit() decides on the
// calling thread and gives back its own Dispatch; whatever else the step ordered is queued, in the
// order of the lock, for the *instance side*, which lives on one EventLoop thread with the backend,
// timers and health. A warm request never changes thread.
//
// Decides nothing itself: every start, stop, dispatch and refusal comes from core/.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "backend/devices/devices.h"
#include "backend/instance_backend.h"
#include "base/id_table.h"
#include "core/core.h"
#include "gateway/dispatcher.h"
#include "net/clock.h"
#include "net/event_loop.h"
#include "obs/log.h"
#include "orchestrator/decision_log.h"
#include "orchestrator/event_log.h"
#include "orchestrator/event_recorder.h"
#include "orchestrator/health_watch.h"
#include "orchestrator/instance_journal.h"
#include "orchestrator/launch_spec.h"
#include "orchestrator/meter.h"
#include "orchestrator/starter.h"

namespace stoker::orchestrator {

struct OrchestratorOptions {
  Epoch epoch;
  std::uint64_t seed = 1;
  Duration drain_timeout = seconds(30);
  HealthLimits health;
  /// Where schedules are read.
  std::function<WallTime()> calendar = net::wall_now;
  /// Private bytes that an instance holds on a device with memory of its own (cuda). nullopt: it
  /// cannot be told, what the worker measured stands. May block for milliseconds.
  std::function<std::optional<Bytes>(const backend::Device&, const std::vector<pid_t>&)>
      device_memory;
  /// Hears every event and order of the core; null: nobody does.
  std::shared_ptr<EventRecorder> recorder;
  /// Hears what an instance was measured to hold; on the starter's thread, so it may block.
  std::function<void(const DeploymentPlan&, core::DeviceKind, const core::MemoryNeed&)>
      keep_footprint;
};

/// What the shell knows of one instance. Copied out for the admin queries.
struct InstanceRecord {
  backend::InstanceKey key;
  std::string name;  // "chat/3"
  DeploymentId deployment;
  std::string nonce;
  std::vector<backend::Device> devices;  // of one kind; not empty
  gateway::StartTimeline timeline;
  std::optional<double> load_fraction;  // nullopt: it cannot be told
  std::string load_detail;              // what the load waits for, in the worker's words
  std::string failure;                  // why it broke, in the worker's or our own words
  std::string endpoint;                 // once it is ready
  pid_t pid = 0;
  [[nodiscard]] backend::DeviceKind kind() const { return devices.front().kind; }
  [[nodiscard]] std::string device_names() const;  // "cuda0", "cuda0,cuda1"
  bool spawned = false;                            // backend.start() was called
  bool stop_ordered = false;
  bool suspend_ordered = false;  // or resume: what an error of its worker is about
  bool resume_ordered = false;
};

class Orchestrator final : public gateway::Dispatcher, private backend::BackendListener {
 public:
  /// `loop`, `backend`, `journal`, `log` and `events` outlive the orchestrator.
  Orchestrator(net::EventLoop& loop, backend::InstanceBackend& backend, InstanceJournal& journal,
               obs::Logger& log, EventLog& events, OrchestratorOptions options);
  ~Orchestrator() override;

  /// Needs: the loop does not run yet.
  void add_device(const backend::Device& device);
  /// What suspended instances may hold of this machine's memory. Needs: as add_device().
  void lend_host_memory(Bytes bytes);
  /// Its share of every queue from now on. Before the loop runs, or on its thread.
  void weigh_tenant(TenantId tenant, std::int32_t weight);
  /// Needs: its id was never used before. Before the loop runs, or on its thread.
  void add_deployment(DeploymentPlan plan);
  /// New bounds, limits, prices; instances that run go on, new ones start by the new plan. On the
  /// loop's thread.
  void change_deployment(DeploymentPlan plan);
  /// What waits is still served, as far as its deadlines allow; then what runs may finish, and all
  /// its instances stop. Needs: no new request is sent to it. On the loop's thread.
  void retire_deployment(DeploymentId deployment);
  /// Arms health and timers. Needs: called once, on the loop's thread or before it runs.
  void start();

  // Dispatcher; threads: any.
  RequestId new_request_id() override;
  std::optional<gateway::Rejection> reserve(const gateway::Arrival& arrival) override {
    return meter_.reserve(arrival);
  }
  void release(RequestId request) override { meter_.release(request); }
  gateway::Admission admit(const gateway::Arrival& arrival,
                           std::shared_ptr<gateway::DispatchSink> sink) override;
  bool cancel(RequestId request, gateway::EndState why) override;
  void undelivered(RequestId request) override;
  void first_token(RequestId request, Duration took) override;
  bool within_limits(RequestId request, const gateway::TokenCounts& used) override {
    return meter_.within_limits(request, used);
  }
  std::int64_t ended(RequestId request, gateway::EndState state,
                     const gateway::TokenCounts& used) override;
  void keep(DeploymentId deployment, std::optional<Duration> idle) override;
  [[nodiscard]] std::optional<gateway::WaitState> waiting(RequestId request) const override;
  gateway::Standings standings(KeyId key) override { return meter_.standings(key); }
  [[nodiscard]] Meter& meter() { return meter_; }

  // For people; threads: any.
  [[nodiscard]] bool can_serve(DeploymentId deployment) const;
  [[nodiscard]] core::Summary summary() const;
  /// Why no instance of the deployment can ever be; empty: one can, or it cannot be told now.
  [[nodiscard]] std::string why_never(const core::DeploymentSummary& deployment, Instant now) const;
  [[nodiscard]] std::string why_never(DeploymentId deployment) const;
  [[nodiscard]] std::map<InstanceId, InstanceRecord> records() const;
  using Plans = std::map<DeploymentId, std::shared_ptr<const DeploymentPlan>>;
  /// As of now. Those of deployments that are gone stay among them: whatever summary() or records()
  /// gave before is named by what this gives after.
  [[nodiscard]] std::shared_ptr<const Plans> plans() const;
  [[nodiscard]] std::string last_failure(DeploymentId deployment) const;
  [[nodiscard]] const DecisionLog& decisions() const { return decisions_; }
  void warm(DeploymentId deployment);
  void stop(DeploymentId deployment, InstanceId only);

  /// Refuses new requests, lets the admitted ones finish (at most drain_timeout), stops all
  /// instances; then calls `done` on the loop's thread. Threads: any; once.
  void shut_down(std::function<void()> done);
  [[nodiscard]] bool shutting_down() const {
    return shutting_down_.load(std::memory_order_relaxed);
  }

 private:
  struct LastFailure {
    std::string text;
    bool is_past = false;  // an instance became ready after it: no reason for a refusal any more
  };
  /// An admitted request, until both its gateway and its worker are done with it.
  struct Waiter {
    std::shared_ptr<gateway::DispatchSink> sink;  // null once the gateway is done
    InstanceId instance;                          // it was dispatched to; zero: it is queued
    bool awaits_worker = false;  // told to stop; its slot is taken until its worker says `ended`
  };
  /// What one step asks of the request side; filled under the lock, delivered after it.
  struct Outcome {
    std::optional<gateway::Admission> own;  // of the request that was being admitted
    bool cancel_ordered = false;
    struct Told {
      std::shared_ptr<gateway::DispatchSink> sink;
      std::variant<gateway::DispatchTargetPtr, gateway::Rejection, std::string> what;
    };
    std::vector<Told> told;
    bool wake_loop = false;
  };

  /// `own`: the request that arrives, its waiter is `sink`. `over`: a request that waits no more.
  Outcome step(const core::Event& event, RequestId own = {},
               std::shared_ptr<gateway::DispatchSink> sink = nullptr, RequestId over = {});
  void resolve(const core::Action& action, RequestId own, Outcome& outcome);
  [[nodiscard]] gateway::Rejection rejection_for(const core::Refuse& refuse) const;
  void deliver(Outcome& outcome);

  // Instance side: on the loop's thread.
  void carry_out_orders();
  void arm_wakeup(std::optional<Instant> at);
  void carry_out(const core::StartInstance& order);
  void spawn(backend::InstanceKey key, bool journalled, const std::string& why_not);
  void start_failed(backend::InstanceKey key, const std::string& why, core::StartFailure failure);
  void carry_out(const core::StopInstance& order);
  void carry_out(const core::SuspendInstance& order);
  void carry_out(const core::ResumeInstance& order);
  void note_why_it_is_killed(InstanceRecord& r, core::StopReason reason);
  void carry_out(const core::CancelRequest& order);
  void carry_out(const core::AwaitRoom& order);
  void watch_health();
  void keep_plan(DeploymentPlan plan);
  [[nodiscard]] core::DeploymentSpec scheduled_spec(const DeploymentPlan& plan);
  [[nodiscard]] const DeploymentPlan& plan_of(DeploymentId deployment) const {
    return *plans_->at(deployment);
  }
  void remove_retired();
  void follow_schedules();
  void check_quiet();
  InstanceRecord* record(backend::InstanceKey key);
  void note_failure(DeploymentId deployment, std::string text);
  void look_for_crash_loop(DeploymentId deployment);
  void tell(EventLine line, bool warn = false);

  void on_hello(backend::InstanceKey key, const backend::WorkerHello& hello) override;
  void on_message(backend::InstanceKey key, const backend::WorkerMessage& message) override;
  void on_contract_breach(backend::InstanceKey key, const std::string& what) override;
  void on_unkillable(backend::InstanceKey key) override;
  void on_exited(backend::InstanceKey key, const backend::ExitInfo& exit) override;
  void on_progress(const InstanceRecord& r, const backend::WorkerProgress& m);
  void on_loading(InstanceRecord& r, const backend::WorkerLoading& m);
  void on_loaded(InstanceRecord& r);
  void on_ready(InstanceRecord& r, const backend::WorkerReady& m);
  void on_load_failed(InstanceRecord& r, const backend::WorkerLoadFailed& m);
  void on_ended(backend::InstanceKey key, const backend::WorkerEnded& m);
  void on_suspended(InstanceRecord& r, const backend::WorkerSuspended& m);
  void on_resumed(InstanceRecord& r, const backend::WorkerResumed& m);
  void on_error(InstanceRecord& r, const backend::WorkerError& m);
  [[nodiscard]] std::optional<Bytes> device_bytes_held(const InstanceRecord& r);
  std::optional<core::MemoryNeed> measured_on_devices(const InstanceRecord& r, Bytes private_bytes,
                                                      Bytes shared_bytes);

  net::EventLoop& loop_;
  backend::InstanceBackend& backend_;
  InstanceJournal& journal_;
  obs::Logger& log_;
  EventLog& events_;
  DecisionLog decisions_;
  OrchestratorOptions options_;
  Meter meter_;
  std::map<DeviceId, backend::Device> devices_;
  std::atomic<std::uint64_t> next_request_ = 1;
  std::atomic<bool> shutting_down_ = false;

  mutable std::mutex core_mutex_;  // guards the group below
  /// Changed on the loop's thread only, which therefore reads it without the lock.
  std::shared_ptr<Plans> plans_ = std::make_shared<Plans>();
  core::Core core_;
  IdTable<RequestId, Waiter> waiters_;
  std::map<InstanceId, gateway::DispatchTargetPtr> targets_;
  std::vector<core::Action> orders_;
  std::map<InstanceId, std::string> exits_;  // how it ended, while its requests are told
  std::map<DeploymentId, LastFailure> failures_;
  std::map<DeploymentId, std::string> load_details_;  // of the newest load that says anything
  bool orders_posted_ = false;
  std::optional<Instant> wakeup_at_;

  mutable std::mutex records_mutex_;  // records_ is written on the loop's thread only
  std::map<InstanceId, InstanceRecord> records_;

  std::set<DeploymentId> crash_loops_;  // told of; the loop's thread only
  HealthWatch health_;
  net::TimerId wakeup_timer_ = 0;
  net::TimerId health_timer_ = 0;
  std::map<DeploymentId, InstanceBounds> bounds_;  // of a schedule, as the core was told last
  net::TimerId schedule_timer_ = 0;
  std::set<DeploymentId> retired_;  // that still have requests waiting
  net::TimerId retired_timer_ = 0;
  std::function<void()> when_quiet_;
  Starter starter_;  // last: its thread uses the rest
};

}  // namespace stoker::orchestrator
