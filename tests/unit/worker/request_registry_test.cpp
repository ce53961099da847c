#include "worker/request_registry.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace stoker::worker {
namespace {

constexpr Instant start{1'000'000'000};

class Request final : public Stoppable {
 public:
  void stop() override { ++stops; }
  int stops = 0;
};

class RequestRegistryTest : public testing::Test {
 protected:
  RequestRegistryTest() { registry.open(); }
  RequestRegistry::Admission begin(const std::string& id, Instant now = start) {
    return registry.begin(id, request, now);
  }
  void end(const std::string& id, EndReason reason, Instant now = start) {
    registry.end(id, {.input = 1, .output = 2}, reason, now, /*remembered=*/true);
  }

  std::vector<std::string> said;
  WorkerCounters counters;
  RegistryLimits limits{.max_cancels = 3, .max_ended = 3};
  RequestRegistry registry{
      counters, limits, [this](const std::string& id, const RequestUsage& usage, EndReason reason) {
        said.push_back(id + " " + std::to_string(usage.output) + " " + to_text(reason));
      }};
  std::shared_ptr<Request> request = std::make_shared<Request>();
  using Admission = RequestRegistry::Admission;
  using Said = std::vector<std::string>;
};

TEST_F(RequestRegistryTest, CancelOfARunningRequestIsAnsweredWhenItHasEnded) {
  ASSERT_EQ(begin("a"), Admission::admitted);
  registry.cancel("a", start);
  registry.cancel("a", start);
  EXPECT_GE(request->stops, 1);
  EXPECT_EQ(said, Said{});
  EXPECT_EQ(counters.active, 1U);
  end("a", EndReason::cancelled);
  EXPECT_EQ(said, Said{"a 2 cancelled"});
  EXPECT_EQ(counters.active, 0U);
}

TEST_F(RequestRegistryTest, CancelAfterTheEndHearsHowItEnded) {
  ASSERT_EQ(begin("a"), Admission::admitted);
  end("a", EndReason::completed);
  registry.cancel("a", start + seconds(59));
  registry.cancel("a", start + seconds(61));
  EXPECT_EQ(said, (Said{"a 2 completed", "a 0 unknown"}));
}

TEST_F(RequestRegistryTest, OvertakingCancelRefusesItsRequestForHalfAMinute) {
  registry.cancel("a", start);
  registry.cancel("b", start);
  EXPECT_EQ(begin("a", start + seconds(29)), Admission::cancelled_before);
  EXPECT_EQ(begin("b", start + seconds(31)), Admission::admitted);
  EXPECT_EQ(said, (Said{"a 0 unknown", "b 0 unknown"}));
  registry.cancel("a", start + seconds(31));
  EXPECT_EQ(said.back(), "a 0 cancelled");
}

TEST_F(RequestRegistryTest, ARepeatedCancelProlongsItsMemory) {
  registry.cancel("a", start);
  registry.cancel("a", start + seconds(20));
  EXPECT_EQ(begin("a", start + seconds(40)), Admission::cancelled_before);
}

TEST_F(RequestRegistryTest, RefusesAnIdThatRuns) {
  ASSERT_EQ(begin("a"), Admission::admitted);
  EXPECT_EQ(begin("a"), Admission::duplicate);
  end("a", EndReason::completed);
  EXPECT_EQ(begin("a"), Admission::admitted);
}

TEST_F(RequestRegistryTest, ClosingStopsAndRefuses) {
  ASSERT_EQ(begin("a"), Admission::admitted);
  registry.close();
  EXPECT_EQ(request->stops, 1);
  EXPECT_EQ(begin("b"), Admission::closed);
  EXPECT_FALSE(registry.wait_until_idle(Duration{0}));
  end("a", EndReason::cancelled);
  EXPECT_TRUE(registry.wait_until_idle(Duration{0}));
}

TEST_F(RequestRegistryTest, MemoryIsBounded) {
  for (const std::string id : {"a", "b", "c", "d"}) {
    ASSERT_EQ(begin(id), Admission::admitted);
    end(id, EndReason::completed);
    registry.cancel("never-" + id, start);
  }
  said.clear();
  registry.cancel("d", start);
  registry.cancel("a", start);
  EXPECT_EQ(said, (Said{"d 2 completed", "a 0 unknown"}));
  EXPECT_EQ(begin("never-d"), Admission::cancelled_before);
  EXPECT_EQ(begin("never-a"), Admission::admitted);
}

TEST_F(RequestRegistryTest, AnIdUsedAgainIsRememberedByItsLastUse) {
  ASSERT_EQ(begin("a"), Admission::admitted);
  end("a", EndReason::failed, start);
  ASSERT_EQ(begin("a"), Admission::admitted);
  end("a", EndReason::completed, start + seconds(50));
  registry.cancel("a", start + seconds(70));
  EXPECT_EQ(said, Said{"a 2 completed"});
}

}  // namespace
}  // namespace stoker::worker
