// Fair queues between tenants: what is remembered of tenants that do not wait, and what is not.
#include "core/fair_queue.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdint>
#include <map>
#include <vector>

namespace stoker::core {
namespace {

QueuedRequest request(std::uint64_t id, std::uint64_t tenant, std::int64_t cost = 1) {
  return {RequestId{id}, TenantId{tenant}, 0, id, cost};
}

std::vector<std::uint64_t> serve(FairQueue& queue, int count) {
  std::vector<std::uint64_t> served;
  for (; count > 0; --count) {
    served.push_back(queue.front().request.value);
    queue.pop();
  }
  return served;
}

TEST(FairQueue, ErasesOnlyWhatIsThere) {
  FairQueue queue;
  queue.push({RequestId{1}, TenantId{1}, 5, 1, 1});
  EXPECT_FALSE(queue.erase(TenantId{2}, 5, 1)) << "no such tenant";
  EXPECT_FALSE(queue.erase(TenantId{1}, 4, 1)) << "no such priority";
  EXPECT_FALSE(queue.erase(TenantId{1}, 5, 2)) << "no such order";
  EXPECT_EQ(queue.size(), 1);
  EXPECT_TRUE(queue.erase(TenantId{1}, 5, 1));
  EXPECT_TRUE(queue.empty());
  EXPECT_FALSE(queue.erase(TenantId{1}, 5, 1)) << "twice";
}

TEST(FairQueue, AnErasedRequestIsNotCharged) {
  FairQueue queue;
  queue.push(request(1, 1, 100));
  queue.push(request(2, 1));
  queue.push(request(3, 2));
  EXPECT_TRUE(queue.erase(TenantId{1}, 0, 1));
  EXPECT_EQ(serve(queue, 2), (std::vector<std::uint64_t>{2, 3})) << "1 still begins";
}

TEST(FairQueue, ACorrectionMovesATenantThatWaits) {
  FairQueue queue;
  for (std::uint64_t i = 1; i <= 3; ++i) {
    queue.push(request(i, 1));
    queue.push(request(10 + i, 2));
  }
  queue.charge(TenantId{1}, 2);
  EXPECT_EQ(serve(queue, 2), (std::vector<std::uint64_t>{11, 12})) << "1 owes two";
  queue.charge(TenantId{9}, 1000);  // never heard of
  EXPECT_EQ(queue.size(), 4);
}

/// What a request that came back was charged is given back; more than that buys one turn, not a
/// thousand: nobody gets before the time of those who are served now.
TEST(FairQueue, ARefundGoesNoFurtherBackThanThoseWhoAreServed) {
  FairQueue queue;
  for (std::uint64_t i = 1; i <= 4; ++i) {
    queue.push(request(i, 1));
    queue.push(request(10 + i, 2));
  }
  EXPECT_EQ(serve(queue, 4), (std::vector<std::uint64_t>{1, 11, 2, 12}));
  queue.charge(TenantId{1}, -1000);
  EXPECT_EQ(serve(queue, 4), (std::vector<std::uint64_t>{3, 4, 13, 14}));
}

/// A thousand tenants with one request each leave nothing behind that changes what others get.
TEST(FairQueue, TenantsThatOweNothingAreForgottenAndDebtsAreNot) {
  FairQueue queue;
  std::uint64_t id = 0;
  for (std::uint64_t tenant = 100; tenant < 1100; ++tenant) {
    queue.push(request(++id, tenant));
    EXPECT_EQ(serve(queue, 1), std::vector{id});
    EXPECT_EQ(queue.size_of(TenantId{tenant}), 0);
  }
  queue.push(request(++id, 1, 50));
  (void)serve(queue, 1);  // 1 owes 50 units of time
  for (std::uint64_t tenant = 2000; tenant < 2020; ++tenant) {
    queue.push(request(++id, tenant));
    (void)serve(queue, 1);
  }
  const std::uint64_t first = id + 1;
  for (int i = 0; i < 2; ++i) queue.push(request(++id, 1));
  for (int i = 0; i < 2; ++i) queue.push(request(++id, 3));
  EXPECT_EQ(serve(queue, 4), (std::vector<std::uint64_t>{first + 2, first + 3, first, first + 1}))
      << "1 waits for its debt";
}

TEST(FairQueue, AWeightIsRememberedWhileItsTenantIsAway) {
  FairQueue queue;
  queue.set_weight(TenantId{1}, 3);
  std::uint64_t id = 0;
  for (std::uint64_t tenant = 100; tenant < 200; ++tenant) {
    queue.push(request(++id, tenant));
    (void)serve(queue, 1);
  }
  std::map<std::uint64_t, int> served;
  for (int i = 0; i < 8; ++i) {
    queue.push(request(++id, 1));
    queue.push(request(++id, 2));
  }
  for (int i = 0; i < 8; ++i) {
    ++served[queue.front().tenant.value];
    queue.pop();
  }
  EXPECT_EQ(served[1], 6);
  EXPECT_EQ(served[2], 2);
}

TEST(FairQueue, CountsAndListsWhatWaits) {
  rc::check([](const std::vector<std::pair<std::uint8_t, bool>>& operations) {
    FairQueue queue;
    std::map<std::uint64_t, std::uint64_t> waiting;  // request -> tenant
    std::uint64_t id = 0;
    for (const auto& [raw, push] : operations) {
      const std::uint64_t tenant = 1 + raw % 7U;
      if (push) {
        queue.push(request(++id, tenant, 1 + raw));
        waiting[id] = tenant;
      } else if (!queue.empty()) {
        RC_ASSERT(waiting.erase(queue.front().request.value) == 1U);
        queue.pop();
      }
      std::map<std::uint64_t, std::uint64_t> listed;
      queue.for_each(
          [&](const QueuedRequest& each) { listed[each.request.value] = each.tenant.value; });
      RC_ASSERT(listed == waiting);
      RC_ASSERT(queue.size() == static_cast<std::int32_t>(waiting.size()));
      RC_ASSERT(queue.empty() == waiting.empty());
    }
  });
}

}  // namespace
}  // namespace stoker::core
