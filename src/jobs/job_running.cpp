// JobService, from the queue on: what is handed to the gateway, what comes back of it, and the one
// transaction in which all that a round of the loop changed is written.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/json_writer.h"
#include "jobs/job_json.h"
#include "jobs/job_service.h"
#include "net/clock.h"

namespace stoker::jobs {
namespace {

constexpr Duration longest_pause = seconds(30);
constexpr Duration retry_writing = seconds(1);

std::string array_of(const std::vector<std::string>& chunks) {
  JsonWriter json;
  json.array([&] {
    for (const std::string& chunk : chunks) json.raw(chunk);
  });
  return json.take();
}

}  // namespace

/// Carries what the gateway's loop says over to the service's.
class JobService::Sink final : public gateway::DetachedSink {
 public:
  Sink(JobService& service, LivePtr live) : service_(service), live_(std::move(live)) {}
  void on_dispatched(std::string worker) override {
    post([worker = std::move(worker)](JobService& s, const LivePtr& live) {
      s.on_dispatched(live, worker);
    });
  }
  void on_bytes(std::string_view bytes) override {
    post([bytes = std::string(bytes)](JobService& s, const LivePtr& live) {
      s.on_bytes(live, bytes);
    });
  }
  void on_end(int status, std::string content_type, std::string body) override {
    post([status, content_type = std::move(content_type), body = std::move(body)](
             JobService& s, const LivePtr& live) { s.on_end(live, status, content_type, body); });
  }

 private:
  template <class Action>
  void post(Action action) {
    service_.loop_->post(
        [&service = service_, live = live_, action = std::move(action)] { action(service, live); });
  }

  JobService& service_;
  LivePtr live_;
};

// --- Running ---

void JobService::enqueue(const LivePtr& live) {
  if (has_ended(live->job.state)) return;  // purged or cancelled in the round that wrote it
  Queue& queue = queues_[live->job.deployment];
  queue.waiting.insert({live->job.wish.low_priority, live->job.number});
  queue.by_number[live->job.number] = live;
  const Duration left{live->job.expires_at().ns - net::wall_now().ns};
  loop_->run_at(net::monotonic_now() + std::max(left, ms(1)), [this, late = std::weak_ptr(live)] {
    if (const LivePtr job = late.lock()) end_if_late(job);
  });
}

/// One that waits leaves at its time, wherever in the queue it is.
void JobService::end_if_late(const LivePtr& live) {
  if (!queues_[live->job.deployment].by_number.contains(live->job.number)) return;
  if (live->job.expires_at() > net::wall_now()) return;  // the clock was set back: see pump()
  finish(live, JobState::timed_out, "it waited longer than its ttl");
}

/// Hands over what may be handed over now.
void JobService::pump(const std::string& deployment) {
  Queue& queue = queues_[deployment];
  const std::size_t most = std::max<std::size_t>(1, parts_.window(deployment));
  const WallTime now = net::wall_now();
  while (!queue.waiting.empty() && !draining_) {
    const LivePtr live = queue.by_number.at(queue.waiting.begin()->second);
    if (live->job.expires_at() <= now) {
      finish(live, JobState::timed_out, "it waited longer than its ttl");
      continue;
    }
    if (queue.with_gateway >= most) return;
    queue.waiting.erase(queue.waiting.begin());
    queue.by_number.erase(live->job.number);
    hand_over(live);
  }
}

/// Its request's number is on the disk before anybody hears of the request, so that a later life
/// can ask the ledger what became of it.
void JobService::hand_over(const LivePtr& live) {
  live->handed_over = true;
  live->dispatched = false;
  live->job.request = parts_.new_request_id();
  ++queues_[live->job.deployment].with_gateway;
  changed(live);
  to_launch_.push_back(live);
}

void JobService::launch(const LivePtr& live) {
  Job& job = live->job;
  if (has_ended(job.state)) return;  // cancelled meanwhile
  const gateway::DeploymentPtr deployment = directory_->find(job.deployment);
  const access::KeyPtr key = keys_->find(job.key);
  Result<std::optional<Job>> whole = store_.find(job.id);
  if (!deployment || !key || !whole || !*whole) {
    return finish(live, JobState::failed,
                  !deployment ? fmt::format("'{}' is not configured any more", job.deployment)
                  : !key      ? "the key that it was submitted with was revoked"
                              : "its row cannot be read");
  }
  const Duration left{job.expires_at().ns - net::wall_now().ns};
  launcher_->launch({.id = job.request,
                     .deployment = deployment,
                     .key = key,
                     .target = (*whole)->wish.target,
                     .body = std::move((*whole)->wish.body),
                     .run_timeout = job.wish.execution_timeout,
                     .deadline = net::monotonic_now() + std::max(left, ms(1))},
                    std::make_shared<Sink>(*this, live));
}

void JobService::on_dispatched(const LivePtr& live, std::string worker) {
  if (has_ended(live->job.state)) return;
  live->dispatched = true;
  live->job.state = JobState::in_progress;
  live->job.started_at = net::wall_now();
  live->job.worker = std::move(worker);
  changed(live);
}

void JobService::on_bytes(const LivePtr& live, std::string_view bytes) {
  if (has_ended(live->job.state)) return;
  live->size += bytes.size();
  if (live->size > options_.most_output) {
    launcher_->cancel_launched(live->job.request);
    return finish(live, JobState::failed,
                  fmt::format("the answer is larger than {} bytes", options_.most_output));
  }
  if (!live->job.wish.stream) {
    live->bytes.append(bytes);
    return;
  }
  live->framer.feed(bytes);
  net::SseEvent event;
  while (live->framer.next(event) == net::SseFramer::Next::event) {
    if (!event.has_data || event.data == "[DONE]") continue;
    live->chunks.push_back(as_json(event.data));
  }
  if (live->read_chunks < live->chunks.size()) answer_stream_waiters(*live);
}

void JobService::on_end(const LivePtr& live, int status, const std::string& content_type,
                        std::string body) {
  Job& job = live->job;
  if (has_ended(job.state)) return;
  if (body.empty()) body = std::move(live->bytes);
  job.status = status;
  live->content_type = content_type;
  const bool refused = !live->dispatched && (status == 429 || status == 503);
  if (refused && error_code(body) == "queue_timeout") {
    return finish(live, JobState::timed_out, "it waited longer than its ttl");
  }
  if (refused) return give_back(live);
  const bool anybody_called =
      std::ranges::any_of(live->waiters, [](const Waiter& each) { return each.as_called; });
  if (anybody_called) live->answer = body;
  const bool streamed = job.wish.stream && content_type.starts_with("text/event-stream");
  if (streamed) {
    const std::string error =
        live->chunks.empty() ? std::string() : error_code(live->chunks.back());
    job.output = array_of(live->chunks);
    if (!error.empty()) {
      return finish(live, error == "request_timeout" ? JobState::timed_out : JobState::failed,
                    error_message(live->chunks.back()));
    }
    return finish(live, status == 200 ? JobState::completed : JobState::failed, {});
  }
  if (status >= 200 && status < 300) {
    job.output = as_json(body);
    return finish(live, JobState::completed, {});
  }
  const bool late = error_code(body) == "request_timeout";
  finish(live, late ? JobState::timed_out : JobState::failed,
         status == 0 ? "the answer broke off" : error_message(body));
}

/// It was refused and never ran: it waits here again, for a while longer each time.
void JobService::give_back(const LivePtr& live) {
  leave_gateway(*live);
  live->job.request = {};
  live->job.status = 0;
  live->bytes.clear();
  changed(live);
  const Duration pause = live->pause;
  live->pause = std::min(Duration{pause.ns * 2}, longest_pause);
  loop_->run_at(net::monotonic_now() + pause, [this, live] {
    if (has_ended(live->job.state)) return;
    enqueue(live);
    pump(live->job.deployment);
  });
}

void JobService::leave_gateway(Live& live) {
  if (!std::exchange(live.handed_over, false)) return;
  --queues_[live.job.deployment].with_gateway;
}

void JobService::finish(const LivePtr& live, JobState state, std::string error) {
  Job& job = live->job;
  Queue& queue = queues_[job.deployment];
  queue.waiting.erase({job.wish.low_priority, job.number});
  queue.by_number.erase(job.number);
  leave_gateway(*live);
  job.state = state;
  job.error = std::move(error);
  job.finished_at = net::wall_now();
  --queue.open;
  queue.completed += state == JobState::completed ? 1 : 0;
  queue.failed += state == JobState::failed || state == JobState::timed_out ? 1 : 0;
  changed(live);
  after_commit([this, live] {
    for (Waiter& waiter : std::exchange(live->waiters, {})) {
      loop_->cancel(waiter.timer);
      answer_end(*live, waiter);
    }
    answer_stream_waiters(*live);
    // The pieces of a stream stay for whoever reads them; the store has the rest.
    if (!live->job.wish.stream) live_.erase(live->job.id);
    pump(live->job.deployment);
  });
}

// --- Writing ---

void JobService::changed(const LivePtr& live) {
  dirty_[live->job.number] = live;
  loop_->at_round_end(*this);
}

void JobService::after_commit(std::function<void()> action) {
  then_.push_back(std::move(action));
  loop_->at_round_end(*this);
}

/// With the end of a job that names a webhook it is on the disk that the webhook is to be called.
Result<void> JobService::note_webhook(const Job& job) {
  if (job.wish.webhook.empty()) return {};
  if (!has_ended(job.state)) return store_.drop_webhooks(job.id);
  const Result<std::string> host = parts_.poster.check(job.wish.webhook);
  if (!host) {  // the configuration has changed since it was submitted
    parts_.log.warn("webhook_given_up", {{"job", job.id}, {"text", host.error().message}});
    return {};
  }
  return store_.add_webhook(job, *host, net::wall_now());
}

/// All of a round in one transaction. What cannot be written is tried again; what was being
/// submitted is refused.
void JobService::on_round_end() {
  const auto write = [&]() -> Result<void> {
    if (submissions_.empty() && dirty_.empty()) return {};
    if (Result<void> begun = store_.begin(); !begun) return begun;
    for (Submission& each : submissions_) {
      if (Result<void> stored = store_.insert(each.live->job); !stored) return stored;
      if (each.idempotency_key.empty()) continue;
      const Result<void> remembered =
          store_.remember(each.live->job.tenant, each.idempotency_key,
                          {each.fingerprint, each.live->job.id}, each.live->job.created_at);
      if (!remembered) return remembered;
    }
    for (const auto& [number, live] : dirty_) {
      if (Result<void> updated = store_.update(live->job); !updated) return updated;
      if (Result<void> noted = note_webhook(live->job); !noted) return noted;
    }
    return store_.commit();
  };
  const Result<void> written = write();
  std::vector<Submission> submissions = std::exchange(submissions_, {});
  if (!written) {
    store_.roll_back();
    parts_.log.warn("jobs_unwritten", {{"text", written.error().message}});
    for (Submission& each : submissions) {
      live_.erase(each.live->job.id);
      --queues_[each.live->job.deployment].open;
      each.then(false);
    }
    loop_->run_at(net::monotonic_now() + retry_writing, [this] { loop_->at_round_end(*this); });
    return;
  }
  const bool any_webhook = std::ranges::any_of(
      dirty_, [](const auto& each) { return !each.second->job.wish.webhook.empty(); });
  dirty_.clear();
  // What ends from here on is on the disk in the next round only.
  const std::vector<std::function<void()>> then = std::exchange(then_, {});
  if (any_webhook && !draining_) webhooks_.pump();
  for (Submission& each : submissions) {
    each.then(true);
    if (each.at_once && !draining_) {
      if (!has_ended(each.live->job.state)) hand_over(each.live);
      continue;
    }
    enqueue(each.live);
    pump(each.live->job.deployment);
  }
  for (const LivePtr& live : std::exchange(to_launch_, {})) {
    // What has just been handed over is written at the end of the next round.
    if (dirty_.contains(live->job.number)) {
      to_launch_.push_back(live);
    } else if (!draining_) {  // else the next life finds that its request never was
      launch(live);
    }
  }
  for (const auto& action : then) action();
}

}  // namespace stoker::jobs
