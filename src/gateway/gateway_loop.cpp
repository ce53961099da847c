#include "gateway/gateway_loop.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>
#include <vector>

#include "base/json_writer.h"
#include "base/text.h"
#include "gateway/cors.h"
#include "gateway/forwarding.h"
#include "gateway/media_request.h"
#include "gateway/ollama_lists.h"
#include "gateway/ollama_request.h"
#include "gateway/openapi_route.h"
#include "gateway/prefer.h"
#include "gateway/rate_limit.h"
#include "gateway/resume_route.h"
#include "gateway/session_affinity.h"
#include "net/clock.h"

namespace stoker::gateway {
namespace {

constexpr Duration accept_trouble_again = seconds(10);

/// Code of an error that the HTTP server itself answers with.
const char* code_of(int status) {
  switch (status) {
    case 408:
      return "request_timeout";
    case 413:
      return "body_too_large";
    case 414:
      return "target_too_long";
    case 417:
      return "unknown_expectation";
    case 431:
      return "header_too_large";
    case 501:
      return "not_implemented";
    case 505:
      return "http_version";
    default:
      return "bad_request";
  }
}

void send_json(net::Exchange& exchange, int status, const std::string& json, RequestId id) {
  exchange.respond(status, plain_fields("application/json", id), json);
}

void write_model(JsonWriter& json, const Deployment& deployment) {
  json.object([&] {
    json.field("id", deployment.name);
    json.field("object", "model");
    json.field("created", 0);
    json.field("owned_by", "stoker");
    json.field("runtime", to_text(deployment.runtime));
    if (deployment.aliases.empty()) return;
    json.array("aliases", [&] {
      for (const std::string& alias : deployment.aliases) json.value(alias);
    });
  });
}

/// A stream whose client could have asked for usage and did not.
bool declines_usage(Route route, const BodyFacts& facts) {
  return (route == Route::chat || route == Route::completions) && facts.stream &&
         !facts.wants_usage;
}

/// Our own workers keep to what the client asked for in a chat; llama.cpp's completions show usage
/// always. So the events of a chat, by far the most, are not searched.
bool must_hide_usage(const Deployment& deployment, Route route, const BodyFacts& facts) {
  return declines_usage(route, facts) &&
         (deployment.usage != UsageMode::contract || route == Route::completions);
}

/// Where an engine has what requests are translated to.
const char* path_of(Route route) {
  switch (route) {
    case Route::completions:
      return "/v1/completions";
    case Route::embeddings:
      return "/v1/embeddings";
    default:
      return "/v1/chat/completions";
  }
}

/// After which time the request is to go on as a job; nullopt: never. Jobs are POSTs of JSON.
std::optional<Duration> wait_before_job(const net::HttpRequest& request, Route route) {
  const auto prefer = request.fields.find("prefer");
  if (!prefer || request.method != "POST" || request.upgrade || takes_media(route)) {
    return std::nullopt;
  }
  if (!is_json(request.fields.find("content-type").value_or("application/json"))) {
    return std::nullopt;
  }
  return preferred_wait(*prefer);
}

/// What a foreign engine must be told besides what the client wrote.
BodyChange change_for(const Deployment& deployment, Route route, const BodyFacts& facts,
                      TenantId tenant) {
  BodyChange change;
  change.add_include_usage = deployment.usage == UsageMode::inject && declines_usage(route, facts);
  if (names_model_in_body(route)) change.model = deployment.engine_model;
  if (deployment.salts_prompts) change.cache_salt = fmt::format("stoker-{}", tenant.value);
  return change;
}

}  // namespace

GatewayLoop::GatewayLoop(std::unique_ptr<net::EventLoop> loop, UniqueFd listener,
                         const GatewayOptions& options, const GatewayParts& parts,
                         GatewayMetrics& metrics, AdminThread& admin_thread,
                         KeptStreams& kept_streams, DirectoryPtr directory, access::KeyRingPtr keys)
    : loop_(std::move(loop)),
      options_(options),
      parts_(parts),
      metrics_(metrics),
      kept_streams_(kept_streams),
      directory_(std::move(directory)),
      keys_(std::move(keys)),
      upstreams_(std::make_unique<Upstreams>(*loop_)),
      host_{.loop = *loop_,
            .dispatcher = parts.dispatcher,
            .records = parts.records,
            .log = parts.log,
            .json = json_,
            .upstreams = *upstreams_,
            .limits = options.requests,
            .access_log = options.access_log,
            .running = {},
            .fields = {},
            .on_done = [this] { check_idle(); }},
      admin_(*loop_, parts.admin, admin_thread),
      jobs_(*loop_, parts.jobs),
      server_(std::make_unique<net::HttpServer>(*loop_, std::move(listener), options.http,
                                                static_cast<net::RequestHandler&>(*this),
                                                parts.secure)) {}

GatewayLoop::~GatewayLoop() = default;

void GatewayLoop::run() {
  loop_->run();
}

void GatewayLoop::replace_directory(DirectoryPtr directory) {
  loop_->post([this, directory = std::move(directory)] { directory_ = directory; });
}

void GatewayLoop::replace_keys(access::KeyRingPtr keys, KeyId cut_off) {
  loop_->post([this, keys = std::move(keys), cut_off] {
    keys_ = keys;
    if (!cut_off) return;
    // Each one leaves the list as it ends, so a copy is walked.
    const std::vector<std::shared_ptr<InferenceRequest>> all(host_.running.begin(),
                                                             host_.running.end());
    for (const auto& request : all) {
      if (request->key().id == cut_off) request->cut_off();
    }
  });
}

void GatewayLoop::launch(DetachedRequest request, std::shared_ptr<DetachedSink> sink) {
  loop_->post([this, request = std::move(request), sink = std::move(sink)]() mutable {
    const RequestId id = request.id;
    const access::KeyPtr key = request.key;
    const auto exchange = std::make_shared<DetachedExchange>(std::move(request), std::move(sink),
                                                             net::monotonic_now());
    const std::optional<RouteMatch> match = match_route(exchange->request().path);
    if (!match || !runs_model(match->spec->route) || is_translated(match->spec->route)) {
      send_error(*exchange, Dialect::plain,
                 {404, "not_found", "there is no such route that runs a model", {}, {}}, id);
      return;
    }
    std::erase_if(launched_, [](const auto& each) { return each.second.expired(); });
    launched_[id] = exchange;
    run_model(exchange, *match, key, id, exchange);
  });
}

void GatewayLoop::cancel_launched(RequestId request) {
  loop_->post([this, request] {
    const auto found = launched_.find(request);
    if (found == launched_.end()) return;
    if (const auto exchange = found->second.lock()) exchange->leave();
  });
}

void GatewayLoop::drain(std::function<void()> done) {
  loop_->post([this, done = std::move(done)] {
    when_drained_ = done;
    begin_drain();
    check_idle();
  });
}

void GatewayLoop::close_listener(std::function<void()> done) {
  loop_->post([this, done = std::move(done)] {
    begin_drain();
    server_->drain(done);
  });
}

void GatewayLoop::begin_drain() {
  if (std::exchange(draining_, true)) return;
  admin_.begin_drain();
  server_->begin_drain();
}

void GatewayLoop::end_requests(std::function<void()> done) {
  loop_->post([this, done = std::move(done)] {
    when_ended_ = done;
    // Each one leaves the list as it ends, so a copy is walked.
    const std::vector<std::shared_ptr<InferenceRequest>> all(host_.running.begin(),
                                                             host_.running.end());
    for (const auto& request : all) request->shut_down();
    check_idle();
  });
}

void GatewayLoop::close() {
  loop_->post([this] {
    server_.reset();
    loop_->stop();
  });
}

/// Tells whoever waits for this loop to have nothing left to do.
void GatewayLoop::check_idle() {
  if (!host_.running.empty()) return;
  if (when_ended_) std::exchange(when_ended_, nullptr)();
  if (when_drained_) std::exchange(when_drained_, nullptr)();
}

net::HeadVerdict GatewayLoop::check_head(const net::HttpRequest& head) {
  const std::optional<RouteMatch> match = match_route(head.path);
  // A path that is no route needs a key too: without one nobody learns what exists.
  const Scope scope = match ? match->spec->scope : Scope::inference;
  net::HeadVerdict verdict;
  if (head.upgrade && (!match || match->spec->route != Route::invoke)) {
    verdict.status = 400;
    verdict.message = "an upgrade is possible under /invoke/{deployment}/ only";
    verdict.answer_fields = id_fields(Dialect::plain, parts_.dispatcher.new_request_id());
    return verdict;
  }
  if (from_allowed_origin(options_.auth.origins, head)) {
    verdict.answer_fields = cors_fields(head);
    if (match && is_preflight(head)) return verdict;  // a browser sends no key with it
  }
  Admittance admittance = admit(options_.auth, *keys_, scope, head, net::coarse_wall_now());
  if (!admittance.refusal) {
    verdict.context = std::move(admittance.key);
    return verdict;
  }
  ApiError& error = *admittance.refusal;
  verdict.status = error.status;
  verdict.message = error.message;
  const Dialect dialect = match ? match->spec->dialect : Dialect::plain;
  verdict.answer_fields += id_fields(dialect, parts_.dispatcher.new_request_id());
  refusal_.emplace(dialect, std::move(error));
  return verdict;
}

std::string GatewayLoop::error_body(int status, std::string_view message) const {
  const auto refusal = std::exchange(refusal_, std::nullopt);
  if (refusal && refusal->second.status == status) {
    return gateway::error_body(refusal->first, refusal->second);
  }
  return gateway::error_body(Dialect::plain,
                             {status, code_of(status), std::string(message), {}, {}});
}

void GatewayLoop::on_request(net::ExchangePtr exchange) {
  const net::HttpRequest& request = exchange->request();
  const RequestId id = parts_.dispatcher.new_request_id();
  const std::optional<RouteMatch> match = match_route(request.path);
  if (!match) {
    send_error(*exchange, Dialect::plain, {404, "not_found", "there is no such route", {}, {}}, id);
    return;
  }
  if (is_preflight(request) && from_allowed_origin(options_.auth.origins, request)) {
    answer_preflight(*exchange, *match, id);
    return;
  }
  if (!allows(*match->spec, request.method)) {
    const ApiError error{405,
                         "method_not_allowed",
                         fmt::format("this route allows {}", allowed_methods(*match->spec)),
                         {},
                         {}};
    exchange->respond(
        405,
        plain_fields("application/json", id) + "Allow: " + allowed_methods(*match->spec) + "\r\n",
        gateway::error_body(match->spec->dialect, error));
    return;
  }
  access::KeyPtr key = std::static_pointer_cast<const access::Key>(exchange->context());
  if (is_translated(match->spec->route)) {
    run_translated(exchange, *match, std::move(key), id);
  } else if (runs_model(match->spec->route)) {
    run_model(exchange, *match, std::move(key), id);
  } else {
    handle(exchange, *match, key.get(), id);
  }
}

void GatewayLoop::answer_preflight(net::Exchange& exchange, const RouteMatch& match,
                                   RequestId id) const {
  exchange.respond(204,
                   fmt::format("X-Request-Id: {}\r\n", public_id(id)) +
                       preflight_fields(exchange.request(), allowed_methods(*match.spec)),
                   {});
}

/// Told once in a while: it can happen ten times a second.
void GatewayLoop::on_accept_paused(int error) {
  metrics_.accept_paused();
  const Instant now = loop_->now();
  if (accept_trouble_told_ != Instant{} && now - accept_trouble_told_ < accept_trouble_again)
    return;
  accept_trouble_told_ = now;
  parts_.log.warn("accept_paused",
                  {{"connections", server_->connections()},
                   {"text", error == 0 ? "as many connections are open as are allowed; the next "
                                         "ones wait until one goes"
                                       : std::strerror(error)},
                   {"fix", "raise the limit of open files (ulimit -n, LimitNOFILE=)"}});
}

/// `key`: null on routes that are open to everybody.
void GatewayLoop::handle(const net::ExchangePtr& exchange, const RouteMatch& match,
                         const access::Key* key, RequestId id) {
  switch (match.spec->route) {
    case Route::models:
      list_models(*exchange, *key, id);
      return;
    case Route::model:
      show_model(*exchange, match.first, *key, id);
      return;
    case Route::model_ready:
      show_model_ready(*exchange, match.first, *key, id);
      return;
    case Route::ollama_tags:
      send_json(*exchange, 200, ollama_tags_json(visible(*key)), id);
      return;
    case Route::ollama_show:
      show_ollama_model(*exchange, *key, id);
      return;
    case Route::ollama_version:
      send_json(*exchange, 200, ollama_version_json(), id);
      return;
    case Route::stream:
      resume_stream(*loop_, kept_streams_, options_.http.write_buffer_bytes, exchange, match.first,
                    *key, id);
      return;
    case Route::server_metadata:
      send_json(
          *exchange, 200,
          fmt::format(R"({{"name":"stoker","version":"{}","extensions":[]}})", STOKER_VERSION), id);
      return;
    case Route::live:
      send_json(*exchange, 200, R"({"live":true})", id);
      return;
    case Route::healthz:
      send_json(*exchange, 200, R"({"status":"ok"})", id);
      return;
    case Route::server_ready:
    case Route::readyz:
      show_ready(*exchange, match.spec->dialect, id);
      return;
    case Route::openapi:
      send_openapi(*exchange, id);
      return;
    case Route::metrics:
      exchange->respond(200, plain_fields(obs::Registry::content_type, id),
                        parts_.registry.render([&](std::string_view label, std::string_view value) {
                          return label != "deployment" || key->has(access::scope::admin) ||
                                 key->may_use(value);
                        }));
      return;
    default:
      if (is_job_route(match.spec->route)) {
        const DeploymentPtr deployment = find(match.first, *key);
        if (!deployment) {
          send_error(*exchange, match.spec->dialect, unknown_model(match.first, *key), id);
          return;
        }
        jobs_.handle(exchange, match, deployment,
                     std::static_pointer_cast<const access::Key>(exchange->context()), id);
        return;
      }
      admin_.handle(exchange, match, *key, id);
      return;
  }
}

void GatewayLoop::run_model(const net::ExchangePtr& exchange, const RouteMatch& match,
                            access::KeyPtr key, RequestId id,
                            std::shared_ptr<DetachedExchange> detached) {
  const net::HttpRequest& request = exchange->request();
  const RouteSpec& spec = *match.spec;
  BodyFacts facts;
  if (const std::optional<ApiError> error = check_body(request, spec.route, facts)) {
    send_error(*exchange, spec.dialect, *error, id);
    return;
  }
  const std::string& model = names_model_in_body(spec.route) ? facts.model : match.first;
  const DeploymentPtr deployment = find(model, *key);
  if (const auto error = unservable(deployment, spec.route, model, *key)) {
    send_error(*exchange, spec.dialect, *error, id);
    return;
  }
  RequestWishes wishes;
  const bool has_events = facts.stream && !detached;
  if (const auto error = read_wishes(request, exchange->accepted_at(), has_events, wishes)) {
    send_error(*exchange, spec.dialect, *error, id);
    return;
  }
  if (!detached && !facts.stream) {
    if (const std::optional<Duration> wait = wait_before_job(request, spec.route)) {
      if (wishes.deadline != Instant{}) {
        send_error(*exchange, spec.dialect, deadline_of_a_job_error(), id);
        return;
      }
      jobs_.run_as_job(exchange, match, deployment, std::move(key), *wait, id);
      return;
    }
  }
  const std::uint64_t affinity = affinity_of(request, spec.route, *deployment, key->tenant);
  const BodyChange change = change_for(*deployment, spec.route, facts, key->tenant);
  Incoming incoming{.exchange = exchange,
                    .route = &spec,
                    .deployment = deployment,
                    .key = std::move(key),
                    .metrics = &metrics_of(*deployment),
                    .id = id,
                    .engine_method = {},
                    .engine_target = target_for_engine(match, request, *deployment),
                    .changed_body = {},
                    .translator = {},
                    .estimate = estimate_tokens(spec.route, facts, request.body),
                    .detached = std::move(detached),
                    .kept = nullptr,
                    .stream = facts.stream,
                    .affinity = affinity,
                    .hide_usage = must_hide_usage(*deployment, spec.route, facts),
                    .only_loads = false,
                    .wishes = wishes};
  if (!change.empty()) {
    incoming.changed_body = changed_body(request, spec.route, facts, change);
  }
  run(std::move(incoming));
}

/// The body of the request with `change` made; nullopt where it holds nothing to be changed.
std::optional<std::string> GatewayLoop::changed_body(const net::HttpRequest& request, Route route,
                                                     const BodyFacts& facts,
                                                     const BodyChange& change) {
  if (!names_model_in_body(route)) {  // it may be anything
    if (json_.check_object(request.body)) return std::nullopt;
    return json_.rewrite(request.body, change);
  }
  if (!takes_media(route) || is_json(request.fields.find("content-type").value_or(""))) {
    return json_.rewrite(request.body, change);
  }
  if (facts.model_in_form.empty() || change.model.empty()) return std::nullopt;
  return with_model(request.body, facts, change.model);
}

/// A request that the engine gets in other words than the client's.
void GatewayLoop::run_translated(const net::ExchangePtr& exchange, const RouteMatch& match,
                                 access::KeyPtr key, RequestId id) {
  const RouteSpec& spec = *match.spec;
  auto request = translate_ollama(spec.route, exchange->request().body);
  if (!request) {
    send_error(*exchange, spec.dialect, request.error(), id);
    return;
  }
  const BodyFacts& facts = request->facts;
  const DeploymentPtr deployment = find(facts.model, *key);
  if (const auto error = unservable(deployment, spec.route, facts.model, *key)) {
    send_error(*exchange, spec.dialect, *error, id);
    return;
  }
  RequestWishes wishes;
  const net::HttpRequest& asked = exchange->request();
  if (const auto error = read_wishes(asked, exchange->accepted_at(), false, wishes)) {
    send_error(*exchange, spec.dialect, *error, id);
    return;
  }
  parts_.dispatcher.keep(deployment->id, request->keep_alive);
  auto translator = std::make_unique<OllamaAnswer>(spec.route, facts.model);
  if (request->wish == OllamaRequest::Wish::unload) {
    translator->set_time(net::wall_now());
    send_json(*exchange, 200, translator->only_done("unload", {}), id);
    return;
  }
  // Whatever the engine says to this, it is there then.
  const bool only_loads = request->wish == OllamaRequest::Wish::load;
  std::uint64_t affinity = 0;
  if (!only_loads && deployment->max_instances > 1) {
    static_cast<void>(json_.check_object(request->body));  // it is ours, and now the last one read
    affinity = affinity_of(exchange->request(), request->route, *deployment, key->tenant);
  }
  const BodyChange change = change_for(*deployment, request->route, facts, key->tenant);
  if (!only_loads && !change.empty()) request->body = json_.rewrite(request->body, change);
  run({.exchange = exchange,
       .route = &spec,
       .deployment = deployment,
       .key = std::move(key),
       .metrics = &metrics_of(*deployment),
       .id = id,
       .engine_method = only_loads ? "GET" : "POST",
       .engine_target = only_loads ? "/v1/models" : path_of(request->route),
       .changed_body = std::move(request->body),
       .translator = std::move(translator),
       .estimate = only_loads ? TokenCounts{}
                              : estimate_tokens(spec.route, facts, exchange->request().body),
       .detached = nullptr,
       .kept = nullptr,
       .stream = facts.stream && !only_loads,
       .affinity = affinity,
       .hide_usage = false,
       .only_loads = only_loads,
       .wishes = wishes});
}

/// With one instance there is nothing to choose, so the body is not looked at again.
/// Needs: check_body() was the last to read it.
std::uint64_t GatewayLoop::affinity_of(const net::HttpRequest& request, Route route,
                                       const Deployment& deployment, TenantId tenant) const {
  if (deployment.max_instances <= 1) return 0;
  const std::string_view session = request.fields.find(session_field).value_or(std::string_view{});
  if (session.empty() && keeps_prompts(route)) return json_.affinity(tenant);
  return session_affinity(tenant, session);
}

std::optional<ApiError> GatewayLoop::check_body(const net::HttpRequest& request, Route route,
                                                BodyFacts& facts) {
  if (route == Route::invoke || route == Route::model_metadata) return std::nullopt;
  if (takes_media(route)) return read_media_request(request, json_, facts);
  const std::optional<std::string_view> type = request.fields.find("content-type");
  const bool names_model = names_model_in_body(route);
  if (names_model ? !type || !is_json(*type)
                  : type && !is_json(*type) &&
                        !net::equal_ignoring_case(*type, "application/octet-stream")) {
    return ApiError{415, "unsupported_media_type", "send 'Content-Type: application/json'", {}, {}};
  }
  if (names_model) return json_.read_request(request.body, facts);
  // With this field tensors follow the JSON as bytes; only the engine knows where.
  if (request.fields.find("inference-header-content-length")) return std::nullopt;
  return json_.check_object(request.body);
}

/// A deployment that the key may not use does not exist for it.
DeploymentPtr GatewayLoop::find(std::string_view model, const access::Key& key) const {
  DeploymentPtr deployment = directory_->find(model);
  if (deployment && !key.may_use(deployment->name)) return nullptr;
  return deployment;
}

ApiError GatewayLoop::unknown_model(std::string_view model, const access::Key& key) const {
  std::string_view nearest = directory_->nearest(model);
  if (!nearest.empty() && find(nearest, key) == nullptr) nearest = {};
  return {
      404,
      "model_not_found",
      nearest.empty()
          ? fmt::format("the model '{}' does not exist; GET /v1/models lists those that do", model)
          : fmt::format("the model '{}' does not exist; did you mean '{}'?", model, nearest),
      "model",
      {}};
}

/// Why the deployment, null if there is none for the key, cannot serve the route.
std::optional<ApiError> GatewayLoop::unservable(const DeploymentPtr& deployment, Route route,
                                                std::string_view model,
                                                const access::Key& key) const {
  if (!deployment) return unknown_model(model, key);
  if (runtime_offers(deployment->runtime, route)) return std::nullopt;
  return ApiError{404,
                  "route_not_offered",
                  fmt::format("'{}' runs on {}, which does not offer this route", deployment->name,
                              to_text(deployment->runtime)),
                  {},
                  {}};
}

std::vector<DeploymentPtr> GatewayLoop::visible(const access::Key& key) const {
  std::vector<DeploymentPtr> deployments;
  for (const DeploymentPtr& deployment : directory_->all()) {
    if (key.may_use(deployment->name)) deployments.push_back(deployment);
  }
  return deployments;
}

void GatewayLoop::show_ollama_model(net::Exchange& exchange, const access::Key& key,
                                    RequestId id) const {
  const std::optional<std::string> model = ollama_model_of(exchange.request().body);
  const DeploymentPtr deployment = model ? find(*model, key) : nullptr;
  if (!model) {
    send_error(exchange, Dialect::ollama, {400, "missing_field", "model is required", {}, {}}, id);
  } else if (!deployment) {
    send_error(exchange, Dialect::ollama, unknown_model(*model, key), id);
  } else {
    send_json(exchange, 200, ollama_show_json(*deployment), id);
  }
}

void GatewayLoop::list_models(net::Exchange& exchange, const access::Key& key, RequestId id) const {
  JsonWriter json;
  json.object([&] {
    json.field("object", "list");
    json.array("data", [&] {
      for (const DeploymentPtr& deployment : visible(key)) write_model(json, *deployment);
    });
  });
  send_json(exchange, 200, json.text(), id);
}

void GatewayLoop::show_model(net::Exchange& exchange, const std::string& name,
                             const access::Key& key, RequestId id) const {
  const DeploymentPtr deployment = find(name, key);
  if (!deployment) {
    send_error(exchange, Dialect::openai, unknown_model(name, key), id);
    return;
  }
  JsonWriter json;
  write_model(json, *deployment);
  send_json(exchange, 200, json.text(), id);
}

/// "Ready" means that a request would be served, cold or warm: a model at zero is ready, as a
/// client that waits for it to be so would wait for ever.
void GatewayLoop::show_model_ready(net::Exchange& exchange, const std::string& name,
                                   const access::Key& key, RequestId id) const {
  const DeploymentPtr deployment = find(name, key);
  if (!deployment) {
    send_error(exchange, Dialect::open_inference, unknown_model(name, key), id);
    return;
  }
  const bool ready = parts_.admin.can_serve(deployment->id);
  JsonWriter json;
  json.object([&] {
    json.field("name", deployment->name);
    json.field("ready", ready);
  });
  send_json(exchange, ready ? 200 : 503, json.text(), id);
}

void GatewayLoop::show_ready(net::Exchange& exchange, Dialect dialect, RequestId id) const {
  const bool ready = !draining_ && parts_.admin.ready();
  if (dialect == Dialect::open_inference) {
    send_json(exchange, ready ? 200 : 503, fmt::format(R"({{"ready":{}}})", ready), id);
  } else {
    send_json(exchange, ready ? 200 : 503,
              ready       ? R"({"status":"ready"})"
              : draining_ ? R"({"status":"draining"})"
                          : R"({"status":"not ready"})",
              id);
  }
}

const DeploymentMetrics& GatewayLoop::metrics_of(const Deployment& deployment) {
  const auto found = metrics_by_deployment_.find(deployment.id);
  if (found != metrics_by_deployment_.end()) return found->second;
  return metrics_by_deployment_.emplace(deployment.id, metrics_.of(deployment.name)).first->second;
}

}  // namespace stoker::gateway
