// The configuration, read anew while the server runs: checked whole first; then deployments come,
// change and go, and nothing else is disturbed. Any problem leaves everything as it was.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "access/key_admin.h"
#include "app/plans.h"
#include "config/load.h"
#include "gateway/admin_api.h"
#include "gateway/server.h"
#include "jobs/job_service.h"
#include "net/event_loop.h"
#include "obs/log.h"
#include "orchestrator/admin_service.h"
#include "orchestrator/footprints.h"
#include "orchestrator/orchestrator.h"
#include "tls/tls_server.h"

namespace stoker::app {

/// What a reload changes. All of it outlives the Reloader.
struct ReloadParts {
  net::EventLoop& loop;  // the orchestrator's
  orchestrator::Orchestrator& orchestrator;
  orchestrator::AdminService& admin;
  gateway::GatewayServer& gateway;
  jobs::JobService& jobs;
  access::KeyAdmin& keys;
  const orchestrator::Footprints& footprints;
  orchestrator::EventLog& events;
  obs::Logger& log;
  tls::TlsServer* tls = nullptr;  // null: plain HTTP
};

class Reloader {
 public:
  /// `config` and `ids` are those of the start. `load` reads the configuration; null: there is none
  /// to read.
  Reloader(ReloadParts parts, std::vector<backend::Device> devices, config::ServerConfig config,
           PlanIds ids, std::function<config::Loaded()> load);

  /// Threads: any but the loop's, which it waits for.
  gateway::ReloadReport reload();

 private:
  struct Outcome;
  [[nodiscard]] Outcome try_reload();
  void sort_out(const config::ServerConfig& next, PlanIds& ids, Outcome& outcome) const;
  [[nodiscard]] Result<std::map<TenantId, std::int32_t>> changed_weights(
      const config::ServerConfig& next) const;
  [[nodiscard]] bool apply(std::vector<orchestrator::DeploymentPlan> plans,
                           const gateway::DirectoryPtr& directory, const PlanIds& before,
                           const Outcome& outcome);
  [[nodiscard]] bool on_loop(std::function<void()> action);
  void tell(const Outcome& outcome);

  ReloadParts parts_;
  const std::vector<backend::Device> devices_;
  const std::function<config::Loaded()> load_;
  std::mutex mutex_;
  config::ServerConfig config_;  // guarded by mutex_, as is the next
  PlanIds ids_;
};

}  // namespace stoker::app
