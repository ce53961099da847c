// The HTTP side of a worker: /health, /stats, and the way of every other request through the
// registry to the runtime. Loop thread only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "net/http_server.h"
#include "worker/http_exchange.h"
#include "worker/runtime.h"

namespace stoker::worker {

class HttpFront final : public net::RequestHandler {
 public:
  HttpFront(ExchangeHome& home, Runtime& runtime) : home_(home), runtime_(runtime) {}

  void on_request(net::ExchangePtr exchange) override;
  [[nodiscard]] std::string error_body(int status, std::string_view message) const override;
  [[nodiscard]] net::HeadVerdict check_head(const net::HttpRequest&) override { return {}; }

 private:
  void serve(net::ExchangePtr exchange);
  [[nodiscard]] std::string stats() const;

  ExchangeHome& home_;
  Runtime& runtime_;
  std::uint64_t last_local_id_ = 0;
};

/// What a worker takes from its gateway, which has checked everything already: larger bodies than
/// the gateway's own limit, so that this one never decides.
[[nodiscard]] net::HttpLimits worker_http_limits();

}  // namespace stoker::worker
