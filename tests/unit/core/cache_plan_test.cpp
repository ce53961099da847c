// What to prefetch, pin and drop on one node: tables for each rule, and properties over random
// stores against a simple account of what lies where.
#include "core/cache_plan.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace stoker::core {
namespace {

using Kind = CacheOrder::Kind;

constexpr Duration rest = seconds(60);

StoreSpec store(std::int64_t disk_mib, std::int64_t host_mib) {
  return {NodeId{1}, mib(disk_mib), mib(host_mib), rest};
}
ModelId model(std::uint64_t id) {
  return ModelId{id};
}
CachedModel known(std::int64_t size_mib, double host_worth, double disk_worth) {
  return {mib(size_mib), {host_worth, disk_worth}, {false, false}};
}
CachedModel pinned_at(Tier tier, std::int64_t size_mib) {
  return {mib(size_mib), {0, 0}, {tier == Tier::host, true}};
}

std::string text(const CacheOrder& order) {
  const std::string where =
      std::to_string(order.model.value) + (order.tier == Tier::host ? " host" : " disk");
  switch (order.kind) {
    case Kind::prefetch:
      return "fetch " + where + " " + to_text(order.prefetched_for);
    case Kind::drop:
      return "drop " + where + " " + to_text(order.dropped_for);
    case Kind::pin:
      return "pin " + where;
    case Kind::unpin:
      return "unpin " + where;
    case Kind::refuse:
      return "refuse " + where + " " + to_text(order.refused_for);
  }
  return "?";
}

/// A plan, and a store that does at once, or when asked, what it is told.
class Rig {
 public:
  explicit Rig(const StoreSpec& spec) : plan(spec) {}

  /// What one round orders.
  std::vector<std::string> decide() {
    std::vector<CacheOrder> now_ordered;
    again = plan.decide(now, next_move, now_ordered);
    std::vector<std::string> texts;
    for (const CacheOrder& each : now_ordered) {
      texts.push_back(text(each));
      if (each.kind == Kind::prefetch || each.kind == Kind::drop) going_on.push_back(each);
    }
    return texts;
  }
  void finish(bool worked = true) {
    for (const CacheOrder& each : std::exchange(going_on, {})) {
      if (worked) {
        plan.done(each.model, each.tier, each.move, now);
      } else {
        plan.failed(each.model, each.tier, each.move, now);
      }
    }
  }
  /// Rounds until nothing is ordered; all of it works.
  std::vector<std::string> settle() {
    std::vector<std::string> all;
    for (int rounds = 0; rounds < 1000; ++rounds) {
      const std::vector<std::string> texts = decide();
      if (texts.empty()) return all;
      all.insert(all.end(), texts.begin(), texts.end());
      finish();
    }
    ADD_FAILURE() << "it never settles";
    return all;
  }
  void pass(Duration d) { now = now + d; }

  CachePlan plan;
  Instant now{seconds(1000).ns};
  std::uint64_t next_move = 1;
  std::vector<CacheOrder> going_on;
  std::optional<Instant> again;
};

using Texts = std::vector<std::string>;

TEST(CachePlan, BringsWhatIsWorthMostPerByteFirstAndOneAtATime) {
  Rig rig(store(100, 0));
  rig.plan.update(model(1), known(50, 0, 5), rig.now);
  rig.plan.update(model(2), known(10, 0, 2), rig.now);
  rig.plan.update(model(3), known(10, 0, 0), rig.now);  // nobody wants it
  EXPECT_EQ(rig.decide(), Texts{"fetch 2 disk room"});
  EXPECT_EQ(rig.decide(), Texts{}) << "one is on its way";
  EXPECT_EQ(rig.plan.held(Tier::disk), mib(10));
  rig.finish();
  EXPECT_EQ(rig.settle(), Texts{"fetch 1 disk room"});
  EXPECT_TRUE(rig.plan.is_there(model(1), Tier::disk));
  EXPECT_FALSE(rig.plan.is_there(model(3), Tier::disk));
}

TEST(CachePlan, EqualsGoByTheirNumber) {
  Rig rig(store(10, 0));
  rig.plan.update(model(7), known(10, 0, 1), rig.now);
  rig.plan.update(model(4), known(10, 0, 1), rig.now);
  EXPECT_EQ(rig.settle(), Texts{"fetch 4 disk room"});
}

TEST(CachePlan, WhoComesMustBeWorthAQuarterMoreThanWhoLeaves) {
  for (const auto& [worth, leaves] : {std::pair{1.25, false}, {1.26, true}}) {
    Rig rig(store(10, 0));
    rig.plan.found(model(1), Tier::disk, mib(10));
    rig.plan.update(model(1), known(10, 0, 1), rig.now);
    rig.plan.update(model(2), known(10, 0, worth), rig.now);
    EXPECT_EQ(rig.settle(),
              leaves ? Texts({"drop 1 disk worth_less", "fetch 2 disk room"}) : Texts{})
        << worth;
  }
}

TEST(CachePlan, WhoComesMustBeWorthMoreThanAllWhoLeaveTogether) {
  Rig rig(store(20, 0));
  for (const std::uint64_t id : {1U, 2U}) {
    rig.plan.found(model(id), Tier::disk, mib(10));
    rig.plan.update(model(id), known(10, 0, 1), rig.now);
  }
  rig.plan.update(model(3), known(20, 0, 2.4), rig.now);
  EXPECT_EQ(rig.settle(), Texts{});
  rig.plan.update(model(3), known(20, 0, 2.6), rig.now);
  EXPECT_EQ(rig.settle(),
            Texts({"drop 1 disk worth_less", "drop 2 disk worth_less", "fetch 3 disk room"}));
}

TEST(CachePlan, NobodyLeavesWhoIsNotNeeded) {
  Rig rig(store(50, 0));
  rig.plan.found(model(1), Tier::disk, mib(10));
  rig.plan.update(model(1), known(10, 0, 1), rig.now);
  rig.plan.found(model(2), Tier::disk, mib(40));
  rig.plan.update(model(2), known(40, 0, 8), rig.now);
  rig.plan.update(model(3), known(40, 0, 100), rig.now);
  // The first alone is not enough; with the second it is not needed.
  EXPECT_EQ(rig.settle(), Texts({"drop 2 disk worth_less", "fetch 3 disk room"}));
}

TEST(CachePlan, RoomIsKeptForWhomItWasMade) {
  Rig rig(store(40, 0));
  rig.plan.found(model(1), Tier::disk, mib(40));
  rig.plan.update(model(1), known(40, 0, 8), rig.now);
  rig.plan.update(model(2), known(40, 0, 20), rig.now);
  rig.plan.update(model(3), known(4, 0, 4), rig.now);  // denser, but it made nobody leave
  EXPECT_EQ(rig.settle(), Texts({"drop 1 disk worth_less", "fetch 2 disk room"}));
}

TEST(CachePlan, WhatIsUsedOrPinnedOrHasJustMovedStays) {
  Rig rig(store(10, 0));
  rig.plan.update(model(1), known(10, 0, 1), rig.now);
  EXPECT_EQ(rig.settle(), Texts{"fetch 1 disk room"});
  rig.plan.update(model(2), known(10, 0, 100), rig.now);
  EXPECT_EQ(rig.settle(), Texts{});
  EXPECT_EQ(rig.again, rig.now + rest) << "it has just come";
  rig.pass(rest);
  rig.plan.used(model(1), Tier::disk, 1);
  EXPECT_EQ(rig.settle(), Texts{}) << "it is used";
  rig.plan.used(model(1), Tier::disk, -1);
  rig.plan.update(model(1), pinned_at(Tier::disk, 10), rig.now);
  EXPECT_EQ(rig.settle(), Texts{"pin 1 disk"});
  rig.plan.update(model(1), known(10, 0, 1), rig.now);
  EXPECT_EQ(rig.settle(), Texts({"unpin 1 disk", "drop 1 disk worth_less", "fetch 2 disk room"}));
  rig.plan.update(model(1), known(10, 0, 10'000), rig.now);
  EXPECT_EQ(rig.settle(), Texts{}) << "it has just gone";
}

TEST(CachePlan, HostMemoryHoldsOnlyWhatIsOnDisk) {
  Rig rig(store(20, 20));
  rig.plan.update(model(1), known(10, 3, 1), rig.now);
  EXPECT_EQ(rig.settle(), Texts({"fetch 1 disk room", "fetch 1 host room"}));
  rig.plan.lost(model(1), Tier::disk);
  rig.plan.update(model(1), known(10, 3, 0), rig.now);
  EXPECT_EQ(rig.settle(), Texts{"drop 1 host not_on_disk"});
}

TEST(CachePlan, WhatIsReadInHostMemoryStaysWithoutItsFile) {
  Rig rig(store(20, 20));
  rig.plan.found(model(1), Tier::host, mib(5));
  rig.plan.used(model(1), Tier::host, 1);
  EXPECT_EQ(rig.settle(), Texts{});
  rig.plan.used(model(1), Tier::host, -1);
  EXPECT_EQ(rig.settle(), Texts{"drop 1 host not_on_disk"});
}

TEST(CachePlan, WhatLeavesTheDiskLeavesHostMemoryFirst) {
  Rig rig(store(10, 10));
  rig.plan.found(model(1), Tier::disk, mib(10));
  rig.plan.found(model(1), Tier::host, mib(10));
  rig.plan.update(model(1), known(10, 1, 1), rig.now);
  rig.plan.update(model(2), known(10, 0, 2.4), rig.now);
  EXPECT_EQ(rig.settle(), Texts{}) << "both of its copies are lost: 2";
  rig.plan.update(model(2), known(10, 0, 2.6), rig.now);
  EXPECT_EQ(rig.decide(), Texts{"drop 1 host worth_less"});
  EXPECT_EQ(rig.decide(), Texts{}) << "nobody else leaves meanwhile";
  rig.finish();
  EXPECT_EQ(rig.settle(), Texts({"drop 1 disk worth_less", "fetch 2 disk room"}));
}

TEST(CachePlan, ACopyBeingMadeInHostMemoryHoldsItsFile) {
  Rig rig(store(10, 10));
  rig.plan.found(model(1), Tier::disk, mib(10));
  rig.plan.update(model(1), known(10, 1, 0.1), rig.now);
  EXPECT_EQ(rig.decide(), Texts{"fetch 1 host room"});
  rig.plan.update(model(2), known(10, 0, 1'000), rig.now);
  EXPECT_EQ(rig.decide(), Texts{});
  rig.finish(false);
  EXPECT_EQ(rig.settle(), Texts({"drop 1 disk worth_less", "fetch 2 disk room"}));
}

TEST(CachePlan, OneLargerThanTheTierIsRefusedOnce) {
  Rig rig(store(10, 0));
  rig.plan.update(model(1), known(11, 0, 1), rig.now);
  EXPECT_EQ(rig.settle(), Texts{"refuse 1 disk larger_than_tier"});
  rig.plan.update(model(1), known(11, 0, 2), rig.now);
  EXPECT_EQ(rig.settle(), Texts{});
  rig.plan.resize(store(10, 5));
  EXPECT_EQ(rig.settle(), Texts{"refuse 1 disk larger_than_tier"}) << "told anew";
  rig.plan.resize(store(11, 5));
  EXPECT_EQ(rig.settle(), Texts({"fetch 1 disk room"}));
}

TEST(CachePlan, PinnedOnesComeFirstAndMakeRoom) {
  Rig rig(store(20, 10));
  rig.plan.found(model(1), Tier::disk, mib(10));
  rig.plan.update(model(1), known(10, 0, 1'000), rig.now);
  rig.plan.update(model(2), known(10, 0, 1'000), rig.now);
  rig.plan.update(model(3), pinned_at(Tier::host, 10), rig.now);
  rig.plan.update(model(4), pinned_at(Tier::disk, 10), rig.now);
  EXPECT_EQ(rig.settle(),
            Texts({"fetch 3 disk pinned", "fetch 3 host pinned", "pin 3 disk",
                   "drop 1 disk worth_less", "pin 3 host", "fetch 4 disk pinned", "pin 4 disk"}));
  rig.plan.update(model(5), pinned_at(Tier::disk, 5), rig.now);
  EXPECT_EQ(rig.settle(), Texts{"refuse 5 disk no_room"});
}

TEST(CachePlan, AfterAFailureItRests) {
  Rig rig(store(10, 0));
  rig.plan.update(model(1), known(10, 0, 1), rig.now);
  EXPECT_EQ(rig.decide(), Texts{"fetch 1 disk room"});
  rig.finish(false);
  EXPECT_EQ(rig.plan.held(Tier::disk), Bytes{});
  EXPECT_EQ(rig.decide(), Texts{});
  EXPECT_EQ(rig.again, rig.now + rest);
  rig.pass(rest);
  EXPECT_EQ(rig.decide(), Texts{"fetch 1 disk room"});
}

TEST(CachePlan, WhatIsOfAnOldLifeChangesNothing) {
  Rig rig(store(10, 0));
  rig.plan.update(model(1), known(10, 0, 1), rig.now);
  rig.decide();
  EXPECT_EQ(rig.plan.done(model(1), Tier::disk, MoveId{99}, rig.now), CachePlan::Move::none);
  EXPECT_EQ(rig.plan.done(model(2), Tier::disk, MoveId{1}, rig.now), CachePlan::Move::none);
  EXPECT_FALSE(rig.plan.is_there(model(1), Tier::disk));
  EXPECT_EQ(rig.plan.done(model(1), Tier::disk, MoveId{1}, rig.now), CachePlan::Move::fetch);
  EXPECT_EQ(rig.plan.failed(model(1), Tier::disk, MoveId{1}, rig.now), CachePlan::Move::none);
  EXPECT_TRUE(rig.plan.is_there(model(1), Tier::disk));
}

TEST(CachePlan, MoreThanMayLieThereLeavesByWorth) {
  Rig rig(store(40, 40));
  for (std::uint64_t id = 1; id <= 4; ++id) {
    rig.plan.found(model(id), Tier::disk, mib(10));
    rig.plan.update(model(id), known(10, 0, static_cast<double>(id)), rig.now);
  }
  rig.plan.found(model(1), Tier::host, mib(10));
  rig.plan.used(model(2), Tier::disk, 1);
  rig.plan.resize(store(20, 40));
  EXPECT_EQ(rig.decide(), Texts({"drop 1 host over_capacity", "drop 3 disk over_capacity"}));
  EXPECT_EQ(rig.decide(), Texts{});
  rig.finish();
  EXPECT_EQ(rig.settle(), Texts{"drop 1 disk over_capacity"});
  EXPECT_EQ(rig.plan.models_in(Tier::disk), (std::vector{model(2), model(4)}));
}

TEST(CachePlan, WhatIsNothingToAnybodyIsForgotten) {
  Rig rig(store(10, 0));
  rig.plan.update(model(1), known(10, 0, 0), rig.now);
  rig.plan.update(model(1), known(10, 0, 1), rig.now);
  rig.plan.update(model(1), known(10, 0, 0), rig.now);
  rig.plan.lost(model(1), Tier::disk);
  EXPECT_FALSE(rig.plan.is_promised(model(1), Tier::disk));
  EXPECT_EQ(rig.settle(), Texts{});
}

/// What lies where, counted beside the plan, and what the orders may do to it.
class Account {
 public:
  explicit Account(const StoreSpec& spec) : spec_(spec) {}
  struct Copy {
    bool there = false;
    bool fetched = false;
    bool dropped = false;
    int uses = 0;
    Instant rests_until;
  };
  Copy& at(ModelId id, Tier tier) { return copies_[{id, tier}]; }
  Bytes held(Tier tier, const std::map<ModelId, CachedModel>& models) {
    Bytes sum;
    for (const auto& [key, copy] : copies_) {
      if (key.second == tier && (copy.there || copy.fetched)) sum += models.at(key.first).bytes;
    }
    return sum;
  }
  [[nodiscard]] Bytes capacity(Tier tier) const {
    return tier == Tier::host ? spec_.host_memory : spec_.disk;
  }

 private:
  StoreSpec spec_;
  std::map<std::pair<ModelId, Tier>, Copy> copies_;
};

RC_GTEST_PROP(CachePlanOverTime, NeverBreaksItsRulesAndSettles, ()) {
  const StoreSpec spec = store(*rc::gen::inRange(5, 80), *rc::gen::inRange(0, 60));
  CachePlan plan(spec);
  Account account(spec);
  std::map<ModelId, CachedModel> models;
  for (std::uint64_t id = 1; id <= 6; ++id) {
    models[model(id)] = known(*rc::gen::inRange(1, 40), 0, 0);
  }
  Instant now{seconds(1000).ns};
  std::uint64_t next_move = 1;
  std::vector<CacheOrder> going_on;
  const auto decide = [&] {
    std::vector<CacheOrder> orders;
    plan.decide(now, next_move, orders);
    for (const CacheOrder& order : orders) {
      const CachedModel& m = models.at(order.model);
      Account::Copy& copy = account.at(order.model, order.tier);
      Account::Copy& on_disk = account.at(order.model, Tier::disk);
      Account::Copy& in_host = account.at(order.model, Tier::host);
      const bool pinned = m.pinned[static_cast<std::size_t>(order.tier)];
      if (order.kind == Kind::prefetch) {
        RC_ASSERT(!copy.there && !copy.fetched && !copy.dropped);
        RC_ASSERT(order.tier == Tier::disk || (on_disk.there && !on_disk.dropped));
        RC_ASSERT(copy.rests_until <= now);
        RC_ASSERT(account.held(order.tier, models) + m.bytes <= account.capacity(order.tier));
        RC_ASSERT(pinned == (order.prefetched_for == PrefetchReason::pinned));
        RC_ASSERT(pinned || m.worth[static_cast<std::size_t>(order.tier)] > 0);
        copy.fetched = true;
        going_on.push_back(order);
      } else if (order.kind == Kind::drop) {
        RC_ASSERT(copy.there && !copy.fetched && !copy.dropped && copy.uses == 0 && !pinned);
        RC_ASSERT(order.tier == Tier::host ||
                  (!in_host.there && !in_host.fetched && !in_host.dropped && in_host.uses == 0));
        RC_ASSERT(order.dropped_for != DropReason::worth_less || copy.rests_until <= now);
        copy.dropped = true;
        going_on.push_back(order);
      } else if (order.kind == Kind::refuse) {
        RC_ASSERT(!copy.there);
      } else {
        RC_ASSERT(copy.there && pinned == (order.kind == Kind::pin));
      }
    }
    for (const Tier tier : {Tier::host, Tier::disk}) {
      RC_ASSERT(plan.held(tier) == account.held(tier, models));
      RC_ASSERT(plan.recount(tier) == plan.held(tier));
    }
    return orders.size();
  };
  const auto finish = [&](std::size_t which, bool works) {
    const CacheOrder order = going_on[which];
    going_on.erase(going_on.begin() + static_cast<std::ptrdiff_t>(which));
    Account::Copy& copy = account.at(order.model, order.tier);
    const bool is_fetch = order.kind == Kind::prefetch;
    if (works) copy.there = is_fetch;
    copy.fetched = copy.dropped = false;
    copy.rests_until = now + rest;
    const auto was = works ? plan.done(order.model, order.tier, order.move, now)
                           : plan.failed(order.model, order.tier, order.move, now);
    RC_ASSERT(was == (is_fetch ? CachePlan::Move::fetch : CachePlan::Move::drop));
  };
  const int steps = *rc::gen::inRange(0, 120);
  for (int i = 0; i < steps; ++i) {
    const ModelId id = model(*rc::gen::inRange<std::uint64_t>(1, 7));
    const Tier tier = *rc::gen::element(Tier::host, Tier::disk);
    Account::Copy& copy = account.at(id, tier);
    CachedModel& m = models.at(id);
    switch (*rc::gen::inRange(0, 8)) {
      case 0:
      case 1:
        m.worth = {static_cast<double>(*rc::gen::inRange(0, 20)),
                   static_cast<double>(*rc::gen::inRange(0, 20))};
        plan.update(id, m, now);
        break;
      case 2:
        m.pinned[1] = *rc::gen::inRange(0, 3) == 0;
        m.pinned[0] = m.pinned[1] && *rc::gen::arbitrary<bool>();
        plan.update(id, m, now);
        break;
      case 3:  // one starts or ends there
        if (copy.uses > 0) {
          --copy.uses;
          plan.used(id, tier, -1);
        } else if (copy.there && !copy.dropped) {
          ++copy.uses;
          plan.used(id, tier, 1);
        }
        break;
      case 4:  // a load leaves it, or a disk loses it
        if (copy.there) {
          copy.there = false;
          plan.lost(id, tier);
        } else if (tier == Tier::disk && !copy.fetched && !copy.dropped &&
                   account.held(tier, models) + m.bytes <= account.capacity(tier)) {
          copy.there = true;
          plan.found(id, tier, m.bytes);
          plan.update(id, m, now);
        }
        break;
      case 5:
        now = now + seconds(*rc::gen::inRange(0, 90));
        break;
      default:
        if (!going_on.empty()) {
          finish(*rc::gen::inRange<std::size_t>(0, going_on.size()), *rc::gen::inRange(0, 4) > 0);
        }
    }
    decide();
  }
  // With nothing that changes it comes to rest: each exchange makes what lies there worth more.
  int rounds = 0;
  for (int quiet = 0; quiet < 3; ++rounds) {
    RC_ASSERT(rounds < 200);
    while (!going_on.empty()) finish(0, true);
    quiet = decide() == 0 ? quiet + 1 : 0;
    now = now + rest;
  }
  // What is pinned is there, unless what is pinned or used is in its way; nobody is left out whom
  // free room would hold.
  for (const auto& [id, m] : models) {
    for (const Tier tier : {Tier::host, Tier::disk}) {
      const auto i = static_cast<std::size_t>(tier);
      const bool may = tier == Tier::disk || account.at(id, Tier::disk).there;
      if (account.at(id, tier).there || !may || (m.worth[i] <= 0 && !m.pinned[i])) continue;
      RC_ASSERT(account.held(tier, models) + m.bytes > account.capacity(tier));
    }
  }
}

RC_GTEST_PROP(CachePlanOverTime, DoesNotHangOnTheOrderInWhichItWasTold, ()) {
  const StoreSpec spec = store(*rc::gen::inRange(10, 80), *rc::gen::inRange(0, 60));
  std::vector<std::pair<ModelId, CachedModel>> models;
  for (std::uint64_t id = 1; id <= 8; ++id) {
    models.emplace_back(model(id), known(*rc::gen::inRange(1, 30), *rc::gen::inRange(0, 9),
                                         *rc::gen::inRange(0, 9)));
  }
  Rig in_order(spec);
  for (const auto& [id, m] : models) in_order.plan.update(id, m, in_order.now);
  std::reverse(models.begin(), models.end());
  Rig reversed(spec);
  for (const auto& [id, m] : models) reversed.plan.update(id, m, reversed.now);
  RC_ASSERT(in_order.settle() == reversed.settle());
}

}  // namespace
}  // namespace stoker::core
