// The slice on src/net: parse, route by the JSON `model` field, relay unary and SSE answers.
//   net_slice_own 127.0.0.1:PORT unix:/path/of/upstream
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <vector>

#include "net/http_client.h"
#include "net/http_server.h"
#include "route.h"

namespace stoker::net_slice {
namespace {

constexpr std::size_t pause_above_bytes = 256 << 10;

/// One request on its way. Kept and used again: `free_relays` is its pool.
class Relay final : public net::CallHandler {
 public:
  explicit Relay(std::vector<Relay*>& free_relays) : free_relays_(free_relays) {}

  void begin(net::ExchangePtr exchange, net::HttpClient& upstream) {
    exchange_ = std::move(exchange);
    exchange_->set_callbacks(
        {.on_gone = [this] { cancel(); }, .on_drained = [this] { call_->resume(); }});
    const net::HttpRequest& request = exchange_->request();
    call_ = upstream.send(request.method, request.target, "Content-Type: application/json\r\n",
                          request.body, *this);
  }

  void on_head(const net::HttpResponseHead& head) override {
    fields_.clear();
    if (const auto type = head.fields.find("Content-Type")) {
      fields_.append("Content-Type: ").append(*type).append("\r\n");
    }
    exchange_->start(head.status, fields_, head.content_length);
  }
  void on_body(std::string_view bytes) override {
    exchange_->write(bytes);
    if (exchange_->unsent_bytes() > pause_above_bytes) call_->pause();
  }
  void on_end() override {
    exchange_->finish();
    release();
  }
  void on_failure(net::CallFailure, const std::string&) override {
    exchange_->abort();
    release();
  }

 private:
  void cancel() {
    if (call_ != nullptr) call_->cancel();
    release();
  }
  void release() {
    exchange_.reset();
    call_ = nullptr;
    free_relays_.push_back(this);
  }

  std::vector<Relay*>& free_relays_;
  net::ExchangePtr exchange_;
  net::Call* call_ = nullptr;
  std::string fields_;
};

class Gateway final : public net::RequestHandler {
 public:
  Gateway(net::EventLoop& loop, const net::Endpoint& upstream) {
    for (int i = 0; i < models; ++i) {
      upstreams_.push_back(std::make_unique<net::HttpClient>(loop, upstream, net::ClientOptions{}));
    }
  }
  void on_request(net::ExchangePtr exchange) override {
    const std::optional<int> route = router_.route(exchange->request().body);
    if (!route) return exchange->respond(404, "", "no such model");
    if (free_.empty()) {
      relays_.push_back(std::make_unique<Relay>(free_));
      free_.push_back(relays_.back().get());
    }
    Relay* relay = free_.back();
    free_.pop_back();
    relay->begin(std::move(exchange), *upstreams_[static_cast<std::size_t>(*route)]);
  }
  [[nodiscard]] std::string error_body(int, std::string_view message) const override {
    return std::string(message);
  }
  [[nodiscard]] net::HeadVerdict check_head(const net::HttpRequest&) override { return {}; }

 private:
  Router router_;
  std::vector<Relay*> free_;
  std::vector<std::unique_ptr<Relay>> relays_;
  std::vector<std::unique_ptr<net::HttpClient>> upstreams_;
};

int run(const char* listen, const char* upstream) {
  auto loop = net::EventLoop::create();
  const auto address = net::parse_listen_address(listen);
  const auto endpoint = net::parse_endpoint(upstream);
  if (!loop || !address || !endpoint) return 2;
  auto listener = net::listen_on(*address, false);
  if (!listener) {
    fmt::print(stderr, "{}\n", listener.error().message);
    return 1;
  }
  Gateway gateway(**loop, *endpoint);
  const net::HttpServer server(**loop, std::move(*listener), net::HttpLimits{}, gateway);
  (*loop)->run();
  return 0;
}

}  // namespace
}  // namespace stoker::net_slice

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  return stoker::net_slice::run(argv[1], argv[2]);
}
