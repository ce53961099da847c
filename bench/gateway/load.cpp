// The load of bench/gateway.py: N chat requests, C at a time over kept connections, each begun when
// one has ended; or, with a rate, begun at even distances whatever has ended, and timed from then.
// Every answer must hold the words that its own request sent, in order; a wrong one ends the
// program.
//   gateway_load ENDPOINT MODEL unary|stream CONNECTIONS REQUESTS WORDS
//                [--key KEY] [--rate PER_S] [--refusals yes]
// With `--refusals yes` a 429 or 503 is an answer too, and is timed apart.
// Prints one JSON line: {"requests", "events", "wall_s", "p50_us", "p99_us", "p999_us",
// "first_p50_us", "refused", "refused_p99_us"}.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "net/clock.h"
#include "net/http_client.h"
#include "net/sse.h"

namespace stoker::gateway_load {
namespace {

struct Plan {
  std::string model;
  bool stream = false;
  int connections = 0;
  int requests = 0;
  int words = 0;
  double per_s = 0;  // 0: when one has ended
  bool may_be_refused = false;
  std::string head_fields = "Content-Type: application/json\r\n";
};

struct Load {
  net::EventLoop& loop;
  net::HttpClient& client;
  Plan plan;
  int begun = 0;
  int ended = 0;
  std::int64_t events = 0;
  std::vector<std::int64_t> whole_ns;
  std::vector<std::int64_t> first_ns;
  std::vector<std::int64_t> refused_ns;
  std::vector<class Caller*> free;  // with a rate: those that may begin
};

[[noreturn]] void wrong(std::string_view what, std::string_view got) {
  fmt::print(stderr, "wrong answer: {}: {}\n", what, got.substr(0, 300));
  std::exit(1);
}

class Caller final : public net::CallHandler {
 public:
  explicit Caller(Load& load) : load_(load) {}

  /// `due`: when it should have begun.
  void begin(Instant due) {
    const int number = load_.begun++;
    words_.clear();
    for (int i = 0; i < load_.plan.words; ++i) {
      if (i > 0) words_ += ' ';
      words_ += fmt::format("w{}-{}", number, i);
    }
    body_ =
        fmt::format(R"({{"model":"{}","stream":{},"messages":[{{"role":"user","content":"{}"}}]}})",
                    load_.plan.model, load_.plan.stream, words_);
    answer_.clear();
    done_ = false;
    first_ = {};
    framer_ = net::SseFramer();
    begin_ = due;
    load_.client.send("POST", "/v1/chat/completions", load_.plan.head_fields, body_, *this);
  }
  void on_head(const net::HttpResponseHead& head) override {
    refused_ = load_.plan.may_be_refused && (head.status == 429 || head.status == 503);
    if (head.status != 200 && !refused_) wrong("status", std::to_string(head.status));
  }
  void on_body(std::string_view bytes) override {
    if (first_.ns == 0) first_ = net::monotonic_now();
    if (!load_.plan.stream || refused_) {
      answer_ += bytes;
      return;
    }
    framer_.feed(bytes);
    net::SseEvent event;
    while (framer_.next(event) == net::SseFramer::Next::event) take_event(event);
  }
  void on_end() override {
    check_and_time();
    ++load_.ended;
    if (load_.plan.per_s > 0) {
      load_.free.push_back(this);
    } else if (load_.begun < load_.plan.requests) {
      return begin(net::monotonic_now());
    }
    if (load_.ended == load_.plan.requests) load_.loop.stop();
  }
  void on_failure(net::CallFailure, const std::string& detail) override {
    wrong("failure", detail);
  }

 private:
  void check_and_time() {
    const Instant now = net::monotonic_now();
    if (refused_) {
      if (answer_.find("\"error\"") == std::string::npos) wrong("refusal", answer_);
      load_.refused_ns.push_back((now - begin_).ns);
      return;
    }
    if (load_.plan.stream) {
      if (!done_ || answer_ != words_) wrong("stream", answer_);
    } else if (answer_.find("\"" + words_ + "\"") == std::string::npos) {
      wrong("body", answer_);
    }
    load_.whole_ns.push_back((now - begin_).ns);
    load_.first_ns.push_back((first_ - begin_).ns);
  }
  /// Puts the deltas together again.
  void take_event(const net::SseEvent& event) {
    if (event.comment_only) return;
    ++load_.events;
    if (event.data == "[DONE]") {
      done_ = true;
      return;
    }
    constexpr std::string_view key = R"("content":")";
    const std::size_t at = event.data.find(key);
    if (at == event.data.npos) return;
    const std::string_view rest = event.data.substr(at + key.size());
    answer_ += rest.substr(0, rest.find('"'));
  }

  Load& load_;
  std::string words_, body_, answer_;
  net::SseFramer framer_;
  bool done_ = false;
  bool refused_ = false;
  Instant begin_, first_;
};

double percentile_us(std::vector<std::int64_t>& ns, double share) {
  if (ns.empty()) return 0;
  const auto at = static_cast<std::ptrdiff_t>(share * static_cast<double>(ns.size() - 1));
  std::nth_element(ns.begin(), ns.begin() + at, ns.end());
  return static_cast<double>(ns[static_cast<std::size_t>(at)]) / 1e3;
}

/// Begins what is due, and comes back when the next one is.
void pace(Load& load, std::vector<std::unique_ptr<Caller>>& callers, Instant begin) {
  const auto due_at = [&](int number) {
    return begin + Duration{static_cast<std::int64_t>(number * 1e9 / load.plan.per_s)};
  };
  while (load.begun < load.plan.requests && due_at(load.begun) <= net::monotonic_now()) {
    if (load.free.empty()) {
      callers.push_back(std::make_unique<Caller>(load));
      load.free.push_back(callers.back().get());
    }
    Caller* const caller = load.free.back();
    load.free.pop_back();
    caller->begin(due_at(load.begun));
  }
  if (load.begun == load.plan.requests) return;
  load.loop.run_at(due_at(load.begun), [&load, &callers, begin] { pace(load, callers, begin); });
}

/// A few at a time: whose backlog of connections is full refuses, and that is not the question
/// here.
void begin_some(Load& load, std::vector<std::unique_ptr<Caller>>& callers) {
  constexpr int at_once = 16;
  const auto wanted = static_cast<std::size_t>(load.plan.connections);
  for (int i = 0; i < at_once && callers.size() < wanted; ++i) {
    if (load.begun == load.plan.requests) return;
    callers.push_back(std::make_unique<Caller>(load));
    callers.back()->begin(net::monotonic_now());
  }
  if (callers.size() == wanted) return;
  load.loop.run_at(load.loop.now() + ms(2), [&load, &callers] { begin_some(load, callers); });
}

int run(const char* target, const Plan& plan) {
  auto loop = net::EventLoop::create();
  const auto endpoint = net::parse_endpoint(target);
  if (!loop || !endpoint || plan.connections < 1 || plan.requests < plan.connections) return 2;
  net::HttpClient client(**loop, *endpoint, {.max_idle_connections = 1024});
  Load load{**loop, client, plan, 0, 0, 0, {}, {}, {}, {}};
  std::vector<std::unique_ptr<Caller>> callers;
  const Instant begin = net::monotonic_now();
  if (plan.per_s > 0) {
    pace(load, callers, begin);
  } else {
    begin_some(load, callers);
  }
  (*loop)->run();
  const double wall_s = as_ms(net::monotonic_now() - begin) / 1e3;
  fmt::print(R"({{"requests":{},"events":{},"wall_s":{:.6f},"p50_us":{:.1f},"p99_us":{:.1f},)"
             R"("p999_us":{:.1f},"first_p50_us":{:.1f},"refused":{},"refused_p99_us":{:.1f}}})"
             "\n",
             load.ended, load.events, wall_s, percentile_us(load.whole_ns, 0.50),
             percentile_us(load.whole_ns, 0.99), percentile_us(load.whole_ns, 0.999),
             percentile_us(load.first_ns, 0.50), load.refused_ns.size(),
             percentile_us(load.refused_ns, 0.99));
  return 0;
}

}  // namespace
}  // namespace stoker::gateway_load

int main(int argc, char** argv) {
  if (argc < 7 || argc % 2 == 0) return 2;
  stoker::gateway_load::Plan plan{.model = argv[2],
                                  .stream = std::string_view(argv[3]) == "stream",
                                  .connections = std::atoi(argv[4]),
                                  .requests = std::atoi(argv[5]),
                                  .words = std::atoi(argv[6])};
  for (int i = 7; i < argc; i += 2) {
    const std::string_view option = argv[i];
    if (option == "--rate") {
      plan.per_s = std::atof(argv[i + 1]);
    } else if (option == "--refusals") {
      plan.may_be_refused = true;
    } else if (option == "--key") {
      plan.head_fields += fmt::format("Authorization: Bearer {}\r\n", argv[i + 1]);
    } else {
      return 2;
    }
  }
  return stoker::gateway_load::run(argv[1], plan);
}
