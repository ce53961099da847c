// The load of the measurement: a closed loop of C requests over C kept connections, N in all. Every
// answer is checked to the last byte before it is counted; one that is wrong ends the program.
//   net_slice_load http://127.0.0.1:PORT unary|stream CONNECTIONS REQUESTS EVENTS
// Prints one JSON line: {"requests", "events", "wall_s"}.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "net/clock.h"
#include "net/http_client.h"
#include "net/sse.h"

namespace stoker::net_slice {
namespace {

constexpr std::size_t body_bytes = 1024;
constexpr std::size_t answer_bytes = 1024;

struct Plan {
  bool stream = false;
  int connections = 0;
  int requests = 0;
  int events = 0;
};

struct Load {
  net::EventLoop& loop;
  net::HttpClient& client;
  Plan plan;
  int begun = 0;
  int ended = 0;
  std::int64_t events = 0;
};

[[noreturn]] void wrong(std::string_view what, std::string_view got) {
  fmt::print(stderr, "wrong answer: {}: {}\n", what, got.substr(0, 300));
  std::exit(1);
}

class Caller final : public net::CallHandler {
 public:
  explicit Caller(Load& load) : load_(load) {}

  void begin() {
    const int number = load_.begun++;
    nonce_ = fmt::format("nonce-{:09}", number);
    body_ = fmt::format(R"({{"model":"model-{}","nonce":"{}","stream":{},"text":")", number % 8,
                        nonce_, load_.plan.stream);
    body_.append(body_bytes - 2 - body_.size(), 'y').append("\"}");
    answer_.clear();
    next_event_ = 0;
    done_ = false;
    framer_ = net::SseFramer();
    load_.client.send("POST", load_.plan.stream ? "/v1/stream" : "/v1/chat",
                      "Content-Type: application/json\r\n", body_, *this);
  }
  void on_head(const net::HttpResponseHead& head) override {
    if (head.status != 200) wrong("status", std::to_string(head.status));
  }
  void on_body(std::string_view bytes) override {
    if (!load_.plan.stream) {
      answer_ += bytes;
      return;
    }
    framer_.feed(bytes);
    net::SseEvent event;
    while (framer_.next(event) == net::SseFramer::Next::event) take_event(event);
  }
  void on_end() override {
    if (load_.plan.stream) {
      if (!done_) wrong("stream without its end", nonce_);
    } else {
      const std::string begin = fmt::format(R"({{"nonce":"{}","text":"x)", nonce_);
      if (answer_.size() != answer_bytes || !answer_.starts_with(begin) ||
          !answer_.ends_with("x\"}")) {
        wrong("body", answer_);
      }
    }
    ++load_.ended;
    if (load_.begun < load_.plan.requests) return begin();
    if (load_.ended == load_.plan.requests) load_.loop.stop();
  }
  void on_failure(net::CallFailure, const std::string& detail) override {
    wrong("failure", detail);
  }

 private:
  void take_event(const net::SseEvent& event) {
    if (event.data == "[DONE]" && next_event_ == load_.plan.events) {
      done_ = true;
      return;
    }
    const std::string begin =
        fmt::format(R"({{"nonce":"{}","i":{},"pad":"x)", nonce_, next_event_++);
    if (!event.data.starts_with(begin) || !event.data.ends_with("x\"}")) wrong("event", event.raw);
    ++load_.events;
  }

  Load& load_;
  std::string nonce_, body_, answer_;
  net::SseFramer framer_;
  int next_event_ = 0;
  bool done_ = false;
};

int run(const char* target, const Plan& plan) {
  auto loop = net::EventLoop::create();
  const auto endpoint = net::parse_endpoint(target);
  if (!loop || !endpoint || plan.connections < 1 || plan.requests < plan.connections) return 2;
  net::HttpClient client(**loop, *endpoint, {.max_idle_connections = 1024});
  Load load{**loop, client, plan};
  std::vector<std::unique_ptr<Caller>> callers;
  const Instant begin = net::monotonic_now();
  for (int i = 0; i < plan.connections; ++i) {
    callers.push_back(std::make_unique<Caller>(load));
    callers.back()->begin();
  }
  (*loop)->run();
  fmt::print("{{\"requests\":{},\"events\":{},\"wall_s\":{:.6f}}}\n", load.ended, load.events,
             as_ms(net::monotonic_now() - begin) / 1e3);
  return 0;
}

}  // namespace
}  // namespace stoker::net_slice

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  return stoker::net_slice::run(argv[1], {.stream = std::string_view(argv[2]) == "stream",
                                          .connections = std::atoi(argv[3]),
                                          .requests = std::atoi(argv[4]),
                                          .events = std::atoi(argv[5])});
}
