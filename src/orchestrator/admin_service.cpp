#include "orchestrator/admin_service.h"

#include <fmt/format.h>

#include <charconv>
#include <future>
#include <vector>

#include "base/json_writer.h"
#include "base/text.h"
#include "net/clock.h"
#include "orchestrator/request_json.h"

namespace stoker::orchestrator {
namespace {

constexpr auto loop_patience = std::chrono::seconds(5);

/// Runs `action` on the loop and waits for it, so that what it touches needs no lock.
/// Gives: false if the loop does not answer, because the server is ending.
bool on_loop(net::EventLoop& loop, std::function<void()> action) {
  auto done = std::make_shared<std::promise<void>>();
  std::future<void> future = done->get_future();
  loop.post([action = std::move(action), done] {
    action();
    done->set_value();
  });
  return future.wait_for(loop_patience) == std::future_status::ready;
}

/// Cuts what the backend reports into lines for one follower.
class LogFollowing final : public gateway::Subscription, public backend::LogFollower {
 public:
  LogFollowing(backend::InstanceBackend& backend, net::EventLoop& loop, std::string name,
               std::shared_ptr<gateway::LineSink> sink)
      : backend_(backend), loop_(loop), name_(std::move(name)), sink_(std::move(sink)) {}
  ~LogFollowing() override {
    // If the loop has ended nothing is reported any more.
    (void)on_loop(loop_, [this] { backend_.unfollow_logs(*this); });
  }
  void on_log(const std::string& name, std::string_view bytes) override {
    const bool mine = name == name_ || name.starts_with(name_ + "/");
    if (!mine) return;
    std::string& rest = partial_[name];
    rest += bytes;
    std::size_t begin = 0;
    for (std::size_t end = rest.find('\n'); end != std::string::npos;
         begin = end + 1, end = rest.find('\n', begin)) {
      sink_->on_line(std::string_view(rest).substr(begin, end - begin));
    }
    rest.erase(0, begin);
    if (rest.size() > longest_line) rest.clear();
  }

 private:
  static constexpr std::size_t longest_line = 64 << 10;
  backend::InstanceBackend& backend_;
  net::EventLoop& loop_;
  std::string name_;
  std::shared_ptr<gateway::LineSink> sink_;
  std::map<std::string, std::string> partial_;
};

void write_instance(JsonWriter& json, const core::InstanceSummary& instance,
                    const InstanceRecord* record, const std::string& deployment, Instant now) {
  json.object([&] {
    json.field("instance", record != nullptr ? record->name
                                             : fmt::format("{}/{}", deployment, instance.id.value));
    json.field("deployment", deployment);
    const bool warming = instance.state == core::InstanceState::loading && record != nullptr &&
                         record->timeline.loaded != Instant{};
    json.field("state", warming ? "warming" : core::to_text(instance.state));
    json.field("since_ms", whole_ms(now - instance.since));
    if (record != nullptr) {
      json.field("device", record->device_names());
      json.array("devices", [&] {
        for (const backend::Device& each : record->devices) json.value(each.id);
      });
      json.field("pid", static_cast<std::int64_t>(record->pid));
      json.field("endpoint", record->endpoint);
      if (record->load_fraction) json.field("load_fraction", *record->load_fraction);
      if (!record->load_detail.empty()) json.field("load_detail", record->load_detail);
      if (!record->failure.empty()) json.field("failure", record->failure);
    } else {
      json.null_field("device");
      json.array("devices", [] {});
      json.field("pid", 0);
      json.field("endpoint", "");
    }
    json.field("in_flight", instance.in_flight);
    json.field("private_bytes", instance.private_bytes.value);
    json.field("shared_bytes", instance.shared_bytes.value);
  });
}

/// What one instance asks of its devices.
void write_resources(JsonWriter& json, const DeploymentPlan& plan) {
  const core::DeviceNeed& needs = plan.spec.needs;
  json.object("resources", [&] {
    json.field("devices", needs.devices);
    json.field("share_percent", needs.share_permille / 10);
    json.field("exclusive", needs.exclusive);
    json.array("labels", [&] {
      for (const std::string& each : plan.labels) json.value(each);
    });
  });
}

const char* device_kind_text(core::DeviceKind kind) {
  switch (kind) {
    case core::DeviceKind::cpu:
      return "cpu";
    case core::DeviceKind::cuda:
      return "cuda";
    case core::DeviceKind::fake:
      return "fake";
  }
  return "unknown";
}

}  // namespace

AdminService::AdminService(Orchestrator& orchestrator, backend::InstanceBackend& backend,
                           net::EventLoop& loop, EventLog& events, ledger::Ledger& ledger,
                           access::KeyAdmin& keys, const access::WebhookSecrets& webhook_secrets,
                           gateway::DirectoryPtr directory, std::string currency)
    : orchestrator_(orchestrator),
      backend_(backend),
      loop_(loop),
      events_(events),
      ledger_(ledger),
      keys_(keys),
      webhook_secrets_(webhook_secrets),
      directory_(std::move(directory)),
      currency_(std::move(currency)) {}

gateway::DirectoryPtr AdminService::directory() const {
  const std::lock_guard lock(mutex_);
  return directory_;
}

void AdminService::replace_directory(gateway::DirectoryPtr directory) {
  const std::lock_guard lock(mutex_);
  directory_ = std::move(directory);
}

void AdminService::set_reload(std::function<gateway::ReloadReport()> reload) {
  reload_ = std::move(reload);
}

gateway::ReloadReport AdminService::reload() {
  return reload_();
}

bool AdminService::ready() const {
  return !orchestrator_.shutting_down();
}

bool AdminService::can_serve(DeploymentId deployment) const {
  return orchestrator_.can_serve(deployment);
}

Result<std::string> AdminService::ps_json(std::string_view deployment,
                                          const gateway::Sight& sight) {
  DeploymentId only;
  if (!deployment.empty()) {
    const gateway::DeploymentPtr found = directory()->find(deployment);
    if (!found || !sight.covers(found->name)) return tl::unexpected(unknown(deployment, sight));
    only = found->id;
  }
  const gateway::DirectoryPtr names = directory();
  const core::Summary summary = orchestrator_.summary();
  const std::map<InstanceId, InstanceRecord> records = orchestrator_.records();
  const std::shared_ptr<const Orchestrator::Plans> plans = orchestrator_.plans();
  const auto shown = [&](DeploymentId id) {
    return only ? id == only : sight.covers(plans->at(id)->spec.name);
  };
  const Instant now = net::monotonic_now();
  JsonWriter json;
  json.object([&] {
    json.array("deployments", [&] {
      for (const core::DeploymentSummary& d : summary.deployments) {
        if (!shown(d.id)) continue;
        const core::DeploymentSpec& spec = plans->at(d.id)->spec;
        json.object([&] {
          json.field("name", spec.name);
          const gateway::DeploymentPtr current = names->find(spec.name);
          if (!current || current->id != d.id) json.field("leaving", true);
          json.field("queued", d.queued);
          json.field("running", d.running);
          json.field("ready_instances", d.ready_instances);
          json.field("live_instances", d.live_instances);
          json.field("desired_instances", d.desired_instances);
          json.field("min_instances", spec.scale.min_instances);
          json.field("max_instances", spec.scale.max_instances);
          json.field("concurrency", spec.scale.concurrency);
          write_resources(json, *plans->at(d.id));
          json.field("failures", d.failures);
          json.field("crash_loop", d.crash_loop);
          const Duration wait = d.retry_at - now;
          if (d.failures > 0) json.field("retry_in_ms", wait.ns > 0 ? whole_ms(wait) : 0);
          const std::string failure = d.failures > 0 ? orchestrator_.last_failure(d.id) : "";
          if (!failure.empty()) json.field("last_failure", failure);
          const std::string never = orchestrator_.why_never(d, now);
          if (!never.empty()) json.field("never_fits", never);
        });
      }
    });
    json.array("instances", [&] {
      for (const core::InstanceSummary& instance : summary.instances) {
        if (!shown(instance.deployment)) continue;
        const auto record = records.find(instance.id);
        write_instance(json, instance, record == records.end() ? nullptr : &record->second,
                       plans->at(instance.deployment)->spec.name, now);
      }
    });
    if (only) return;
    json.array("devices", [&] {
      for (const core::DeviceSummary& device : summary.devices) {
        json.object([&] {
          json.field("id", device.name);
          json.field("kind", device_kind_text(device.kind));
          json.field("memory_bytes", device.memory.value);
          json.field("reserved_bytes", device.reserved.value);
          json.field("slots", device.slots);
          json.field("resident_instances", device.residents);
          json.field("lost", device.lost);
        });
      }
    });
  });
  return json.take();
}

Error AdminService::unknown(std::string_view name, const gateway::Sight& sight) const {
  const gateway::DirectoryPtr known = directory();
  const std::string_view nearest = known->nearest(name.substr(0, name.rfind('/')));
  const bool suggests = !nearest.empty() && sight.covers(known->find(nearest)->name);
  return {
      ErrorCode::not_found, fmt::format("there is no deployment '{}'", name),
      suggests ? fmt::format("did you mean '{}'?", nearest) : "`stoker ps` shows the deployments"};
}

Result<std::string> AdminService::deployment_name(std::string_view name,
                                                  const gateway::Sight& sight) const {
  const gateway::DeploymentPtr found = directory()->find(name);
  if (!found || !sight.covers(found->name)) return tl::unexpected(unknown(name, sight));
  return found->name;
}

/// An alias becomes the name of its deployment.
Result<gateway::EventFilter> AdminService::known(gateway::EventFilter filter) const {
  if (filter.deployment.empty()) return filter;
  Result<std::string> name = deployment_name(filter.deployment, filter.sight);
  if (!name) return tl::unexpected(name.error());
  filter.deployment = std::move(*name);
  return filter;
}

Result<std::string> AdminService::events_json(const gateway::EventFilter& filter) {
  return known(filter).map([&](const auto& wanted) { return events_.to_json(wanted); });
}

Result<std::unique_ptr<gateway::Subscription>> AdminService::follow_events(
    const gateway::EventFilter& filter, std::shared_ptr<gateway::LineSink> sink) {
  return known(filter).map(
      [&](const auto& wanted) { return events_.follow(wanted, std::move(sink)); });
}

Result<std::string> AdminService::decisions_json(const gateway::EventFilter& filter) {
  return known(filter).map([&](const auto& wanted) {
    DecisionNames names;
    for (const auto& [id, plan] : *orchestrator_.plans()) names.deployments[id] = plan->spec.name;
    for (const core::DeviceSummary& each : orchestrator_.summary().devices) {
      names.devices[each.id] = each.name;
    }
    return orchestrator_.decisions().to_json(wanted, names);
  });
}

std::string AdminService::plain_name(std::string_view name) const {
  // An alias may hold slashes itself, so the whole is looked up first.
  if (const gateway::DeploymentPtr whole = directory()->find(name)) return whole->name;
  const std::size_t slash = name.rfind('/');
  const gateway::DeploymentPtr found = directory()->find(name.substr(0, slash));
  if (!found || slash == std::string_view::npos) return std::string(name);
  return found->name + std::string(name.substr(slash));
}

Result<AdminService::Target> AdminService::resolve(std::string_view name) const {
  const std::string plain = plain_name(name);
  const gateway::DeploymentPtr whole = directory()->find(plain);
  if (whole) return Target{whole->id, {}};
  const std::size_t slash = plain.rfind('/');
  const gateway::DeploymentPtr owner = directory()->find(std::string_view(plain).substr(0, slash));
  if (!owner || slash == std::string::npos) return tl::unexpected(unknown(name, {}));
  for (const auto& [instance, record] : orchestrator_.records()) {
    if (record.name == plain) return Target{owner->id, instance};
  }
  return failure(ErrorCode::not_found, fmt::format("there is no instance '{}'", name),
                 "`stoker ps` shows those that live");
}

Result<std::vector<std::string>> AdminService::log_names(std::string_view name,
                                                         const gateway::Sight& sight) const {
  const std::string plain = plain_name(name);
  const std::size_t slash = plain.rfind('/');
  if (!sight.covers(std::string_view(plain).substr(0, slash))) {
    return tl::unexpected(unknown(name, sight));
  }
  std::vector<std::string> names = backend_.log_names(std::string_view(plain).substr(0, slash));
  if (slash != std::string::npos) {
    std::erase_if(names, [&](const auto& n) { return n != plain; });
  }
  if (!names.empty()) return names;
  const Result<Target> target = resolve(name);
  if (!target) return tl::unexpected(target.error());
  return names;
}

Result<std::string> AdminService::log_text(std::string_view name, std::int64_t lines,
                                           const gateway::Sight& sight) {
  const Result<std::vector<std::string>> names = log_names(name, sight);
  if (!names) return tl::unexpected(names.error());
  std::string text;
  for (const std::string& each : *names) {
    const std::string tail =
        backend_.log_tail(each, static_cast<std::size_t>(std::max<std::int64_t>(lines, 0)));
    if (tail.empty()) continue;  // a heading over nothing says nothing
    if (names->size() > 1) text += fmt::format("==> {} <==\n", each);
    text += tail;
    if (!text.empty() && text.back() != '\n') text += '\n';
  }
  return text;
}

Result<std::unique_ptr<gateway::Subscription>> AdminService::follow_log(
    std::string_view name, std::int64_t lines, const gateway::Sight& sight,
    std::shared_ptr<gateway::LineSink> sink) {
  const Result<std::string> before = log_text(name, lines, sight);
  if (!before) return tl::unexpected(before.error());
  auto following = std::make_unique<LogFollowing>(backend_, loop_, plain_name(name), sink);
  std::string_view rest = *before;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    sink->on_line(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (!on_loop(loop_, [this, follower = following.get()] { backend_.follow_logs(*follower); })) {
    return failure(ErrorCode::unavailable, "the server is ending");
  }
  return following;
}

Result<std::string> AdminService::request_json(RequestId request, const gateway::Sight& sight) {
  const Result<std::optional<ledger::RequestRow>> row = ledger_.find(request);
  if (!row) return tl::unexpected(row.error());
  const bool theirs = row->has_value() &&
                      (sight.tenant.empty() || (*row)->admission.tenant == sight.tenant) &&
                      sight.covers((*row)->admission.deployment);
  if (!theirs) {
    return failure(ErrorCode::not_found,
                   fmt::format("no ended request '{}' is in the ledger", public_id(request)),
                   "`stoker requests` lists the newest; one that still runs appears when it ends");
  }
  JsonWriter json;
  write_request(json, **row, currency_);
  return json.take();
}

Result<std::string> AdminService::requests_json(const gateway::RequestFilter& filter) {
  ledger::RequestFilter wanted;
  const Result<std::string> known = deployment_name(filter.deployment, filter.sight);
  // One that is not configured any more may still have rows; one that is not seen has none.
  if (!filter.deployment.empty()) wanted.deployment = known.value_or(filter.deployment);
  if (!filter.sight.tenant.empty()) wanted.tenant = filter.sight.tenant;
  wanted.within = filter.sight.deployments;
  if (!filter.outcome.empty()) {
    for (const ledger::Outcome outcome :
         {ledger::Outcome::completed, ledger::Outcome::failed, ledger::Outcome::cancelled,
          ledger::Outcome::expired, ledger::Outcome::refused, ledger::Outcome::interrupted}) {
      if (filter.outcome == ledger::to_text(outcome)) wanted.outcome = outcome;
    }
    if (!wanted.outcome) {
      return failure(ErrorCode::invalid, fmt::format("there is no outcome '{}'", filter.outcome),
                     "completed, failed, cancelled, expired, refused or interrupted");
    }
  }
  wanted.max_rows = static_cast<std::uint32_t>(std::clamp<std::int64_t>(filter.limit, 0, 10'000));
  if (wanted.max_rows == 0) return std::string(R"({"requests":[]})");
  if (const Result<void> flushed = ledger_.flush(); !flushed) {
    return tl::unexpected(flushed.error());
  }
  const Result<std::vector<ledger::RequestRow>> rows = ledger_.list(wanted);
  if (!rows) return tl::unexpected(rows.error());
  if (rows->empty() && wanted.deployment && !known) {
    return tl::unexpected(known.error());
  }
  JsonWriter json;
  json.object([&] {
    json.array("requests", [&] {
      for (const ledger::RequestRow& row : *rows) write_request(json, row, currency_);
    });
  });
  return json.take();
}

Result<std::string> AdminService::usage_json(const gateway::UsageFilter& filter) {
  ledger::TotalsQuery query;
  query.by_deployment = filter.by == "deployment";
  query.by_tenant = filter.by == "tenant";
  query.by_day = filter.by == "day";
  if (!query.by_deployment && !query.by_tenant && !query.by_day) {
    return failure(ErrorCode::invalid, fmt::format("usage cannot be grouped by '{}'", filter.by),
                   "deployment, tenant or day");
  }
  const Result<std::string> known = deployment_name(filter.deployment, filter.sight);
  // One that is not configured any more may still have rows; one that is not seen has none.
  if (!filter.deployment.empty()) query.deployment = known.value_or(filter.deployment);
  if (!filter.sight.tenant.empty()) query.tenant = filter.sight.tenant;
  query.within = filter.sight.deployments;
  query.since = filter.from;
  query.until = filter.to;
  if (const Result<void> flushed = ledger_.flush(); !flushed) {
    return tl::unexpected(flushed.error());
  }
  const Result<std::vector<ledger::UsageTotals>> totals = ledger_.totals(query);
  if (!totals) return tl::unexpected(totals.error());
  if (totals->empty() && query.deployment && !known) return tl::unexpected(known.error());
  JsonWriter json;
  json.object([&] {
    json.field("by", filter.by);
    json.field("currency", currency_);
    json.array("usage", [&] {
      for (const ledger::UsageTotals& line : *totals) {
        json.object([&] {
          if (query.by_deployment) json.field("deployment", line.deployment);
          if (query.by_tenant) json.field("tenant", line.tenant);
          if (query.by_day) json.field("day", line.day);
          json.field("requests", line.requests);
          json.field("completed", line.completed);
          json.field("input_tokens", line.input_tokens);
          json.field("output_tokens", line.output_tokens);
          json.field("cached_tokens", line.cached_tokens);
          json.field("device_ms", line.device_ms);
          json.field("amount", to_text(line.amount));
        });
      }
    });
  });
  return json.take();
}

Result<std::string> AdminService::warm(std::string_view deployment) {
  const Result<Target> target = resolve(deployment);
  if (!target) return tl::unexpected(target.error());
  if (target->instance) {
    return failure(ErrorCode::invalid, fmt::format("'{}' is an instance", deployment),
                   "name its deployment");
  }
  const std::string never = orchestrator_.why_never(target->deployment);
  if (!never.empty()) return failure(ErrorCode::no_capacity, never);
  orchestrator_.warm(target->deployment);
  return ps_json(orchestrator_.plans()->at(target->deployment)->spec.name, {});
}

Result<std::string> AdminService::stop(std::string_view name) {
  const Result<Target> target = resolve(name);
  if (!target) return tl::unexpected(target.error());
  orchestrator_.stop(target->deployment, target->instance);
  return ps_json(orchestrator_.plans()->at(target->deployment)->spec.name, {});
}

Result<std::string> AdminService::keys_json() {
  return keys_.keys_json();
}

Result<std::string> AdminService::create_key(std::string_view body) {
  return keys_.create_key(body, net::wall_now());
}

Result<std::string> AdminService::change_key(std::string_view id, std::string_view body) {
  return keys_.change_key(id, body);
}

Result<std::string> AdminService::revoke_key(std::string_view id, bool hard) {
  return keys_.revoke_key(id, hard, net::wall_now());
}

Result<std::string> AdminService::webhook_secret_json(std::string_view tenant) {
  if (!access::is_tenant_name(tenant)) {
    return failure(ErrorCode::invalid, fmt::format("'{}' is not the name of a tenant", tenant));
  }
  JsonWriter json;
  json.object([&] {
    json.field("tenant", tenant);
    json.field("secret", webhook_secrets_.of(tenant).reveal());
  });
  return json.take();
}

}  // namespace stoker::orchestrator
