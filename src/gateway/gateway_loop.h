// One event loop of the gateway: its listener, its connections to instances, and what it does with
// each request that comes in. Loops share nothing that is written while requests run, but the
// dispatcher, the journal and the counters.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "gateway/admin_routes.h"
#include "gateway/answer_keeper.h"
#include "gateway/auth.h"
#include "gateway/inference_request.h"
#include "gateway/job_routes.h"
#include "gateway/kept_streams.h"
#include "gateway/metrics.h"
#include "net/http_server.h"

namespace stoker::gateway {

struct GatewayOptions {
  net::ListenAddress listen;
  int threads = 1;
  net::HttpLimits http;
  AuthOptions auth;
  RequestLimits requests;
  KeptStreamLimits kept_streams;
  bool access_log = true;
};

/// What the gateway is built on. All of it outlives the server.
struct GatewayParts {
  Dispatcher& dispatcher;
  RecordSink& records;
  AdminApi& admin;
  JobApi& jobs;
  obs::Registry& registry;
  obs::Logger& log;
  net::ChannelMaker* secure = nullptr;  // TLS on every connection; null: plain HTTP
  AnswerKeeper* answers = nullptr;      // null: an Idempotency-Key is not looked at
};

class GatewayLoop final : private net::RequestHandler {
 public:
  GatewayLoop(std::unique_ptr<net::EventLoop> loop, UniqueFd listener,
              const GatewayOptions& options, const GatewayParts& parts, GatewayMetrics& metrics,
              AdminThread& admin_thread, KeptStreams& kept_streams, DirectoryPtr directory,
              access::KeyRingPtr keys);
  ~GatewayLoop() override;

  /// Runs until close(). Threads: the one that belongs to the loop.
  void run();

  // Threads: any; each takes effect on the loop's thread.
  void replace_directory(DirectoryPtr directory);
  /// What runs for the key `cut_off`, if there is one, ends.
  void replace_keys(access::KeyRingPtr keys, KeyId cut_off);
  /// Runs a request that nobody is connected for; cancel() as if its client had left.
  void launch(DetachedRequest request, std::shared_ptr<DetachedSink> sink);
  void cancel_launched(RequestId request);
  /// Tells whoever comes that the server ends; calls `done` there once no request runs.
  void drain(std::function<void()> done);
  /// Stops accepting; calls `done` there once the last connection is gone.
  void close_listener(std::function<void()> done);
  /// Ends what still runs, as failed; calls `done` there once all endings are on record.
  void end_requests(std::function<void()> done);
  /// Closes all connections and ends run().
  void close();

 private:
  net::HeadVerdict check_head(const net::HttpRequest& head) override;
  std::string error_body(int status, std::string_view message) const override;
  void on_request(net::ExchangePtr exchange) override;
  void on_accept_paused(int error) override;

  void answer_preflight(net::Exchange& exchange, const RouteMatch& match, RequestId id) const;
  void handle(const net::ExchangePtr& exchange, const RouteMatch& match, const access::Key* key,
              RequestId id);
  void run_model(const net::ExchangePtr& exchange, const RouteMatch& match, access::KeyPtr key,
                 RequestId id, std::shared_ptr<DetachedExchange> detached = nullptr);
  void run(Incoming incoming);
  void run_once(Incoming incoming, std::string_view idempotency_key);
  void claimed(Incoming incoming, AnswerClaim claim, const ClaimOutcome& outcome);
  [[nodiscard]] std::optional<std::string> changed_body(const net::HttpRequest& request,
                                                        Route route, const BodyFacts& facts,
                                                        const BodyChange& change);
  void run_translated(const net::ExchangePtr& exchange, const RouteMatch& match, access::KeyPtr key,
                      RequestId id);
  void show_ollama_model(net::Exchange& exchange, const access::Key& key, RequestId id) const;
  [[nodiscard]] std::vector<DeploymentPtr> visible(const access::Key& key) const;
  [[nodiscard]] std::optional<ApiError> unservable(const DeploymentPtr& deployment, Route route,
                                                   std::string_view model,
                                                   const access::Key& key) const;
  [[nodiscard]] DeploymentPtr find(std::string_view model, const access::Key& key) const;
  [[nodiscard]] std::optional<ApiError> check_body(const net::HttpRequest& request, Route route,
                                                   BodyFacts& facts);
  [[nodiscard]] std::uint64_t affinity_of(const net::HttpRequest& request, Route route,
                                          const Deployment& deployment, TenantId tenant) const;
  [[nodiscard]] ApiError unknown_model(std::string_view model, const access::Key& key) const;
  void list_models(net::Exchange& exchange, const access::Key& key, RequestId id) const;
  void show_model(net::Exchange& exchange, const std::string& name, const access::Key& key,
                  RequestId id) const;
  void show_model_ready(net::Exchange& exchange, const std::string& name, const access::Key& key,
                        RequestId id) const;
  void show_ready(net::Exchange& exchange, Dialect dialect, RequestId id) const;
  [[nodiscard]] const DeploymentMetrics& metrics_of(const Deployment& deployment);
  void begin_drain();
  void check_idle();

  std::unique_ptr<net::EventLoop> loop_;
  const GatewayOptions& options_;
  GatewayParts parts_;
  GatewayMetrics& metrics_;
  KeptStreams& kept_streams_;
  DirectoryPtr directory_;
  access::KeyRingPtr keys_;
  std::map<DeploymentId, DeploymentMetrics> metrics_by_deployment_;
  JsonReader json_;
  std::unique_ptr<Upstreams> upstreams_;
  RequestHost host_;
  AdminRoutes admin_;
  JobRoutes jobs_;
  std::unique_ptr<net::HttpServer> server_;
  std::map<RequestId, std::weak_ptr<DetachedExchange>> launched_;
  bool draining_ = false;
  Instant accept_trouble_told_;
  std::function<void()> when_drained_;
  std::function<void()> when_ended_;
  /// Shape of the error that check_head() has just refused with; error_body() is asked next.
  mutable std::optional<std::pair<Dialect, ApiError>> refusal_;
};

}  // namespace stoker::gateway
