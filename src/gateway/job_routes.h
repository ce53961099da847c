// The routes of jobs: reads the call, hands it to JobApi, sends the answer from the loop that the
// client is connected to. One per event loop.
#pragma once

#include "access/key_ring.h"
#include "gateway/job_api.h"
#include "gateway/routes.h"
#include "net/event_loop.h"
#include "net/http_server.h"

namespace stoker::gateway {

class JobRoutes {
 public:
  JobRoutes(net::EventLoop& loop, JobApi& api) : loop_(loop), api_(api) {}

  /// Needs: a route of jobs, of a deployment that `key` may use.
  void handle(const net::ExchangePtr& exchange, const RouteMatch& match,
              const DeploymentPtr& deployment, access::KeyPtr key, RequestId id);
  /// Runs a request of another route as a job; its own answer if that comes within `wait`, else 202
  /// with the job. Needs: it has passed the checks of its route, asks for no stream, and is JSON.
  void run_as_job(const net::ExchangePtr& exchange, const RouteMatch& match,
                  const DeploymentPtr& deployment, access::KeyPtr key, Duration wait, RequestId id);

 private:
  net::EventLoop& loop_;
  JobApi& api_;
};

}  // namespace stoker::gateway
