// The shell round the core: what is decided inline, what is told later, what is written down before
// what, and that every request that was admitted is told its end exactly once.
#include "orchestrator/orchestrator.h"

#include <gmock/gmock.h>

#include "base/text.h"
#include "rig.h"

namespace stoker::orchestrator {
namespace {

using Boot = backend::FakeBackend::Boot;
using testing::HasSubstr;
using testing::Not;

std::string ended_packet(RequestId request) {
  return R"({"type":"ended","request":")" + public_id(request) +
         R"(","input":3,"output":5,"cached":1,"device_ms":9,"reason":"cancelled"})";
}

// --- Requests ------------------------------------------------------------------------------------

TEST_F(OrchestratorTest, AWarmRequestIsDispatchedByTheCallItself) {
  warm_up();
  const Asked warm = ask();
  ASSERT_TRUE(std::holds_alternative<gateway::DispatchTargetPtr>(warm.admission));
  EXPECT_EQ(warm.target()->name, "chat/1");
  EXPECT_EQ(warm.target()->device, "cpu0");
  EXPECT_TRUE(warm.sink->dispatched.empty()) << "it was told twice";
}

TEST_F(OrchestratorTest, AColdRequestWaitsAndIsToldOnceItsInstanceIsReady) {
  const Asked cold = ask();
  EXPECT_TRUE(cold.queued());
  until([&] { return cold.target() != nullptr; });
  const gateway::StartTimeline& t = cold.target()->timeline;
  EXPECT_LE(t.wanted, t.placed);
  EXPECT_LE(t.placed, t.up);
  EXPECT_LE(t.up, t.loaded);
  EXPECT_LE(t.loaded, t.ready);
  EXPECT_EQ(cold.sink->dispatched.size(), 1U);
}

TEST_F(OrchestratorTest, TheNextInTheQueueGetsTheFreedSlot) {
  const Asked first = ask();
  const Asked second = ask();
  until([&] { return first.target() != nullptr; });
  EXPECT_EQ(second.target(), nullptr);
  orchestrator().ended(first.id, gateway::EndState::completed, {});
  ASSERT_NE(second.target(), nullptr);
  EXPECT_EQ(backend.starts().size(), 1U);
}

TEST_F(OrchestratorTest, AnInstanceGetsSeveralDevices) {
  devices.clear();
  for (const char* id : {"cuda0", "cuda1", "cuda2"}) {
    backend::Device device;
    device.id = id;
    device.kind = backend::DeviceKind::cuda;
    device.memory = mib(256);
    device.uuid = std::string("GPU-") + id;
    if (device.id != "cuda1") device.labels = {"link=fast"};
    devices.push_back(device);
  }
  plan.spec.needs.devices = 2;
  plan.labels = {"link=fast"};
  plan.spec.needs.labels = label_ids(plan.labels);
  options.device_memory = [](const backend::Device& device, const std::vector<pid_t>&) {
    return std::optional(device.id == "cuda0" ? mib(70) : mib(90));
  };
  const Asked cold = ask();
  until([&] { return cold.target() != nullptr; });
  EXPECT_EQ(backend.starts().at(0).device.cuda_visible_devices, "GPU-cuda0,GPU-cuda2");
  EXPECT_EQ(cold.target()->device, "cuda0,cuda2");
  EXPECT_EQ(cold.target()->devices, 2);
  const core::Summary summary = orchestrator().summary();
  EXPECT_EQ(summary.devices.at(0).reserved, mib(90)) << "the larger of what it holds, on each";
  EXPECT_EQ(summary.devices.at(1).reserved, Bytes{});
}

TEST_F(OrchestratorTest, WhereNoDevicesFitItSaysWhatIsMissing) {
  plan.spec.needs.devices = 2;
  plan.labels = {"link=fast"};
  plan.spec.needs.labels = label_ids(plan.labels);
  ASSERT_FALSE(ask().queued());
  EXPECT_EQ(
      orchestrator().why_never(chat),
      "'chat' needs 64.0 MiB on each of 2 devices with link=fast of a kind that it can run on, "
      "and there are not so many that have so much in all");
}

TEST_F(OrchestratorTest, IdsOfALaterLifeAreLarger) {
  const RequestId now = orchestrator().new_request_id();
  FakeJournal later_journal;
  backend::FakeBackend later_backend(*loop);
  OrchestratorOptions later = options;
  later.epoch = Epoch{8};
  Orchestrator next(*loop, later_backend, later_journal, log, events, later);
  EXPECT_GT(next.new_request_id(), now);
}

TEST_F(OrchestratorTest, ACancelledQueuedRequestIsOverAndHearsNothingMore) {
  backend.set_script("echo", {.boot = Boot::hello_only});
  const Asked waiting = ask();
  until([&] { return backend.list().size() == 1; });
  EXPECT_TRUE(orchestrator().cancel(waiting.id, gateway::EndState::cancelled));
  until([&] { return has_sent("\"load\""); });
  backend.say(key_of_last_start(), R"({"type":"ready","private_bytes":1,"shared_bytes":0})");
  until([&] { return summary().ready_instances == 1; });
  EXPECT_EQ(waiting.target(), nullptr);
  EXPECT_EQ(summary().running, 0) << "the load that nobody waited for was finished";
}

TEST_F(OrchestratorTest, ACancelledRunningRequestHearsWhatItsWorkerUsed) {
  const Asked running = ask();
  until([&] { return running.target() != nullptr; });
  EXPECT_FALSE(orchestrator().cancel(running.id, gateway::EndState::cancelled));
  until([&] { return has_sent("\"cancel\""); });
  EXPECT_TRUE(has_sent(public_id(running.id)));
  EXPECT_EQ(summary().running, 1) << "its slot is taken until it has really stopped";
  const std::string ended = ended_packet(running.id);
  backend.say(key_of_last_start(), ended);
  ASSERT_EQ(running.sink->usage.size(), 1U);
  EXPECT_TRUE(running.sink->usage[0].known);
  EXPECT_EQ(running.sink->usage[0].output_tokens, 5);
  orchestrator().ended(running.id, gateway::EndState::cancelled, {});
  EXPECT_EQ(summary().running, 0);
  backend.say(key_of_last_start(), ended);  // late and twice: nobody is left to tell
  EXPECT_EQ(running.sink->usage.size(), 1U);
}

/// The client of a request that timed out is answered; its slot is another matter.
TEST_F(OrchestratorTest, ASlotIsFreeOnlyOnceItsWorkerHasLetGo) {
  const Asked running = ask();
  const Asked waiting = ask();
  until([&] { return running.target() != nullptr; });
  orchestrator().cancel(running.id, gateway::EndState::expired);
  orchestrator().ended(running.id, gateway::EndState::expired, {});
  EXPECT_EQ(summary().running, 1);
  EXPECT_EQ(waiting.target(), nullptr);
  backend.say(key_of_last_start(), ended_packet(running.id));
  EXPECT_TRUE(running.sink->usage.empty()) << "nobody waits for it any more";
  ASSERT_NE(waiting.target(), nullptr);
}

TEST_F(OrchestratorTest, AWorkerThatIgnoresACancelIsKilled) {
  plan.spec.limits.cancel_grace = ms(30);
  const Asked running = ask();
  until([&] { return running.target() != nullptr; });
  orchestrator().cancel(running.id, gateway::EndState::expired);
  orchestrator().ended(running.id, gateway::EndState::expired, {});
  until([&] { return !backend.stops().empty() && backend.list().empty(); });
  EXPECT_EQ(backend.stops().at(0).mode, backend::StopMode::kill);
  EXPECT_EQ(orchestrator().last_failure(chat), "chat/1 held a cancelled request for 30 ms");
  EXPECT_TRUE(running.sink->lost.empty()) << "it has been answered";
}

TEST_F(OrchestratorTest, AScheduleSaysHowManyAreKept) {
  // 1970-01-01 was a Thursday; the window is that day's, 8 to 20 o'clock.
  plan.spec.scale.max_instances = 3;
  plan.schedule = {{1U << 3U, 8 * 60, 20 * 60, 0, 2, {}}};
  WallTime calendar{(std::int64_t{8} * 60 * minutes(1).ns) - ms(40).ns};
  options.calendar = [&calendar] {
    const WallTime now = calendar;
    calendar.ns += ms(20).ns;  // it passes from look to look
    return now;
  };
  EXPECT_EQ(orchestrator().summary().deployments.at(0).desired_instances, 0);
  until([&] { return orchestrator().summary().deployments.at(0).desired_instances == 2; });
}

TEST_F(OrchestratorTest, AChangedDeploymentKeepsItsInstance) {
  warm_up();
  const auto before = orchestrator().plans();
  DeploymentPlan next = plan;
  next.spec.limits.max_queued = 1;
  orchestrator().change_deployment(next);
  EXPECT_EQ(before->at(chat)->spec.limits.max_queued, plan.spec.limits.max_queued)
      << "who holds the plans reads what he was given";
  EXPECT_EQ(orchestrator().plans()->at(chat)->spec.limits.max_queued, 1);
  const Asked running = ask();
  ASSERT_NE(running.target(), nullptr);
  EXPECT_EQ(backend.starts().size(), 1U);
  EXPECT_TRUE(ask().queued());
  const Asked refused = ask();
  ASSERT_NE(refused.refusal(), nullptr);
  EXPECT_EQ(refused.refusal()->reason, gateway::RejectReason::queue_full);
}

TEST_F(OrchestratorTest, ARetiredDeploymentServesWhatWaitsAndThenGoes) {
  plan.spec.scale.min_instances = 1;
  const Asked first = ask();
  const Asked second = ask();
  EXPECT_TRUE(second.queued());
  orchestrator().retire_deployment(chat);
  until([&] { return first.target() != nullptr; });
  orchestrator().ended(first.id, gateway::EndState::completed, {});
  until([&] { return second.target() != nullptr; });
  until([&] { return events_text().find("deployment_removed") != std::string::npos; });
  EXPECT_EQ(second.refusal(), nullptr);
  EXPECT_EQ(orchestrator().summary().deployments.size(), 1U) << "it still runs a request";
  orchestrator().ended(second.id, gateway::EndState::completed, {});
  until([&] { return orchestrator().summary().deployments.empty(); });
  EXPECT_EQ(backend.starts().size(), 1U) << "its minimum is not kept any more";
}

TEST_F(OrchestratorTest, AWorkerCanEndOnlyItsOwnRequestsAndOnlyWhenAsked) {
  plan.spec.scale.max_instances = 2;
  plan.spec.scale.target_utilization_percent = 100;
  const Asked first = ask();
  const Asked second = ask();
  until([&] { return first.target() != nullptr && second.target() != nullptr; });
  const backend::InstanceKey of_first{first.target()->instance, first.target()->generation};
  const backend::InstanceKey of_second{second.target()->instance, second.target()->generation};
  backend.say(of_first, ended_packet(first.id));
  EXPECT_TRUE(first.sink->usage.empty()) << "it was not asked to end";
  orchestrator().cancel(first.id, gateway::EndState::cancelled);
  backend.say(of_second, ended_packet(first.id));
  EXPECT_TRUE(first.sink->usage.empty()) << "it is not its own";
  backend.say(of_first, ended_packet(first.id));
  EXPECT_EQ(first.sink->usage.size(), 1U);
}

TEST_F(OrchestratorTest, TheRequestsOfALostInstanceAreToldAndTheQueuedStay) {
  const Asked running = ask();
  const Asked waiting = ask();
  until([&] { return running.target() != nullptr; });
  backend.exit(key_of_last_start(), backend::ExitKind::signal, 9);
  ASSERT_EQ(running.sink->lost.size(), 1U);
  EXPECT_EQ(running.sink->lost[0], "chat/1 ended while it ran this request (signal 9)");
  EXPECT_TRUE(waiting.sink->lost.empty());
  EXPECT_EQ(waiting.refusal(), nullptr);
  EXPECT_EQ(orchestrator().last_failure(chat), "chat/1 ended with signal 9");
  until([&] { return waiting.target() != nullptr; });  // after the backoff, by a new instance
  EXPECT_EQ(waiting.target()->name, "chat/2");
}

TEST_F(OrchestratorTest, AFailureThatIsPastIsNotTheReasonOfALaterRefusal) {
  plan.spec.limits.queue_timeout = seconds(2);  // longer than the first backoff
  const Asked lost = ask();
  until([&] { return lost.target() != nullptr; });
  backend.exit(key_of_last_start(), backend::ExitKind::signal, 9);
  const Asked running = ask();
  until([&] { return running.target() != nullptr; });
  const Asked waiting = ask();
  until([&] { return waiting.refusal() != nullptr; });
  EXPECT_EQ(waiting.refusal()->reason, gateway::RejectReason::queue_timeout);
  EXPECT_THAT(waiting.refusal()->message, Not(HasSubstr("signal 9")));
  EXPECT_EQ(orchestrator().last_failure(chat), "chat/1 ended with signal 9") << "people may ask";
}

TEST_F(OrchestratorTest, AnExitWithZeroThatNobodyAskedForIsAFailureWithItsReason) {
  warm_up();
  backend.exit(key_of_last_start(), backend::ExitKind::code, 0);
  EXPECT_EQ(summary().failures, 1);
  EXPECT_EQ(orchestrator().last_failure(chat), "chat/1 ended with exit 0");
}

TEST_F(OrchestratorTest, ARequestThatNeverArrivedGoesToAnotherInstanceOnce) {
  const Asked asked = ask();
  until([&] { return asked.target() != nullptr; });
  orchestrator().undelivered(asked.id);
  until([&] { return asked.sink->dispatched.size() == 2; });
  EXPECT_EQ(asked.target()->name, "chat/2");
  EXPECT_THAT(orchestrator().last_failure(chat), HasSubstr("could not be reached"));
  orchestrator().undelivered(asked.id);
  until([&] { return asked.refusal() != nullptr; });
  EXPECT_EQ(asked.refusal()->reason, gateway::RejectReason::undeliverable);
}

TEST_F(OrchestratorTest, AFullQueueRefusesAtOnceAndSaysItsLimit) {
  plan.spec.limits.max_queued = 1;
  ask();
  const Asked second = ask();
  ASSERT_NE(second.refusal(), nullptr);
  EXPECT_EQ(second.refusal()->reason, gateway::RejectReason::queue_full);
  EXPECT_THAT(second.refusal()->message, HasSubstr("limits.max_queued"));
}

TEST_F(OrchestratorTest, WhatCanNeverFitIsRefusedWithItsSize) {
  plan.spec.estimate = {gib(1), {}};
  const Asked asked = ask();
  ASSERT_NE(asked.refusal(), nullptr);
  EXPECT_EQ(asked.refusal()->reason, gateway::RejectReason::no_capacity);
  EXPECT_THAT(asked.refusal()->message, HasSubstr("1.0 GiB"));
  EXPECT_EQ(orchestrator().why_never(chat), asked.refusal()->message);
}

TEST_F(OrchestratorTest, WhatRunsOrBacksOffIsNotCalledImpossible) {
  EXPECT_EQ(orchestrator().why_never(chat), "");
  warm_up();
  EXPECT_EQ(orchestrator().why_never(chat), "");
  backend.exit(key_of_last_start(), backend::ExitKind::signal, 9);
  EXPECT_EQ(orchestrator().why_never(chat), "");
}

// --- Loads ---------------------------------------------------------------------------------------

TEST_F(OrchestratorTest, AFailedLoadRefusesItsWaitersWithTheWorkersWords) {
  backend.set_script("echo", {.boot = Boot::load_fails});
  const Asked first = ask();
  const Asked second = ask();
  until([&] { return first.refusal() != nullptr; });
  ASSERT_NE(second.refusal(), nullptr);
  EXPECT_EQ(first.refusal()->reason, gateway::RejectReason::load_failed);
  EXPECT_THAT(first.refusal()->message, HasSubstr("the fake was told to fail (model_broken)"));
  EXPECT_FALSE(orchestrator().can_serve(chat));
  const Asked later = ask();
  ASSERT_NE(later.refusal(), nullptr) << "refused at once while its backoff lasts";
  EXPECT_EQ(backend.starts().size(), 1U);
}

TEST_F(OrchestratorTest, AStalledLoadIsKilledAndItsReasonShown) {
  plan.spec.limits.load_stall_timeout = ms(30);
  backend.set_script("echo", {.boot = Boot::hello_only});
  ask();
  until([&] { return !backend.stops().empty(); });
  EXPECT_EQ(backend.stops()[0].mode, backend::StopMode::kill);
  EXPECT_THAT(orchestrator().last_failure(chat), HasSubstr("limits.load_timeout"));
}

TEST_F(OrchestratorTest, ProgressKeepsALoadAlive) {
  plan.spec.limits.load_stall_timeout = ms(50);
  backend.set_script("echo", {.boot = Boot::hello_only});
  ask();
  until([&] { return has_sent("\"load\""); });
  const Instant begun = net::monotonic_now();
  std::function<void()> report = [&] {
    backend.say(key_of_last_start(), R"({"type":"loading","fraction":0.5})");
    loop->run_at(net::monotonic_now() + ms(10), report);
  };
  report();
  until([&] { return net::monotonic_now() - begun > ms(150); });
  EXPECT_TRUE(backend.stops().empty());
  EXPECT_EQ(orchestrator().records().begin()->second.load_fraction, 0.5);
}

TEST_F(OrchestratorTest, TheIntentIsWrittenBeforeAnythingIsStarted) {
  journal.hold();
  const Asked asked = ask();
  until([&] { return !orchestrator().records().empty(); });
  EXPECT_TRUE(backend.starts().empty());
  journal.release();
  until([&] { return asked.target() != nullptr; });
  ASSERT_EQ(journal.starts().size(), 1U);
  EXPECT_EQ(journal.starts()[0].nonce, backend.starts()[0].nonce);
  EXPECT_EQ(journal.starts()[0].epoch, Epoch{7});
  EXPECT_EQ(journal.starts()[0].nonce.size(), 32U);
}

TEST_F(OrchestratorTest, AnIntentThatCannotBeWrittenStartsNothing) {
  journal.fail({ErrorCode::no_capacity, "no space left", {}});
  ask();
  until([&] { return summary().failures == 1; });
  EXPECT_TRUE(backend.starts().empty());
  EXPECT_THAT(orchestrator().last_failure(chat), HasSubstr("no space left"));
  EXPECT_TRUE(orchestrator().records().empty());
}

TEST_F(OrchestratorTest, AStartThatCanNeverSucceedIsToldAtOnceWithItsReason) {
  backend.set_script("echo", {.boot = Boot::cannot_start});
  const Asked asked = ask();
  until([&] { return asked.refusal() != nullptr; });
  EXPECT_EQ(asked.refusal()->reason, gateway::RejectReason::load_failed);
  EXPECT_THAT(asked.refusal()->message, HasSubstr("the fake was told not to start"));
  EXPECT_GT(asked.refusal()->retry_after, Duration{});
  EXPECT_EQ(backend.starts().size(), 1U);
  EXPECT_THAT(events_text(), HasSubstr("instance_start_failed"));
  ASSERT_EQ(journal.ends().size(), 1U);
  EXPECT_EQ(journal.ends()[0].how, "the fake was told not to start");
  EXPECT_TRUE(orchestrator().records().empty());
}

TEST_F(OrchestratorTest, AStartThatMayYetSucceedKeepsItsRequestsWaiting) {
  backend.set_script("echo", {.boot = Boot::start_fails});
  const Asked asked = ask();
  until([&] { return summary().failures == 1; });
  EXPECT_EQ(asked.refusal(), nullptr);
  EXPECT_EQ(summary().queued, 1);
  EXPECT_GT(summary().retry_at, net::monotonic_now());
  EXPECT_EQ(orchestrator().summary().devices.at(0).reserved, Bytes{});
  backend.set_script("echo", {});
  orchestrator().warm(chat);  // at once, not after the backoff
  until([&] { return asked.target() != nullptr; });
}

TEST_F(OrchestratorTest, AStartThatFailsAfterItsStopIsNoFailure) {
  backend.set_script("echo", {.boot = Boot::silent});
  orchestrator().warm(chat);
  until([&] { return backend.starts().size() == 1; });
  orchestrator().stop(chat, {});
  until([&] { return !backend.stops().empty(); });
  if (!backend.list().empty())
    backend.exit(key_of_last_start(), backend::ExitKind::start_failed, 0);
  until([&] { return orchestrator().records().empty(); });
  EXPECT_EQ(summary().failures, 0);
  EXPECT_EQ(orchestrator().last_failure(chat), "");
}

TEST_F(OrchestratorTest, AStopBeforeTheSpawnStartsNothingAndReleasesItsMemory) {
  journal.hold();
  orchestrator().warm(chat);
  until([&] { return !orchestrator().records().empty(); });
  orchestrator().stop(chat, {});
  until([&] { return orchestrator().records().begin()->second.stop_ordered; });
  journal.release();
  until([&] { return orchestrator().records().empty(); });
  EXPECT_TRUE(backend.starts().empty());
  EXPECT_TRUE(backend.stops().empty());
  ASSERT_EQ(journal.ends().size(), 1U);
  EXPECT_EQ(journal.ends()[0].how, "not started");
  EXPECT_EQ(orchestrator().summary().devices.at(0).reserved, Bytes{});
  EXPECT_EQ(summary().failures, 0);
}

TEST_F(OrchestratorTest, TheOrderSaysWhatToLoadAndWhere) {
  plan.launch.model = "/models/m.gguf";
  plan.launch.options = R"({"context":512})";
  warm_up();
  const backend::StartRequest& start = backend.starts()[0];
  EXPECT_EQ(start.name, "chat/1");
  EXPECT_EQ(
      start.load_order,
      R"({"type":"load","deployment":"chat","model":"/models/m.gguf","options":{"context":512},)"
      R"("concurrency":1,"device":{"kind":"cpu","id":"cpu0"},"warmup":true})");
  EXPECT_EQ(start.memory_limit.value, mib(64).value / 100 * 150 + mib(256).value);
}

TEST_F(OrchestratorTest, TheFirstStartReservesWhatAnEarlierLifeMeasured) {
  plan.spec.weights = WeightsId{1};
  plan.spec.measured = {{core::DeviceKind::cpu, {mib(12), mib(90)}},
                        {core::DeviceKind::cuda, {mib(1), mib(1)}}};
  std::promise<core::MemoryNeed> kept;
  options.keep_footprint = [&](const DeploymentPlan& of, core::DeviceKind kind,
                               const core::MemoryNeed& measured) {
    EXPECT_EQ(of.spec.name, "chat");
    EXPECT_EQ(kind, core::DeviceKind::cpu);
    kept.set_value(measured);
  };
  journal.hold();
  const Asked asked = ask();
  EXPECT_EQ(orchestrator().summary().devices.at(0).reserved, mib(102));
  until([&] { return !orchestrator().records().empty(); });
  EXPECT_THAT(events_text(), HasSubstr("102.0 MiB reserved"));
  journal.release();
  until([&] { return asked.target() != nullptr; });
  EXPECT_EQ(orchestrator().summary().devices.at(0).reserved, mib(110)) << "measured again";
  EXPECT_EQ(kept.get_future().get().private_bytes, mib(10));
}

TEST_F(OrchestratorTest, AFootprintIsThatOfThePlanThatWasMeasuredThoughItIsReplacedMeanwhile) {
  const std::string name = "a name that is too long to lie within its string";
  plan.spec.name = name;
  std::promise<void> goes_on;
  std::promise<std::string> kept;
  options.keep_footprint = [&](const DeploymentPlan& of, core::DeviceKind,
                               const core::MemoryNeed&) {
    goes_on.get_future().wait();
    kept.set_value(of.spec.name);
  };
  const Asked asked = ask();
  until([&] { return asked.target() != nullptr; });
  DeploymentPlan other = plan;
  other.spec.limits.max_queued += 1;
  orchestrator().change_deployment(other);
  other.spec.name.assign(name.size(), 'x');  // where the old one may have been
  goes_on.set_value();
  EXPECT_EQ(kept.get_future().get(), name);
}

// --- Suspends ------------------------------------------------------------------------------------

struct SuspendedOnAGpu {
  std::string name;
  std::optional<Bytes> held;  // of the device, once it says that it is suspended
  bool goes_on = false;
  std::string event;
  std::string text;
};
class WhatTheDeviceTells : public OrchestratorTest,
                           public testing::WithParamInterface<SuspendedOnAGpu> {};

/// Only what the driver confirms is free for others: not what a worker says.
TEST_P(WhatTheDeviceTells, DecidesWhetherItIsSuspended) {
  devices.front().id = "cuda:0";
  devices.front().kind = backend::DeviceKind::cuda;
  plan.spec.can_suspend = true;
  plan.spec.expected_resume = Duration{1};
  plan.spec.scale.scale_to_zero_delay = ms(1);
  std::optional<Bytes> held = mib(64);
  options.device_memory = [&](const backend::Device&, const std::vector<int>&) { return held; };
  orchestrator().lend_host_memory(Bytes{1LL << 50});
  warm_up();
  until([&] { return has_sent(R"("suspend")"); });
  held = GetParam().held;
  backend.say(key_of_last_start(), R"({"type":"suspended","private_bytes":4096,"shared_bytes":0})");
  until([&] { return events_text().find(GetParam().event) != std::string::npos; });
  EXPECT_THAT(events_text(), HasSubstr(GetParam().text));
  if (GetParam().goes_on) {
    EXPECT_TRUE(backend.stops().empty());
    EXPECT_EQ(orchestrator().summary().devices.at(0).reserved, Bytes{});
  } else {
    until([&] { return !backend.stops().empty(); });
    EXPECT_EQ(backend.stops()[0].mode, backend::StopMode::kill);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Orchestrator, WhatTheDeviceTells,
    testing::Values(SuspendedOnAGpu{"free", Bytes{}, true, "instance_suspended",
                                    "holds 4.0 KiB of host"},
                    SuspendedOnAGpu{"still_held", mib(3), false, "instance_suspend_failed",
                                    "still holds 3.0 MiB"},
                    SuspendedOnAGpu{"not_told", std::nullopt, false, "instance_suspend_failed",
                                    "does not tell"}),
    [](const auto& row) { return row.param.name; });

// --- Health --------------------------------------------------------------------------------------

TEST_F(OrchestratorTest, ABreachKillsTheInstanceAndItsRequestIsToldOnceItIsGone) {
  const Asked running = ask();
  until([&] { return running.target() != nullptr; });
  backend.say(key_of_last_start(), "no JSON");
  until([&] { return !running.sink->lost.empty(); });
  EXPECT_EQ(backend.stops().at(0).mode, backend::StopMode::kill);
  EXPECT_THAT(orchestrator().last_failure(chat), HasSubstr("broke the worker contract"));
}

TEST_F(OrchestratorTest, AHungInstanceIsKilled) {
  options.health = {.silent = ms(40), .no_progress = ms(40), .tick = ms(10)};
  warm_up();
  until([&] { return !backend.stops().empty(); });
  EXPECT_EQ(backend.stops()[0].mode, backend::StopMode::kill);
  EXPECT_THAT(orchestrator().last_failure(chat), HasSubstr("gives no sign of life"));
}

class BusyWithoutSteps : public OrchestratorTest, public testing::WithParamInterface<bool> {};

/// A worker of ours must not be; a foreign engine, whose steps nobody can see, may.
TEST_P(BusyWithoutSteps, IsAHangOnlyOfWorkersThatShowThem) {
  options.health = {.silent = seconds(60), .no_progress = ms(40), .tick = ms(10)};
  plan.launch.speaks_contract = GetParam();
  warm_up();
  const Instant begun = net::monotonic_now();
  std::function<void()> report = [&] {
    if (!backend.stops().empty()) return;
    backend.say(key_of_last_start(), R"({"type":"progress","active":1,"steps":5,"tokens":0})");
    loop->run_at(net::monotonic_now() + ms(5), report);
  };
  report();
  until([&] {
    const bool had_time = !GetParam() && net::monotonic_now() - begun > ms(200);
    return !backend.stops().empty() || had_time;
  });
  EXPECT_EQ(backend.stops().size(), GetParam() ? 1U : 0U);
}
INSTANTIATE_TEST_SUITE_P(Contract, BusyWithoutSteps, testing::Bool());

TEST_F(OrchestratorTest, AnUnkillableInstanceLosesItsDeviceUntilItIsGone) {
  backend.set_script("echo", {.obeys_kill = false});
  warm_up();
  const backend::InstanceKey key = key_of_last_start();
  backend.say(key, "no JSON");
  until([&] { return !backend.stops().empty(); });
  backend.report_unkillable(key);
  const core::DeviceSummary device = orchestrator().summary().devices.at(0);
  EXPECT_TRUE(device.lost);
  EXPECT_GT(device.reserved, Bytes{}) << "a signal that was sent frees nothing";
  EXPECT_THAT(events_text(), HasSubstr("device_lost"));
}

// --- Stop and shutdown ---------------------------------------------------------------------------

TEST_F(OrchestratorTest, AStopLetsWhatRunsFinish) {
  const Asked running = ask();
  until([&] { return running.target() != nullptr; });
  orchestrator().stop(chat, {});
  EXPECT_TRUE(backend.stops().empty());
  orchestrator().ended(running.id, gateway::EndState::completed, {});
  until([&] { return backend.list().empty(); });
  EXPECT_EQ(backend.stops().at(0).mode, backend::StopMode::graceful);
  until([&] { return journal.ends().size() == 1; });
  EXPECT_EQ(journal.ends()[0].how, "exit 0");
}

TEST_F(OrchestratorTest, AShutdownRefusesTheNewAndEndsWhenAllIsGone) {
  const Asked running = ask();
  until([&] { return running.target() != nullptr; });
  bool quiet = false;
  orchestrator().shut_down([&] { quiet = true; });
  EXPECT_TRUE(orchestrator().shutting_down());
  until([&] { return !orchestrator().can_serve(chat); });
  const Asked late = ask();
  ASSERT_NE(late.refusal(), nullptr);
  EXPECT_EQ(late.refusal()->reason, gateway::RejectReason::draining);
  EXPECT_FALSE(quiet);
  orchestrator().ended(running.id, gateway::EndState::completed, {});
  until([&] { return quiet; });
  EXPECT_TRUE(backend.list().empty());
}

TEST_F(OrchestratorTest, AShutdownWithNothingToDoEndsAtOnce) {
  bool quiet = false;
  orchestrator().shut_down([&] { quiet = true; });
  until([&] { return quiet; });
}

TEST_F(OrchestratorTest, TheEndOfADrainIsHard) {
  options.drain_timeout = ms(30);
  const Asked running = ask();
  until([&] { return running.target() != nullptr; });
  bool quiet = false;
  orchestrator().shut_down([&] { quiet = true; });
  until([&] { return quiet; });
  EXPECT_EQ(running.sink->lost.size(), 1U);
  EXPECT_EQ(backend.stops().back().mode, backend::StopMode::kill);
}

}  // namespace
}  // namespace stoker::orchestrator
