#include "core/metering/metering.h"

#include <algorithm>

#include "base/invariant.h"

namespace stoker::core::metering {
namespace {

/// A reservation grows by a quarter of itself, so that a long request asks rarely; by so much at
/// least.
constexpr Units least_growth{.output_tokens = 64, .device_ms = 1000};

/// Rounded down, also before the first instant.
std::int64_t step_at(Instant now, Duration step) {
  const std::int64_t whole = now.ns / step.ns;
  return now.ns % step.ns < 0 ? whole - 1 : whole;
}

Units above(const Units& used, const Units& granted) {
  Units more;
  for (const auto unit : limited_units) {
    more.*unit = std::max<std::int64_t>(used.*unit - granted.*unit, 0);
  }
  return more;
}

Units smaller(const Units& a, const Units& b) {
  Units least;
  for (const auto unit : limited_units) least.*unit = std::min(a.*unit, b.*unit);
  return least;
}

/// Begins to fetch all of it at once: keys are many, and each is far from the last one.
template <class T>
void fetch_soon(const T& what) {
  const auto* bytes = reinterpret_cast<const char*>(&what);
  for (std::size_t i = 0; i < sizeof(T); i += 64) __builtin_prefetch(bytes + i, 1);
}

ReservationId reservation_id(std::uint32_t index, std::uint32_t life) {
  return {(std::uint64_t{life} << 32U) | index};
}

}  // namespace

Metering::Metering(const MeteringConfig& config)
    : clock_{config.minute, config.day},
      last_sequence_(config.last_sequence),
      prices_(config.last_price_version) {
  STOKER_INVARIANT(config.minute.ns >= window_steps && config.minute <= config.day,
                   "minute={} day={}", config.minute.ns, config.day.ns);
}

/// Needs to be the first in all that is told a time.
void Metering::advance(Instant now) {
  STOKER_INVARIANT(!started_ || now >= now_, "V21 {} after {}", now.ns, now_.ns);
  if (started_ && now < step_ends_) {
    now_ = now;
    return;
  }
  started_ = true;
  now_ = now;
  for (std::size_t kind = 0; kind < windowed_kinds; ++kind) {
    steps_[kind] = step_at(now, clock_.step_of(kind));
  }
  const auto end_of = [&](LimitKind kind) {
    const auto index = static_cast<std::size_t>(kind);
    return Instant{(steps_[index] + 1) * clock_.step_of(index).ns};
  };
  step_ends_ =
      std::min(end_of(LimitKind::requests_per_minute), end_of(LimitKind::device_time_per_day));
}

void Metering::set_limits(Subject& subject, const Limits& limits) {
  subject.meter.set_limits(limits);
  subject.has_budget = limits.budget.has_value();
  subject.budget = limits.budget.value_or(Pico{});
}

void Metering::set_tenant(TenantId tenant, const Limits& limits) {
  const std::uint32_t* known = tenant_index_.find(tenant);
  if (known != nullptr) return set_limits(tenants_[*known], limits);
  tenant_index_.insert(tenant, static_cast<std::uint32_t>(tenants_.size()));
  Subject& subject = tenants_.emplace_back();
  subject.tenant = tenant;
  set_limits(subject, limits);
}

void Metering::set_key(KeyId key, TenantId tenant, const Limits& limits) {
  const std::uint32_t* owner = tenant_index_.find(tenant);
  STOKER_INVARIANT(owner != nullptr, "key {} of unknown tenant {}", key.value, tenant.value);
  if (Subject* known = find(key)) {
    STOKER_INVARIANT(known->tenant == tenant, "key {} moves to tenant {}", key.value, tenant.value);
    known->removed = false;
    return set_limits(*known, limits);
  }
  key_index_.insert(key, {static_cast<std::uint32_t>(keys_.size()), *owner});
  Subject& subject = keys_.emplace_back();
  subject.tenant = tenant;
  subject.tenant_index = *owner;
  set_limits(subject, limits);
}

void Metering::remove_key(KeyId key) {
  if (Subject* known = find(key)) known->removed = true;
}

Metering::Subject* Metering::find(KeyId key) {
  const KeyPlace* place = key_index_.find(key);
  return place == nullptr ? nullptr : &keys_[place->key];
}

const Metering::Subject* Metering::find(TenantId tenant) const {
  const std::uint32_t* index = tenant_index_.find(tenant);
  return index == nullptr ? nullptr : &tenants_[*index];
}

Metering::Reservation* Metering::find(ReservationId id) {
  const auto index = static_cast<std::uint32_t>(id.value);
  if (index >= reservations_.size()) return nullptr;
  Reservation& r = reservations_[index];
  return r.open && r.life == id.value >> 32U ? &r : nullptr;
}

Metering::Reservation& Metering::open_one(ReservationId id) {
  Reservation* r = find(id);
  STOKER_INVARIANT(r != nullptr, "V25 reservation {} is not open", id.value);
  return *r;
}

bool Metering::affords(const Subject& subject, Cost cost) const {
  if (!subject.has_budget || !cost) return true;
  const Pico taken = added(subject.account.balance(), subject.reserved);
  return added(taken, *cost) <= subject.budget;
}

bool Metering::admits(Subject& subject, const Amounts& wish, Cost cost) {
  subject.meter.advance(steps_);
  return subject.meter.admits(wish) && affords(subject, cost);
}

/// Gives: what bars it for longest.
std::optional<LimitHit> Metering::hit(Subject& subject, Whose whose, const Amounts& wish,
                                      Cost cost) {
  if (admits(subject, wish, cost)) return std::nullopt;
  LimitHit hit{LimitKind::budget, whose, std::nullopt, 0, 0};
  if (!subject.meter.admits(wish)) {
    const LimitHit used_up = subject.meter.why_not(now_, wish, clock_);
    if (affords(subject, cost) || !used_up.retry_after) hit = used_up;
  }
  hit.whose = whose;
  return hit;
}

std::optional<LimitHit> Metering::barred(Subject& key, const Amounts& wish, Cost cost) {
  Subject& tenant = tenant_of(key);
  if (admits(key, wish, cost) && admits(tenant, wish, cost)) return std::nullopt;
  const std::optional<LimitHit> by_key = hit(key, Whose::key, wish, cost);
  const std::optional<LimitHit> by_tenant = hit(tenant, Whose::tenant, wish, cost);
  if (!by_key) return by_tenant;
  if (!by_tenant || !by_key->retry_after) return by_key;
  return !by_tenant->retry_after || *by_tenant->retry_after > *by_key->retry_after ? by_tenant
                                                                                   : by_key;
}

void Metering::charge(Subject& key, const Amounts& granted, Pico cost) {
  for (Subject* each : {&key, &tenant_of(key)}) {
    each->meter.advance(steps_);
    each->meter.charge(granted, steps_);
    each->reserved = added(each->reserved, cost);
  }
}

void Metering::take_back(Subject& key, const Amounts& unused, const Steps& granted_at, Pico cost) {
  for (Subject* each : {&key, &tenant_of(key)}) {
    each->meter.advance(steps_);
    each->meter.take_back(unused, granted_at);
    each->reserved = each->reserved - cost;
  }
}

Admission Metering::admit(Instant now, const AdmissionWish& wish) {
  STOKER_INVARIANT(plausible(wish.estimate), "request {}", wish.request.value);
  advance(now);
  const KeyPlace* found = key_index_.find(wish.key);
  if (found == nullptr) return UnknownKey{};
  Subject& key = keys_[found->key];
  fetch_soon(key);
  fetch_soon(tenants_[found->tenant]);
  if (key.removed) return UnknownKey{};
  const PriceList list = prices_.in_force(wish.deployment);
  const Pico cost = metering::charge(list.prices, wish.estimate).total();
  const Amounts amounts = amounts_of(1, wish.estimate);
  const bool costs_nothing = list.prices == Prices{};
  if (const auto bar = barred(key, amounts, costs_nothing ? std::nullopt : Cost(cost))) return *bar;
  charge(key, amounts, cost);
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(reservations_.size()));
    reservations_.emplace_back();
  }
  const std::uint32_t place = free_.back();
  free_.pop_back();
  Reservation& r = reservations_[place];
  const std::uint32_t life = r.life + 1;
  r = {};
  r.open = true;
  r.life = life;
  r.key_index = found->key;
  r.tenant_index = found->tenant;
  r.request = wish.request;
  r.key = wish.key;
  r.deployment = wish.deployment;
  r.granted = wish.estimate;
  r.last_grant = wish.estimate;
  r.list = list;
  r.reserved = cost;
  r.granted_at = steps_;
  ++open_;
  return reservation_id(place, life);
}

void Metering::dispatched(Instant now, ReservationId id, InstanceId instance,
                          std::int32_t devices) {
  advance(now);
  Reservation& r = open_one(id);
  STOKER_INVARIANT(!r.running, "V10 request {} runs already", r.request.value);
  r.run = device_time_.begin(now, instance, devices);
  r.running = true;
  ++r.attempt;
}

void Metering::undelivered(Instant now, ReservationId id) {
  advance(now);
  Reservation& r = open_one(id);
  STOKER_INVARIANT(r.running, "request {} does not run", r.request.value);
  device_time_.drop(r.run, now);
  r.running = false;
  r.used.device_ms = 0;
}

Reported Metering::report(Instant now, ReservationId id, const UsageReport& report) {
  advance(now);
  Reported reported;
  Reservation* r = find(id);
  if (r == nullptr) {
    reported.effect = ReportEffect::stale;
    return reported;
  }
  if (!plausible(report.used) || report.attempt < 1 || report.attempt > r->attempt) {
    reported.effect = ReportEffect::nonsense;
    return reported;
  }
  Units said = report.used;
  said.device_ms = r->used.device_ms;
  const Units known = joined(r->used, said);
  reported.effect = known == r->used ? ReportEffect::repeated : ReportEffect::taken;
  if (report.sequence > r->last_report) {
    r->last_report = report.sequence;
    if (known != said) reported.effect = ReportEffect::less;
  }
  r->used = known;
  if (r->running) r->used.device_ms = device_time_.so_far_ms(r->run, now);
  grow(*r, reported);
  return reported;
}

/// Asks for what was used beyond the reservation and for some more, then for just what was used.
void Metering::grow(Reservation& r, Reported& reported) {
  const Units missing = above(r.used, r.granted);
  if (missing == Units{}) return;
  Units ahead = missing;
  for (const auto unit : limited_units) {
    if (missing.*unit > 0) ahead.*unit += std::max(least_growth.*unit, r.granted.*unit / 4);
  }
  Subject& key = keys_[r.key_index];
  for (const Units& more : {ahead, missing}) {
    Units granted = r.granted;
    for (const auto unit : limited_units) granted.*unit += more.*unit;
    const Pico cost = metering::charge(r.list.prices, granted).total() - r.reserved;
    reported.exhausted =
        barred(key, amounts_of(0, more), cost == Pico{} ? std::nullopt : Cost(cost));
    if (reported.exhausted) continue;
    enlarge(r, more);
    reported.grown = true;
    return;
  }
  enlarge(r, missing);
}

void Metering::enlarge(Reservation& r, const Units& more) {
  for (const auto unit : limited_units) r.granted.*unit += more.*unit;
  const Pico cost = metering::charge(r.list.prices, r.granted).total() - r.reserved;
  const Amounts amounts = amounts_of(0, more);
  charge(keys_[r.key_index], amounts, cost);
  r.reserved = added(r.reserved, cost);
  for (std::size_t kind = 0; kind < windowed_kinds; ++kind) {
    if (amounts.used[kind] > 0) r.granted_at[kind] = steps_[kind];
  }
  for (const auto unit : limited_units) {
    if (more.*unit > 0) r.last_grant.*unit = more.*unit;
  }
}

UsageRecord Metering::settle(Instant now, ReservationId id, Billing billing) {
  advance(now);
  Reservation& r = open_one(id);
  fetch_soon(keys_[r.key_index]);
  fetch_soon(tenants_[r.tenant_index]);
  Subject& key = keys_[r.key_index];
  if (r.running) {
    if (billing == Billing::billed) {
      r.used.device_ms = device_time_.end_ms(r.run, now, key.tenant);
    } else {
      device_time_.drop(r.run, now);
    }
    r.running = false;
  }
  if (billing == Billing::free) r.used = {};
  const Units missing = above(r.used, r.granted);
  if (missing != Units{}) enlarge(r, missing);
  Amounts unused = amounts_of(0, smaller(above(r.granted, r.used), r.last_grant));
  unused.concurrent = 1;
  take_back(key, unused, r.granted_at, r.reserved);
  UsageRecord record;
  record.sequence = ++last_sequence_;
  record.request = r.request;
  record.key = r.key;
  record.tenant = key.tenant;
  record.deployment = r.deployment;
  record.price_version = r.list.version;
  record.prices = r.list.prices;
  record.used = r.used;
  record.billing = billing;
  if (billing == Billing::billed) record.charge = metering::charge(r.list.prices, r.used);
  book(key, record.charge);
  close(id, r);
  return record;
}

void Metering::release(Instant now, ReservationId id) {
  advance(now);
  Reservation& r = open_one(id);
  STOKER_INVARIANT(r.attempt == 0, "V23 request {} ran and has no record", r.request.value);
  take_back(keys_[r.key_index], amounts_of(1, r.granted), r.granted_at, r.reserved);
  close(id, r);
}

void Metering::close(ReservationId id, Reservation& r) {
  r.open = false;
  free_.push_back(static_cast<std::uint32_t>(id.value));
  --open_;
}

void Metering::book(Subject& key, const Charge& charge) {
  Entry entry;
  entry.add(key.account, charge.total(), &tenant_of(key).account);
  entry.add(own(OwnAccount::revenue_requests), -charge.request);
  entry.add(own(OwnAccount::revenue_device_time), -charge.device_time);
  entry.add(own(OwnAccount::revenue_input_tokens), -charge.input_tokens);
  entry.add(own(OwnAccount::revenue_output_tokens), -charge.output_tokens);
  post(entry);
}

void Metering::book(Subject& key, Pico amount, OwnAccount against) {
  Entry entry;
  entry.add(key.account, amount, &tenant_of(key).account);
  entry.add(own(against), -amount);
  post(entry);
}

Correction Metering::correct(KeyId key, Pico amount) {
  Subject* subject = find(key);
  STOKER_INVARIANT(subject != nullptr, "key {}", key.value);
  book(*subject, amount, OwnAccount::credits);
  return {++last_sequence_, key, amount};
}

void Metering::bring_forward(KeyId key, Pico balance) {
  Subject* subject = find(key);
  STOKER_INVARIANT(subject != nullptr, "key {}", key.value);
  book(*subject, balance, OwnAccount::brought_forward);
}

void Metering::count_again(Instant at, KeyId key, const Units& used) {
  STOKER_INVARIANT(plausible(used), "key {}", key.value);
  advance(at);
  Subject* subject = find(key);
  if (subject == nullptr) return;
  Amounts amounts = amounts_of(1, used);
  amounts.concurrent = 0;
  charge(*subject, amounts, Pico{});
}

UsageRecord Metering::interrupted(const AdmissionWish& wish, const PriceList& list) {
  const Subject* key = find(wish.key);
  UsageRecord record;
  record.sequence = ++last_sequence_;
  record.request = wish.request;
  record.key = wish.key;
  if (key != nullptr) record.tenant = key->tenant;
  record.deployment = wish.deployment;
  record.price_version = list.version;
  record.prices = list.prices;
  record.billing = Billing::free;
  return record;
}

std::optional<Standing> Metering::standing(Instant now, KeyId id, LimitKind kind) {
  Subject* key = find(id);
  if (key == nullptr || kind == LimitKind::budget) return std::nullopt;
  advance(now);
  Subject& tenant = tenant_of(*key);
  key->meter.advance(steps_);
  tenant.meter.advance(steps_);
  const Standing by_key = key->meter.standing(now, kind, clock_);
  const Standing by_tenant = tenant.meter.standing(now, kind, clock_);
  const Standing& tighter = by_tenant.remaining < by_key.remaining ? by_tenant : by_key;
  if (tighter.most == unlimited) return std::nullopt;
  return tighter;
}

Pico Metering::balance(KeyId key) const {
  const Subject* subject = find(key);
  return subject == nullptr ? Pico{} : subject->account.balance();
}

Pico Metering::balance(TenantId tenant) const {
  const Subject* subject = find(tenant);
  return subject == nullptr ? Pico{} : subject->account.balance();
}

Pico Metering::reserved(KeyId key) const {
  const Subject* subject = find(key);
  return subject == nullptr ? Pico{} : subject->reserved;
}

Pico Metering::reserved(TenantId tenant) const {
  const Subject* subject = find(tenant);
  return subject == nullptr ? Pico{} : subject->reserved;
}

Units Metering::granted(ReservationId id) const {
  return const_cast<Metering*>(this)->open_one(id).granted;
}

Units Metering::used(ReservationId id) const {
  return const_cast<Metering*>(this)->open_one(id).used;
}

void Metering::check_invariants() const {
  struct Sum {
    std::int64_t open = 0;
    Pico reserved;
    Pico owed;
  };
  std::vector<Sum> of_keys(keys_.size());
  std::vector<Sum> of_tenants(tenants_.size());
  std::size_t open = 0;
  std::int64_t running = 0;
  for (const Reservation& r : reservations_) {
    if (!r.open) continue;
    ++open;
    running += r.running ? 1 : 0;
    STOKER_INVARIANT(above(r.used, r.granted) == Units{} && r.reserved >= Pico{},
                     "V25 request {} used more than was granted", r.request.value);
    STOKER_INVARIANT(r.reserved == metering::charge(r.list.prices, r.granted).total(),
                     "V25 request {} reserves another price", r.request.value);
    for (Sum* sum : {&of_keys[r.key_index], &of_tenants[r.tenant_index]}) {
      ++sum->open;
      sum->reserved = added(sum->reserved, r.reserved);
    }
  }
  STOKER_INVARIANT(open == open_ && open + free_.size() == reservations_.size(),
                   "V25 {} reservations are open of {}", open, open_);
  STOKER_INVARIANT(running == device_time_.running(), "V26 {} run of {}", running,
                   device_time_.running());
  Pico all;
  for (const Account& each : own_) all = added(all, each.balance());
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    of_keys[i].owed = keys_[i].account.balance();
    Pico& of_tenant = of_tenants[keys_[i].tenant_index].owed;
    of_tenant = added(of_tenant, of_keys[i].owed);
    all = added(all, of_keys[i].owed);
  }
  STOKER_INVARIANT(all == Pico{}, "V25 the books of {} keys do not balance", keys_.size());
  const auto check = [](const std::vector<Subject>& subjects, const std::vector<Sum>& sums) {
    for (std::size_t i = 0; i < subjects.size(); ++i) {
      subjects[i].meter.check_invariants();
      STOKER_INVARIANT(subjects[i].meter.open() == sums[i].open, "V25 {} open, counted {}",
                       subjects[i].meter.open(), sums[i].open);
      STOKER_INVARIANT(subjects[i].reserved == sums[i].reserved,
                       "V25 subject {} of {} reserves what no request does", i, subjects.size());
      STOKER_INVARIANT(subjects[i].account.balance() == sums[i].owed,
                       "M6 tenant {} does not owe what its keys do", subjects[i].tenant.value);
    }
  };
  check(keys_, of_keys);
  check(tenants_, of_tenants);
}

}  // namespace stoker::core::metering
