// Stand-ins for what the gateway is built on. Each one records what it was asked, and answers what
// the test told it to.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/admin_api.h"
#include "gateway/dispatcher.h"
#include "gateway/job_api.h"
#include "gateway/record_sink.h"

namespace stoker::gateway {

/// Upper bound of every wait; only a failing test gets near it.
constexpr std::chrono::seconds test_patience{20};

class FakeDispatcher final : public Dispatcher {
 public:
  /// What admit() gives; by default everything is queued.
  std::function<Admission(const Arrival&)> on_admit = [](const Arrival&) { return Queued{}; };
  /// What a worker answers to the cancel of a running request; nullopt: nothing.
  std::optional<WorkerUsage> cancelled_usage;
  std::function<void(RequestId, const std::shared_ptr<DispatchSink>&)> on_undelivered;
  std::function<std::optional<Rejection>(const Arrival&)> on_reserve;  // none: nothing is refused
  std::int64_t most_output = std::numeric_limits<std::int64_t>::max();
  Standings standing;
  std::function<std::optional<WaitState>(RequestId)> on_waiting;  // none: nobody waits
  std::int64_t device_ms = 0;                                     // of each request that ends

  RequestId new_request_id() override {
    const std::lock_guard lock(mutex_);
    return RequestId{++last_id_};
  }
  std::optional<Rejection> reserve(const Arrival& arrival) override {
    return on_reserve ? on_reserve(arrival) : std::nullopt;
  }
  void release(RequestId) override {}
  bool within_limits(RequestId, const TokenCounts& used) override {
    return used.output <= most_output;
  }
  [[nodiscard]] std::optional<WaitState> waiting(RequestId request) const override {
    return on_waiting ? on_waiting(request) : std::nullopt;
  }
  Standings standings(KeyId) override { return standing; }
  void keep(DeploymentId, std::optional<Duration> idle) override {
    const std::lock_guard lock(mutex_);
    wishes_.push_back(idle);
  }
  [[nodiscard]] std::vector<std::optional<Duration>> wishes() {
    const std::lock_guard lock(mutex_);
    return wishes_;
  }
  Admission admit(const Arrival& arrival, std::shared_ptr<DispatchSink> sink) override {
    Admission admission = on_admit(arrival);
    const std::lock_guard lock(mutex_);
    sinks_[arrival.request] = std::move(sink);
    if (std::holds_alternative<DispatchTargetPtr>(admission)) running_[arrival.request] = true;
    if (std::holds_alternative<Rejection>(admission)) sinks_.erase(arrival.request);
    admitted_.push_back(arrival);
    changed_.notify_all();
    return admission;
  }
  bool cancel(RequestId request, EndState why) override {
    std::shared_ptr<DispatchSink> sink;
    {
      const std::lock_guard lock(mutex_);
      cancelled_.emplace_back(request, why);
      changed_.notify_all();
      if (!running_[request]) {
        sinks_.erase(request);
        return true;
      }
      sink = sinks_[request];
    }
    if (cancelled_usage) sink->on_worker_ended(*cancelled_usage);
    return false;
  }
  void undelivered(RequestId request) override {
    std::shared_ptr<DispatchSink> sink;
    {
      const std::lock_guard lock(mutex_);
      ++undelivered_;
      running_[request] = false;
      sink = sinks_[request];
    }
    if (on_undelivered) on_undelivered(request, sink);
  }
  void first_token(RequestId request, Duration took) override {
    const std::lock_guard lock(mutex_);
    first_tokens_.emplace_back(request, took);
  }
  std::int64_t ended(RequestId request, EndState state, const TokenCounts&) override {
    const std::lock_guard lock(mutex_);
    ended_.emplace_back(request, state);
    sinks_.erase(request);
    changed_.notify_all();
    return device_ms;
  }

  /// Waits until `count` requests have been admitted; gives the last one's sink.
  std::shared_ptr<DispatchSink> wait_admitted(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, test_patience, [&] { return admitted_.size() >= count; });
    return admitted_.size() < count ? nullptr : sinks_[admitted_.back().request];
  }
  void dispatch(RequestId request, const DispatchTargetPtr& target) {
    std::shared_ptr<DispatchSink> sink;
    {
      const std::lock_guard lock(mutex_);
      running_[request] = true;
      sink = sinks_[request];
    }
    if (sink) sink->on_dispatched(target);
  }
  /// The last request is dispatched, but the word of it is not sent yet.
  void decide_dispatch() {
    const std::lock_guard lock(mutex_);
    running_[admitted_.back().request] = true;
  }
  bool wait_cancelled(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, test_patience, [&] { return cancelled_.size() >= count; });
  }
  RequestId last_request() {
    const std::lock_guard lock(mutex_);
    return admitted_.empty() ? RequestId{} : admitted_.back().request;
  }
  std::vector<std::pair<RequestId, EndState>> ended_requests() {
    const std::lock_guard lock(mutex_);
    return ended_;
  }
  std::vector<std::pair<RequestId, EndState>> cancelled_requests() {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }
  std::vector<std::pair<RequestId, Duration>> first_tokens() {
    const std::lock_guard lock(mutex_);
    return first_tokens_;
  }
  int undelivered_count() {
    const std::lock_guard lock(mutex_);
    return undelivered_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t last_id_ = 0;
  int undelivered_ = 0;
  std::map<RequestId, std::shared_ptr<DispatchSink>> sinks_;
  std::map<RequestId, bool> running_;
  std::vector<Arrival> admitted_;
  std::vector<std::pair<RequestId, EndState>> cancelled_;
  std::vector<std::pair<RequestId, EndState>> ended_;
  std::vector<std::optional<Duration>> wishes_;
  std::vector<std::pair<RequestId, Duration>> first_tokens_;
};

class FakeRecords final : public RecordSink {
 public:
  bool admission_fails = false;
  Recorded ending_gives = Recorded::durable;

  Result<void> admitted(const ledger::Admission& admission) override {
    if (admission_fails) return failure(ErrorCode::no_capacity, "disk full");
    const std::lock_guard lock(mutex_);
    admissions_.push_back(admission);
    return {};
  }
  Result<void> dispatched(RequestId) override { return {}; }
  Recorded ended(const ledger::Usage& usage, std::shared_ptr<DurableListener> listener) override {
    const std::lock_guard lock(mutex_);
    endings_.push_back(usage);
    if (ending_gives == Recorded::pending) pending_.push_back(std::move(listener));
    changed_.notify_all();
    return ending_gives;
  }

  std::vector<ledger::Admission> admissions() {
    const std::lock_guard lock(mutex_);
    return admissions_;
  }
  /// Waits for `count` endings; gives what there is.
  std::vector<ledger::Usage> wait_endings(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, test_patience, [&] { return endings_.size() >= count; });
    return endings_;
  }
  void make_durable(bool written) {
    std::vector<std::shared_ptr<DurableListener>> pending;
    {
      const std::lock_guard lock(mutex_);
      pending.swap(pending_);
    }
    for (const auto& listener : pending) listener->on_durable(written);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ledger::Admission> admissions_;
  std::vector<ledger::Usage> endings_;
  std::vector<std::shared_ptr<DurableListener>> pending_;
};

/// Says which call it got.
class FakeJobs final : public JobApi {
 public:
  void call(JobCall call, std::shared_ptr<JobReply> reply) override {
    reply->answer(200, "{\"deployment\":\"" + call.deployment->name + "\",\"job\":\"" + call.job +
                           "\",\"verb\":" + std::to_string(static_cast<int>(call.verb)) + "}");
  }
};

class FakeAdmin final : public AdminApi {
 public:
  std::atomic<bool> is_ready = true;
  std::atomic<bool> serves = true;
  std::atomic<bool> reload_ok = true;

  /// Who follows the events, once somebody does.
  std::shared_ptr<LineSink> follower() {
    const std::lock_guard lock(mutex_);
    return follower_;
  }

  bool ready() const override { return is_ready; }
  bool can_serve(DeploymentId) const override { return serves; }
  Result<std::string> ps_json(std::string_view, const Sight&) override {
    return std::string(R"({"instances":[]})");
  }
  Result<std::string> events_json(const EventFilter& filter) override {
    return "{\"limit\":" + std::to_string(filter.limit) + "}";
  }
  Result<std::string> decisions_json(const EventFilter& filter) override {
    return "{\"since\":" + std::to_string(filter.since) + "}";
  }
  Result<std::unique_ptr<Subscription>> follow_events(const EventFilter&,
                                                      std::shared_ptr<LineSink> sink) override {
    {
      const std::lock_guard lock(mutex_);
      follower_ = sink;
    }
    sink->on_line(R"({"event":"one"})");
    return std::make_unique<Subscription>();
  }
  Result<std::string> log_text(std::string_view name, std::int64_t lines, const Sight&) override {
    return std::string(name) + " " + std::to_string(lines) + "\n";
  }
  Result<std::unique_ptr<Subscription>> follow_log(std::string_view, std::int64_t, const Sight&,
                                                   std::shared_ptr<LineSink> sink) override {
    sink->on_line("a line");
    sink->on_closed();
    return std::make_unique<Subscription>();
  }
  Result<std::string> request_json(RequestId request, const Sight&) override {
    return "{\"request\":" + std::to_string(request.value) + "}";
  }
  Result<std::string> requests_json(const RequestFilter& filter) override {
    if (!filter.sight.tenant.empty()) return "{\"tenant\":\"" + filter.sight.tenant + "\"}";
    return "{\"limit\":" + std::to_string(filter.limit) + "}";
  }
  Result<std::string> usage_json(const UsageFilter& filter) override {
    return "{\"by\":\"" + filter.by + "\"}";
  }
  Result<std::string> warm(std::string_view deployment) override {
    if (deployment != "chat") return failure(ErrorCode::not_found, "no such deployment");
    return std::string("{}");
  }
  Result<std::string> stop(std::string_view) override { return std::string("{}"); }
  ReloadReport reload() override { return {reload_ok, R"({"ok":false})"}; }
  Result<std::string> keys_json() override { return std::string(R"({"keys":[]})"); }
  Result<std::string> create_key(std::string_view body) override { return std::string(body); }
  Result<std::string> change_key(std::string_view id, std::string_view) override {
    return std::string(id);
  }
  Result<std::string> revoke_key(std::string_view id, bool hard) override {
    return std::string(id) + (hard ? " hard" : "");
  }
  Result<std::string> webhook_secret_json(std::string_view tenant) override {
    return std::string(tenant);
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<LineSink> follower_;
};

}  // namespace stoker::gateway
