#include "app/reload.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include "app/tenants.h"
#include "app/trace_world.h"
#include "base/json_writer.h"
#include "net/clock.h"

namespace stoker::app {
namespace {

constexpr auto loop_patience = std::chrono::seconds(5);

using config::DeploymentConfig;
using config::ServerConfig;

const DeploymentConfig* find(const ServerConfig& config, std::string_view name) {
  const auto found = std::ranges::find(config.deployments, name, &DeploymentConfig::name);
  return found == config.deployments.end() ? nullptr : &*found;
}

config::Problem problem_of(const ServerConfig& config, const Error& error) {
  config::Problem problem;
  problem.file = config.file;
  problem.message = error.message;
  problem.hint = error.hint;
  return problem;
}

/// `next`, with the old values of what only a start can change.
ServerConfig what_can_change(const ServerConfig& now, const ServerConfig& next) {
  ServerConfig config = now;
  config.deployments = next.deployments;
  config.tenants = next.tenants;
  const bool has_tls = !now.tls.certificate.empty();
  if (has_tls && !next.tls.certificate.empty()) config.tls = next.tls;
  return config;
}

void write_problems(JsonWriter& json, const std::vector<config::Problem>& problems) {
  json.array("problems", [&] {
    for (const config::Problem& each : problems) {
      json.object([&] {
        json.field("severity",
                   each.severity == config::Problem::Severity::error ? "error" : "warning");
        json.field("path", each.path);
        json.field("text", config::to_text(each));
      });
    }
  });
}

}  // namespace

struct Reloader::Outcome {
  bool ok = false;
  std::vector<std::string> added;
  std::vector<std::string> changed;   // in place: their instances go on
  std::vector<std::string> replaced;  // by new instances
  std::vector<std::string> removed;
  std::vector<std::string> settings;  // outside the deployments that are taken into use
  std::vector<std::string> needs_restart;
  std::vector<config::Problem> problems;

  [[nodiscard]] std::string json() const {
    JsonWriter json;
    json.object([&] {
      json.field("ok", ok);
      const auto list = [&](const char* name, const std::vector<std::string>& texts) {
        json.array(name, [&] {
          for (const std::string& text : texts) json.value(text);
        });
      };
      list("added", added);
      list("changed", changed);
      list("replaced", replaced);
      list("removed", removed);
      list("settings", settings);
      list("needs_restart", needs_restart);
      write_problems(json, problems);
    });
    return json.take();
  }
  [[nodiscard]] std::string sentence() const {
    std::vector<std::string> parts;
    for (const auto& [what, names] : {std::pair("added", &added),
                                      {"changed", &changed},
                                      {"replaced", &replaced},
                                      {"removed", &removed}}) {
      if (!names->empty()) parts.push_back(fmt::format("{} {}", what, fmt::join(*names, ", ")));
    }
    std::string text =
        parts.empty() ? "no deployment differs" : fmt::format("{}", fmt::join(parts, "; "));
    if (!settings.empty()) text += fmt::format("; new {}", fmt::join(settings, ", "));
    if (!needs_restart.empty()) {
      text += fmt::format("; only a restart changes {}", fmt::join(needs_restart, ", "));
    }
    return text;
  }
};

Reloader::Reloader(ReloadParts parts, std::vector<backend::Device> devices, ServerConfig config,
                   PlanIds ids, std::function<config::Loaded()> load)
    : parts_(parts),
      devices_(std::move(devices)),
      load_(std::move(load)),
      config_(std::move(config)),
      ids_(std::move(ids)) {}

gateway::ReloadReport Reloader::reload() {
  const std::lock_guard lock(mutex_);
  const Outcome outcome = try_reload();
  tell(outcome);
  return {outcome.ok, outcome.json()};
}

Reloader::Outcome Reloader::try_reload() {
  Outcome outcome;
  if (!load_) {
    outcome.problems.push_back(problem_of(
        config_, {ErrorCode::invalid, "this server was started without a configuration file", {}}));
    return outcome;
  }
  config::Loaded loaded = load_();
  outcome.problems = std::move(loaded.problems);
  if (config::has_errors(outcome.problems)) return outcome;
  const ServerConfig next = what_can_change(config_, loaded.config);
  outcome.needs_restart = config::changed_settings(next, loaded.config);
  outcome.settings = config::changed_settings(config_, next);
  std::erase(outcome.settings, "deployments");
  const auto fail = [&](const Error& error) {
    outcome.problems.push_back(problem_of(config_, error));
    outcome.added = outcome.changed = outcome.replaced = outcome.removed = outcome.settings = {};
    return outcome;
  };
  PlanIds ids = ids_;
  sort_out(next, ids, outcome);
  Result<std::vector<orchestrator::DeploymentPlan>> plans = make_plans(next, ids);
  if (!plans) return fail(plans.error());
  const Result<gateway::DirectoryPtr> directory = make_directory(next, *plans);
  if (!directory) return fail(directory.error());
  recall_footprints(parts_.footprints, devices_, *plans);
  if (parts_.tls != nullptr) {
    const Result<void> used =
        parts_.tls->replace({next.tls.certificate, next.tls.key}, net::wall_now());
    if (!used) return fail(used.error());
  }
  const Result<std::map<TenantId, std::int32_t>> weights = changed_weights(next);
  if (!weights) return fail(weights.error());
  const Result<void> limited = parts_.keys.replace_tenants(tenant_limits(next));
  if (!limited) return fail(limited.error());
  const bool weighed = on_loop([&orchestrator = parts_.orchestrator, weights = *weights] {
    for (const auto& [tenant, weight] : weights) orchestrator.weigh_tenant(tenant, weight);
  });
  if (!weighed || !apply(std::move(*plans), *directory, ids_, outcome)) {
    return fail({ErrorCode::unavailable, "the server is ending", {}});
  }
  outcome.ok = true;
  config_ = next;
  ids_ = std::move(ids);
  return outcome;
}

/// Which deployments come, change and go. What must get new instances gets a new id.
void Reloader::sort_out(const ServerConfig& next, PlanIds& ids, Outcome& outcome) const {
  for (const DeploymentConfig& now : config_.deployments) {
    const DeploymentConfig* const then = find(next, now.name);
    if (then == nullptr) {
      outcome.removed.push_back(now.name);
      ids.forget(now.name);
    } else if (!config::same_instances(now, *then)) {
      outcome.replaced.push_back(now.name);
      ids.forget(now.name);
    } else if (!config::same(now, *then)) {
      outcome.changed.push_back(now.name);
    }
  }
  for (const DeploymentConfig& then : next.deployments) {
    if (find(config_, then.name) == nullptr) outcome.added.push_back(then.name);
  }
}

/// Those that differ from now; who is not in the file any more is as if he had never been.
Result<std::map<TenantId, std::int32_t>> Reloader::changed_weights(const ServerConfig& next) const {
  Result<std::map<TenantId, std::int32_t>> then = tenant_weights(next, parts_.keys);
  if (!then) return then;
  const Result<std::map<TenantId, std::int32_t>> now = tenant_weights(config_, parts_.keys);
  if (!now) return now;
  for (const auto& [tenant, weight] : *now) {
    const auto [at, is_usual] = then->try_emplace(tenant, config::TenantConfig{}.weight);
    if (!is_usual && at->second == weight) then->erase(at);
  }
  return then;
}

/// Runs `action` on the loop.   Gives: false if the loop does not answer.
bool Reloader::on_loop(std::function<void()> action) {
  auto done = std::make_shared<std::promise<void>>();
  std::future<void> future = done->get_future();
  parts_.loop.post([action = std::move(action), done] {
    action();
    done->set_value();
  });
  return future.wait_for(loop_patience) == std::future_status::ready;
}

/// First what is new, then the way to it, then what goes: no request finds nothing in between.
/// Gives: false if the loop does not answer, because the server is ending.
bool Reloader::apply(std::vector<orchestrator::DeploymentPlan> plans,
                     const gateway::DirectoryPtr& directory, const PlanIds& before,
                     const Outcome& outcome) {
  const auto is_in = [](const std::vector<std::string>& names, const std::string& name) {
    return std::ranges::find(names, name) != names.end();
  };
  auto old_ids = before;
  std::vector<DeploymentId> leaving;
  for (const auto* names : {&outcome.replaced, &outcome.removed}) {
    for (const std::string& name : *names) leaving.push_back(old_ids.deployment(name));
  }
  const bool came = on_loop(
      [&orchestrator = parts_.orchestrator, plans = std::move(plans), outcome, is_in]() mutable {
        if (orchestrator.shutting_down()) return;
        for (orchestrator::DeploymentPlan& plan : plans) {
          const std::string& name = plan.spec.name;
          if (is_in(outcome.changed, name)) {
            orchestrator.change_deployment(std::move(plan));
          } else if (is_in(outcome.added, name) || is_in(outcome.replaced, name)) {
            orchestrator.add_deployment(std::move(plan));
          }
        }
      });
  if (!came || parts_.orchestrator.shutting_down()) return false;
  parts_.gateway.replace_directory(directory);
  parts_.admin.replace_directory(directory);
  parts_.jobs.replace_directory(directory);
  return on_loop([&orchestrator = parts_.orchestrator, leaving = std::move(leaving)] {
    for (const DeploymentId id : leaving) orchestrator.retire_deployment(id);
  });
}

void Reloader::tell(const Outcome& outcome) {
  if (outcome.ok) {
    const std::string sentence = outcome.sentence();
    parts_.events.append(net::wall_now(), {"configuration_reloaded", "", "", "", sentence});
    parts_.log.info("configuration_reloaded",
                    {{"config", config::fingerprint(config_)}, {"text", sentence}});
    return;
  }
  std::size_t errors = 0;
  std::string first;
  for (const config::Problem& each : outcome.problems) {
    if (each.severity != config::Problem::Severity::error) continue;
    if (errors++ == 0) first = config::to_text(each);
  }
  const std::string sentence =
      fmt::format("everything stays as it was; {} problem{}, the first: {}", errors,
                  errors == 1 ? "" : "s", first);
  parts_.events.append(net::wall_now(), {"configuration_refused", "", "", "problems", sentence});
  parts_.log.warn("configuration_refused", {{"text", sentence}});
}

}  // namespace stoker::app
