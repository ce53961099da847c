#include "sim/trace_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/text.h"
#include "sim/world.h"

namespace stoker::sim {
namespace {

/// Requests come this long after the minimum instances are ready.
constexpr Duration before_the_first = seconds(1);
/// Longer than any queue_timeout that makes sense: what has not ended by then never will.
constexpr Duration longest_drain = minutes(24 * 60);
constexpr Duration drain_step = ms(100);

core::DeviceKind kind_of(const std::string& name) {
  if (name == "cuda") return core::DeviceKind::cuda;
  if (name == "fake") return core::DeviceKind::fake;
  return core::DeviceKind::cpu;
}

/// Keeps the books of a run from what the core orders and the world does.
class Books final : public Observer {
 public:
  explicit Books(TraceRunResult& result) : result_(result) {}
  /// What was before is nobody's: a server runs longer than its trace.
  void count_from(Instant from) { from_ = from; }

  void on_arrival(Instant now, const Arrival& arrival) override {
    requests_.insert(arrival.request, Request{now, {}, {}});
  }
  void before_step(Instant now, const core::Event& event) override {
    if (const auto* ready = std::get_if<core::InstanceReady>(&event)) {
      if (auto it = instances_.find(ready->instance); it != instances_.end()) {
        it->second.ready_at = now;
      }
    } else if (const auto* suspended = std::get_if<core::InstanceSuspended>(&event)) {
      const auto it = instances_.find(suspended->instance);
      if (it == instances_.end() || !it->second.on_devices) return;
      add_alive(it->second, now);
      it->second.on_devices = false;
    }
  }
  void on_action(Instant now, const core::Event&, const core::Action& action) override {
    if (const auto* start = std::get_if<core::StartInstance>(&action)) {
      ++result_.simulated.cold_starts;
      const std::size_t devices = std::max<std::size_t>(start->devices.size(), 1);
      instances_[start->instance] = {now, {}, {}, static_cast<std::int64_t>(devices), 0, true};
    } else if (const auto* resume = std::get_if<core::ResumeInstance>(&action)) {
      Instance& instance = instances_.at(resume->instance);
      instance.ordered_at = now;
      instance.on_devices = true;
    } else if (const auto* dispatch = std::get_if<core::Dispatch>(&action)) {
      Request& request = *requests_.find(dispatch->request);
      request.dispatched_at = now;
      request.instance = dispatch->instance;
      Instance& instance = instances_.at(dispatch->instance);
      if (instance.running++ == 0) instance.busy_since = now;
    }
  }
  void on_ended(Instant now, RequestId id, Ending ending) override {
    const Request request = *requests_.find(id);
    requests_.erase(id);
    result_.length = now - from_;
    count(ending);
    if (!request.instance) return;
    result_.simulated.wait.add(request.dispatched_at - request.arrived_at);
    const auto it = instances_.find(request.instance);
    if (it == instances_.end()) return;
    Instance& instance = it->second;
    if (instance.ready_at > request.arrived_at) ++result_.simulated.cold_requests;
    if (--instance.running == 0) add_busy(instance, now);
  }
  void on_process_gone(Instant now, InstanceId id) override {
    const auto it = instances_.find(id);
    if (it->second.running > 0) add_busy(it->second, now);
    add_alive(it->second, now);
    instances_.erase(it);
  }
  /// Those that are kept at the end of the run.
  void close(Instant now) {
    for (const auto& [id, instance] : instances_) add_alive(instance, now);
  }

 private:
  struct Request {
    Instant arrived_at;
    Instant dispatched_at;
    InstanceId instance;  // zero: it was not dispatched
  };
  struct Instance {
    Instant ordered_at;  // to start, or to resume
    Instant ready_at;
    Instant busy_since;
    std::int64_t devices = 1;
    std::int32_t running = 0;
    bool on_devices = true;  // not suspended
  };

  void count(Ending ending) {
    TraceOutcomes& outcomes = result_.simulated;
    switch (ending) {
      case Ending::completed:
        ++outcomes.completed;
        return;
      case Ending::cancelled:
        ++outcomes.cancelled;
        return;
      case Ending::refused:
        ++outcomes.refused;
        return;
      case Ending::failed:
      case Ending::interrupted:
        ++outcomes.failed;
        return;
    }
  }
  void add_busy(const Instance& instance, Instant now) {
    result_.busy_time.ns += (now - instance.busy_since).ns * instance.devices;
  }
  void add_alive(const Instance& instance, Instant now) {
    if (!instance.on_devices) return;
    const Instant from = std::max(instance.ordered_at, from_);
    result_.device_time.ns += (now - from).ns * instance.devices;
  }

  TraceRunResult& result_;
  Instant from_;
  IdTable<RequestId, Request> requests_;
  std::map<InstanceId, Instance> instances_;
};

/// What the receipts of the trace say happened.
class Recorded {
 public:
  explicit Recorded(TraceRunResult& result) : result_(result) {}

  void add(const TraceRequest& request) {
    if (!request.receipt) return;
    ++result_.receipts;
    const TraceReceipt& receipt = *request.receipt;
    TraceOutcomes& outcomes = result_.recorded;
    switch (request.outcome) {
      case TraceOutcome::unknown:
        break;
      case TraceOutcome::completed:
        ++outcomes.completed;
        break;
      case TraceOutcome::cancelled:
        ++outcomes.cancelled;
        break;
      case TraceOutcome::refused:
      case TraceOutcome::expired:
        ++outcomes.refused;
        break;
      case TraceOutcome::failed:
      case TraceOutcome::interrupted:
        ++outcomes.failed;
        break;
    }
    if (receipt.start == TraceStart::none) return;
    outcomes.wait.add(receipt.wait());
    if (receipt.start == TraceStart::cold) ++outcomes.cold_requests;
    const std::optional<RequestId> id = parse_request_id(request.id);
    const std::uint64_t life = id ? id->value >> 40U : 0;
    if (instances_.emplace(life, receipt.instance).second) ++outcomes.cold_starts;
  }

 private:
  TraceRunResult& result_;
  std::set<std::pair<std::uint64_t, std::string>> instances_;
};

class TraceRun {
 public:
  TraceRun(RequestSource& source, const TraceServer& server, const TraceRunOptions& options)
      : source_(source),
        server_(server),
        options_(options),
        books_(result_),
        recorded_(result_),
        world_(1, no_faults(), &books_) {}

  Result<TraceRunResult> run() {
    if (server_.host_memory > Bytes{}) {
      world_.add_node({server_.devices.front().node, server_.host_memory});
    }
    for (const core::DeviceSpec& device : server_.devices) world_.add_device(device);
    for (const core::DeploymentSpec& each : server_.deployments) {
      by_name_[each.name] = each.id;
      minimum_ += static_cast<std::size_t>(each.scale.min_instances);
      const Behaviour behaviour = behaviour_of(each);
      world_.add_deployment(each, behaviour);
      if (each.scale.min_instances > 0) {
        from_ = std::max(from_, Instant{} + behaviour.start + behaviour.load);
      }
    }
    from_ = from_ + before_the_first;
    books_.count_from(from_);
    TraceRequest request;
    for (;;) {
      const Result<bool> more = source_.next(request);
      if (!more) return tl::unexpected(more.error());
      if (!*more) break;
      const Result<void> sent = send(request);
      if (!sent) return tl::unexpected(sent.error());
    }
    drain();
    return std::move(result_);
  }

 private:
  /// What is known of a deployment of the server: from the trace's first line, where a deployment
  /// of the trace goes there, and from the calibration.
  TraceDeployment known_of(const std::string& name) const {
    TraceDeployment known{.name = name};
    for (const TraceDeployment& each : source_.world().deployments) {
      if (target_of(each.name) == name) {
        known = each;
        known.name = name;
        break;
      }
    }
    if (options_.calibration != nullptr) options_.calibration->apply(known);
    return known;
  }
  std::string target_of(const std::string& name) const {
    return options_.deployment_for ? options_.deployment_for(name) : name;
  }

  Behaviour behaviour_of(const core::DeploymentSpec& spec) {
    const TraceDeployment known = known_of(spec.name);
    known_[spec.id] = known;
    Behaviour behaviour;
    behaviour.start = known.start;
    behaviour.load = known.load;
    behaviour.memory = spec.estimate;
    if (spec.expected_resume.ns > 0) behaviour.resume = spec.expected_resume;
    for (const core::DeviceSpec& device : server_.devices) {
      const auto measured = spec.measured.find(device.kind);
      if (measured != spec.measured.end()) behaviour.memory = measured->second;
    }
    return behaviour;
  }

  Result<void> send(const TraceRequest& request) {
    const Result<DeploymentId> deployment = deployment_of(request.deployment);
    if (!deployment) return tl::unexpected(deployment.error());
    const TraceDeployment& known = known_.at(*deployment);
    const bool as_recorded =
        options_.recorded_service && request.outcome != TraceOutcome::cancelled;
    Arrival arrival;
    arrival.request = RequestId{++result_.requests};
    arrival.deployment = *deployment;
    weigh_tenants();
    arrival.tenant = TenantId{std::uint64_t{request.tenant} + 1};
    arrival.priority = request.priority;
    arrival.service = as_recorded ? service_time(request, known) : modelled_time(request, known);
    // {0} would mean that it waits for ever.
    if (request.gone_after) arrival.gone_after = std::max(*request.gone_after, Duration{1});
    if (request.deadline) arrival.deadline = std::max(*request.deadline, Duration{1});
    world_.run_until(from_ + at(request.at));
    recorded_.add(request);
    world_.arrive(arrival);
    return {};
  }
  /// A trace may name a tenant as late as with its first request.
  void weigh_tenants() {
    const std::vector<std::string>& names = source_.world().tenants;
    for (; weighed_ < names.size(); ++weighed_) {
      const auto weight = server_.weights.find(names[weighed_]);
      if (weight != server_.weights.end()) {
        world_.weigh_tenant(TenantId{weighed_ + 1}, weight->second);
      }
    }
  }
  Duration at(Duration recorded) const {
    if (options_.speed == 1) return recorded;
    return Duration{static_cast<std::int64_t>(static_cast<double>(recorded.ns) / options_.speed)};
  }
  Result<DeploymentId> deployment_of(std::uint32_t index) {
    while (index >= targets_.size()) {
      const std::string& name = source_.world().deployments.at(targets_.size()).name;
      const auto known = by_name_.find(target_of(name));
      targets_.push_back(known == by_name_.end() ? DeploymentId{} : known->second);
    }
    if (targets_[index]) return targets_[index];
    std::string names;
    for (const auto& [name, id] : by_name_) names += (names.empty() ? "" : ", ") + name;
    const std::string& missing = source_.world().deployments.at(index).name;
    return failure(ErrorCode::invalid,
                   fmt::format("the trace has requests for '{}', and there is no such deployment",
                               target_of(missing)),
                   fmt::format("say which one stands for it: --map {}=NAME, or --to NAME for all; "
                               "there are: {}",
                               missing, names.empty() ? "none" : names));
  }

  /// Until everything has ended, and then until no instance is left beyond the minimum.
  void drain() {
    const Instant latest = world_.now() + longest_drain;
    while (world_.now() < latest && (world_.open_requests() > 0 || world_.processes() > minimum_)) {
      world_.run_until(world_.now() + drain_step);
    }
    books_.close(world_.now());
  }

  RequestSource& source_;
  const TraceServer& server_;
  const TraceRunOptions& options_;
  TraceRunResult result_;
  Books books_;
  Recorded recorded_;
  World world_;
  std::map<std::string, DeploymentId> by_name_;
  std::map<DeploymentId, TraceDeployment> known_;
  std::vector<DeploymentId> targets_;  // by index in the trace's world; zero: there is none
  std::size_t minimum_ = 0;
  std::size_t weighed_ = 0;  // so many tenants were looked at
  Instant from_;             // when the trace begins
};

}  // namespace

TraceServer server_of(const TraceWorld& world) {
  TraceServer server;
  std::vector<TraceDevice> devices = world.devices;
  if (devices.empty()) devices.emplace_back();
  for (const TraceDevice& each : devices) {
    constexpr std::int32_t memory_alone_decides = 1 << 20;
    core::DeviceSpec device;
    device.id = DeviceId{server.devices.size() + 1};
    device.name = each.name.empty() ? fmt::format("device{}", device.id.value - 1) : each.name;
    device.kind = kind_of(each.kind);
    device.memory = each.memory;
    device.slots = each.slots > 0 ? each.slots : memory_alone_decides;
    device.price_per_hour = each.price_per_hour;
    server.devices.push_back(std::move(device));
  }
  for (const TraceDeployment& each : world.deployments) {
    core::DeploymentSpec spec;
    spec.id = DeploymentId{server.deployments.size() + 1};
    spec.name = each.name;
    spec.scale.concurrency = each.concurrency;
    spec.scale.scale_down_delay.reset();
    spec.scale.scale_to_zero_delay.reset();
    spec.scale.keep_warm.min = seconds(30);
    spec.scale.keep_warm.max = minutes(15);
    spec.estimate = {each.memory - each.weights, each.weights};
    spec.weights = WeightsId{spec.id.value};
    server.deployments.push_back(std::move(spec));
  }
  return server;
}

Result<TraceRunResult> run_trace(RequestSource& source, const TraceServer& server,
                                 const TraceRunOptions& options) {
  return TraceRun(source, server, options).run();
}

}  // namespace stoker::sim
