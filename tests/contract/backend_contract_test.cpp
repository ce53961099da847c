// The contract of InstanceBackend, held against every implementation, unchanged. What only a real
// process can show is in process_backend_test.cpp.
#include <gtest/gtest.h>

#include "backend/fake/fake_backend.h"
#include "backend/process/process_backend.h"
#include "backend_rig.h"

namespace stoker::backend {
namespace {

/// A backend and the means to make its workers behave in a given way.
class Rig {
 public:
  Rig() : loop(std::move(*net::EventLoop::create())), heard(*loop) {}
  virtual ~Rig() = default;
  /// An instance whose worker is of that behaviour.
  virtual StartRequest request(std::uint64_t instance, const std::string& behaviour) = 0;
  virtual InstanceBackend& backend() = 0;

  void wait(const std::function<bool()>& done) { run_until(*loop, done); }
  void start(const StartRequest& request) { ASSERT_TRUE(backend().start(request).has_value()); }
  void wait_ready(InstanceKey key) {
    wait([&] { return heard.of(key).find<WorkerReady>() != nullptr; });
  }
  void wait_exit(InstanceKey key) {
    wait([&] { return !heard.of(key).exits.empty(); });
  }

  std::unique_ptr<net::EventLoop> loop;
  Recorder heard;
};

class ProcessRig : public Rig {
 public:
  explicit ProcessRig(bool sandbox)
      : backend_(std::move(*ProcessBackend::create(*loop, {.state_dir = folder_.path(),
                                                           .worker_dir = STOKER_TEST_WORKERS,
                                                           .sandbox = sandbox}))) {
    backend_->set_listener(heard);
  }
  InstanceBackend& backend() override { return *backend_; }
  StartRequest request(std::uint64_t instance, const std::string& behaviour) override {
    return tiny_instance(instance, behaviour);
  }

 private:
  TemporaryFolder folder_;
  std::unique_ptr<InstanceBackend> backend_;
};

class FakeRig final : public Rig {
 public:
  FakeRig() : backend_(*loop) {
    backend_.set_listener(heard);
    heard.after_hello = [this](InstanceKey key) { act(key); };
  }
  InstanceBackend& backend() override { return backend_; }
  StartRequest request(std::uint64_t instance, const std::string& behaviour) override {
    FakeBackend::Script script;
    if (behaviour == "load_fails") script.boot = FakeBackend::Boot::load_fails;
    if (behaviour == "segv") script.boot = FakeBackend::Boot::crash;
    if (behaviour == "stubborn") script.obeys_shutdown = false;
    backend_.set_script("tiny", script);
    behaviours_[key_of(instance)] = behaviour;
    return tiny_instance(instance, behaviour);
  }

 private:
  void act(InstanceKey key) {
    if (behaviours_[key] == "garbage") backend_.say(key, "\xff\x01 no json");
    if (behaviours_[key] == "unknown_type") backend_.say(key, R"({"type":"surprise"})");
    if (behaviours_[key] == "exit:42") backend_.exit(key, ExitKind::code, 42);
  }
  FakeBackend backend_;
  std::map<InstanceKey, std::string> behaviours_;
};

using MakeRig = std::unique_ptr<Rig> (*)();

class InstanceBackendContract : public testing::TestWithParam<MakeRig> {
 protected:
  std::unique_ptr<Rig> rig = GetParam()();
  Heard& heard(InstanceKey key) { return rig->heard.of(key); }
};

TEST_P(InstanceBackendContract, AStartedInstanceSaysHelloAndBecomesReady) {
  rig->start(rig->request(1, "normal"));
  rig->wait_ready(key_of(1));
  EXPECT_EQ(heard(key_of(1)).hellos, 1);
  EXPECT_TRUE(heard(key_of(1)).find<WorkerReady>()->endpoint.starts_with("unix:/"));
  ASSERT_EQ(rig->backend().list().size(), 1U);
  EXPECT_EQ(rig->backend().list()[0].phase, InstancePhase::running);
}

TEST_P(InstanceBackendContract, StartingTwiceStartsOnce) {
  const StartRequest request = rig->request(1, "normal");
  rig->start(request);
  rig->start(request);
  EXPECT_EQ(rig->backend().list().size(), 1U);
  rig->wait_ready(key_of(1));
  rig->start(request);
  EXPECT_EQ(rig->backend().list().size(), 1U);
  EXPECT_EQ(heard(key_of(1)).hellos, 1);
}

TEST_P(InstanceBackendContract, ALifeThatIsOverIsNotStartedAgain) {
  const StartRequest request = rig->request(1, "exit:42");
  rig->start(request);
  rig->wait_exit(key_of(1));
  rig->start(request);
  EXPECT_TRUE(rig->backend().list().empty());
}

TEST_P(InstanceBackendContract, GracefulStopEndsWithExitCodeZero) {
  rig->start(rig->request(1, "normal"));
  rig->wait_ready(key_of(1));
  rig->backend().stop(key_of(1), StopMode::graceful, seconds(10));
  EXPECT_EQ(rig->backend().list()[0].phase, InstancePhase::stopping);
  rig->wait_exit(key_of(1));
  EXPECT_EQ(heard(key_of(1)).exits[0].kind, ExitKind::code);
  EXPECT_EQ(heard(key_of(1)).exits[0].value, 0);
  EXPECT_TRUE(rig->backend().list().empty());
}

TEST_P(InstanceBackendContract, KillEndsWithTheSignal) {
  rig->start(rig->request(1, "stubborn"));
  rig->wait([&] { return heard(key_of(1)).hellos == 1; });
  rig->backend().stop(key_of(1), StopMode::kill, {});
  rig->wait_exit(key_of(1));
  EXPECT_EQ(heard(key_of(1)).exits[0].kind, ExitKind::signal);
  EXPECT_EQ(heard(key_of(1)).exits[0].value, 9);
}

TEST_P(InstanceBackendContract, KillOverrulesAGracefulStop) {
  rig->start(rig->request(1, "stubborn"));
  rig->wait([&] { return heard(key_of(1)).hellos == 1; });
  rig->backend().stop(key_of(1), StopMode::graceful, minutes(10));
  rig->backend().stop(key_of(1), StopMode::kill, {});
  rig->backend().stop(key_of(1), StopMode::kill, {});
  rig->backend().stop(key_of(1), StopMode::graceful, minutes(10));
  rig->wait_exit(key_of(1));
  EXPECT_EQ(heard(key_of(1)).exits.size(), 1U);
}

TEST_P(InstanceBackendContract, AKillBeforeHelloEndsItToo) {
  rig->start(rig->request(1, "normal"));
  rig->backend().stop(key_of(1), StopMode::kill, {});
  rig->wait_exit(key_of(1));
  EXPECT_EQ(heard(key_of(1)).find<WorkerReady>(), nullptr);
}

TEST_P(InstanceBackendContract, TheLastWordsComeBeforeTheExit) {
  rig->start(rig->request(1, "load_fails"));
  rig->wait_exit(key_of(1));
  const auto* failed = heard(key_of(1)).find<WorkerLoadFailed>();
  ASSERT_NE(failed, nullptr);
  EXPECT_EQ(failed->code, LoadFailure::model_broken);
  EXPECT_EQ(heard(key_of(1)).exits[0].value, 3);
}

TEST_P(InstanceBackendContract, ExitCodesAndSignalsAreTold) {
  rig->start(rig->request(1, "exit:42"));
  rig->wait_exit(key_of(1));
  EXPECT_EQ(heard(key_of(1)).exits[0].text, "exit 42");
  rig->start(rig->request(2, "segv"));
  rig->wait_exit(key_of(2));
  EXPECT_EQ(heard(key_of(2)).exits[0].kind, ExitKind::signal);
  EXPECT_EQ(heard(key_of(2)).exits[0].value, 11);
}

TEST_P(InstanceBackendContract, ABreachIsToldOnceAndSilencesTheWorker) {
  std::uint64_t id = 0;
  for (const char* behaviour : {"garbage", "unknown_type"}) {
    SCOPED_TRACE(behaviour);
    const InstanceKey key = key_of(++id);
    rig->start(rig->request(id, behaviour));
    rig->wait([&] { return !heard(key).breaches.empty(); });
    EXPECT_EQ(heard(key).find<WorkerReady>(), nullptr);
    rig->backend().send(key, R"({"type":"unload"})");  // ignored
    rig->backend().stop(key, StopMode::kill, {});
    rig->wait_exit(key);
    EXPECT_EQ(heard(key).breaches.size(), 1U);
  }
}

TEST_P(InstanceBackendContract, WhatCanNeverWorkIsRefusedAtOnce) {
  StartRequest request = rig->request(1, "normal");
  request.load_order = std::string(control_packet_bytes + 1, ' ');
  EXPECT_EQ(rig->backend().start(request).error().code, ErrorCode::invalid);
  request = rig->request(1, "normal");
  request.worker = "../../bin/sh";
  EXPECT_EQ(rig->backend().start(request).error().code, ErrorCode::invalid);
  request = rig->request(1, "normal");
  request.env.emplace_back("STOKER_NONCE", "mine");
  EXPECT_EQ(rig->backend().start(request).error().code, ErrorCode::invalid);
  EXPECT_TRUE(rig->backend().list().empty());
}

TEST_P(InstanceBackendContract, OrdersForStrangersAreIgnored) {
  rig->backend().send(key_of(7), "{}");
  rig->backend().stop(key_of(7), StopMode::kill, {});
  EXPECT_TRUE(rig->backend().processes_of(key_of(7)).empty());
  EXPECT_TRUE(rig->backend().log_tail("nobody/1", 10).empty());
}

TEST_P(InstanceBackendContract, InstancesAreListedByKey) {
  for (const std::uint64_t id : {3U, 1U, 2U}) rig->start(rig->request(id, "normal"));
  const std::vector<InstanceInfo> list = rig->backend().list();
  ASSERT_EQ(list.size(), 3U);
  EXPECT_EQ(list[0].key, key_of(1));
  EXPECT_EQ(list[2].key, key_of(3));
  for (const std::uint64_t id : {1U, 2U, 3U}) rig->wait_ready(key_of(id));
  EXPECT_EQ(rig->backend().log_names("chat").size(), 3U);
  EXPECT_TRUE(rig->backend().log_names("cha").empty());
}

INSTANTIATE_TEST_SUITE_P(Fake, InstanceBackendContract,
                         testing::Values(+[]() -> std::unique_ptr<Rig> {
                           return std::make_unique<FakeRig>();
                         }));
INSTANTIATE_TEST_SUITE_P(Process, InstanceBackendContract,
                         testing::Values(+[]() -> std::unique_ptr<Rig> {
                           return std::make_unique<ProcessRig>(false);
                         }));
INSTANTIATE_TEST_SUITE_P(Sandbox, InstanceBackendContract,
                         testing::Values(+[]() -> std::unique_ptr<Rig> {
                           return std::make_unique<ProcessRig>(true);
                         }));

}  // namespace
}  // namespace stoker::backend
