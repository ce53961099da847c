#include "gateway/job_routes.h"

#include <optional>
#include <utility>

#include "base/json_writer.h"
#include "gateway/admin_routes.h"

namespace stoker::gateway {
namespace {

JobVerb verb_of(Route route) {
  switch (route) {
    case Route::job_run:
      return JobVerb::run;
    case Route::job_run_sync:
      return JobVerb::run_sync;
    case Route::job_status_sync:
      return JobVerb::status_sync;
    case Route::job_stream:
      return JobVerb::stream;
    case Route::job_cancel:
      return JobVerb::cancel;
    case Route::job_retry:
      return JobVerb::retry;
    case Route::job_purge:
      return JobVerb::purge;
    case Route::job_health:
      return JobVerb::health;
    case Route::job_list:
      return JobVerb::list;
    default:
      return JobVerb::status;
  }
}

JobCall call_of(const net::HttpRequest& request, const DeploymentPtr& deployment,
                access::KeyPtr key) {
  JobCall call;
  call.deployment = deployment;
  call.key = std::move(key);
  call.query = request.query;
  call.body = request.body;
  call.idempotency_key = request.fields.find("idempotency-key").value_or(std::string_view());
  return call;
}

/// {"error": "..."}, as RunPod's clients know it.
std::string job_error(const ApiError& error) {
  JsonWriter json;
  json.object([&] { json.field("error", error.message); });
  return json.take();
}

/// Sends the answer on the loop; one that is dropped says that the server ends.
class Reply final : public JobReply {
 public:
  /// `dialect`: of the route that is called as a job; nullopt on the routes of jobs.
  Reply(net::EventLoop& loop, net::ExchangePtr exchange, std::optional<Dialect> dialect,
        RequestId id)
      : loop_(loop), exchange_(std::move(exchange)), dialect_(dialect), id_(id) {}
  ~Reply() override {
    if (exchange_ == nullptr) return;
    refuse({503, "draining", "the server is shutting down; try again", {}, seconds(1)}, {}, {});
  }
  void answer(int status, std::string json) override {
    send(status, plain_fields("application/json", id_), std::move(json));
  }
  void answer_with(int status, RequestId request, std::string fields, std::string body) override {
    fields += id_fields(dialect_.value_or(Dialect::plain), request ? request : id_);
    send(status, std::move(fields), std::move(body));
  }
  void refuse(ApiError error, RequestId request, std::string fields) override {
    fields += "Content-Type: application/json\r\n" + retry_after_field(error);
    answer_with(error.status, request, std::move(fields),
                dialect_ ? error_body(*dialect_, error) : job_error(error));
  }

 private:
  void send(int status, std::string fields, std::string body) {
    if (exchange_ == nullptr) return;
    // The pointer is moved on, not copied, so that the exchange is always let go on its own loop.
    loop_.post([exchange = std::exchange(exchange_, nullptr), status, fields = std::move(fields),
                body = std::move(body)] { exchange->respond(status, fields, body); });
  }

  net::EventLoop& loop_;
  net::ExchangePtr exchange_;
  std::optional<Dialect> dialect_;
  RequestId id_;
};

}  // namespace

void JobRoutes::handle(const net::ExchangePtr& exchange, const RouteMatch& match,
                       const DeploymentPtr& deployment, access::KeyPtr key, RequestId id) {
  JobCall call = call_of(exchange->request(), deployment, std::move(key));
  call.verb = verb_of(match.spec->route);
  call.job = match.second;
  api_.call(std::move(call), std::make_shared<Reply>(loop_, exchange, std::nullopt, id));
}

void JobRoutes::run_as_job(const net::ExchangePtr& exchange, const RouteMatch& match,
                           const DeploymentPtr& deployment, access::KeyPtr key, Duration wait,
                           RequestId id) {
  JobCall call = call_of(exchange->request(), deployment, std::move(key));
  call.verb = JobVerb::call;
  call.target = exchange->request().target;
  call.wait = wait;
  api_.call(std::move(call), std::make_shared<Reply>(loop_, exchange, match.spec->dialect, id));
}

}  // namespace stoker::gateway
