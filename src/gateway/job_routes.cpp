#include "gateway/job_routes.h"

#include <utility>

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
    if (exchange_ == nullptr) return;
    // The pointer is moved on, not copied, so that the exchange is always let go on its own loop.
    loop_.post(
        [exchange = std::exchange(exchange_, nullptr), id = id_, status, json = std::move(json)] {
          exchange->respond(status, plain_fields("application/json", id), json);
        });
  }

 private:
  net::EventLoop& loop_;
  net::ExchangePtr exchange_;
  RequestId id_;
};

}  // namespace

void JobRoutes::handle(const net::ExchangePtr& exchange, const RouteMatch& match,
                       const DeploymentPtr& deployment, access::KeyPtr key, RequestId id) {
  const net::HttpRequest& request = exchange->request();
  JobCall call{verb_of(match.spec->route),
               deployment,
               std::move(key),
               match.second,
               std::string(request.query),
               std::string(request.body),
               std::string(request.fields.find("idempotency-key").value_or(std::string_view()))};
  api_.call(std::move(call), std::make_shared<Reply>(loop_, exchange, id));
}

}  // namespace stoker::gateway
