#include "gateway/job_routes.h"

#include <fmt/format.h>

#include <utility>

#include "base/text.h"
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

/// Sends the answer on the loop; one that is dropped says that the server ends.
class Reply final : public JobReply {
 public:
  Reply(net::EventLoop& loop, net::ExchangePtr exchange, RequestId id)
      : loop_(loop), exchange_(std::move(exchange)), id_(id) {}
  ~Reply() override {
    if (exchange_ == nullptr) return;
    answer(503, R"({"error":"the server is shutting down; try again"})");
  }
  void answer(int status, std::string json) override {
    send(status, plain_fields("application/json", id_), std::move(json));
  }
  void answer_with(int status, RequestId request, std::string fields, std::string body) override {
    fields += fmt::format("X-Request-Id: {}\r\n", public_id(request ? request : id_));
    send(status, std::move(fields), std::move(body));
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
  RequestId id_;
};

}  // namespace

void JobRoutes::handle(const net::ExchangePtr& exchange, const RouteMatch& match,
                       const DeploymentPtr& deployment, access::KeyPtr key, RequestId id) {
  JobCall call = call_of(exchange->request(), deployment, std::move(key));
  call.verb = verb_of(match.spec->route);
  call.job = match.second;
  api_.call(std::move(call), std::make_shared<Reply>(loop_, exchange, id));
}

void JobRoutes::run_as_job(const net::ExchangePtr& exchange, const DeploymentPtr& deployment,
                           access::KeyPtr key, Duration wait, RequestId id) {
  JobCall call = call_of(exchange->request(), deployment, std::move(key));
  call.verb = JobVerb::call;
  call.target = exchange->request().target;
  call.wait = wait;
  api_.call(std::move(call), std::make_shared<Reply>(loop_, exchange, id));
}

}  // namespace stoker::gateway
