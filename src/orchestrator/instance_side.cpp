// Orchestrator, instance side: orders of the core, news of the backend, health, on the loop's
// thread.
#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "base/invariant.h"
#include "base/json_writer.h"
#include "base/overloaded.h"
#include "base/text.h"
#include "net/clock.h"
#include "orchestrator/orchestrator.h"

namespace stoker::orchestrator {
namespace {

const char* how_room_comes(core::WaitReason reason) {
  switch (reason) {
    case core::WaitReason::evicting:
      return "idle instances make room";
    case core::WaitReason::swapping:
      return "a busy instance leaves when its requests have ended";
    case core::WaitReason::all_busy:
      return "all instances are busy, it waits for one";
    case core::WaitReason::quota:
      return "the pool's quota is used up";
  }
  return "it waits";
}

constexpr Duration retired_period = ms(50);  // a queue that empties is no event of its own

core::LoadFailure core_failure(backend::LoadFailure failure) {
  switch (failure) {
    case backend::LoadFailure::model_missing:
      return core::LoadFailure::model_missing;
    case backend::LoadFailure::model_broken:
      return core::LoadFailure::model_broken;
    case backend::LoadFailure::bad_option:
      return core::LoadFailure::bad_option;
    case backend::LoadFailure::out_of_memory:
      return core::LoadFailure::out_of_memory;
    case backend::LoadFailure::start_failed:
      return core::LoadFailure::start_failed;
    case backend::LoadFailure::internal:
      return core::LoadFailure::internal;
  }
  return core::LoadFailure::internal;
}

ScheduledBounds scheduled_bounds(const DeploymentPlan& plan, WallTime now) {
  const core::ScalePolicy& usual = plan.spec.scale;
  return bounds_at(plan.schedule, {usual.min_instances, usual.max_instances}, now);
}

/// 128 random bits as hex.
std::string make_nonce() {
  std::uint64_t words[2] = {};
  const ssize_t got = ::getrandom(words, sizeof words, 0);
  STOKER_INVARIANT(got == static_cast<ssize_t>(sizeof words), "getrandom gave {}", got);
  return fmt::format("{:016x}{:016x}", words[0], words[1]);
}

}  // namespace

Orchestrator::Orchestrator(net::EventLoop& loop, backend::InstanceBackend& backend,
                           InstanceJournal& journal, obs::Logger& log, EventLog& events,
                           OrchestratorOptions options)
    : loop_(loop),
      backend_(backend),
      journal_(journal),
      log_(log),
      events_(events),
      options_(std::move(options)),
      core_({options_.epoch, options_.seed, options_.drain_timeout}),
      health_(options_.health) {
  backend_.set_listener(*this);
  if (options_.recorder != nullptr) {
    options_.recorder->started({options_.epoch, options_.seed, options_.drain_timeout});
  }
}

Orchestrator::~Orchestrator() {
  loop_.cancel(wakeup_timer_);
  loop_.cancel(health_timer_);
  loop_.cancel(schedule_timer_);
  loop_.cancel(retired_timer_);
}

void Orchestrator::add_device(const backend::Device& device) {
  const DeviceId id{devices_.size() + 1};
  devices_[id] = device;
  Outcome outcome = step(core::DeviceAdded{device_spec(id, device)});
  deliver(outcome);
}

void Orchestrator::lend_host_memory(Bytes bytes) {
  Outcome outcome = step(core::NodeAdded{{local_node, bytes}});
  deliver(outcome);
}

std::string InstanceRecord::device_names() const {
  std::string names;
  for (const backend::Device& each : devices)
    names.append(names.empty() ? "" : ",").append(each.id);
  return names;
}

void Orchestrator::weigh_tenant(TenantId tenant, std::int32_t weight) {
  Outcome outcome = step(core::TenantWeighed{tenant, weight});
  deliver(outcome);
}

/// Needs: on the loop's thread, or before it runs.
void Orchestrator::keep_plan(DeploymentPlan plan) {
  const std::lock_guard lock(core_mutex_);
  // Somebody may be reading what was given to him.
  if (plans_.use_count() > 1) plans_ = std::make_shared<Plans>(*plans_);
  const DeploymentId id = plan.spec.id;
  (*plans_)[id] = std::make_shared<const DeploymentPlan>(std::move(plan));
}

/// The spec with the bounds that hold now.
core::DeploymentSpec Orchestrator::scheduled_spec(const DeploymentPlan& plan) {
  core::DeploymentSpec spec = plan.spec;
  bounds_.erase(spec.id);
  if (plan.schedule.empty()) return spec;
  const InstanceBounds now = scheduled_bounds(plan, options_.calendar()).bounds;
  spec.scale.min_instances = now.min_instances;
  spec.scale.max_instances = now.max_instances;
  bounds_[spec.id] = now;
  return spec;
}

void Orchestrator::add_deployment(DeploymentPlan plan) {
  const core::DeploymentSpec spec = scheduled_spec(plan);
  meter_.set_prices(spec.id, plan.prices);
  keep_plan(std::move(plan));
  Outcome outcome = step(core::DeploymentAdded{spec});
  deliver(outcome);
}

void Orchestrator::change_deployment(DeploymentPlan plan) {
  const core::DeploymentSpec spec = scheduled_spec(plan);
  meter_.set_prices(spec.id, plan.prices);
  keep_plan(std::move(plan));
  Outcome outcome = step(core::DeploymentChanged{spec});
  deliver(outcome);
  if (schedule_timer_ == 0) follow_schedules();
}

void Orchestrator::retire_deployment(DeploymentId deployment) {
  // Nothing new is kept warm for it; only what its queue needs may still start.
  DeploymentPlan plan = plan_of(deployment);
  plan.schedule.clear();
  plan.spec.scale.min_instances = 0;
  plan.spec.scale.spare_instances = 0;
  change_deployment(std::move(plan));
  retired_.insert(deployment);
  // Not at once: a request may be on its way to it.
  if (retired_timer_ != 0) return;
  retired_timer_ =
      loop_.run_at(net::monotonic_now() + retired_period, [this] { remove_retired(); });
}

/// Those whose queue is empty go.
void Orchestrator::remove_retired() {
  retired_timer_ = 0;
  std::vector<DeploymentId> ready_to_go;
  for (const core::DeploymentSummary& each : summary().deployments) {
    if (each.queued == 0 && retired_.contains(each.id)) ready_to_go.push_back(each.id);
  }
  for (const DeploymentId id : ready_to_go) {
    retired_.erase(id);
    tell({"deployment_removed", plan_of(id).spec.name, "", "",
          fmt::format("'{}' is no longer in the configuration, or was replaced; its instances stop",
                      plan_of(id).spec.name)});
    Outcome outcome = step(core::DeploymentRemoved{id});
    deliver(outcome);
  }
  if (retired_.empty()) return;
  retired_timer_ =
      loop_.run_at(net::monotonic_now() + retired_period, [this] { remove_retired(); });
}

std::shared_ptr<const Orchestrator::Plans> Orchestrator::plans() const {
  const std::lock_guard lock(core_mutex_);
  return plans_;
}

void Orchestrator::start() {
  watch_health();
  follow_schedules();
}

/// Tells the core when a window begins or ends. The calendar may be set while it waits, so it is
/// looked at once a minute at least.
void Orchestrator::follow_schedules() {
  schedule_timer_ = 0;
  if (bounds_.empty()) return;
  Duration next = minutes(1);
  const WallTime now = options_.calendar();
  for (auto& [id, bounds] : bounds_) {
    const DeploymentPlan& plan = plan_of(id);
    const ScheduledBounds scheduled = scheduled_bounds(plan, now);
    next = std::min(next, scheduled.valid_for);
    if (scheduled.bounds == bounds) continue;
    bounds = scheduled.bounds;
    tell({"bounds_scheduled", plan.spec.name, "", "",
          fmt::format("{} to {} instances from now on", bounds.min_instances,
                      bounds.max_instances)});
    Outcome outcome = step(core::BoundsChanged{id, bounds.min_instances, bounds.max_instances});
    deliver(outcome);
  }
  schedule_timer_ = loop_.run_at(net::monotonic_now() + next, [this] { follow_schedules(); });
}

void Orchestrator::shut_down(std::function<void()> done) {
  shutting_down_.store(true, std::memory_order_relaxed);
  loop_.post([this, done = std::move(done)]() mutable {
    when_quiet_ = std::move(done);
    tell({"server_draining", "", "", "",
          "finishing what was admitted, then stopping all instances"});
    Outcome outcome = step(core::ShutdownRequested{});
    deliver(outcome);
    check_quiet();
  });
}

void Orchestrator::check_quiet() {
  if (!when_quiet_) return;
  {
    const std::lock_guard lock(core_mutex_);
    if (!core_.quiet()) return;
  }
  const std::function<void()> done = std::move(when_quiet_);
  when_quiet_ = nullptr;
  done();
}

void Orchestrator::carry_out_orders() {
  std::vector<core::Action> orders;
  std::optional<Instant> next;
  {
    const std::lock_guard lock(core_mutex_);
    orders.swap(orders_);
    orders_posted_ = false;
    next = core_.next_wakeup();
    wakeup_at_ = next;
  }
  for (const core::Action& order : orders) {
    std::visit(Overloaded{
                   [&](const core::StartInstance& o) { carry_out(o); },
                   [&](const core::StopInstance& o) { carry_out(o); },
                   [&](const core::SuspendInstance& o) { carry_out(o); },
                   [&](const core::ResumeInstance& o) { carry_out(o); },
                   [&](const core::CancelRequest& o) { carry_out(o); },
                   [&](const core::AwaitRoom& o) { carry_out(o); },
                   // Resolved under the lock.
                   [](const core::Dispatch&) {},
                   [](const core::Refuse&) {},
                   [](const core::FailRequest&) {},
                   // The core is told of no store, so it never orders these.
                   [](const core::PrefetchModel&) {},
                   [](const core::DropModel&) {},
                   [](const core::PinModel&) {},
                   [](const core::RefuseCopy&) {},
               },
               order);
  }
  arm_wakeup(next);
  check_quiet();
}

void Orchestrator::arm_wakeup(std::optional<Instant> at) {
  loop_.cancel(wakeup_timer_);
  wakeup_timer_ = 0;
  if (!at) return;
  wakeup_timer_ = loop_.run_at(*at, [this] {
    wakeup_timer_ = 0;
    {
      const std::lock_guard lock(core_mutex_);
      wakeup_at_.reset();
    }
    Outcome outcome = step(core::WokeUp{});
    deliver(outcome);
    carry_out_orders();
  });
}

InstanceRecord* Orchestrator::record(backend::InstanceKey key) {
  const auto it = records_.find(key.instance);
  if (it == records_.end() || it->second.key != key) return nullptr;
  return &it->second;
}

void Orchestrator::note_failure(DeploymentId deployment, std::string text) {
  const std::lock_guard lock(core_mutex_);
  failures_[deployment] = {std::move(text), false};
  load_details_.erase(deployment);
}

/// Tells once when a deployment begins to fail without end: from then on its requests are refused.
void Orchestrator::look_for_crash_loop(DeploymentId deployment) {
  for (const core::DeploymentSummary& each : summary().deployments) {
    if (each.id != deployment) continue;
    if (!each.crash_loop) {
      crash_loops_.erase(deployment);
    } else if (crash_loops_.insert(deployment).second) {
      const std::string& name = plan_of(deployment).spec.name;
      tell(
          {"crash_loop", name, "", "crash_loop",
           fmt::format("'{}' failed {} times in a row, the last: {}; its requests are refused, the "
                       "next attempt is in {}",
                       name, each.failures, last_failure(deployment),
                       to_text(each.retry_at - net::monotonic_now()))},
          true);
    }
  }
}

/// One line for people (`stoker events`) and the same one in the log.
void Orchestrator::tell(EventLine line, bool warn) {
  const obs::LogFields fields = {{"deployment", line.deployment},
                                 {"instance", line.instance},
                                 {"reason", line.reason},
                                 {"text", line.sentence}};
  log_.write(warn ? obs::Level::warn : obs::Level::info, line.event, fields);
  events_.append(net::wall_now(), line);
}

void Orchestrator::carry_out(const core::StartInstance& order) {
  const DeploymentPlan& plan = plan_of(order.deployment);
  InstanceRecord record;
  record.key = {order.instance, order.generation};
  record.name = fmt::format("{}/{}", plan.spec.name, order.instance.value);
  record.deployment = order.deployment;
  record.nonce = make_nonce();
  for (const DeviceId id : order.devices) record.devices.push_back(devices_.at(id));
  record.timeline.wanted = order.wanted_at;
  record.timeline.placed = net::monotonic_now();
  const Bytes reserved = order.reserved.private_bytes + order.reserved.shared_bytes;
  tell({"instance_starting", plan.spec.name, record.name, core::to_text(order.reason),
        fmt::format("starting {} on {}, {} reserved{} ({})", record.name, record.device_names(),
                    to_text(reserved), record.devices.size() > 1 ? " on each" : "",
                    core::to_text(order.reason))});
  const ledger::InstanceStart intent{order.instance,  order.generation, options_.epoch,
                                     net::wall_now(), plan.spec.name,   record.device_names(),
                                     record.nonce};
  const backend::InstanceKey key = record.key;
  {
    const std::lock_guard lock(records_mutex_);
    records_[order.instance] = std::move(record);
  }
  starter_.run([this, intent, key] {
    const Result<void> written = journal_.started(intent);
    std::string why_not = written ? std::string() : written.error().message;
    loop_.post([this, key, ok = written.has_value(), why_not = std::move(why_not)] {
      spawn(key, ok, why_not);
    });
  });
}

/// The intent is on disk, or it is known that it cannot be: spawn, or report that nothing ran.
void Orchestrator::spawn(backend::InstanceKey key, bool journalled, const std::string& why_not) {
  InstanceRecord* r = record(key);
  if (r == nullptr) return;
  if (!journalled) {
    start_failed(key, "the journal cannot be written: " + why_not, core::StartFailure::may_pass);
    return;
  }
  if (!r->stop_ordered) {
    const DeploymentPlan& plan = plan_of(r->deployment);
    backend::StartRequest request;
    request.key = key;
    request.name = r->name;
    request.worker = plan.launch.worker;
    request.nonce = r->nonce;
    request.env = plan.launch.env;
    request.load_order = load_order_json(plan, r->devices.front());
    request.sandbox = plan.launch.sandbox;
    if (r->kind() == backend::DeviceKind::cuda) {
      std::string visible;
      for (const backend::Device& each : r->devices) {
        visible.append(visible.empty() ? "" : ",").append(each.uuid);
      }
      request.device = {backend::DeviceBinding::Kind::cuda, std::move(visible)};
    }
    const core::MemoryNeed& need = plan.spec.estimate;
    if (plan.launch.memory_limit_percent > 0) {
      const std::int64_t reserved = (need.private_bytes.value + need.shared_bytes.value) *
                                    static_cast<std::int64_t>(r->devices.size());
      request.memory_limit = Bytes{reserved / 100 * plan.launch.memory_limit_percent +
                                   plan.launch.memory_limit_slack.value};
    }
    const Result<void> started = backend_.start(request);
    if (started) {
      const std::lock_guard lock(records_mutex_);
      r->spawned = true;
      return;
    }
    const std::string& refusal = started.error().message;
    journal_.ended({key.instance, key.generation, options_.epoch, net::wall_now(), refusal});
    start_failed(key, refusal, core::StartFailure::will_stay);
    return;
  }
  // It was stopped before it began.
  journal_.ended({key.instance, key.generation, options_.epoch, net::wall_now(), "not started"});
  {
    const std::lock_guard lock(records_mutex_);
    records_.erase(key.instance);
  }
  Outcome outcome = step(core::InstanceExited{key.instance, key.generation, core::ExitKind::clean});
  deliver(outcome);
  check_quiet();
}

/// There is no process, and there was none that did anything.
void Orchestrator::start_failed(backend::InstanceKey key, const std::string& why,
                                core::StartFailure failure) {
  const InstanceRecord* r = record(key);
  if (r == nullptr) return;
  const std::string name = r->name;
  const DeploymentId deployment = r->deployment;
  if (!r->stop_ordered) note_failure(deployment, why);
  {
    const std::lock_guard lock(records_mutex_);
    records_.erase(key.instance);
  }
  tell({"instance_start_failed", plan_of(deployment).spec.name, name, "start_failed",
        fmt::format("{} could not be started: {}", name, why)},
       true);
  Outcome outcome = step(core::StartFailed{key.instance, key.generation, failure});
  deliver(outcome);
  look_for_crash_loop(deployment);
  check_quiet();
}

void Orchestrator::carry_out(const core::StopInstance& order) {
  const backend::InstanceKey key{order.instance, order.generation};
  InstanceRecord* r = record(key);
  if (r == nullptr) return;
  health_.disarm(key);
  note_why_it_is_killed(*r, order.reason);
  tell({"instance_stopping", plan_of(r->deployment).spec.name, r->name, core::to_text(order.reason),
        fmt::format("stopping {} ({}, {})", r->name, core::to_text(order.reason),
                    core::to_text(order.mode))});
  {
    const std::lock_guard lock(records_mutex_);
    r->stop_ordered = true;
  }
  if (!r->spawned) return;
  backend_.stop(
      key,
      order.mode == core::StopMode::kill ? backend::StopMode::kill : backend::StopMode::graceful,
      order.grace);
}

/// Where the core's clock ended a life nobody has said yet what was wrong with it.
void Orchestrator::note_why_it_is_killed(InstanceRecord& r, core::StopReason reason) {
  if (!r.failure.empty()) return;
  const core::RequestLimits& limits = plan_of(r.deployment).spec.limits;
  std::string what;
  if (reason == core::StopReason::start_timeout) {
    what = fmt::format("{} did not come up within {} (limits.start_timeout)", r.name,
                       to_text(limits.start_timeout));
  } else if (reason == core::StopReason::load_stalled) {
    what = fmt::format("{} loaded without progress for {} (limits.load_timeout)", r.name,
                       to_text(limits.load_stall_timeout));
  } else if (reason == core::StopReason::cancel_ignored) {
    what = fmt::format("{} held a cancelled request for {}", r.name, to_text(limits.cancel_grace));
  } else if (reason == core::StopReason::hung) {
    what = fmt::format("{} could not be reached", r.name);
  } else {
    return;
  }
  {
    const std::lock_guard lock(records_mutex_);
    r.failure = what;
  }
  note_failure(r.deployment, what);
}

void Orchestrator::carry_out(const core::CancelRequest& order) {
  JsonWriter json;
  json.object([&] {
    json.field("type", "cancel");
    json.field("request", public_id(order.request));
  });
  backend_.send({order.instance, order.generation}, json.text());
}

void Orchestrator::carry_out(const core::AwaitRoom& order) {
  const std::string& name = plan_of(order.deployment).spec.name;
  tell({"instance_waiting", name, fmt::format("{}/{}", name, order.instance.value),
        core::to_text(order.reason),
        fmt::format("'{}' needs {}, the most free is {}: {}", name, to_text(order.needed),
                    to_text(order.most_free), how_room_comes(order.reason))});
}

void Orchestrator::watch_health() {
  const Instant now = net::monotonic_now();
  for (const HealthWatch::Verdict& verdict : health_.look(now)) {
    InstanceRecord* r = record(verdict.key);
    if (r == nullptr) continue;
    const bool silent = verdict.kind == core::HangKind::silent;
    const std::string what =
        fmt::format("{} {}", r->name, silent ? "gives no sign of life" : "has stopped working");
    {
      const std::lock_guard lock(records_mutex_);
      r->failure = what;
    }
    const DeploymentId deployment = r->deployment;
    note_failure(deployment, what);
    tell({"instance_hung", plan_of(r->deployment).spec.name, r->name,
          silent ? "silent" : "no_progress", what},
         true);
    Outcome outcome =
        step(core::InstanceHung{verdict.key.instance, verdict.key.generation, verdict.kind});
    deliver(outcome);
    look_for_crash_loop(deployment);
  }
  health_timer_ = loop_.run_at(now + options_.health.tick, [this] { watch_health(); });
}

void Orchestrator::on_hello(backend::InstanceKey key, const backend::WorkerHello& hello) {
  InstanceRecord* r = record(key);
  if (r == nullptr) return;
  {
    const std::lock_guard lock(records_mutex_);
    r->timeline.up = net::monotonic_now();
    for (const backend::InstanceInfo& info : backend_.list()) {
      if (info.key == key) r->pid = info.pid;
    }
  }
  tell({"instance_up", plan_of(r->deployment).spec.name, r->name, "",
        fmt::format("{} is up (worker {} {}), loading", r->name, hello.worker, hello.version)});
  Outcome outcome = step(core::InstanceUp{key.instance, key.generation});
  deliver(outcome);
}

void Orchestrator::on_message(backend::InstanceKey key, const backend::WorkerMessage& message) {
  InstanceRecord* r = record(key);
  if (r == nullptr) return;
  std::visit(Overloaded{
                 [&](const backend::WorkerLoading& m) { on_loading(*r, m); },
                 [&](const backend::WorkerLoaded&) { on_loaded(*r); },
                 [&](const backend::WorkerReady& m) { on_ready(*r, m); },
                 [&](const backend::WorkerLoadFailed& m) { on_load_failed(*r, m); },
                 [&](const backend::WorkerProgress& m) { on_progress(*r, m); },
                 [&](const backend::WorkerEnded& m) { on_ended(key, m); },
                 [](const backend::WorkerHello&) {},  // the backend has taken it
                 [](const backend::WorkerUnloaded&) {},
                 [&](const backend::WorkerSuspended& m) { on_suspended(*r, m); },
                 [&](const backend::WorkerResumed& m) { on_resumed(*r, m); },
                 [&](const backend::WorkerError& m) { on_error(*r, m); },
             },
             message);
}

void Orchestrator::on_progress(const InstanceRecord& r, const backend::WorkerProgress& m) {
  // A foreign engine may compute for minutes without a byte: its worker asks its health path
  // itself, and of the worker only silence counts.
  const bool shows_steps = plan_of(r.deployment).launch.speaks_contract;
  health_.heard(r.key, shows_steps ? m.active : 0, m.steps, net::monotonic_now());
}

void Orchestrator::on_loading(InstanceRecord& r, const backend::WorkerLoading& m) {
  {
    const std::lock_guard lock(records_mutex_);
    r.load_fraction = m.fraction;
    r.load_detail = m.detail;
  }
  if (!m.detail.empty()) {
    const std::lock_guard lock(core_mutex_);
    load_details_[r.deployment] = fmt::format("{} is loading: {}", r.name, m.detail);
  }
  Outcome outcome = step(core::LoadProgressed{r.key.instance, r.key.generation});
  deliver(outcome);
}

void Orchestrator::on_loaded(InstanceRecord& r) {
  {
    const std::lock_guard lock(records_mutex_);
    r.timeline.loaded = net::monotonic_now();
    r.load_fraction = 1;
  }
  Outcome outcome = step(core::LoadProgressed{r.key.instance, r.key.generation});
  deliver(outcome);
}

void Orchestrator::on_ready(InstanceRecord& r, const backend::WorkerReady& m) {
  const Result<net::Endpoint> endpoint = net::parse_endpoint(m.endpoint);
  if (!endpoint) {
    on_contract_breach(r.key, "ready names an endpoint that cannot be read");
    return;
  }
  const DeploymentPlan& plan = plan_of(r.deployment);
  const auto on_devices = measured_on_devices(r, m.private_bytes, m.shared_bytes);
  const core::MemoryNeed measured = on_devices.value_or(plan.spec.estimate);
  if (on_devices && options_.keep_footprint) {
    // The plan itself may be replaced by then.
    starter_.run([this, measured_plan = plans_->at(r.deployment), kind = core_kind(r.kind()),
                  measured] { options_.keep_footprint(*measured_plan, kind, measured); });
  }
  auto target = std::make_shared<gateway::DispatchTarget>();
  {
    const std::lock_guard lock(records_mutex_);
    r.timeline.ready = net::monotonic_now();
    if (r.timeline.loaded == Instant{}) r.timeline.loaded = r.timeline.ready;
    r.load_fraction = 1;
    r.load_detail.clear();
    r.endpoint = m.endpoint;
    target->instance = r.key.instance;
    target->generation = r.key.generation;
    target->name = r.name;
    target->device = r.device_names();
    target->devices = static_cast<std::int32_t>(r.devices.size());
    target->endpoint = *endpoint;
    target->speaks_contract = plan.launch.speaks_contract;
    target->timeline = r.timeline;
  }
  {
    const std::lock_guard lock(core_mutex_);
    targets_[r.key.instance] = std::move(target);
    const auto failure = failures_.find(r.deployment);
    if (failure != failures_.end()) failure->second.is_past = true;
    load_details_.erase(r.deployment);
  }
  health_.arm(r.key, net::monotonic_now());
  const gateway::StartTimeline& t = r.timeline;
  tell(
      {"instance_ready", plan.spec.name, r.name, "",
       fmt::format("{} is ready after {} (allocate {}, start {}, load {}, warm-up {}); it holds {}",
                   r.name, to_text(t.ready - t.wanted), to_text(t.placed - t.wanted),
                   to_text(t.up - t.placed), to_text(t.loaded - t.up), to_text(t.ready - t.loaded),
                   to_text(measured.private_bytes + measured.shared_bytes))});
  Outcome outcome = step(core::InstanceReady{r.key.instance, r.key.generation, measured});
  deliver(outcome);
}

void Orchestrator::on_load_failed(InstanceRecord& r, const backend::WorkerLoadFailed& m) {
  const std::string what = fmt::format("{} ({})", m.message, backend::to_text(m.code));
  {
    const std::lock_guard lock(records_mutex_);
    r.failure = what;
  }
  note_failure(r.deployment, what);
  tell({"instance_load_failed", plan_of(r.deployment).spec.name, r.name, backend::to_text(m.code),
        fmt::format("{} could not load: {}", r.name, m.message)},
       true);
  const DeploymentId deployment = r.deployment;
  Outcome outcome = step(core::LoadFailed{r.key.instance, r.key.generation, core_failure(m.code)});
  deliver(outcome);
  look_for_crash_loop(deployment);
}

void Orchestrator::on_ended(backend::InstanceKey key, const backend::WorkerEnded& m) {
  const std::optional<RequestId> request = parse_request_id(m.request);
  if (!request) return;
  std::shared_ptr<gateway::DispatchSink> sink;
  {
    const std::lock_guard lock(core_mutex_);
    Waiter* waiter = waiters_.find(*request);
    // Late, twice, or about a request that is not its own: of no effect.
    if (waiter == nullptr || waiter->instance != key.instance) return;
    if (!std::exchange(waiter->awaits_worker, false)) return;
    sink = waiter->sink;
  }
  if (sink != nullptr) {
    sink->on_worker_ended(
        {m.input, m.output, m.cached, m.device_ms, m.reason != backend::WorkEnd::unknown});
    return;
  }
  Outcome outcome = step(core::RequestEnded{*request}, {}, nullptr, *request);
  deliver(outcome);
}

void Orchestrator::on_contract_breach(backend::InstanceKey key, const std::string& what) {
  InstanceRecord* r = record(key);
  if (r == nullptr) return;
  {
    const std::lock_guard lock(records_mutex_);
    r->failure = "broke the worker contract: " + what;
  }
  note_failure(r->deployment, r->name + " " + r->failure);
  tell({"instance_breach", plan_of(r->deployment).spec.name, r->name, "breach",
        fmt::format("{} {}", r->name, r->failure)},
       true);
  const DeploymentId deployment = r->deployment;
  Outcome outcome = step(core::InstanceHung{key.instance, key.generation, core::HangKind::breach});
  deliver(outcome);
  look_for_crash_loop(deployment);
}

void Orchestrator::on_unkillable(backend::InstanceKey key) {
  const InstanceRecord* r = record(key);
  if (r == nullptr) return;
  log_.error("instance_unkillable", {{"instance", r->name}, {"device", r->device_names()}});
  tell({"device_lost", plan_of(r->deployment).spec.name, r->name, "unkillable",
        fmt::format("{} does not die; {} takes no new instances until it is gone", r->name,
                    r->device_names())},
       true);
  Outcome outcome = step(core::InstanceUnkillable{key.instance, key.generation});
  deliver(outcome);
}

void Orchestrator::on_exited(backend::InstanceKey key, const backend::ExitInfo& exit) {
  InstanceRecord* r = record(key);
  if (r == nullptr) return;
  health_.disarm(key);
  if (exit.kind == backend::ExitKind::start_failed) {
    journal_.ended({key.instance, key.generation, options_.epoch, net::wall_now(), exit.text});
    start_failed(key, exit.text,
                 exit.will_stay ? core::StartFailure::will_stay : core::StartFailure::may_pass);
    return;
  }
  const bool oom = exit.kind == backend::ExitKind::oom;
  const bool clean = exit.kind == backend::ExitKind::code && exit.value == 0;
  const DeploymentId deployment = r->deployment;
  const std::string& name = plan_of(deployment).spec.name;
  if (r->failure.empty() && !r->stop_ordered) {  // an end with 0 that nobody asked for is one too
    note_failure(r->deployment, fmt::format("{} ended with {}", r->name, exit.text));
  }
  journal_.ended({key.instance, key.generation, options_.epoch, net::wall_now(), exit.text});
  tell({"instance_gone", name, r->name, oom ? "oom" : "exited",
        fmt::format("{} is gone ({})", r->name, exit.text)},
       !r->stop_ordered);
  {
    const std::lock_guard lock(records_mutex_);
    records_.erase(key.instance);
  }
  {
    const std::lock_guard lock(core_mutex_);
    exits_[key.instance] = exit.text;
  }
  const core::ExitKind kind = oom     ? core::ExitKind::out_of_memory
                              : clean ? core::ExitKind::clean
                                      : core::ExitKind::crashed;
  Outcome outcome = step(core::InstanceExited{key.instance, key.generation, kind});
  meter_.instance_gone(key.instance);
  {
    const std::lock_guard lock(core_mutex_);
    targets_.erase(key.instance);
    exits_.erase(key.instance);
    load_details_.erase(deployment);
  }
  deliver(outcome);
  look_for_crash_loop(deployment);
  check_quiet();
}

}  // namespace stoker::orchestrator
