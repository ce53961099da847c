// Tables for who is worth host memory, and what an instance's life allows.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <optional>
#include <vector>

#include "core/describe.h"
#include "core/event_codec.h"
#include "core/lifecycle.h"
#include "core/suspend_policy.h"

namespace stoker::core {
namespace {

TEST(ChooseSleepers, Table) {
  using Ids = std::vector<InstanceId>;
  struct Case {
    const char* name;
    double worth;
    Bytes needed;
    Bytes free;
    std::vector<Sleeper> sleepers;
    std::optional<Ids> want;
  };
  const InstanceId one{1};
  const InstanceId two{2};
  const InstanceId three{3};
  const Case cases[] = {
      {"it fits", 1, mib(10), mib(10), {{one, 0, mib(5), {}}}, Ids{}},
      {"nobody to go", 9, mib(10), mib(9), {}, std::nullopt},
      {"worth less than who would go", 1, mib(10), mib(5), {{one, 2, mib(5), {}}}, std::nullopt},
      {"about the same: no taking turns", 1.2, mib(10), {}, {{one, 1, mib(10), {}}}, std::nullopt},
      {"worth more", 3, mib(10), mib(5), {{one, 2, mib(5), {}}}, Ids{one}},
      {"least per byte first",
       9,
       mib(10),
       {},
       {{one, 2, mib(10), {}}, {two, 3, mib(30), {}}},
       Ids{two}},
      {"the longest suspended of equals",
       9,
       mib(10),
       {},
       {{one, 1, mib(10), Instant{20}}, {two, 1, mib(10), Instant{10}}},
       Ids{two}},
      {"a small one that turns out not to be needed stays",
       9,
       mib(10),
       {},
       {{one, 0.1, mib(1), {}}, {three, 2, mib(10), {}}},
       Ids{three}},
      {"two go, by id",
       9,
       mib(10),
       mib(1),
       {{two, 1, mib(5), {}}, {one, 2, mib(4), {}}},
       Ids{one, two}},
      {"together they are worth more",
       3,
       mib(10),
       {},
       {{one, 2, mib(5), {}}, {two, 1, mib(5), {}}},
       std::nullopt},
  };
  for (const Case& each : cases) {
    EXPECT_EQ(choose_sleepers(each.worth, each.needed, each.free, each.sleepers), each.want)
        << each.name;
  }
}

RC_GTEST_PROP(ChooseSleepers, MakesRoomAndNoMoreThanThat, ()) {
  const auto count = *rc::gen::inRange(0, 8);
  std::vector<Sleeper> sleepers;
  for (int i = 0; i < count; ++i) {
    sleepers.push_back({InstanceId{static_cast<std::uint64_t>(i + 1)},
                        static_cast<double>(*rc::gen::inRange(0, 20)),
                        Bytes{*rc::gen::inRange(1, 50)}, Instant{*rc::gen::inRange(0, 5)}});
  }
  const double worth = *rc::gen::inRange(0, 60);
  const Bytes needed{*rc::gen::inRange(0, 120)};
  const Bytes free{*rc::gen::inRange(0, 60)};
  const auto leave = choose_sleepers(worth, needed, free, sleepers);
  if (!leave) return;
  Bytes room = free;
  double lost = 0;
  for (const InstanceId id : *leave) {
    room += sleepers[id.value - 1].bytes;
    lost += sleepers[id.value - 1].worth;
  }
  RC_ASSERT(room >= needed);
  RC_ASSERT(leave->empty() || worth > lost * host_swap_margin);
  for (const InstanceId id : *leave) RC_ASSERT(room - sleepers[id.value - 1].bytes < needed);
}

TEST(HostCost, IsItsPart) {
  EXPECT_DOUBLE_EQ(host_cost(gib(1), gib(4), 200), 0.05);
  EXPECT_DOUBLE_EQ(host_cost({}, gib(4), 200), 0);
}

TEST(Lifecycle, SuspendedOnesMoveAlongTheWrittenGraph) {
  using namespace lifecycle;
  EXPECT_EQ(next_state(ready, suspend), suspending);
  EXPECT_EQ(next_state(suspending, was_suspended), suspended);
  EXPECT_EQ(next_state(suspended, resume), resuming);
  EXPECT_EQ(next_state(resuming, became_ready), InstanceState::ready);
  for (const InstanceState from : {suspending, suspended, resuming}) {
    EXPECT_EQ(next_state(from, broke), failed);
    EXPECT_EQ(next_state(from, stop), stopping);
    EXPECT_EQ(next_state(from, exited), gone);
    EXPECT_FALSE(next_state(from, drain));
  }
  for (const InstanceState from : {starting, loading, draining, stopping, failed}) {
    EXPECT_FALSE(next_state(from, suspend));
  }
  EXPECT_FALSE(next_state(suspending, resume));
  EXPECT_FALSE(next_state(suspended, became_ready));
}

TEST(EventCodec, KeepsEventsOfSuspending) {
  const Generation generation{7};
  const InstanceId id{3};
  const std::vector<Event> events = {
      NodeAdded{{NodeId{2}, gib(5)}},
      InstanceSuspended{id, generation, mib(5), mib(1)},
      SuspendFailed{id, generation, SuspendFailure::outcome_unknown},
      InstanceResumed{id, generation, {mib(4), mib(2)}},
      ResumeFailed{id, generation, SuspendFailure::refused},
  };
  for (const Event& event : events) {
    std::string bytes;
    encode(bytes, Instant{11}, event);
    std::string_view rest = bytes;
    const auto back = decode_event(rest);
    ASSERT_TRUE(back && rest.empty());
    std::string again;
    encode(again, back->at, back->event);
    EXPECT_EQ(again, bytes) << describe(event);
    EXPECT_EQ(describe(back->event), describe(event));
  }
}

TEST(Describe, SaysWhySomethingIsSuspendedAndWhatIsExpected) {
  EXPECT_EQ(
      describe(SuspendInstance{
          InstanceId{3}, {}, StopReason::make_room, mib(64), seconds(1), seconds(9)}),
      "suspend instance 3 (make_room) with 64.0 MiB of host memory; it is back in 1 s, a start "
      "takes 9 s");
  EXPECT_EQ(
      describe(ResumeInstance{InstanceId{3},
                              {},
                              DeploymentId{2},
                              {DeviceId{1}},
                              StartReason::from_zero,
                              {mib(60), mib(4)},
                              {},
                              seconds(1)}),
      "resume instance 3 of deployment 2 on device 1 with 64.0 MiB (from_zero), expected in 1 s");
}

}  // namespace
}  // namespace stoker::core
