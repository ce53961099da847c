// Answers of the admin routes, as JSON text, from the orchestrator, the backend's logs and the
// ledger. Reads only, but for warm() and stop(), which become core events.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "access/key_admin.h"
#include "access/webhook_secrets.h"
#include "backend/instance_backend.h"
#include "gateway/admin_api.h"
#include "gateway/directory.h"
#include "ledger/ledger.h"
#include "net/event_loop.h"
#include "orchestrator/event_log.h"
#include "orchestrator/orchestrator.h"

namespace stoker::orchestrator {

class AdminService final : public gateway::AdminApi {
 public:
  /// All of them outlive the service. `loop` is the backend's.
  AdminService(Orchestrator& orchestrator, backend::InstanceBackend& backend, net::EventLoop& loop,
               EventLog& events, ledger::Ledger& ledger, access::KeyAdmin& keys,
               const access::WebhookSecrets& webhook_secrets, gateway::DirectoryPtr directory,
               std::string currency);

  /// Threads: any.
  void replace_directory(gateway::DirectoryPtr directory);
  /// What reload() does. Needs: called before anything is served.
  void set_reload(std::function<gateway::ReloadReport()> reload);

  bool ready() const override;
  bool can_serve(DeploymentId deployment) const override;
  Result<std::string> ps_json(std::string_view deployment, const gateway::Sight& sight) override;
  Result<std::string> events_json(const gateway::EventFilter& filter) override;
  Result<std::string> decisions_json(const gateway::EventFilter& filter) override;
  Result<std::unique_ptr<gateway::Subscription>> follow_events(
      const gateway::EventFilter& filter, std::shared_ptr<gateway::LineSink> sink) override;
  Result<std::string> log_text(std::string_view name, std::int64_t lines,
                               const gateway::Sight& sight) override;
  Result<std::unique_ptr<gateway::Subscription>> follow_log(
      std::string_view name, std::int64_t lines, const gateway::Sight& sight,
      std::shared_ptr<gateway::LineSink> sink) override;
  Result<std::string> request_json(RequestId request, const gateway::Sight& sight) override;
  Result<std::string> requests_json(const gateway::RequestFilter& filter) override;
  Result<std::string> usage_json(const gateway::UsageFilter& filter) override;
  Result<std::string> warm(std::string_view deployment) override;
  Result<std::string> stop(std::string_view name) override;
  gateway::ReloadReport reload() override;
  Result<std::string> keys_json() override;
  Result<std::string> create_key(std::string_view body) override;
  Result<std::string> change_key(std::string_view id, std::string_view body) override;
  Result<std::string> revoke_key(std::string_view id, bool hard) override;
  Result<std::string> webhook_secret_json(std::string_view tenant) override;

 private:
  struct Target {
    DeploymentId deployment;
    InstanceId instance;  // zero: all of the deployment
  };
  [[nodiscard]] gateway::DirectoryPtr directory() const;
  /// Suggests the nearest name of those that are seen.
  [[nodiscard]] Error unknown(std::string_view name, const gateway::Sight& sight) const;
  /// The name of the deployment that `name`, maybe an alias, means; one that is not seen is none.
  [[nodiscard]] Result<std::string> deployment_name(std::string_view name,
                                                    const gateway::Sight& sight) const;
  [[nodiscard]] Result<gateway::EventFilter> known(gateway::EventFilter filter) const;
  /// "chat/3" for the same instance of an alias of chat; a deployment's own name for its alias.
  [[nodiscard]] std::string plain_name(std::string_view name) const;
  [[nodiscard]] Result<Target> resolve(std::string_view name) const;
  [[nodiscard]] Result<std::vector<std::string>> log_names(std::string_view name,
                                                           const gateway::Sight& sight) const;

  Orchestrator& orchestrator_;
  backend::InstanceBackend& backend_;
  net::EventLoop& loop_;
  EventLog& events_;
  ledger::Ledger& ledger_;
  access::KeyAdmin& keys_;
  const access::WebhookSecrets& webhook_secrets_;
  mutable std::mutex mutex_;
  gateway::DirectoryPtr directory_;  // guarded by mutex_
  std::function<gateway::ReloadReport()> reload_;
  std::string currency_;
};

}  // namespace stoker::orchestrator
