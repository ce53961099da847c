// What metering answers at its edges: who is not known, what is not limited, what ends while it
// runs and is not billed.
#include <gtest/gtest.h>

#include <variant>

#include "aggregate_members.h"
#include "base/invariant.h"
#include "core/metering/metering.h"

namespace stoker::core::metering {
namespace {

constexpr TenantId tenant{1};
constexpr KeyId key{10};
constexpr KeyId nobody{99};
constexpr DeploymentId chat{3};
constexpr InstanceId instance{77};
constexpr Prices prices{{1'000'000}, {100'000}, {1'000'000}, {2'000'000}};

Instant at(std::int64_t milliseconds) {
  return Instant{} + ms(milliseconds);
}

class MeteringEdges : public testing::Test {
 protected:
  MeteringEdges() {
    metering.set_tenant(tenant, {});
    metering.set_key(key, tenant, {});
    metering.set_prices(chat, prices);
  }
  ReservationId admitted(Instant now, const Units& estimate = {}) {
    const Admission admission = metering.admit(now, {RequestId{++requests}, key, chat, estimate});
    return std::get<ReservationId>(admission);
  }
  Metering metering{MeteringConfig{}};
  std::uint64_t requests = 0;
};

TEST_F(MeteringEdges, OfWhomNobodyKnowsNothingIsOwed) {
  EXPECT_EQ(metering.balance(nobody), Pico{});
  EXPECT_EQ(metering.balance(TenantId{99}), Pico{});
  EXPECT_EQ(metering.reserved(nobody), Pico{});
  EXPECT_EQ(metering.reserved(TenantId{99}), Pico{});
  EXPECT_FALSE(metering.standing(at(0), nobody, LimitKind::requests_per_minute));
  metering.remove_key(nobody);
  metering.count_again(at(0), nobody, {.input_tokens = 5});
  EXPECT_EQ(metering.balance(OwnAccount::revenue_requests), Pico{});
  metering.check_invariants();
}

TEST_F(MeteringEdges, MoneyIsBookedOnlyForKeysThatAreKnown) {
  const InvariantsThrow throws;
  EXPECT_THROW((void)metering.correct(nobody, Pico{1}), InvariantBroken);
  EXPECT_THROW(metering.bring_forward(nobody, Pico{1}), InvariantBroken);
}

/// A key that was deleted meanwhile: the record is written all the same, with what is known.
TEST_F(MeteringEdges, AnInterruptedRequestOfAKeyThatIsGoneHasItsRecord) {
  const PriceList list{PriceVersion{7}, prices};
  const UsageRecord lost = metering.interrupted({RequestId{5}, nobody, chat, {}}, list);
  EXPECT_EQ(lost.request, RequestId{5});
  EXPECT_EQ(lost.key, nobody);
  EXPECT_EQ(lost.tenant, TenantId{});
  EXPECT_EQ(lost.billing, Billing::free);
  EXPECT_EQ(lost.used, Units{});
  const UsageRecord known = metering.interrupted({RequestId{6}, key, chat, {}}, list);
  EXPECT_EQ(known.tenant, tenant);
  EXPECT_EQ(known.sequence, lost.sequence + 1);
}

TEST_F(MeteringEdges, AReservationThatNeverWasIsStale) {
  EXPECT_EQ(metering.report(at(0), ReservationId{5}, {1, 1, {}}).effect, ReportEffect::stale);
  const ReservationId id = admitted(at(0));
  metering.dispatched(at(0), id, instance);
  EXPECT_EQ(metering.report(at(0), id, {0, 1, {}}).effect, ReportEffect::nonsense)
      << "attempts are counted from 1";
  EXPECT_EQ(metering.report(at(0), id, {-1, 1, {}}).effect, ReportEffect::nonsense);
}

TEST_F(MeteringEdges, WhatIsNotBilledTakesNoDeviceTimeAndNoMoney) {
  const ReservationId id = admitted(at(0), {.output_tokens = 10});
  metering.dispatched(at(0), id, instance);
  (void)metering.report(at(500), id, {1, 1, {.output_tokens = 7}});
  const UsageRecord record = metering.settle(at(1000), id, Billing::free);
  EXPECT_EQ(record.used, Units{});
  EXPECT_EQ(record.charge.total(), Pico{});
  EXPECT_EQ(metering.balance(key), Pico{});
  EXPECT_EQ(metering.reserved(key), Pico{});
  EXPECT_EQ(metering.balance(OwnAccount::revenue_output_tokens), Pico{});
  metering.check_invariants();  // V26: it does not run any more
}

TEST_F(MeteringEdges, StandingOfRequestsAtATime) {
  EXPECT_FALSE(metering.standing(at(0), key, LimitKind::concurrent_requests)) << "not limited";
  EXPECT_FALSE(metering.standing(at(0), key, LimitKind::budget)) << "money has no window";
  Limits limits;
  limits.concurrent_requests = 2;
  metering.set_key(key, tenant, limits);
  const ReservationId first = admitted(at(0));
  EXPECT_EQ(metering.open_reservations(), 1U);
  auto standing = metering.standing(at(0), key, LimitKind::concurrent_requests);
  ASSERT_TRUE(standing);
  EXPECT_EQ(standing->most, 2);
  EXPECT_EQ(standing->remaining, 1);
  EXPECT_EQ(standing->resets_in, Duration{}) << "nobody knows when it ends";
  (void)admitted(at(0));
  limits.concurrent_requests = 1;  // fewer than are open
  metering.set_key(key, tenant, limits);
  EXPECT_EQ(metering.standing(at(1), key, LimitKind::concurrent_requests)->remaining, 0);
  (void)metering.settle(at(2), first, Billing::billed);
  EXPECT_EQ(metering.standing(at(2), key, LimitKind::concurrent_requests)->remaining, 0);
  EXPECT_EQ(metering.open_reservations(), 1U);
}

TEST_F(MeteringEdges, StandingOfALimitThatNobodyUsedHasNothingToReset) {
  Limits limits;
  limits.output_tokens_per_minute = 100;
  metering.set_key(key, tenant, limits);
  const auto standing = metering.standing(at(0), key, LimitKind::output_tokens_per_minute);
  ASSERT_TRUE(standing);
  EXPECT_EQ(standing->remaining, 100);
  EXPECT_EQ(standing->resets_in, Duration{});
}

TEST(Units, EachCountMattersToEqualityAndPlausibility) {
  const auto counts = [](Units& u) {
    return std::array{&u.input_tokens, &u.output_tokens, &u.device_ms, &u.cached_tokens};
  };
  static_assert(member_count<Units> == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    Units changed;
    *counts(changed)[i] = 1;
    EXPECT_FALSE(changed == Units{}) << i;
    EXPECT_TRUE(plausible(changed)) << i;
    EXPECT_EQ(joined(changed, Units{}), changed) << i;
    EXPECT_EQ(joined(Units{}, changed), changed) << i;
    *counts(changed)[i] = -1;
    EXPECT_FALSE(plausible(changed)) << i;
    *counts(changed)[i] = most_units;
    EXPECT_TRUE(plausible(changed)) << i;
    *counts(changed)[i] = most_units + 1;
    EXPECT_FALSE(plausible(changed)) << i;
  }
}

}  // namespace
}  // namespace stoker::core::metering
