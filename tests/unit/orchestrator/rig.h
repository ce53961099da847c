// An orchestrator over a fake backend, a journal that the test holds, and sinks that note what they
// were told. The loop runs only inside until(), on the test's own thread.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "backend/fake/fake_backend.h"
#include "base/unique_fd.h"
#include "net/clock.h"
#include "net/event_loop.h"
#include "orchestrator/orchestrator.h"

namespace stoker::orchestrator {

/// Notes starts and ends. hold() makes the next starts wait, as a slow disk would.
class FakeJournal final : public InstanceJournal {
 public:
  void hold() { gate_ = released_.get_future(); }
  void release() { released_.set_value(); }
  void fail(Error error) { error_ = std::move(error); }

  Result<void> started(const ledger::InstanceStart& start) override {
    if (gate_.valid()) gate_.get();
    const std::lock_guard lock(mutex_);
    if (error_) return tl::unexpected(*error_);
    starts_.push_back(start);
    return {};
  }
  void ended(const ledger::InstanceEnd& end) override {
    const std::lock_guard lock(mutex_);
    ends_.push_back(end);
  }
  std::vector<ledger::InstanceStart> starts() const {
    const std::lock_guard lock(mutex_);
    return starts_;
  }
  std::vector<ledger::InstanceEnd> ends() const {
    const std::lock_guard lock(mutex_);
    return ends_;
  }

 private:
  std::promise<void> released_;
  std::future<void> gate_;
  std::optional<Error> error_;
  mutable std::mutex mutex_;
  std::vector<ledger::InstanceStart> starts_;
  std::vector<ledger::InstanceEnd> ends_;
};

struct FakeSink final : gateway::DispatchSink {
  std::vector<gateway::DispatchTargetPtr> dispatched;
  std::vector<gateway::Rejection> rejected;
  std::vector<gateway::WorkerUsage> usage;
  std::vector<std::string> lost;

  void on_dispatched(gateway::DispatchTargetPtr target) override {
    dispatched.push_back(std::move(target));
  }
  void on_rejected(gateway::Rejection rejection) override {
    rejected.push_back(std::move(rejection));
  }
  void on_worker_ended(gateway::WorkerUsage used) override { usage.push_back(used); }
  void on_instance_lost(std::string reason) override { lost.push_back(std::move(reason)); }
};

class OrchestratorTest : public testing::Test, private net::RoundEndHook {
 protected:
  static constexpr DeploymentId chat{1};

  void SetUp() override {
    plan.spec.id = chat;
    plan.spec.name = "chat";
    plan.spec.scale.concurrency = 1;
    plan.spec.estimate = {mib(64), {}};
    plan.launch.worker = "echo";
    devices.resize(1);
    devices.front().id = "cpu0";
    devices.front().memory = mib(256);
  }

  /// The orchestrator with one deployment, made at the first use.
  Orchestrator& orchestrator() {
    if (!orchestrator_) {
      orchestrator_.emplace(*loop, backend, journal, log, events, options);
      for (const backend::Device& each : devices) orchestrator_->add_device(each);
      orchestrator_->add_deployment(plan);
      orchestrator_->start();
    }
    return *orchestrator_;
  }

  /// Runs the loop, round by round, until `done`; the test fails if that takes 20 s.
  void until(const std::function<bool()>& done) {
    done_ = &done;
    bool late = false;
    const net::TimerId guard = loop->run_at(net::monotonic_now() + seconds(20), [&] {
      late = true;
      loop->stop();
    });
    if (!done()) {
      loop->at_round_end(*this);
      loop->run();
    }
    loop->cancel(guard);
    done_ = nullptr;
    ASSERT_FALSE(late) << "waited 20 s in vain";
  }

  struct Asked {
    RequestId id;
    std::shared_ptr<FakeSink> sink;
    gateway::Admission admission;
    [[nodiscard]] bool queued() const { return std::holds_alternative<gateway::Queued>(admission); }
    [[nodiscard]] const gateway::DispatchTarget* target() const {
      const auto* inline_target = std::get_if<gateway::DispatchTargetPtr>(&admission);
      if (inline_target != nullptr) return inline_target->get();
      return sink->dispatched.empty() ? nullptr : sink->dispatched.back().get();
    }
    [[nodiscard]] const gateway::Rejection* refusal() const {
      const auto* inline_refusal = std::get_if<gateway::Rejection>(&admission);
      if (inline_refusal != nullptr) return inline_refusal;
      return sink->rejected.empty() ? nullptr : &sink->rejected.back();
    }
  };
  Asked ask() {
    Asked asked{orchestrator().new_request_id(), std::make_shared<FakeSink>(), gateway::Queued{}};
    asked.admission = orchestrator().admit({.request = asked.id, .deployment = chat}, asked.sink);
    return asked;
  }
  /// A request that has been answered by a ready instance; the deployment is warm then.
  void warm_up() {
    const Asked first = ask();
    until([&] { return first.target() != nullptr; });
    orchestrator().ended(first.id, gateway::EndState::completed, {});
  }
  backend::InstanceKey key_of_last_start() const { return backend.starts().back().key; }
  bool has_sent(std::string_view part) const {
    for (const auto& sent : backend.sent()) {
      if (sent.packet.find(part) != std::string::npos) return true;
    }
    return false;
  }
  core::DeploymentSummary summary() { return orchestrator().summary().deployments.at(0); }
  std::string events_text() const { return events.to_json({}); }

  std::unique_ptr<net::EventLoop> loop = std::move(*net::EventLoop::create());
  backend::FakeBackend backend{*loop};
  FakeJournal journal;
  UniqueFd nowhere{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  obs::Logger log{{.fd = nowhere.get()}};
  EventLog events;
  OrchestratorOptions options{.epoch = Epoch{7},
                              .seed = 1,
                              .drain_timeout = seconds(30),
                              .health = {},
                              .device_memory = {}};
  DeploymentPlan plan;
  std::vector<backend::Device> devices;  // that there are when it is made

 private:
  void on_round_end() override {
    if ((*done_)()) {
      loop->stop();
    } else {
      loop->at_round_end(*this);
    }
  }
  const std::function<bool()>* done_ = nullptr;
  std::optional<Orchestrator> orchestrator_;
};

}  // namespace stoker::orchestrator
