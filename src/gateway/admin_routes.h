// The routes under /api/v1/: reads the query, runs it on the admin thread, sends the answer from
// the loop that the client is connected to. One per event loop.
#pragma once

#include <list>
#include <memory>

#include "access/key.h"
#include "gateway/admin_api.h"
#include "gateway/admin_thread.h"
#include "gateway/routes.h"
#include "net/event_loop.h"
#include "net/http_server.h"

namespace stoker::gateway {

class Follower;

class AdminRoutes {
 public:
  AdminRoutes(net::EventLoop& loop, AdminApi& api, AdminThread& thread)
      : loop_(loop), api_(api), thread_(thread) {}

  /// Needs: a route under /api/v1/ that `key` may call.
  void handle(const net::ExchangePtr& exchange, const RouteMatch& match, const access::Key& key,
              RequestId id);
  /// Ends all that is followed, so that their connections can close. From now on nothing can be
  /// followed or warmed; what is only read is answered.
  void begin_drain();

 private:
  using Query = std::function<Result<std::string>(AdminApi&)>;
  struct AnswerForm {
    int status = 200;
    std::string_view content_type = "application/json";
  };
  void answer(const net::ExchangePtr& exchange, RequestId id, AnswerForm form, Query query);
  void reload(const net::ExchangePtr& exchange, RequestId id);
  void follow(const net::ExchangePtr& exchange, RequestId id, const RouteMatch& match,
              const Sight& sight);

  net::EventLoop& loop_;
  AdminApi& api_;
  AdminThread& thread_;
  std::list<std::weak_ptr<Follower>> followers_;
  bool draining_ = false;
};

/// The fields that name the request: "X-Request-Id: ...\r\n", and what Anthropic's clients read.
[[nodiscard]] std::string id_fields(Dialect dialect, RequestId id);
/// "Content-Type: ...\r\nX-Request-Id: ...\r\n" of an answer that the gateway gives itself.
[[nodiscard]] std::string plain_fields(std::string_view content_type, RequestId id);
/// Sends `error` in the shape of `dialect`.
void send_error(net::Exchange& exchange, Dialect dialect, const ApiError& error, RequestId id);
/// What a failed query becomes for the client.
[[nodiscard]] ApiError to_error(const Error& error);

}  // namespace stoker::gateway
