#include "orchestrator/decision_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stoker::orchestrator {
namespace {

using testing::HasSubstr;
using testing::Not;

core::StartInstance start(std::uint64_t instance, std::uint64_t deployment) {
  core::StartInstance order;
  order.instance = {instance};
  order.deployment = {deployment};
  order.devices = {DeviceId{1}};
  order.reason = core::StartReason::queue_depth;
  order.reserved.private_bytes = mib(31);
  order.expected_start = seconds(4);
  return order;
}

const DecisionNames names{{{DeploymentId{1}, "chat"}, {DeploymentId{2}, "embed"}},
                          {{DeviceId{1}, "cuda0"}}};

TEST(DecisionLog, TellsReasonsAsCodesFiguresAndWords) {
  DecisionLog log;
  log.add({}, start(3, 1));
  core::AwaitRoom wait;
  wait.instance = {4};
  wait.deployment = {2};
  wait.reason = core::WaitReason::evicting;
  wait.needed = gib(2);
  wait.most_free = gib(1);
  wait.unfit[static_cast<std::size_t>(core::Unfit::too_little_free)] = 7;
  log.add({}, wait);
  log.add({}, core::StopInstance{{3}, {}, core::StopMode::graceful, core::StopReason::idle, {}});
  log.add({}, core::Refuse{{5}, {2}, core::RefuseReason::queue_full, ms(1500)});
  log.add({}, core::Dispatch{{5}, {3}, {}});

  const std::string all = log.to_json({}, names);
  EXPECT_THAT(
      all,
      HasSubstr(
          R"("deployment":"chat","decision":"start","reason":"queue_depth",)"
          R"("instance":"chat/3","devices":["cuda0"],"memory_bytes":32505856,)"
          R"("expected_start_ms":4000,"from":"disk",)"
          R"~("text":"start chat/3 of chat on cuda0 with 31.0 MiB (queue_depth), from disk, expected in 4 s")~"));
  EXPECT_THAT(
      all,
      HasSubstr(R"("instance":"embed/4","needed_bytes":2147483648,)"
                R"("most_free_bytes":1073741824,"unfit_devices":{"too_little_free_memory":7},)"));
  EXPECT_THAT(all, HasSubstr(R"("deployment":"chat","decision":"stop","reason":"idle")"));
  EXPECT_THAT(all, HasSubstr(R"("retry_after_ms":1500)"));
  EXPECT_THAT(all, Not(HasSubstr("send"))) << "the way of a single request is on its receipt";
}

TEST(DecisionLog, FiltersAndForgets) {
  DecisionLog log;
  for (std::uint64_t i = 1; i <= 10'000; ++i) log.add({}, start(i, 1 + i % 2));
  EXPECT_THAT(log.to_json({.limit = 1}, names), HasSubstr(R"("sequence":10000)"));
  EXPECT_THAT(log.to_json({.since = 9'999}, names), Not(HasSubstr(R"("sequence":9999)")));
  const std::string embed = log.to_json({.deployment = "embed", .limit = 2}, names);
  EXPECT_THAT(embed, HasSubstr("embed/9999"));
  EXPECT_THAT(embed, HasSubstr("embed/9997"));
  EXPECT_THAT(embed, Not(HasSubstr("chat")));
  EXPECT_EQ(log.to_json({.deployment = "none"}, names), R"({"decisions":[]})");
  EXPECT_THAT(log.to_json({.limit = 100'000}, names), Not(HasSubstr(R"("sequence":5000,)")));
}

}  // namespace
}  // namespace stoker::orchestrator
