// Metering against a naive model that keeps every grant and adds up everything anew at each
// question; and its arithmetic against numbers of any length.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/prng.h"
#include "core/metering/metering.h"

namespace stoker::core::metering {
namespace {

constexpr std::array<std::int64_t Limits::*, windowed_kinds> windowed_limits{
    &Limits::requests_per_minute, &Limits::input_tokens_per_minute,
    &Limits::output_tokens_per_minute, &Limits::device_ms_per_day};

/// All that was ever granted, one by one; nothing is kept summed.
class NaiveModel {
 public:
  struct Grant {
    std::size_t kind = 0;
    KeyId key;
    std::int64_t step = 0;
    std::int64_t amount = 0;
    RequestId request;
  };
  struct Open {
    KeyId key;
    Units granted;
    Units used;
    Prices prices;
    Duration share;  // of its instance
    bool runs = false;
  };

  NaiveModel(Duration minute, Duration day) : minute_(minute), day_(day) {}

  std::map<TenantId, Limits> tenants;
  std::map<KeyId, std::pair<TenantId, Limits>> keys;
  std::map<KeyId, Pico> owed;
  std::map<RequestId, Open> open;

  [[nodiscard]] std::int64_t step(Instant now, std::size_t kind) const {
    return now.ns / ((kind == 3 ? day_ : minute_).ns / 64);
  }
  /// Whether a wish passes all limits of the key and its tenant at `now`, if nothing else happens.
  [[nodiscard]] bool passes(Instant now, KeyId key, const Amounts& wish, Pico cost,
                            bool priced) const {
    const auto& [tenant, limits] = keys.at(key);
    const TenantId owner = tenant;
    return passes(
               now, [&](KeyId k) { return k == key; }, limits, wish, cost, priced) &&
           passes(
               now, [&](KeyId k) { return keys.at(k).first == owner; }, tenants.at(owner), wish,
               cost, priced);
  }
  void grant(Instant now, RequestId request, const Amounts& amounts) {
    for (std::size_t kind = 0; kind < windowed_kinds; ++kind) {
      if (amounts.used[kind] > 0) {
        grants_.push_back(
            {kind, open.at(request).key, step(now, kind), amounts.used[kind], request});
      }
    }
  }
  /// From its last grant of the kind.
  void take_back(RequestId request, const Amounts& unused) {
    for (std::size_t kind = 0; kind < windowed_kinds; ++kind) {
      const auto last = std::find_if(grants_.rbegin(), grants_.rend(), [&](const Grant& g) {
        return g.request == request && g.kind == kind;
      });
      if (last != grants_.rend()) last->amount -= std::min(last->amount, unused.used[kind]);
    }
  }

 private:
  template <class Belongs>
  [[nodiscard]] bool passes(Instant now, Belongs&& belongs, const Limits& limits,
                            const Amounts& wish, Pico cost, bool priced) const {
    for (std::size_t kind = 0; kind < windowed_kinds; ++kind) {
      Int128 sum = wish.used[kind];
      for (const Grant& g : grants_) {
        const bool counts = g.step >= step(now, kind) - 64;
        if (g.kind == kind && counts && belongs(g.key)) sum += g.amount;
      }
      if (wish.used[kind] > 0 && sum > limits.*windowed_limits[kind]) return false;
    }
    std::int64_t running = wish.concurrent;
    Pico taken = cost;
    for (const auto& [id, each] : open) {
      if (!belongs(each.key)) continue;
      ++running;
      taken = taken + charge(each.prices, each.granted).total();
    }
    for (const auto& [key, amount] : owed) {
      if (belongs(key)) taken = taken + amount;
    }
    if (wish.concurrent > 0 && running > limits.concurrent_requests) return false;
    return !priced || !limits.budget || taken <= *limits.budget;
  }

  Duration minute_;
  Duration day_;
  std::vector<Grant> grants_;
};

/// The same random calls to both.
class SideBySide {
 public:
  explicit SideBySide(std::uint64_t seed) : prng_(seed), metering_(config_) {
    for (std::uint64_t t = 1; t <= 2; ++t) {
      model_.tenants[TenantId{t}] = draw_limits();
      metering_.set_tenant(TenantId{t}, model_.tenants[TenantId{t}]);
    }
    for (std::uint64_t k = 1; k <= 4; ++k) {
      model_.keys[KeyId{k}] = {TenantId{k % 2 + 1}, draw_limits()};
      metering_.set_key(KeyId{k}, TenantId{k % 2 + 1}, model_.keys[KeyId{k}].second);
    }
    new_prices();
  }

  void some_call() {
    if (prng_.below(2) == 0) now_ = now_ + us(below(400'000));
    switch (prng_.below(8)) {
      case 0:
      case 1:
      case 2:
        return admit();
      case 3:
      case 4:
        return report();
      case 5:
        return end();
      case 6:
        if (prng_.below(10) == 0) return change_limits();
        if (prng_.below(10) == 0) new_prices();
        return;
      default:
        return dispatch();
    }
  }
  std::int32_t admissions = 0;
  std::int32_t refusals = 0;

 private:
  std::int64_t below(std::uint64_t bound) { return static_cast<std::int64_t>(prng_.below(bound)); }
  Limits draw_limits() {
    Limits limits;
    if (prng_.below(3) == 0) limits.requests_per_minute = 1 + below(30);
    if (prng_.below(3) == 0) limits.input_tokens_per_minute = 50 + below(3000);
    if (prng_.below(3) == 0) limits.output_tokens_per_minute = 50 + below(3000);
    if (prng_.below(3) == 0) limits.device_ms_per_day = 100 + below(20'000);
    if (prng_.below(3) == 0) limits.concurrent_requests = below(8);
    if (prng_.below(3) == 0) limits.budget = Pico{Int128{below(400)} * 1'000'000'000};
    return limits;
  }
  void new_prices() {
    prices_ = {{below(100'000)}, {below(100'000)}, {below(1'000'000)}, {below(1'000'000)}};
    if (prng_.below(4) == 0) prices_ = {};
    metering_.set_prices(DeploymentId{1}, prices_);
  }
  void change_limits() {
    const KeyId key{1 + prng_.below(4)};
    model_.keys[key].second = draw_limits();
    metering_.set_key(key, model_.keys[key].first, model_.keys[key].second);
  }
  RequestId any() {
    auto it = model_.open.begin();
    std::advance(it, below(model_.open.size()));
    return it->first;
  }

  void admit() {
    const KeyId key{1 + prng_.below(4)};
    const RequestId request{++last_};
    const Units wish{below(200), below(200), below(500), 0};
    const Pico cost = charge(prices_, wish).total();
    const bool priced = prices_ != Prices{};
    const bool passes = model_.passes(now_, key, amounts_of(1, wish), cost, priced);
    const Admission answer = metering_.admit(now_, {request, key, DeploymentId{1}, wish});
    ASSERT_EQ(std::holds_alternative<ReservationId>(answer), passes);
    if (passes) {
      ++admissions;
      ids_[request] = std::get<ReservationId>(answer);
      model_.open[request] = {key, wish, {}, prices_, {}, false};
      model_.grant(now_, request, amounts_of(1, wish));
      return;
    }
    ++refusals;
    const auto& hit = std::get<LimitHit>(answer);
    if (!hit.retry_after || hit.kind == LimitKind::concurrent_requests) return;
    const Instant then = now_ + *hit.retry_after;
    ASSERT_TRUE(model_.passes(then, key, amounts_of(0, wish), Pico{}, false))
        << "it is late enough";
    ASSERT_FALSE(model_.passes(then - Duration{1}, key, amounts_of(1, wish), cost, priced));
  }

  void dispatch() {
    if (model_.open.empty()) return;
    const RequestId request = any();
    NaiveModel::Open& open = model_.open.at(request);
    if (open.runs) return;
    metering_.dispatched(now_, ids_[request], InstanceId{request.value});  // alone there
    open.runs = true;
    began_[request] = now_;
  }

  void report() {
    if (model_.open.empty()) return;
    const RequestId request = any();
    NaiveModel::Open& open = model_.open.at(request);
    const UsageReport said{1, 1 + prng_.below(5), {below(300), below(300), 0, 0}};
    const Reported answer = metering_.report(now_, ids_[request], said);
    if (!open.runs) {
      ASSERT_EQ(answer.effect, ReportEffect::nonsense);
      return;
    }
    open.used.input_tokens = std::max(open.used.input_tokens, said.used.input_tokens);
    open.used.output_tokens = std::max(open.used.output_tokens, said.used.output_tokens);
    open.used.device_ms = whole_ms(now_ - began_[request]);
    ASSERT_EQ(metering_.used(ids_[request]), open.used);
    grow(request, open, answer);
  }

  void grow(RequestId request, NaiveModel::Open& open, const Reported& answer) {
    Units missing, ahead;
    for (const auto unit : limited_units) {
      missing.*unit = std::max<std::int64_t>(open.used.*unit - open.granted.*unit, 0);
      const std::int64_t least =
          unit == &Units::output_tokens ? 64 : (unit == &Units::device_ms ? 1000 : 0);
      if (missing.*unit > 0) {
        ahead.*unit = missing.*unit + std::max(least, open.granted.*unit / 4);
      }
    }
    if (missing == Units{}) {
      ASSERT_FALSE(answer.grown || answer.exhausted);
      return;
    }
    const auto try_with = [&](const Units& more) {
      Units granted = open.granted;
      for (const auto unit : limited_units) granted.*unit += more.*unit;
      const Pico cost =
          charge(open.prices, granted).total() - charge(open.prices, open.granted).total();
      return model_.passes(now_, open.key, amounts_of(0, more), cost, cost != Pico{});
    };
    const bool with_ahead = try_with(ahead);
    ASSERT_EQ(answer.grown, with_ahead || try_with(missing));
    ASSERT_EQ(answer.exhausted.has_value(), !answer.grown);
    const Units& more = with_ahead ? ahead : missing;
    for (const auto unit : limited_units) open.granted.*unit += more.*unit;
    model_.grant(now_, request, amounts_of(0, more));
    ASSERT_EQ(metering_.granted(ids_[request]), open.granted);
  }

  void end() {
    if (model_.open.empty()) return;
    const RequestId request = any();
    NaiveModel::Open open = model_.open.at(request);
    if (!open.runs && prng_.below(2) == 0) {
      metering_.release(now_, ids_[request]);
      model_.take_back(request, amounts_of(1, open.granted));
      model_.open.erase(request);
      return;
    }
    if (open.runs) open.used.device_ms = whole_ms(now_ - began_[request]);
    const UsageRecord record =
        metering_.settle(now_, ids_[request], open.runs ? Billing::billed : Billing::free);
    metering_.instance_gone(InstanceId{request.value});
    ASSERT_EQ(record.used, open.used);
    Units beyond, unused;
    for (const auto unit : limited_units) {
      beyond.*unit = std::max<std::int64_t>(open.used.*unit - open.granted.*unit, 0);
      unused.*unit = std::max<std::int64_t>(open.granted.*unit - open.used.*unit, 0);
    }
    model_.grant(now_, request, amounts_of(0, beyond));
    model_.take_back(request, amounts_of(0, unused));
    if (open.runs) {
      const Pico amount = charge(open.prices, open.used).total();
      ASSERT_EQ(record.charge.total(), amount);
      model_.owed[open.key] = model_.owed[open.key] + amount;
    }
    ASSERT_EQ(metering_.balance(open.key), model_.owed[open.key]);
    model_.open.erase(request);
    metering_.check_invariants();
  }

  MeteringConfig config_{.minute = seconds(2), .day = seconds(10)};
  Prng prng_;
  Metering metering_;
  NaiveModel model_{config_.minute, config_.day};
  Instant now_;
  Prices prices_;
  std::uint64_t last_ = 0;
  std::map<RequestId, ReservationId> ids_;
  std::map<RequestId, Instant> began_;
};

TEST(MeteringOracle, AnswersAsANaiveModelDoes) {
  std::int32_t admissions = 0;
  std::int32_t refusals = 0;
  rc::check("the same calls, the same answers", [&] {
    SideBySide both(*rc::gen::arbitrary<std::uint64_t>());
    for (int i = 0; i < 400 && !testing::Test::HasFailure(); ++i) both.some_call();
    admissions += both.admissions;
    refusals += both.refusals;
    RC_ASSERT(!testing::Test::HasFailure());
  });
  EXPECT_GT(admissions, 1000);
  EXPECT_GT(refusals, 1000);
}

TEST(SlidingWindowOracle, HoldsWhatWasAddedInItsSteps) {
  rc::check("sums, what is taken back, and when it is gone", [] {
    Prng prng(*rc::gen::arbitrary<std::uint64_t>());
    SlidingWindow<1> window;
    std::map<std::int64_t, std::int64_t> cells;
    std::int64_t step = -1000;
    for (int i = 0; i < 500; ++i) {
      step += static_cast<std::int64_t>(prng.below(prng.below(20) == 0 ? 100 : 3));
      window.advance(step);
      std::erase_if(cells, [&](const auto& cell) { return cell.first < step - 64; });
      if (prng.below(2) == 0 || cells.empty()) {
        const auto amount = static_cast<std::int64_t>(prng.below(10));
        window.add(step, {amount});
        if (amount > 0) cells[step] += amount;
      } else {
        auto cell = cells.begin();
        std::advance(cell, static_cast<std::ptrdiff_t>(prng.below(cells.size())));
        const auto amount =
            static_cast<std::int64_t>(prng.below(static_cast<std::uint64_t>(cell->second) + 1));
        window.take_back(cell->first, 0, amount);
        cell->second -= amount;
      }
      window.take_back(step - 66, 0, 5);  // it is gone long ago
      window.check_invariants();
      std::int64_t sum = 0;
      for (const auto& [at, amount] : cells) sum += amount;
      RC_ASSERT(window.sum(0) == sum);
      if (sum == 0) continue;
      const std::int64_t wanted =
          1 + static_cast<std::int64_t>(prng.below(static_cast<std::uint64_t>(sum)));
      const std::int64_t free_at = window.step_without(0, wanted);
      const auto gone_at = [&](std::int64_t then) {
        std::int64_t gone = 0;
        for (const auto& [at, amount] : cells) gone += at < then - 64 ? amount : 0;
        return gone;
      };
      RC_ASSERT(gone_at(free_at) >= wanted);
      RC_ASSERT(gone_at(free_at - 1) < wanted);
    }
  });
}

/// Decimal digits, smallest first: sums and products as on paper.
using Digits = std::vector<int>;
Digits digits_of(std::uint64_t n) {
  Digits digits;
  for (; n > 0; n /= 10) digits.push_back(static_cast<int>(n % 10));
  return digits;
}
void carry(Digits& digits) {
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (digits[i] < 10) continue;
    if (i + 1 == digits.size()) digits.push_back(0);
    digits[i + 1] += digits[i] / 10;
    digits[i] %= 10;
  }
}
void add_product(Digits& sum, const Digits& a, const Digits& b) {
  sum.resize(std::max(sum.size(), a.size() + b.size() + 1));
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = 0; j < b.size(); ++j) sum[i + j] += a[i] * b[j];
  }
  carry(sum);
}
std::string text_of(Digits digits) {
  while (!digits.empty() && digits.back() == 0) digits.pop_back();
  std::string text;
  for (std::size_t i = digits.size(); i-- > 0;) text += static_cast<char>('0' + digits[i]);
  return text;
}
Digits digits_of(Pico amount) {
  Digits digits;
  for (Int128 rest = amount.value; rest > 0; rest /= 10) {
    digits.push_back(static_cast<int>(rest % 10));
  }
  return digits;
}

TEST(MoneyOracle, AmountsAreExactToTheLastUnit) {  // M9
  Prng prng(9);
  const auto number = [&](std::uint64_t most) -> std::int64_t {
    switch (prng.below(6)) {
      case 0:
        return 0;
      case 1:
        return 1;
      case 2:
        return static_cast<std::int64_t>(most);
      default:
        return static_cast<std::int64_t>(prng.below(most >> prng.below(40)) + 1);
    }
  };
  constexpr std::uint64_t largest = ~std::uint64_t{0} >> 1U;
  constexpr auto most = static_cast<std::uint64_t>(most_units);
  for (int i = 0; i < 1'000'000; ++i) {
    const Prices prices{{number(largest)}, {number(largest)}, {number(largest)}, {number(largest)}};
    const Units units{number(most), number(most), number(most), 0};
    Digits sum;
    const auto add = [&](NanoPrice price, std::int64_t count) {
      add_product(sum, digits_of(static_cast<std::uint64_t>(price.value)),
                  digits_of(static_cast<std::uint64_t>(count)));
    };
    add(prices.per_request, 1000);
    add(prices.per_device_second, units.device_ms);
    add(prices.per_1k_input_tokens, units.input_tokens);
    add(prices.per_1k_output_tokens, units.output_tokens);
    ASSERT_EQ(text_of(digits_of(charge(prices, units).total())), text_of(sum));
  }
}

}  // namespace
}  // namespace stoker::core::metering
