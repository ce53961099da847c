#include "worker/http_front.h"

#include <fmt/format.h>

#include "base/json_writer.h"
#include "net/clock.h"

namespace stoker::worker {
namespace {

constexpr std::string_view json_field = "Content-Type: application/json\r\n";
constexpr std::string_view retry_fields = "Content-Type: application/json\r\nRetry-After: 1\r\n";

}  // namespace

net::HttpLimits worker_http_limits() {
  net::HttpLimits limits;
  limits.body_bytes = 256 << 20;
  limits.keep_alive_timeout = minutes(10);  // the gateway closes first, so it never meets a race
  return limits;
}

void HttpFront::on_request(net::ExchangePtr exchange) {
  const net::HttpRequest& request = exchange->request();
  if (request.path == "/health") {
    const bool ready = home_.registry.is_open();
    exchange->respond(ready ? 200 : 503, json_field,
                      ready ? R"({"status":"ok"})" : R"({"status":"not_ready"})");
  } else if (request.path == "/stats") {
    exchange->respond(200, json_field, stats());
  } else {
    serve(std::move(exchange));
  }
}

void HttpFront::serve(net::ExchangePtr exchange) {
  const std::optional<std::string_view> given = exchange->request().fields.find("X-Stoker-Request");
  const bool remembered = given && !given->empty();
  std::string id = remembered ? std::string(*given) : fmt::format("local-{}", ++last_local_id_);
  const auto request = std::make_shared<HttpWorkerExchange>(home_, exchange, id, remembered);
  switch (home_.registry.begin(id, request, net::monotonic_now())) {
    case RequestRegistry::Admission::admitted:
      request->watch_connection();
      runtime_.serve(request);
      return;
    case RequestRegistry::Admission::cancelled_before:
      home_.counters.cancelled.fetch_add(1, std::memory_order_relaxed);
      exchange->respond(499, json_field,
                        error_json("request_cancelled", "cancelled",
                                   "The request was cancelled before it came."));
      return;
    case RequestRegistry::Admission::duplicate:
      exchange->respond(409, json_field,
                        error_json("invalid_request_error", "duplicate_request",
                                   fmt::format("Request {} is already running.", id)));
      return;
    case RequestRegistry::Admission::closed:
      exchange->respond(503, retry_fields,
                        error_json("server_error", "not_ready", "The worker has no model loaded."));
      return;
  }
}

std::string HttpFront::error_body(int status, std::string_view message) const {
  return error_json("invalid_request_error", fmt::format("http_{}", status), message);
}

std::string HttpFront::stats() const {
  JsonWriter json;
  json.object([&] {
    json.field("active", home_.counters.active.load(std::memory_order_relaxed));
    json.field("requests", home_.counters.requests.load(std::memory_order_relaxed));
    json.field("cancelled", home_.counters.cancelled.load(std::memory_order_relaxed));
    json.field("tokens", home_.counters.tokens.load(std::memory_order_relaxed));
  });
  return json.take();
}

}  // namespace stoker::worker
