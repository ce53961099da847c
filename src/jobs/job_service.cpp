#include "jobs/job_service.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "access/secret.h"
#include "base/hex.h"
#include "base/json_writer.h"
#include "jobs/job_json.h"
#include "net/clock.h"

namespace stoker::jobs {
namespace {

constexpr Duration usual_wait = seconds(90);
constexpr std::int64_t shortest_wait_ms = 1'000;
constexpr std::int64_t longest_wait_ms = 300'000;
constexpr Duration stream_wait = seconds(10);
constexpr Duration sweep_interval = seconds(60);
constexpr std::int64_t most_listed = 1'000;

/// 128 random bits: whoever does not have the id cannot guess it.
Result<std::string> new_job_id() {
  const Result<access::SecretText> random = access::new_secret("");
  if (!random) return tl::unexpected(random.error());
  return "job-" + to_hex(access::Digest(random->reveal()).bytes().substr(0, 16));
}

/// Value of ?wait= in milliseconds, bounded.
Duration wait_of(std::string_view query) {
  const std::optional<std::string> text = net::query_value(query, "wait");
  if (!text) return usual_wait;
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), count);
  if (error != std::errc{} || end != text->data() + text->size()) return usual_wait;
  return ms(std::clamp(count, shortest_wait_ms, longest_wait_ms));
}

constexpr Duration again = seconds(1);

void refuse(const std::shared_ptr<gateway::JobReply>& reply, gateway::ApiError error) {
  reply->refuse(std::move(error), {}, {});
}

gateway::ApiError storage_error(std::string message) {
  return {503, "storage", std::move(message), {}, again};
}

/// What whoever called is told of a job that ended without an answer.
gateway::ApiError end_error(const Job& job) {
  const std::string& message = job.error;
  switch (job.state) {
    case JobState::timed_out:
      return {504, "request_timeout", message, {}, {}};
    case JobState::cancelled:
      return {409, "cancelled", message.empty() ? "the job was cancelled" : message, {}, {}};
    default:
      return {502, "job_failed", message, {}, {}};
  }
}

std::string job_field(const Job& job) {
  return fmt::format("X-Stoker-Job: {}\r\n", job.id);
}

/// Of an answer that is the request's own.
std::string fields_of(const Job& job, std::string_view content_type) {
  return fmt::format("Content-Type: {}\r\n", content_type) + job_field(job);
}

std::string accepted_fields(const Job& job, Duration wait) {
  return fields_of(job, "application/json") +
         fmt::format("Location: /v2/{}/status/{}\r\nPreference-Applied: wait={}\r\n",
                     job.deployment, job.id, wait.ns / 1'000'000'000);
}

}  // namespace

Result<std::unique_ptr<JobService>> JobService::create(JobStore store, JobServiceOptions options,
                                                       JobServiceParts parts) {
  Result<std::unique_ptr<net::EventLoop>> loop = net::EventLoop::create();
  if (!loop) return tl::unexpected(loop.error());
  return std::unique_ptr<JobService>(
      new JobService(std::move(store), std::move(options), std::move(parts), std::move(*loop)));
}

JobService::JobService(JobStore store, JobServiceOptions options, JobServiceParts parts,
                       std::unique_ptr<net::EventLoop> loop)
    : store_(std::move(store)),
      options_(std::move(options)),
      parts_(std::move(parts)),
      loop_(std::move(loop)),
      directory_(parts_.directory),
      webhooks_(*loop_, store_, parts_.poster, parts_.webhook_secrets, parts_.log,
                options_.webhooks) {}

JobService::~JobService() {
  stop();
}

void JobService::start(gateway::RequestLauncher& launcher, access::KeyRingPtr keys) {
  launcher_ = &launcher;
  keys_ = std::move(keys);
  loop_->post([this] { take_up(); });
  thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "jobs");
    loop_->run();
  });
}

void JobService::replace_keys(access::KeyRingPtr keys) {
  loop_->post([this, keys = std::move(keys)] { keys_ = keys; });
}

void JobService::replace_directory(gateway::DirectoryPtr directory) {
  loop_->post([this, directory = std::move(directory)] { directory_ = directory; });
}

void JobService::begin_drain() {
  loop_->post([this] { draining_ = true; });
}

void JobService::stop() {
  if (!thread_.joinable()) return;
  loop_->post([this] {
    draining_ = true;
    for (const auto& [id, live] : live_) {  // each is told as it goes
      live->waiters.clear();
      live->stream_waiters.clear();
    }
    loop_->stop();
  });
  thread_.join();
  if (!dirty_.empty() || !submissions_.empty()) on_round_end();
}

// --- An earlier life ---

void JobService::take_up() {
  sweep();
  Result<std::vector<Job>> open = store_.open_jobs();
  if (!open) {
    parts_.log.error("jobs_unreadable", {{"text", open.error().message}});
    return;
  }
  for (Job& job : *open) {
    auto live = std::make_shared<Live>();
    live->job = std::move(job);
    live_[live->job.id] = live;
    ++queues_[live->job.deployment].open;
    const bool ran = live->job.request && parts_.earlier_end(live->job.request) == EarlierEnd::ran;
    if (ran) {
      finish(live, JobState::failed,
             "the server stopped while a worker had this job, which may have run in part; retry it "
             "if it may run again");
      continue;
    }
    live->job.state = JobState::in_queue;
    live->job.started_at.reset();
    live->job.worker.clear();
    enqueue(live);
  }
  webhooks_.pump();
  if (!open->empty()) parts_.log.info("jobs_taken_up", {{"jobs", open->size()}});
  for (auto& [deployment, queue] : queues_) pump(deployment);
}

/// Forgets what ended long ago, and streams that nobody reads to their end.
void JobService::sweep() {
  const WallTime now = net::wall_now();
  const Result<std::int64_t> gone = store_.forget({now.ns - options_.retention.ns});
  if (!gone) parts_.log.warn("jobs_unwritten", {{"text", gone.error().message}});
  std::erase_if(live_, [&](const auto& each) {
    const Job& job = each.second->job;
    return has_ended(job.state) && job.finished_at &&
           job.finished_at->ns + sweep_interval.ns < now.ns;
  });
  for (auto& [deployment, queue] : queues_) pump(deployment);  // some may have waited too long
  loop_->run_at(loop_->now() + sweep_interval, [this] { sweep(); });
}

// --- Calls ---

void JobService::call(gateway::JobCall call, std::shared_ptr<gateway::JobReply> reply) {
  loop_->post([this, call = std::move(call), reply = std::move(reply)] { answer(call, reply); });
}

void JobService::answer(const gateway::JobCall& call,
                        const std::shared_ptr<gateway::JobReply>& reply) {
  using gateway::JobVerb;
  switch (call.verb) {
    case JobVerb::run:
    case JobVerb::run_sync:
    case JobVerb::call:
      return submit(call, reply);
    case JobVerb::status:
    case JobVerb::status_sync:
      return show(call, reply);
    case JobVerb::stream:
      return show_stream(call, reply);
    case JobVerb::cancel:
      return cancel(call, reply);
    case JobVerb::retry:
      return retry(call, reply);
    case JobVerb::purge:
      return purge(call, reply);
    case JobVerb::health:
      return show_health(call, reply);
    case JobVerb::list:
      return list(call, reply);
  }
}

void JobService::submit(const gateway::JobCall& call,
                        const std::shared_ptr<gateway::JobReply>& reply) {
  if (draining_) {
    return refuse(reply, {503, "draining", "the server is shutting down; try again", {}, again});
  }
  Result<JobWish> wish = call.verb == gateway::JobVerb::call
                             ? Result<JobWish>(wish_of_call(call.target, call.body))
                             : read_wish(call.body, *call.deployment);
  if (!wish) return refuse(reply, {400, "invalid_job", wish.error().message, {}, {}});
  if (!wish->webhook.empty()) {
    const Result<std::string> host = parts_.poster.check(wish->webhook);
    if (!host) {
      return refuse(reply, {400, "invalid_job", "'webhook' " + host.error().message, {}, {}});
    }
  }
  const std::string fingerprint =
      to_hex(access::Digest(call.deployment->name + '\n' + call.target + call.body).bytes());
  if (!call.idempotency_key.empty() && repeated(call, fingerprint, reply)) return;
  Queue& queue = queues_[call.deployment->name];
  if (queue.open >= options_.most_open) {
    return refuse(reply, {429,
                          "too_many_jobs",
                          fmt::format("{} jobs of '{}' are waiting, the most there may be",
                                      queue.open, call.deployment->name),
                          {},
                          again});
  }
  Result<std::string> id = new_job_id();
  if (!id) return refuse(reply, storage_error(id.error().message));
  auto live = std::make_shared<Live>();
  Job& job = live->job;
  job.id = std::move(*id);
  job.deployment = call.deployment->name;
  job.tenant = call.key->tenant_name;
  job.key = call.key->id;
  job.wish = std::move(*wish);
  job.created_at = net::wall_now();
  ++queue.open;
  live_[job.id] = live;
  submissions_.push_back({live, call.idempotency_key, fingerprint,
                          call.verb == gateway::JobVerb::call,
                          [this, live, call, reply](bool stored) {
                            if (!stored) {
                              refuse(reply, storage_error("the job could not be stored; free some "
                                                          "disk space for the state directory"));
                            } else if (call.verb == gateway::JobVerb::run) {
                              reply->answer(200, short_json(live->job.id, JobState::in_queue));
                            } else {
                              wait_for(live, call, reply);
                            }
                          }});
  loop_->at_round_end(*this);
}

/// Stripe's contract: the same key with the same content is the same submission, with other content
/// it is a mistake.   Gives: true if `reply` has its answer, or will have it.
bool JobService::repeated(const gateway::JobCall& call, const std::string& fingerprint,
                          const std::shared_ptr<gateway::JobReply>& reply) {
  const auto answer_for = [&](const std::string& known, const std::string& job) {
    if (known != fingerprint) {
      refuse(reply, {422,
                     "idempotency_key_reused",
                     "this Idempotency-Key was used for something else",
                     {},
                     {}});
      return;
    }
    gateway::JobCall again = call;
    again.job = job;
    if (call.verb == gateway::JobVerb::call) {
      call_again(again, reply);
    } else if (call.verb == gateway::JobVerb::run) {
      reply->answer(200, short_json(job, JobState::in_queue));
    } else {
      again.verb = gateway::JobVerb::status_sync;
      show(again, reply);
    }
  };
  for (const Submission& each : submissions_) {
    if (each.idempotency_key != call.idempotency_key ||
        each.live->job.tenant != call.key->tenant_name) {
      continue;
    }
    answer_for(each.fingerprint, each.live->job.id);
    return true;
  }
  const Result<std::optional<Repeat>> known =
      store_.repeat_of(call.key->tenant_name, call.idempotency_key);
  if (!known) {
    refuse(reply, storage_error(known.error().message));
    return true;
  }
  if (!*known) return false;
  answer_for((*known)->fingerprint, (*known)->job);
  return true;
}

/// The same call once more: waits for the job of the first one.
void JobService::call_again(const gateway::JobCall& call,
                            const std::shared_ptr<gateway::JobReply>& reply) {
  if (const LivePtr live = find(call)) return wait_for(live, call, reply);
  if (const std::optional<Job> job = stored(call, reply)) {
    Live ended;
    ended.job = *job;
    answer_end(ended, {reply, 0, true});
  }
}

/// To whoever waited for the end. Needs: it has ended.
void JobService::answer_end(const Live& live, const Waiter& waiter) const {
  const Job& job = live.job;
  if (!waiter.as_called) return waiter.reply->answer(200, status_of(live));
  std::string body = live.answer;
  if (body.empty() && job.state == JobState::completed) {  // of an earlier life, or long ago
    body = job.output;
  }
  if (body.empty() || job.status == 0) {
    return waiter.reply->refuse(end_error(job), job.request, job_field(job));
  }
  const std::string type = live.content_type.empty() ? "application/json" : live.content_type;
  waiter.reply->answer_with(job.status, job.request, fields_of(job, type), std::move(body));
}

JobService::LivePtr JobService::find(const gateway::JobCall& call) const {
  const auto found = live_.find(call.job);
  if (found == live_.end()) return nullptr;
  const Job& job = found->second->job;
  const bool theirs =
      job.tenant == call.key->tenant_name && job.deployment == call.deployment->name;
  return theirs ? found->second : nullptr;
}

std::optional<Job> JobService::stored(const gateway::JobCall& call,
                                      const std::shared_ptr<gateway::JobReply>& reply) {
  Result<std::optional<Job>> job =
      store_.find(call.job, call.key->tenant_name, call.deployment->name);
  if (!job) {
    refuse(reply, storage_error(job.error().message));
    return std::nullopt;
  }
  if (!*job) {
    refuse(reply, {404, "not_found", fmt::format("there is no job '{}'", call.job), {}, {}});
  }
  return std::move(*job);
}

std::string JobService::status_of(const Live& live) const {
  std::optional<std::size_t> position;
  if (live.job.state == JobState::in_queue) {
    const Queue& queue = queues_.at(live.job.deployment);
    const auto at = queue.waiting.find({live.job.wish.low_priority, live.job.number});
    constexpr std::ptrdiff_t counted = 1000;  // beyond, the place is not worth the counting
    std::ptrdiff_t ahead = 0;
    if (at != queue.waiting.end()) {
      for (auto each = queue.waiting.begin(); each != at && ahead < counted; ++each) ++ahead;
    }
    if (ahead < counted) {
      position = (at == queue.waiting.end() ? 0 : queue.with_gateway + 1) +
                 static_cast<std::size_t>(ahead);
      if (at == queue.waiting.end()) position = 1;
    }
  }
  return status_json(live.job, net::wall_now(), position);
}

void JobService::wait_for(const LivePtr& live, const gateway::JobCall& call,
                          const std::shared_ptr<gateway::JobReply>& reply) {
  const bool as_called = call.verb == gateway::JobVerb::call;
  if (has_ended(live->job.state)) return answer_end(*live, {reply, 0, as_called});
  const Duration wait = as_called ? call.wait : wait_of(call.query);
  const net::TimerId timer = loop_->run_at(net::monotonic_now() + wait, [this, live, reply,
                                                                         as_called, wait] {
    std::erase_if(live->waiters, [&](const Waiter& each) { return each.reply == reply; });
    if (!as_called) return reply->answer(200, status_of(*live));
    reply->answer_with(202, live->job.request, accepted_fields(live->job, wait), status_of(*live));
  });
  live->waiters.push_back({reply, timer, as_called});
}

void JobService::show(const gateway::JobCall& call,
                      const std::shared_ptr<gateway::JobReply>& reply) {
  if (const LivePtr live = find(call)) {
    if (call.verb == gateway::JobVerb::status_sync) return wait_for(live, call, reply);
    return reply->answer(200, status_of(*live));
  }
  if (const std::optional<Job> job = stored(call, reply)) {
    reply->answer(200, status_json(*job, net::wall_now(), std::nullopt));
  }
}

void JobService::give_stream(Live& live, const std::shared_ptr<gateway::JobReply>& reply) {
  reply->answer(200, stream_json(live.job.state, live.chunks, live.read_chunks));
  live.read_chunks = live.chunks.size();
}

void JobService::answer_stream_waiters(Live& live) {
  for (const Waiter& waiter : std::exchange(live.stream_waiters, {})) {
    loop_->cancel(waiter.timer);
    give_stream(live, waiter.reply);
  }
}

void JobService::show_stream(const gateway::JobCall& call,
                             const std::shared_ptr<gateway::JobReply>& reply) {
  if (const LivePtr live = find(call)) {
    // Clients ask again at once: with nothing new they wait here, not in a loop.
    if (live->read_chunks < live->chunks.size() || has_ended(live->job.state)) {
      return give_stream(*live, reply);
    }
    const net::TimerId timer = loop_->run_at(net::monotonic_now() + stream_wait, [this, live,
                                                                                  reply] {
      std::erase_if(live->stream_waiters, [&](const Waiter& each) { return each.reply == reply; });
      give_stream(*live, reply);
    });
    live->stream_waiters.push_back({reply, timer});
    return;
  }
  if (const std::optional<Job> job = stored(call, reply)) {
    // Long after its end nobody knows what was read: the whole output is one piece.
    std::vector<std::string> chunks;
    if (!job->output.empty()) chunks.push_back(job->output);
    reply->answer(200, stream_json(job->state, chunks, 0));
  }
}

void JobService::cancel(const gateway::JobCall& call,
                        const std::shared_ptr<gateway::JobReply>& reply) {
  const LivePtr live = find(call);
  if (live == nullptr) {
    if (const std::optional<Job> job = stored(call, reply)) {
      reply->answer(200, short_json(job->id, job->state));
    }
    return;
  }
  if (!has_ended(live->job.state)) {
    if (live->handed_over) launcher_->cancel_launched(live->job.request);
    finish(live, JobState::cancelled, {});
  }
  after_commit([live, reply] { reply->answer(200, short_json(live->job.id, live->job.state)); });
}

void JobService::retry(const gateway::JobCall& call,
                       const std::shared_ptr<gateway::JobReply>& reply) {
  std::optional<Job> job = stored(call, reply);
  if (!job) return;
  const LivePtr known = find(call);
  const JobState state = known ? known->job.state : job->state;
  if (state != JobState::failed && state != JobState::timed_out && state != JobState::cancelled) {
    return refuse(reply, {409,
                          "not_run_again",
                          fmt::format("a job that is {} is not run again", to_text(state)),
                          {},
                          {}});
  }
  auto live = std::make_shared<Live>();
  live->job = std::move(*job);
  Job& again = live->job;
  // What was asked for as its time to live begins anew.
  again.wish.ttl = Duration{net::wall_now().ns - again.created_at.ns} + again.wish.ttl;
  again.state = JobState::in_queue;
  again.started_at.reset();
  again.finished_at.reset();
  again.request = {};
  again.output.clear();
  again.error.clear();
  again.worker.clear();
  again.status = 0;
  ++again.retries;
  Queue& queue = queues_[again.deployment];
  ++queue.retried;
  ++queue.open;
  live_[again.id] = live;
  changed(live);
  after_commit([this, live, reply] {
    enqueue(live);
    reply->answer(200, short_json(live->job.id, JobState::in_queue));
    pump(live->job.deployment);
  });
}

void JobService::purge(const gateway::JobCall& call,
                       const std::shared_ptr<gateway::JobReply>& reply) {
  // Those too that wait in the gateway's queue, or for their next try.
  std::vector<LivePtr> waiting;
  for (const auto& [id, live] : live_) {
    const Job& job = live->job;
    if (job.state == JobState::in_queue && job.deployment == call.deployment->name &&
        job.tenant == call.key->tenant_name) {
      waiting.push_back(live);
    }
  }
  for (const LivePtr& live : waiting) {
    if (live->handed_over) launcher_->cancel_launched(live->job.request);
    finish(live, JobState::cancelled, "the queue was purged");
  }
  after_commit([reply, count = waiting.size()] {
    reply->answer(200, fmt::format(R"({{"removed":{},"status":"completed"}})", count));
  });
}

void JobService::show_health(const gateway::JobCall& call,
                             const std::shared_ptr<gateway::JobReply>& reply) {
  const Queue& queue = queues_[call.deployment->name];
  std::int64_t running = 0;
  std::int64_t waiting = 0;
  for (const auto& [id, live] : live_) {
    if (live->job.deployment != call.deployment->name) continue;
    running += live->job.state == JobState::in_progress ? 1 : 0;
    waiting += live->job.state == JobState::in_queue ? 1 : 0;
  }
  const Workers workers = parts_.workers(call.deployment->name);
  JsonWriter json;
  json.object([&] {
    json.object("jobs", [&] {
      json.field("completed", queue.completed);
      json.field("failed", queue.failed);
      json.field("inProgress", running);
      json.field("inQueue", waiting);
      json.field("retried", queue.retried);
    });
    json.object("workers", [&] {
      const std::int64_t busy = std::min(workers.ready, workers.in_flight);
      json.field("idle", workers.ready - busy);
      json.field("initializing", workers.starting);
      json.field("ready", workers.ready);
      json.field("running", busy);
      json.field("throttled", 0);
    });
  });
  reply->answer(200, json.take());
}

void JobService::list(const gateway::JobCall& call,
                      const std::shared_ptr<gateway::JobReply>& reply) {
  const Result<std::vector<Job>> jobs =
      store_.list(call.key->tenant_name, call.deployment->name, most_listed);
  if (!jobs) return refuse(reply, storage_error(jobs.error().message));
  JsonWriter json;
  json.object([&] {
    json.array("requests", [&] {
      for (const Job& job : *jobs) json.raw(status_json(job, net::wall_now(), std::nullopt));
    });
  });
  reply->answer(200, json.take());
}

}  // namespace stoker::jobs
