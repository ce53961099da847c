// The worker of the measurement: answers of 1 KB, or N server-sent events at one per tick for every
// stream at once, as a decode step of a batching engine gives them.
//   net_slice_upstream unix:/path EVENTS TICK_US
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <list>

#include "net/http_server.h"

namespace stoker::net_slice {
namespace {

constexpr std::size_t answer_bytes = 1024;
constexpr std::size_t event_pad_bytes = 120;  // an OpenAI chunk with one token is about this long

/// The nonce that the load client put into its request, so that it can check what comes back.
std::string_view nonce_of(std::string_view body) {
  constexpr std::string_view key = "\"nonce\":\"";
  const std::size_t at = body.find(key);
  if (at == body.npos) return {};
  const std::string_view rest = body.substr(at + key.size());
  return rest.substr(0, rest.find('"'));
}

class Upstream final : public net::RequestHandler {
 public:
  Upstream(net::EventLoop& loop, int events, Duration tick)
      : loop_(loop), events_(events), tick_(tick) {}

  void on_request(net::ExchangePtr exchange) override {
    const std::string_view body = exchange->request().body;
    const std::string nonce(nonce_of(body));
    if (body.find("\"stream\":true") != body.npos) {
      exchange->start(200, "Content-Type: text/event-stream\r\n", std::nullopt);
      streams_.push_back({std::move(exchange), nonce, 0});
      if (streams_.size() == 1) step_at(loop_.now() + tick_);
      return;
    }
    answer_ = fmt::format(R"({{"nonce":"{}","text":")", nonce);
    answer_.append(answer_bytes - 2 - answer_.size(), 'x').append("\"}");
    exchange->respond(200, "Content-Type: application/json\r\n", answer_);
  }
  [[nodiscard]] std::string error_body(int, std::string_view message) const override {
    return std::string(message);
  }
  [[nodiscard]] net::HeadVerdict check_head(const net::HttpRequest&) override { return {}; }

 private:
  struct Stream {
    net::ExchangePtr exchange;
    std::string nonce;
    int sent = 0;
  };

  void step_at(Instant at) {
    loop_.run_at(at, [this, at] { step(at); });
  }
  void step(Instant at) {
    for (auto stream = streams_.begin(); stream != streams_.end();) {
      if (stream->sent == events_) {
        stream->exchange->write("data: [DONE]\n\n");
        stream->exchange->finish();
        stream = streams_.erase(stream);
        continue;
      }
      answer_ = fmt::format("data: {{\"nonce\":\"{}\",\"i\":{},\"pad\":\"", stream->nonce,
                            stream->sent++);
      answer_.append(event_pad_bytes, 'x').append("\"}\n\n");
      stream->exchange->write(answer_);
      ++stream;
    }
    if (!streams_.empty()) step_at(std::max(at + tick_, loop_.now()));
  }

  net::EventLoop& loop_;
  int events_;
  Duration tick_;
  std::list<Stream> streams_;
  std::string answer_;
};

int run(const char* listen, int events, int tick_us) {
  auto loop = net::EventLoop::create();
  const auto address = net::parse_listen_address(listen);
  if (!loop || !address) return 2;
  auto listener = net::listen_on(*address, false);
  if (!listener) {
    fmt::print(stderr, "{}\n", listener.error().message);
    return 1;
  }
  Upstream upstream(**loop, events, us(tick_us));
  const net::HttpServer server(**loop, std::move(*listener), net::HttpLimits{}, upstream);
  (*loop)->run();
  return 0;
}

}  // namespace
}  // namespace stoker::net_slice

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  using namespace stoker::net_slice;
  return run(argv[1], std::atoi(argv[2]), std::atoi(argv[3]));
}
