// What people read: each event and each order in one sentence, each reason in its own word.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <variant>
#include <vector>

#include "core/actions.h"
#include "core/describe.h"
#include "core/lifecycle.h"
#include "core/metering/limits.h"

namespace stoker::core {
namespace {

constexpr InstanceId seven{7};
constexpr Generation life{70};
constexpr DeploymentId three{3};
constexpr RequestId nine{9};
constexpr DeviceId two{2};
constexpr NodeId one{1};

DeviceSpec a_device() {
  DeviceSpec device;
  device.id = two;
  device.memory = mib(3);
  device.slots = 4;
  return device;
}

DeploymentSpec a_deployment() {
  DeploymentSpec d;
  d.id = three;
  d.scale.min_instances = 1;
  d.scale.max_instances = 5;
  return d;
}

struct EventCase {
  Event event;
  const char* want;
};

TEST(Describe, EachEvent) {
  const EventCase cases[] = {
      {DeviceAdded{a_device()}, "device 2 with 3.0 MiB and 4 slots is there"},
      {PoolAdded{{PoolId{1}, "slurm", 8, {}}}, "a pool of 8 devices is there"},
      {DeviceLost{two}, "device 2 is lost"},
      {DeviceReturned{two}, "device 2 is back"},
      {DeploymentAdded{a_deployment()}, "deployment 3 is there, 1 to 5 instances"},
      {DeploymentChanged{a_deployment()}, "deployment 3 changes, 1 to 5 instances"},
      {DeploymentRemoved{three}, "deployment 3 is removed"},
      {RequestArrived{.request = nine, .deployment = three, .tenant = {}, .deadline = {}},
       "request 9 arrives for deployment 3"},
      {RequestEnded{nine, 0}, "request 9 ends"},
      {RequestCancelled{nine}, "request 9 is cancelled"},
      {RequestUndelivered{nine}, "request 9 never reached its worker"},
      {InstancePlaced{seven, life}, "instance 7 got its place"},
      {StartOutcomeUnknown{seven, life}, "whether instance 7 started is not known"},
      {InstanceUp{seven, life}, "instance 7 is up"},
      {LoadProgressed{seven, life}, "instance 7 loads"},
      {InstanceReady{seven, life, {mib(1), mib(2)}}, "instance 7 is ready with 3.0 MiB"},
      {LoadFailed{seven, life, LoadFailure::model_missing},
       "instance 7 could not load: the model is missing"},
      {LoadFailed{seven, life, LoadFailure::model_broken},
       "instance 7 could not load: the model is broken"},
      {LoadFailed{seven, life, LoadFailure::bad_option},
       "instance 7 could not load: an option is wrong"},
      {LoadFailed{seven, life, LoadFailure::out_of_memory},
       "instance 7 could not load: out of memory"},
      {LoadFailed{seven, life, LoadFailure::start_failed},
       "instance 7 could not load: it did not start"},
      {LoadFailed{seven, life, LoadFailure::internal},
       "instance 7 could not load: an internal error"},
      {InstanceExited{seven, life, ExitKind::clean}, "instance 7 ended"},
      {InstanceExited{seven, life, ExitKind::crashed}, "instance 7 crashed"},
      {InstanceExited{seven, life, ExitKind::out_of_memory}, "instance 7 was killed for memory"},
      {StartFailed{seven, life, StartFailure::may_pass}, "instance 7 could not be started"},
      {StartFailed{seven, life, StartFailure::will_stay},
       "instance 7 could not be started and will not be"},
      {InstanceHung{seven, life, HangKind::silent}, "instance 7 hangs"},
      {InstanceUnkillable{seven, life}, "instance 7 outlives its kill"},
      {WarmRequested{three}, "deployment 3 shall be warm"},
      {StopRequested{three, {}}, "deployment 3 shall stop"},
      {StopRequested{three, seven}, "instance 7 shall stop"},
      {ShutdownRequested{}, "the server shall end"},
      {WokeUp{}, "time passes"},
      {BoundsChanged{three, 2, 6}, "deployment 3 shall have 2 to 6 instances from now on"},
      {TenantWeighed{TenantId{4}, 3}, "tenant 4 has the weight 3"},
      {FirstTokenSent{nine, seconds(2)}, "the first token of request 9 went out after 2 s"},
      {KeepWished{three, seconds(40)}, "deployment 3 shall stay idle for 40 s"},
      {KeepWished{three, {}}, "deployment 3 shall stay idle for as long as configured"},
      {NodeAdded{{one, mib(8)}}, "node 1 lends 8.0 MiB of its memory"},
      {ModelInTier{one, ModelId{6}, Tier::host}, "model 6 lies in the host memory tier of node 1"},
      {ModelLost{one, ModelId{6}, Tier::disk}, "model 6 is no longer in the disk tier of node 1"},
      {TierLost{one, Tier::disk}, "the disk tier of node 1 is lost"},
      {StoreAdded{{one, mib(9), mib(4), seconds(1)}},
       "node 1 keeps models in 4.0 MiB of host memory and 9.0 MiB of disk"},
      {ModelFetched{one, ModelId{6}, Tier::host, MoveId{2}, mib(1)},
       "model 6 was brought to the host memory tier of node 1"},
      {ModelDropped{one, ModelId{6}, Tier::disk, MoveId{2}},
       "model 6 was taken from the disk tier of node 1"},
      {MoveFailed{one, ModelId{6}, Tier::disk, MoveId{2}, MoveFailure::no_room, {}},
       "model 6 was not moved in the disk tier of node 1: there is no room"},
      {MoveFailed{one, ModelId{6}, Tier::host, MoveId{2}, MoveFailure::no_source, {}},
       "model 6 was not moved in the host memory tier of node 1: it is not where it was to come "
       "from"},
      {MoveFailed{one, ModelId{6}, Tier::disk, MoveId{2}, MoveFailure::error, {}},
       "model 6 was not moved in the disk tier of node 1: an error"},
      {InstanceSuspended{seven, life, mib(3), {}},
       "instance 7 is suspended with 3.0 MiB of host memory"},
      {InstanceSuspended{seven, life, mib(3), mib(1)},
       "instance 7 still holds 1.0 MiB of its devices"},
      {SuspendFailed{seven, life, SuspendFailure::refused}, "instance 7 could not be suspended"},
      {SuspendFailed{seven, life, SuspendFailure::outcome_unknown},
       "instance 7 may be suspended or not"},
      {InstanceResumed{seven, life, {mib(1), mib(2)}}, "instance 7 is back with 3.0 MiB"},
      {ResumeFailed{seven, life, SuspendFailure::refused}, "instance 7 could not be resumed"},
      {ResumeFailed{seven, life, SuspendFailure::outcome_unknown}, "instance 7 may be back or not"},
  };
  std::set<std::size_t> kinds;
  for (const EventCase& c : cases) {
    EXPECT_EQ(describe(c.event), c.want);
    kinds.insert(c.event.index());
  }
  EXPECT_EQ(kinds.size(), std::variant_size_v<Event>) << "a kind of event has no sentence here";
}

struct ActionCase {
  Action action;
  const char* want;
};

TEST(Describe, EachAction) {
  StartInstance start;
  start.instance = seven;
  start.deployment = three;
  start.reason = StartReason::queue_depth;
  start.reserved = {mib(1), mib(2)};
  start.expected_start = seconds(4);
  StartInstance on_two = start;
  on_two.devices = {two, DeviceId{3}};
  StartInstance in_pool = start;
  in_pool.pool = PoolId{1};
  AwaitRoom await{seven, three, WaitReason::evicting, mib(3), mib(1), {}};
  AwaitRoom told = await;
  told.unfit[static_cast<std::size_t>(Unfit::too_little_free)] = 2;
  told.unfit[static_cast<std::size_t>(Unfit::lost)] = 1;
  const ActionCase cases[] = {
      {on_two,
       "start instance 7 of deployment 3 on device 2 device 3 with 3.0 MiB (queue_depth), from "
       "disk, expected in 4 s"},
      {in_pool,
       "start instance 7 of deployment 3 in a pool with 3.0 MiB (queue_depth), from disk, "
       "expected in 4 s"},
      {StopInstance{seven, life, StopMode::graceful, StopReason::idle, seconds(5)},
       "stop instance 7 (idle, graceful)"},
      {StopInstance{seven, life, StopMode::kill, StopReason::hung, {}},
       "stop instance 7 (hung, kill)"},
      {SuspendInstance{seven, life, StopReason::idle, mib(3), seconds(1), seconds(4)},
       "suspend instance 7 (idle) with 3.0 MiB of host memory; it is back in 1 s, a start takes "
       "4 s"},
      {ResumeInstance{seven,
                      life,
                      three,
                      {two, DeviceId{3}},
                      StartReason::from_zero,
                      {mib(1), mib(2)},
                      {},
                      seconds(1)},
       "resume instance 7 of deployment 3 on device 2 device 3 with 3.0 MiB (from_zero), expected "
       "in 1 s"},
      {PrefetchModel{one, ModelId{6}, Tier::disk, MoveId{2}, PrefetchReason::room, mib(3),
                     seconds(7)},
       "bring model 6 with 3.0 MiB to the disk tier of node 1 (room), which saves 7 s an hour"},
      {DropModel{one, ModelId{6}, Tier::host, MoveId{2}, DropReason::worth_less, mib(3),
                 seconds(7)},
       "take model 6 with 3.0 MiB from the host memory tier of node 1 (worth_less), where it saved "
       "7 s an hour"},
      {PinModel{one, ModelId{6}, Tier::host, true},
       "pin model 6 in the host memory tier of node 1"},
      {PinModel{one, ModelId{6}, Tier::host, false},
       "pin no longer model 6 in the host memory tier of node 1"},
      {RefuseCopy{one, ModelId{6}, Tier::disk, CopyRefusal::larger_than_tier, mib(3), mib(2)},
       "model 6 with 3.0 MiB does not come to the disk tier of node 1 of 2.0 MiB "
       "(larger_than_tier)"},
      {Dispatch{nine, seven, life}, "send request 9 to instance 7"},
      {Refuse{nine, three, RefuseReason::queue_full, seconds(2)},
       "refuse request 9 (queue_full), again after 2 s"},
      {CancelRequest{nine, seven, life}, "cancel request 9 on instance 7"},
      {FailRequest{nine, seven}, "request 9 failed with instance 7"},
      {await, "instance 7 of deployment 3 waits for 3.0 MiB (evicting)"},
      {told,
       "instance 7 of deployment 3 waits for 3.0 MiB (evicting); devices: 1 lost, 2 too "
       "little free memory"},
  };
  std::set<std::size_t> kinds;
  for (const ActionCase& c : cases) {
    EXPECT_EQ(describe(c.action), c.want);
    kinds.insert(c.action.index());
  }
  EXPECT_EQ(kinds.size(), std::variant_size_v<Action>) << "a kind of order has no sentence here";
}

TEST(Describe, AFailureThatIsNotInTheListIsUnknown) {
  EXPECT_EQ(describe(Event(LoadFailed{seven, life, static_cast<LoadFailure>(6)})),
            "instance 7 could not load: unknown");
  EXPECT_EQ(describe(Event(InstanceExited{seven, life, static_cast<ExitKind>(3)})),
            "instance 7 unknown");
  EXPECT_EQ(describe(Event(MoveFailed{
                one, ModelId{6}, Tier::disk, MoveId{2}, static_cast<MoveFailure>(3), {}})),
            "model 6 was not moved in the disk tier of node 1: unknown");
}

TEST(Describe, UsesTheNamesOfTheCaller) {
  const Names names{[](DeploymentId) { return std::string("chat"); },
                    [](InstanceId) { return std::string("chat/1"); },
                    [](DeviceId) { return std::string("gpu0"); },
                    [](RequestId) { return std::string("req-1"); }};
  EXPECT_EQ(describe(Event(RequestArrived{
                         .request = nine, .deployment = three, .tenant = {}, .deadline = {}}),
                     names),
            "req-1 arrives for chat");
  EXPECT_EQ(describe(Event(DeviceLost{two}), names), "gpu0 is lost");
  EXPECT_EQ(describe(Action(Dispatch{nine, seven, life}), names), "send req-1 to chat/1");
}

/// The words are part of the HTTP API, the log and the golden scripts: they never change. What is
/// not in the list is not in the enumeration either.
template <class Enum>
void expect_words(const std::vector<std::string>& want) {
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_EQ(to_text(static_cast<Enum>(i)), want[i]);
  EXPECT_EQ(std::set<std::string>(want.begin(), want.end()).size(), want.size());
  EXPECT_STREQ(to_text(static_cast<Enum>(want.size())), "unknown") << "not in this list";
}

TEST(Words, OfReasonsStatesAndLimits) {
  expect_words<PrefetchReason>({"room", "pinned"});
  expect_words<DropReason>({"worth_less", "over_capacity", "not_on_disk"});
  expect_words<CopyRefusal>({"larger_than_tier", "no_room"});
  expect_words<StartReason>({"from_zero", "queue_depth", "at_minimum", "warm_request", "replace",
                             "expected", "queue_wait", "utilization", "first_token", "request_rate",
                             "spare"});
  expect_words<StopReason>(
      {"idle",           "make_room",  "stop_request",      "shutdown",    "start_timeout",
       "load_stalled",   "hung",       "cancel_ignored",    "drain_limit", "not_stopping",
       "memory_overrun", "abandoned",  "superseded",        "load_failed", "swap",
       "removed",        "not_placed", "start_unconfirmed", "device_lost", "suspend_failed",
       "resume_failed",  "host_room",  "host_overrun",      "unlikely",    "elsewhere"});
  EXPECT_STREQ(to_text(StopMode::graceful), "graceful");
  EXPECT_STREQ(to_text(StopMode::kill), "kill");
  expect_words<RefuseReason>({"queue_full", "queue_timeout", "load_failed", "crash_loop",
                              "no_capacity", "shutting_down", "undeliverable", "tenant_queue_full",
                              "removed"});
  expect_words<WaitReason>({"evicting", "swapping", "all_busy", "quota"});
  expect_words<Unfit>({"lost", "distrusted", "wrong kind", "wrong label", "too small",
                       "too little free memory", "no free slot", "too little share left",
                       "not alone"});
  expect_words<InstanceState>({"planned", "starting", "loading", "ready", "draining", "stopping",
                               "failed", "gone", "suspending", "suspended", "resuming"});
  expect_words<Tier>({"host memory", "disk", "remote"});
  expect_words<metering::LimitKind>({"requests_per_minute", "input_tokens_per_minute",
                                     "output_tokens_per_minute", "device_time_per_day",
                                     "concurrent_requests", "budget"});
}

TEST(Words, WhatTheLoadAsksForIsToldFromWhatWaits) {
  for (const StartReason reason : {StartReason::utilization, StartReason::first_token,
                                   StartReason::request_rate, StartReason::spare}) {
    EXPECT_TRUE(is_for_load(reason)) << to_text(reason);
  }
  for (const StartReason reason :
       {StartReason::from_zero, StartReason::queue_depth, StartReason::at_minimum,
        StartReason::warm_request, StartReason::replace, StartReason::expected,
        StartReason::queue_wait}) {
    EXPECT_FALSE(is_for_load(reason)) << to_text(reason);
  }
}

}  // namespace
}  // namespace stoker::core
