#include "core_script.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "base/overloaded.h"
#include "core/core.h"
#include "core/describe.h"

namespace stoker::golden {
namespace {

using core::Actions;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what);
}

std::int64_t number_of(std::string_view text, std::string_view* rest) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) fail("not a number: " + std::string(text));
  *rest = text.substr(static_cast<std::size_t>(end - text.data()));
  return value;
}

Duration duration_of(std::string_view text) {
  std::string_view unit;
  const std::int64_t n = number_of(text, &unit);
  if (unit == "ms") return ms(n);
  if (unit == "s") return seconds(n);
  if (unit == "min") return minutes(n);
  fail("not a duration: " + std::string(text));
}

Bytes bytes_of(std::string_view text) {
  std::string_view unit;
  const std::int64_t n = number_of(text, &unit);
  if (unit != "MiB") fail("not a size in MiB: " + std::string(text));
  return mib(n);
}

std::int32_t int_of(std::string_view text) {
  std::string_view rest;
  const std::int64_t n = number_of(text, &rest);
  if (!rest.empty()) fail("not a number: " + std::string(text));
  return static_cast<std::int32_t>(n);
}

std::uint64_t number_in(std::string_view text) {
  return static_cast<std::uint64_t>(int_of(text));
}

std::string time_text(Instant t) {
  const std::int64_t all_ms = t.ns / 1'000'000;
  return all_ms % 1000 == 0 ? fmt::format("{}s", all_ms / 1000) : fmt::format("{}ms", all_ms);
}
std::string wait_text(Duration d) {
  return time_text(Instant{d.ns});
}

class Script {
 public:
  std::string run(const std::string& text) {
    std::istringstream lines(text);
    std::string line;
    int number = 0;
    try {
      while (std::getline(lines, line)) {
        ++number;
        std::istringstream words(line.substr(0, line.find('#')));
        std::vector<std::string> parts;
        for (std::string word; words >> word;) parts.push_back(word);
        if (!parts.empty()) execute(parts);
      }
    } catch (const std::exception& e) {
      out_ += fmt::format("error: line {}: {}\n", number, e.what());
    }
    return out_;
  }

 private:
  using Options = std::map<std::string, std::string>;
  static constexpr NodeId node{1};  // of all devices

  static Options options_from(const std::vector<std::string>& parts, std::size_t first) {
    Options options;
    for (std::size_t i = first; i < parts.size(); ++i) {
      const std::size_t equals = parts[i].find('=');
      if (equals == std::string::npos) fail("not key=value: " + parts[i]);
      options[parts[i].substr(0, equals)] = parts[i].substr(equals + 1);
    }
    return options;
  }

  void execute(const std::vector<std::string>& parts) {
    if (parts[0] == "device") return add_device(parts);
    if (parts[0] == "node") {
      Options o = options_from(parts, 1);
      return step(core::NodeAdded{{node, bytes_of(o["host_memory"])}});
    }
    if (parts[0] == "pool") return add_pool(parts);
    if (parts[0] == "deployment") return add_deployment(parts);
    if (parts[0] == "tenant") {
      Options o = options_from(parts, 2);
      return step(core::TenantWeighed{TenantId{number_in(parts.at(1))}, int_of(o["weight"])});
    }
    if (parts[0] != "at" || parts.size() < 3) fail("expected 'at TIME EVENT ...'");
    pass_time_until(Instant{duration_of(parts[1]).ns});
    const std::string& verb = parts[2];
    const std::string what = parts.size() > 3 ? parts[3] : std::string();
    if (verb == "wake") return step(core::WokeUp{});
    if (verb == "shutdown") return step(core::ShutdownRequested{});
    if (verb == "warm") return step(core::WarmRequested{deployment(what)});
    if (verb == "stop") return stop(what);
    if (verb == "request") return requests(parts);
    if (verb == "change") return change(parts);
    if (verb == "remove") return step(core::DeploymentRemoved{deployment(what)});
    if (verb == "lost") return step(core::DeviceLost{device(what)});
    if (verb == "returned") return step(core::DeviceReturned{device(what)});
    if (verb == "bounds") {
      Options o = options_from(parts, 4);
      return step(core::BoundsChanged{deployment(what), int_of(o["min"]), int_of(o["max"])});
    }
    if (verb == "keep") {
      Options o = options_from(parts, 4);
      return step(core::KeepWished{deployment(what), o.contains("idle")
                                                         ? std::optional(duration_of(o["idle"]))
                                                         : std::nullopt});
    }
    for (const std::string& name : expand(what)) {
      if (verb == "end")
        end(name, options_from(parts, 4));
      else if (verb == "first_token")
        step(core::FirstTokenSent{request(name), duration_of(options_from(parts, 4)["took"])});
      else if (verb == "cancel")
        step(core::RequestCancelled{request(name)});
      else if (verb == "undelivered")
        step(core::RequestUndelivered{request(name)});
      else
        instance_event(verb, name, options_from(parts, 4));
    }
  }

  void add_device(const std::vector<std::string>& parts) {
    Options o = options_from(parts, 2);
    core::DeviceSpec device{DeviceId{devices_.size() + 1},
                            parts.at(1),
                            core::DeviceKind::cpu,
                            bytes_of(o["memory"]),
                            o.contains("slots") ? int_of(o["slots"]) : 100,
                            node,
                            {},
                            {}};
    if (o.contains("price_milli")) {
      device.price_per_hour.value = std::int64_t{int_of(o["price_milli"])} * 1'000'000;
    }
    if (o["kind"] == "cuda") device.kind = core::DeviceKind::cuda;
    if (o.contains("node")) device.node = NodeId{number_in(o["node"])};
    if (o.contains("label")) device.labels = {core::LabelId{number_in(o["label"])}};
    devices_[device.id] = device.name;
    step(core::DeviceAdded{device});
  }

  void add_pool(const std::vector<std::string>& parts) {
    Options o = options_from(parts, 2);
    core::PoolSpec pool{PoolId{pools_.size() + 1}, parts.at(1), int_of(o["quota"]), {}};
    if (o.contains("pending")) pool.pending_limit = duration_of(o["pending"]);
    pools_[pool.id] = pool.name;
    step(core::PoolAdded{pool});
  }

  void add_deployment(const std::vector<std::string>& parts) {
    Options o = options_from(parts, 2);
    core::DeploymentSpec d;
    d.id = DeploymentId{deployments_.size() + 1};
    d.name = parts.at(1);
    deployments_[d.name] = d.id;
    names_[d.id] = d.name;
    set_options(d, o);
    specs_[d.id] = d;
    step(core::DeploymentAdded{d});
  }

  /// What is not named stays as it was.
  void change(const std::vector<std::string>& parts) {
    core::DeploymentSpec& d = specs_[deployment(parts.at(3))];
    set_options(d, options_from(parts, 4));
    step(core::DeploymentChanged{d});
  }

  void set_options(core::DeploymentSpec& d, const Options& o) const {
    for (const auto& [key, value] : o) {
      if (key == "memory")
        d.estimate.private_bytes = bytes_of(value);
      else if (key == "shared") {
        d.estimate.shared_bytes = bytes_of(value);
        if (!d.weights) d.weights = WeightsId{d.id.value};
      } else if (key == "weights")
        d.weights = WeightsId{static_cast<std::uint64_t>(int_of(value))};
      else if (key == "min")
        d.scale.min_instances = int_of(value);
      else if (key == "max")
        d.scale.max_instances = int_of(value);
      else if (key == "concurrency")
        d.scale.concurrency = int_of(value);
      else if (key == "target")
        d.scale.target_utilization_percent = int_of(value);
      else if (key == "threshold")
        d.scale.scale_up_threshold = int_of(value);
      else if (key == "spare")
        d.scale.spare_instances = int_of(value);
      else if (key == "utilization")
        d.scale.on.utilization = value == "on";
      else if (key == "queue_wait")
        d.scale.on.queue_wait = duration_of(value);
      else if (key == "rate_milli")
        d.scale.on.rate_milli = int_of(value);
      else if (key == "down")
        d.scale.scale_down_delay = duration_of(value);
      else if (key == "zero")
        d.scale.scale_to_zero_delay = duration_of(value);
      else if (key == "keep") {
        d.scale.scale_down_delay.reset();
        d.scale.scale_to_zero_delay.reset();
        d.scale.keep_warm.max = duration_of(value);
      } else if (key == "max_queued")
        d.limits.max_queued = int_of(value);
      else if (key == "queue_timeout")
        d.limits.queue_timeout = duration_of(value);
      else if (key == "abandoned")
        d.finish_abandoned_load = value == "finish";
      else if (key == "can_suspend")
        d.can_suspend = value == "yes";
      else if (key == "start")
        d.expected_start = duration_of(value);
      else if (key == "resume")
        d.expected_resume = duration_of(value);
      else if (key == "suspended_max")
        d.scale.keep_warm.suspended_max = duration_of(value);
      else if (key == "kind")
        d.needs.kinds = {value == "cuda" ? core::DeviceKind::cuda : core::DeviceKind::cpu};
      else if (!set_limit(d, key, value) && !set_place(d, key, value))
        fail("unknown option " + key);
    }
  }

  static bool set_limit(core::DeploymentSpec& d, const std::string& key, const std::string& value) {
    if (key == "start_timeout")
      d.limits.start_timeout = duration_of(value);
    else if (key == "stall")
      d.limits.load_stall_timeout = duration_of(value);
    else if (key == "drain_limit")
      d.limits.drain_limit = duration_of(value);
    else if (key == "max_queued_per_tenant")
      d.limits.max_queued_per_tenant = int_of(value);
    else if (key == "first_token")
      d.scale.on.first_token = duration_of(value);
    else
      return false;
    return true;
  }

  bool set_place(core::DeploymentSpec& d, const std::string& key, const std::string& value) const {
    if (key == "devices")
      d.needs.devices = int_of(value);
    else if (key == "share")
      d.needs.share_permille = int_of(value);
    else if (key == "exclusive")
      d.needs.exclusive = value == "on";
    else if (key == "label")
      d.needs.labels = {core::LabelId{number_in(value)}};
    else if (key == "priority")
      d.priority = int_of(value);
    else if (key == "pool")
      d.pool = id_of(pools_, value);
    else
      return false;
    return true;
  }

  void requests(const std::vector<std::string>& parts) {
    Options o = options_from(parts, 5);
    for (const std::string& name : expand(parts.at(3))) {
      const RequestId id{requests_.size() + 1};
      requests_[name] = id;
      request_names_[id] = name;
      core::RequestArrived arrived{id, deployment(parts.at(4)), {}, 0, {}, 1, 0};
      if (o.contains("priority")) arrived.priority = int_of(o["priority"]);
      if (o.contains("tenant")) arrived.tenant = TenantId{number_in(o["tenant"])};
      if (o.contains("cost")) arrived.cost = int_of(o["cost"]);
      if (o.contains("session")) arrived.affinity = number_in(o["session"]);
      if (o.contains("deadline")) arrived.deadline = Instant{duration_of(o["deadline"]).ns};
      step(arrived);
    }
  }

  void end(const std::string& name, Options o) {
    core::RequestEnded ended{request(name), 0};
    if (o.contains("cost")) ended.cost = int_of(o["cost"]);
    step(ended);
  }

  /// All instances of a deployment, or one of them: "chat/1".
  void stop(const std::string& what) {
    const std::size_t slash = what.find('/');
    InstanceId one;
    if (slash != std::string::npos) one = InstanceId{number_in(what.substr(slash + 1))};
    step(core::StopRequested{deployment(what.substr(0, slash)), one});
  }

  void instance_event(const std::string& verb, const std::string& name, Options o) {
    const std::size_t slash = name.find('/');
    if (slash == std::string::npos) fail("unknown event or instance: " + verb + " " + name);
    const InstanceId id{static_cast<std::uint64_t>(int_of(name.substr(slash + 1)))};
    const Generation generation{
        o.contains("generation") ? static_cast<std::uint64_t>(int_of(o["generation"])) : id.value};
    if (verb == "up") return step(core::InstanceUp{id, generation});
    if (verb == "placed") return step(core::InstancePlaced{id, generation});
    if (verb == "outcome_unknown") return step(core::StartOutcomeUnknown{id, generation});
    if (verb == "progress") return step(core::LoadProgressed{id, generation});
    if (verb == "ready") {
      core::MemoryNeed measured = started_.contains(id) ? started_[id] : core::MemoryNeed{};
      if (o.contains("memory")) measured.private_bytes = bytes_of(o["memory"]);
      if (o.contains("shared")) measured.shared_bytes = bytes_of(o["shared"]);
      return step(core::InstanceReady{id, generation, measured});
    }
    if (verb == "suspended") {
      const Bytes host = o.contains("host") ? bytes_of(o["host"]) : mib(1);
      return step(core::InstanceSuspended{id, generation, host,
                                          o.contains("kept") ? bytes_of(o["kept"]) : Bytes{}});
    }
    if (verb == "resumed") {
      return step(core::InstanceResumed{id, generation, started_[id]});
    }
    const core::SuspendFailure how = o["kind"] == "unknown" ? core::SuspendFailure::outcome_unknown
                                                            : core::SuspendFailure::refused;
    if (verb == "suspend_failed") return step(core::SuspendFailed{id, generation, how});
    if (verb == "resume_failed") return step(core::ResumeFailed{id, generation, how});
    if (verb == "load_failed") {
      return step(core::LoadFailed{
          id, generation,
          o["code"] == "oom" ? core::LoadFailure::out_of_memory : core::LoadFailure::model_broken});
    }
    if (verb == "exited") {
      return step(core::InstanceExited{
          id, generation,
          o["kind"] == "crashed" ? core::ExitKind::crashed : core::ExitKind::clean});
    }
    if (verb == "start_failed") {
      return step(core::StartFailed{
          id, generation,
          o["kind"] == "will_stay" ? core::StartFailure::will_stay : core::StartFailure::may_pass});
    }
    if (verb == "hung") {
      return step(core::InstanceHung{id, generation, core::HangKind::no_progress});
    }
    if (verb == "unkillable") return step(core::InstanceUnkillable{id, generation});
    fail("unknown event " + verb);
  }

  /// "r3..r5" -> r3, r4, r5
  static std::vector<std::string> expand(const std::string& text) {
    const std::size_t dots = text.find("..");
    if (dots == std::string::npos) return {text};
    const std::string prefix(1, text[0]);
    std::vector<std::string> names;
    for (std::int32_t i = int_of(text.substr(1, dots - 1)); i <= int_of(text.substr(dots + 3));
         ++i) {
      names.push_back(prefix + std::to_string(i));
    }
    return names;
  }

  void pass_time_until(Instant until) {
    for (auto due = core_.next_wakeup(); due && *due < until; due = core_.next_wakeup()) {
      now_ = std::max(now_, *due);
      step(core::WokeUp{});
    }
    now_ = until;
  }

  void step(const core::Event& event) {
    Actions actions;
    core_.step(now_, event, actions);
    for (const core::Action& action : actions) {
      out_ += fmt::format("{:<8} {}\n", time_text(now_), text_of(action));
    }
    core_.check_invariants();
  }

  std::string text_of(const core::Action& action) {
    return std::visit(
        Overloaded{
            [&](const core::StartInstance& a) {
              instances_[a.instance] = names_.at(a.deployment);
              started_[a.instance] = a.reserved;
              return fmt::format("start    {} on {} reason={}{}", name(a.instance), place_of(a),
                                 core::to_text(a.reason),
                                 a.wanted_at == now_ ? "" : " wanted_at=" + time_text(a.wanted_at));
            },
            [&](const core::StopInstance& a) {
              return fmt::format("stop     {} {} reason={}", name(a.instance),
                                 core::to_text(a.mode), core::to_text(a.reason));
            },
            [&](const core::SuspendInstance& a) {
              return fmt::format("suspend  {} reason={} host={}MiB", name(a.instance),
                                 core::to_text(a.reason), a.host_bytes.value >> 20);
            },
            [&](const core::ResumeInstance& a) {
              started_[a.instance] = a.reserved;
              return fmt::format("resume   {} on {} reason={}{}", name(a.instance),
                                 devices_.at(a.devices.front()), core::to_text(a.reason),
                                 a.wanted_at == now_ ? "" : " wanted_at=" + time_text(a.wanted_at));
            },
            [&](const core::Dispatch& a) {
              return fmt::format("dispatch {} -> {}", request_names_.at(a.request),
                                 name(a.instance));
            },
            [&](const core::Refuse& a) {
              return fmt::format("refuse   {} reason={} retry_after={}",
                                 request_names_.at(a.request), core::to_text(a.reason),
                                 wait_text(a.retry_after));
            },
            [&](const core::CancelRequest& a) {
              return fmt::format("cancel   {} on {}", request_names_.at(a.request),
                                 name(a.instance));
            },
            [&](const core::FailRequest& a) {
              return fmt::format("fail     {} on {}", request_names_.at(a.request),
                                 name(a.instance));
            },
            [](const core::PrefetchModel& a) { return core::describe(a); },
            [](const core::DropModel& a) { return core::describe(a); },
            [](const core::PinModel& a) { return core::describe(a); },
            [](const core::RefuseCopy& a) { return core::describe(a); },
            [&](const core::AwaitRoom& a) {
              instances_[a.instance] = names_.at(a.deployment);
              return fmt::format("await    {} reason={} needed={}MiB most_free={}MiB",
                                 name(a.instance), core::to_text(a.reason), a.needed.value >> 20,
                                 a.most_free.value >> 20);
            },
        },
        action);
  }

  std::string place_of(const core::StartInstance& start) const {
    if (start.pool) return pools_.at(start.pool);
    std::string text;
    for (const DeviceId id : start.devices) text += (text.empty() ? "" : "+") + devices_.at(id);
    return text;
  }
  std::string name(InstanceId id) const {
    const auto it = instances_.find(id);
    return fmt::format("{}/{}", it == instances_.end() ? "?" : it->second, id.value);
  }
  /// "nobody" is one that never was.
  DeploymentId deployment(const std::string& name) const {
    if (name == "nobody") return DeploymentId{999};
    const auto it = deployments_.find(name);
    if (it == deployments_.end()) fail("unknown deployment " + name);
    return it->second;
  }
  RequestId request(const std::string& name) const {
    const auto it = requests_.find(name);
    if (it == requests_.end()) fail("unknown request " + name);
    return it->second;
  }

  DeviceId device(const std::string& name) const { return id_of(devices_, name); }
  template <class Id>
  static Id id_of(const std::map<Id, std::string>& names, const std::string& name) {
    for (const auto& [id, each] : names) {
      if (each == name) return id;
    }
    fail("unknown " + name);
  }

  core::Core core_{core::CoreConfig{}};
  Instant now_;
  std::string out_;
  std::map<DeviceId, std::string> devices_;
  std::map<PoolId, std::string> pools_;
  std::map<DeploymentId, core::DeploymentSpec> specs_;
  std::map<std::string, DeploymentId> deployments_;
  std::map<DeploymentId, std::string> names_;
  std::map<std::string, RequestId> requests_;
  std::map<RequestId, std::string> request_names_;
  std::map<InstanceId, std::string> instances_;
  std::map<InstanceId, core::MemoryNeed> started_;
};

}  // namespace

std::string run_script(const std::string& script) {
  return Script().run(script);
}

}  // namespace stoker::golden
