#include "jobs/webhook_queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "jobs/job_json.h"
#include "net/clock.h"

namespace stoker::jobs {
namespace {

constexpr Duration after_trouble = seconds(5);
constexpr int gone = 410;  // the receiver wants no more of it

std::int64_t whole_seconds(WallTime at) {
  return at.ns / 1'000'000'000;
}

}  // namespace

Duration webhook_pause(const WebhookOptions& options, std::int64_t attempts, Duration retry_after,
                       Prng& random) {
  Duration pause = options.first_pause;
  for (std::int64_t i = 1; i < attempts && pause < options.longest_pause; ++i) pause.ns *= 4;
  pause = std::min(pause, options.longest_pause);
  const std::int64_t half = pause.ns / 2;
  const Duration own{half +
                     static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(half) + 1))};
  return std::max(own, std::min(retry_after, options.longest_pause));
}

WebhookQueue::WebhookQueue(net::EventLoop& loop, JobStore& store, outbound::Poster& poster,
                           const access::WebhookSecrets& secrets, obs::Logger& log,
                           WebhookOptions options)
    : loop_(loop),
      store_(store),
      poster_(poster),
      secrets_(secrets),
      log_(log),
      options_(options),
      random_(static_cast<std::uint64_t>(net::wall_now().ns)),
      line_(std::make_shared<Line>()) {
  line_->queue = this;
}

WebhookQueue::~WebhookQueue() {
  {
    const std::lock_guard lock(line_->mutex);
    line_->queue = nullptr;
  }
  if (timer_ != 0) loop_.cancel(timer_);
}

void WebhookQueue::pump() {
  const WallTime now = net::wall_now();
  bool more = true;
  while (more && under_way_.size() < options_.most_at_once) {
    // Those under way are due too, so as many more are read as there may be of them.
    const auto limit = static_cast<std::int64_t>(2 * options_.most_at_once);
    Result<std::vector<Webhook>> due = store_.due_webhooks(now, busy_hosts(), limit);
    if (!due) return unwritten(due.error());
    more = false;
    for (Webhook& each : *due) {
      if (under_way_.size() >= options_.most_at_once) break;
      if (under_way_.contains(each.id) || hosts_[each.host] >= options_.most_of_a_host) continue;
      send(std::move(each));
      more = true;
    }
  }
  std::erase_if(hosts_, [](const auto& each) { return each.second == 0; });
  const Result<std::optional<WallTime>> next = store_.next_webhook_after(now);
  if (!next) return unwritten(next.error());
  if (timer_ != 0) loop_.cancel(std::exchange(timer_, 0));
  if (!*next) return;
  timer_ = loop_.run_at(net::monotonic_now() + Duration{(*next)->ns - now.ns}, [this] {
    timer_ = 0;
    pump();
  });
}

void WebhookQueue::send(Webhook webhook) {
  const Result<std::optional<Job>> found = store_.find(webhook.job);
  if (!found) return unwritten(found.error());
  under_way_.insert(webhook.id);
  ++hosts_[webhook.host];
  if (!*found || !(*found)->finished_at) {  // forgotten meanwhile
    return heard(webhook, {}, {gone, {}});
  }
  const Job& job = **found;
  const WallTime now = net::wall_now();
  std::string body = status_json(job, *job.finished_at, std::nullopt);
  outbound::PostRequest request;
  request.url = job.wish.webhook;
  request.host = webhook.host;
  request.timeout = options_.timeout;
  request.fields = {
      "Content-Type: application/json",
      fmt::format("webhook-id: {}", webhook.id),
      fmt::format("webhook-timestamp: {}", whole_seconds(now)),
      fmt::format("webhook-signature: {}",
                  secrets_.sign(job.tenant, webhook.id, whole_seconds(now), body)),
  };
  request.body = std::move(body);
  const WallTime give_up_at{job.finished_at->ns + options_.give_up_after.ns};
  poster_.post(std::move(request), [line = line_, webhook = std::move(webhook),
                                    give_up_at](outbound::PostAnswer answer) {
    const std::lock_guard lock(line->mutex);
    if (line->queue == nullptr) return;
    // What is posted runs while the queue is there: both end on the loop's side.
    line->queue->loop_.post([queue = line->queue, webhook, give_up_at, answer = std::move(answer)] {
      queue->heard(webhook, give_up_at, answer);
    });
  });
}

void WebhookQueue::heard(const Webhook& webhook, WallTime give_up_at,
                         const outbound::PostAnswer& answer) {
  under_way_.erase(webhook.id);
  --hosts_[webhook.host];
  const std::int64_t attempts = webhook.attempts + 1;
  const WallTime now = net::wall_now();
  const WallTime next{now.ns + webhook_pause(options_, attempts, answer.retry_after, random_).ns};
  const bool arrived = answer.status >= 200 && answer.status < 300;
  const bool over = arrived || answer.status == gone || next > give_up_at;
  const std::string problem =
      answer.status == 0 ? answer.problem : fmt::format("answered {}", answer.status);
  // Of the URL only the host is told: the rest may be a secret of the receiver.
  const obs::LogFields fields = {
      {"job", webhook.job}, {"host", webhook.host}, {"attempts", attempts}, {"text", problem}};
  if (arrived) {
    log_.info("webhook_delivered", fields);
  } else {
    log_.warn(over ? "webhook_given_up" : "webhook_failed", fields);
  }
  const Result<void> written =
      over ? store_.end_webhook(webhook.id) : store_.delay_webhook(webhook.id, attempts, next);
  // It is still due, and is called once more than it had to be.
  if (!written) return unwritten(written.error());
  pump();
}

/// Hosts that have all the calls that one may have.
std::vector<std::string> WebhookQueue::busy_hosts() const {
  std::vector<std::string> busy;
  for (const auto& [host, calls] : hosts_) {
    if (calls >= options_.most_of_a_host) busy.push_back(host);
  }
  return busy;
}

void WebhookQueue::unwritten(const Error& error) {
  log_.warn("webhooks_unwritten", {{"text", error.message}});
  if (timer_ != 0) loop_.cancel(timer_);
  timer_ = loop_.run_at(net::monotonic_now() + after_trouble, [this] {
    timer_ = 0;
    pump();
  });
}

}  // namespace stoker::jobs
