#include "traffic/live_sender.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "net/clock.h"
#include "net/event_loop.h"
#include "net/sse.h"
#include "traffic/made_up_request.h"

namespace stoker::traffic {
namespace {

constexpr std::size_t kept_error_bytes = std::size_t{64} << 10;

std::string_view text_of(net::CallFailure failure) {
  switch (failure) {
    case net::CallFailure::connect_failed:
      return "connect_failed";
    case net::CallFailure::not_delivered:
      return "not_delivered";
    case net::CallFailure::closed_early:
      return "closed_early";
    case net::CallFailure::protocol:
      return "protocol";
    case net::CallFailure::timed_out:
      return "timed_out";
  }
  return "failed";
}

/// One request on its way.
class LiveCall final : public net::CallHandler {
 public:
  enum class End : std::uint8_t { ok, left, failed };
  struct Outcome {
    End end = End::failed;
    std::string failure;
    Duration first_byte;
    Duration whole;
  };
  using OnEnd = std::function<void(LiveCall&, const Outcome&)>;

  LiveCall(net::EventLoop& loop, const LiveOptions& options, OnEnd on_end)
      : loop_(loop), options_(options), on_end_(std::move(on_end)) {}
  ~LiveCall() override { loop_.cancel(timer_); }

  void send(net::HttpClient& http, const MadeUpRequest& request,
            const std::optional<Duration>& gone_after) {
    sent_at_ = net::monotonic_now();
    const bool leaves = gone_after && *gone_after < options_.answer_timeout;
    std::string fields = "Content-Type: application/json\r\n";
    if (!options_.key.empty()) fields += "Authorization: Bearer " + options_.key + "\r\n";
    net::Call* const call = http.send("POST", request.target, fields, request.body, *this);
    if (ended_) return;  // it failed at once
    call_ = call;
    timer_ = loop_.run_at(sent_at_ + (leaves ? *gone_after : options_.answer_timeout),
                          [this, leaves] { give_up(leaves ? End::left : End::failed); });
  }
  /// Closes its connection: it left, or it failed as "timed_out".
  void give_up(End how) {
    loop_.cancel(std::exchange(timer_, 0));
    if (ended_) return;
    call_->cancel();
    end(how, how == End::left ? "" : "timed_out");
  }

  void on_head(const net::HttpResponseHead& head) override {
    status_ = head.status;
    streams_ = head.status == 200 &&
               head.fields.find("content-type").value_or("").starts_with("text/event-stream");
    if (!streams_) first_byte_at_ = net::monotonic_now();
  }
  void on_body(std::string_view bytes) override {
    if (streams_) return read_events(bytes);
    if (status_ != 200 && body_.size() < kept_error_bytes) body_ += bytes;
  }
  void on_end() override {
    if (status_ != 200) return end(End::failed, kind_of_error(body_));
    if (!stream_error_.empty()) return end(End::failed, stream_error_);
    end(End::ok, {});
  }
  void on_failure(net::CallFailure failure, const std::string&) override {
    end(End::failed, std::string(text_of(failure)));
  }

 private:
  void read_events(std::string_view bytes) {
    framer_.feed(bytes);
    net::SseEvent event;
    while (framer_.next(event) == net::SseFramer::Next::event) {
      if (event.comment_only) continue;
      if (first_byte_at_.ns == 0) first_byte_at_ = net::monotonic_now();
      if (event.name == "error" || event.data.starts_with("{\"error\"")) {
        stream_error_ = kind_of_error(event.data);
      }
    }
  }
  std::string kind_of_error(std::string_view body) const {
    std::string code = options_.error_code ? options_.error_code(body) : std::string();
    return code.empty() ? fmt::format("HTTP {}", status_) : code;
  }
  void end(End how, std::string failure) {
    ended_ = true;
    const Instant now = net::monotonic_now();
    const Instant first = first_byte_at_.ns == 0 ? now : first_byte_at_;
    on_end_(*this, {how, std::move(failure), first - sent_at_, now - sent_at_});
  }

  net::EventLoop& loop_;
  const LiveOptions& options_;
  OnEnd on_end_;
  net::Call* call_ = nullptr;
  net::TimerId timer_ = 0;
  Instant sent_at_;
  Instant first_byte_at_;
  int status_ = 0;
  bool streams_ = false;
  bool ended_ = false;
  net::SseFramer framer_;
  std::string body_;
  std::string stream_error_;
};

class Sender {
 public:
  Sender(sim::RequestSource& source, const LiveOptions& options,
         std::unique_ptr<net::EventLoop> loop)
      : source_(source), options_(options), loop_(std::move(loop)) {
    net::ClientOptions client;
    client.max_idle_connections = 4096;
    http_ = std::make_unique<net::HttpClient>(*loop_, options_.endpoint, client);
  }

  Result<LiveResult> run() {
    started_at_ = last_end_ = net::monotonic_now();
    read_next();
    loop_->post([this] { send_due(); });
    tick();
    loop_->run();
    if (error_) return tl::unexpected(std::move(*error_));
    result_.took = last_end_ - started_at_;
    return std::move(result_);
  }

 private:
  void read_next() {
    const Result<bool> more = source_.next(next_);
    if (!more) error_ = more.error();
    has_next_ = more && *more;
  }
  [[nodiscard]] Instant due() const {
    const double ns = static_cast<double>(next_.at.ns) / options_.speed;
    return started_at_ + Duration{static_cast<std::int64_t>(ns)};
  }

  /// Sends what is due, and comes again when the next one is.
  void send_due() {
    while (has_next_ && !result_.stopped && net::monotonic_now() >= due()) {
      send_one();
      read_next();
    }
    if (has_next_ && !result_.stopped && !error_) {
      loop_->run_at(due(), [this] { send_due(); });
    }
    end_if_done();
  }

  void send_one() {
    const std::string& recorded = source_.world().deployments.at(next_.deployment).name;
    const auto request = made_up_request(next_, options_.deployment_for(recorded), ++number_);
    if (!request) {
      ++result_.counts.skipped;
      return;
    }
    result_.late.add(net::monotonic_now() - due());
    ++result_.counts.sent;
    auto call = std::make_shared<LiveCall>(
        *loop_, options_,
        [this](LiveCall& ended, const LiveCall::Outcome& outcome) { on_end(ended, outcome); });
    LiveCall& sent = *call;
    calls_.emplace(&sent, std::move(call));
    sent.send(*http_, *request, next_.gone_after);
  }

  void on_end(LiveCall& call, const LiveCall::Outcome& outcome) {
    last_end_ = net::monotonic_now();
    LiveCounts& counts = result_.counts;
    switch (outcome.end) {
      case LiveCall::End::ok:
        ++counts.ok;
        result_.first_byte.add(outcome.first_byte);
        result_.whole.add(outcome.whole);
        break;
      case LiveCall::End::left:
        ++counts.left;
        break;
      case LiveCall::End::failed:
        ++counts.failed;
        ++result_.failures[outcome.failure];
        break;
    }
    // Without a server at the start there is nothing to measure.
    if (outcome.failure == "connect_failed" && counts.failed == counts.sent &&
        result_.failures.size() == 1 && !error_) {
      error_ = Error{ErrorCode::unavailable,
                     fmt::format("no server answers at {}", options_.endpoint.text()),
                     "start it with `stoker serve --config FILE`, or name another with --url"};
    }
    const auto it = calls_.find(&call);
    loop_->dispose(std::move(it->second));  // it is inside one of its own callbacks
    calls_.erase(it);
    end_if_done();
  }

  void end_if_done() {
    const bool sends_more = has_next_ && !result_.stopped;
    if (error_ || (!sends_more && calls_.empty())) loop_->stop();
  }

  void tick() {
    loop_->run_at(net::monotonic_now() + seconds(1), [this] {
      if (options_.on_progress) {
        options_.on_progress(net::monotonic_now() - started_at_, result_.counts);
      }
      if (options_.stop && options_.stop() && !result_.stopped) {
        result_.stopped = true;
        std::vector<LiveCall*> running;
        for (const auto& [call, owned] : calls_) running.push_back(call);
        for (LiveCall* call : running) call->give_up(LiveCall::End::left);
        end_if_done();
      }
      tick();
    });
  }

  sim::RequestSource& source_;
  const LiveOptions& options_;
  std::unique_ptr<net::EventLoop> loop_;
  std::unique_ptr<net::HttpClient> http_;
  std::unordered_map<LiveCall*, std::shared_ptr<LiveCall>> calls_;
  sim::TraceRequest next_;
  bool has_next_ = false;
  std::uint64_t number_ = 0;
  Instant started_at_;
  Instant last_end_;
  LiveResult result_;
  std::optional<Error> error_;
};

}  // namespace

Result<LiveResult> send_trace(sim::RequestSource& source, const LiveOptions& options) {
  Result<std::unique_ptr<net::EventLoop>> loop = net::EventLoop::create();
  if (!loop) return tl::unexpected(loop.error());
  return Sender(source, options, std::move(*loop)).run();
}

}  // namespace stoker::traffic
