#include "sim/metering_checker.h"

#include <algorithm>

#include "base/invariant.h"

namespace stoker::sim {
namespace {

using metering::Amounts;
using metering::LimitHit;
using metering::LimitKind;
using metering::Units;
using metering::Whose;

constexpr std::int64_t ns_per_ms = 1'000'000;
/// Whose reports are kept to be told again in another order: one in so many.
constexpr std::uint64_t replay_every = 16;

std::int64_t most_of(const metering::Limits& limits, std::size_t kind) {
  switch (static_cast<LimitKind>(kind)) {
    case LimitKind::requests_per_minute:
      return limits.requests_per_minute;
    case LimitKind::input_tokens_per_minute:
      return limits.input_tokens_per_minute;
    case LimitKind::output_tokens_per_minute:
      return limits.output_tokens_per_minute;
    case LimitKind::device_time_per_day:
      return limits.device_ms_per_day;
    case LimitKind::concurrent_requests:
      return limits.concurrent_requests;
    case LimitKind::budget:
      break;
  }
  return metering::unlimited;
}

/// Written out once more, so that it is not the formula that is checked.
Pico price_of(const Prices& p, const Units& u) {
  Int128 pico = Int128{p.per_request.value} * 1000;
  pico += Int128{p.per_device_second.value} * u.device_ms;
  pico += Int128{p.per_1k_input_tokens.value} * u.input_tokens;
  pico += Int128{p.per_1k_output_tokens.value} * u.output_tokens;
  return {pico};
}

bool is_free(const Prices& prices) {
  return prices == Prices{};
}

Amounts difference(const Units& more, const Units& less) {
  return {{0, more.input_tokens - less.input_tokens, more.output_tokens - less.output_tokens,
           more.device_ms - less.device_ms},
          0};
}

}  // namespace

MeteringChecker::Request& MeteringChecker::request(RequestId id) {
  Request* found = requests_.find(id);
  STOKER_INVARIANT(found != nullptr, "V25 request {} has no reservation", id.value);
  return *found;
}

void MeteringChecker::set(Subject& subject, const metering::Limits& limits) {
  for (std::size_t kind = 0; kind < metering::windowed_kinds; ++kind) {
    if (most_of(limits, kind) < subject.windows[kind].sum_inside()) {
      reached(State::limit_lowered_below_use);
    }
  }
  subject.limits = limits;
}

void MeteringChecker::tenant_set(TenantId tenant, const metering::Limits& limits) {
  const auto [it, is_new] = tenants_.try_emplace(tenant);
  if (is_new) {
    for (auto& each : it->second.windows) each = ExactWindow(config_.minute);
    it->second.windows[3] = ExactWindow(config_.day);
  }
  set(it->second, limits);
}

void MeteringChecker::key_set(KeyId key, TenantId tenant, const metering::Limits& limits) {
  const auto [it, is_new] = keys_.try_emplace(key);
  if (is_new) {
    for (auto& each : it->second.windows) each = ExactWindow(config_.minute);
    it->second.windows[3] = ExactWindow(config_.day);
  }
  it->second.tenant = tenant;
  it->second.removed = false;
  set(it->second, limits);
}

void MeteringChecker::key_removed(KeyId key) {
  Subject& subject = keys_.at(key);
  subject.removed = true;
  if (subject.open > 0) reached(State::key_removed_while_open);
}

void MeteringChecker::prices_set(DeploymentId deployment, const metering::PriceList& list) {
  metering::PriceList& known = prices_[deployment];
  if (list.version != known.version) {
    STOKER_INVARIANT(list.version > last_price_version_, "M8 price version {} after {}",
                     list.version.value, last_price_version_.value);
    last_price_version_ = list.version;
  } else {
    STOKER_INVARIANT(list.prices == known.prices, "M8 two price lists are version {}",
                     list.version.value);
  }
  known = list;
}

void MeteringChecker::corrected(const metering::Correction& correction) {
  STOKER_INVARIANT(correction.sequence > last_sequence_, "V23 sequence {} after {}",
                   correction.sequence, last_sequence_);
  last_sequence_ = correction.sequence;
  Subject& key = keys_.at(correction.key);
  Subject& tenant = tenants_.at(key.tenant);
  key.spent = key.spent + correction.amount;
  tenant.spent = tenant.spent + correction.amount;
  credits_ = credits_ - correction.amount;
}

void MeteringChecker::check_granted(Instant now, Subject& subject, const Amounts& amounts,
                                    bool priced) const {
  for (std::size_t kind = 0; kind < metering::windowed_kinds; ++kind) {
    ExactWindow& window = subject.windows[kind];
    window.advance(now);
    const std::int64_t most = most_of(subject.limits, kind);
    STOKER_INVARIANT(amounts.used[kind] <= 0 || window.sum_inside() + amounts.used[kind] <= most,
                     "V25 limit {}: {} and {} of {}", kind, window.sum_inside(), amounts.used[kind],
                     most);
  }
  if (amounts.concurrent > 0) {
    STOKER_INVARIANT(subject.open < subject.limits.concurrent_requests, "V25 {} are open",
                     subject.open);
  }
  if (!priced || !subject.limits.budget) return;
  STOKER_INVARIANT(subject.spent + subject.reserved <= *subject.limits.budget,
                   "V25 more is owed and reserved than the budget of tenant {}",
                   subject.tenant.value);
}

/// A refusal must be just: something more than the limit would have been counted by a window that
/// is at most one step too long, and when it says to come back, it passes then and not before.
void MeteringChecker::check_refused(Instant now, KeyId id, const LimitHit& hit,
                                    const Amounts& amounts, Pico cost) {
  Subject& key = keys_.at(id);
  Subject& tenant = tenants_.at(key.tenant);
  Subject& subject = hit.whose == Whose::key ? key : tenant;
  count_refusal(subject, hit);
  if (hit.kind == LimitKind::budget) {
    STOKER_INVARIANT(
        subject.limits.budget && subject.spent + subject.reserved + cost > *subject.limits.budget,
        "V25 the budget of tenant {} is not used up", subject.tenant.value);
    return;
  }
  const auto kind = static_cast<std::size_t>(hit.kind);
  const std::int64_t most = most_of(subject.limits, kind);
  STOKER_INVARIANT(hit.most == most, "limit {} is {}, told {}", kind, most, hit.most);
  if (hit.kind == LimitKind::concurrent_requests) {
    STOKER_INVARIANT(subject.open >= most, "V25 refused with {} of {} open", subject.open, most);
    return;
  }
  ExactWindow& window = subject.windows[kind];
  window.advance(now);
  const std::int64_t wish = amounts.used[kind];
  STOKER_INVARIANT(window.sum_counted() + wish > most, "V25 limit {} refuses {} beside {} of {}",
                   kind, wish, window.sum_counted(), most);
  STOKER_INVARIANT(hit.retry_after.has_value() == (wish <= most), "limit {} and {}", most, wish);
  if (!hit.retry_after) return;
  const Instant then = now + *hit.retry_after;
  STOKER_INVARIANT(then > now, "retry after {}", hit.retry_after->ns);
  for (Subject* each : {&key, &tenant}) {
    for (std::size_t other = 0; other < metering::windowed_kinds; ++other) {
      ExactWindow& its_window = each->windows[other];
      its_window.advance(now);
      STOKER_INVARIANT(amounts.used[other] == 0 ||
                           its_window.sum_since(then - its_window.length()) + amounts.used[other] <=
                               most_of(each->limits, other),
                       "it is refused again in {} ns, by limit {}", hit.retry_after->ns, other);
    }
  }
  STOKER_INVARIANT(window.sum_since(then - window.longest()) + wish > most,
                   "it would pass before {} ns", hit.retry_after->ns);
}

void MeteringChecker::count_refusal(Subject& subject, const LimitHit& hit) {
  if (!hit.retry_after && hit.kind != LimitKind::budget && hit.most > 0) {
    reached(State::limit_can_never_pass);
  }
  if (hit.whose == Whose::tenant) reached(State::limit_of_tenant);
  switch (hit.kind) {
    case LimitKind::requests_per_minute:
      return reached(State::limit_requests);
    case LimitKind::input_tokens_per_minute:
      return reached(State::limit_input_tokens);
    case LimitKind::output_tokens_per_minute:
      return reached(State::limit_output_tokens);
    case LimitKind::device_time_per_day:
      subject.device_time_was_short |= hit.retry_after.has_value();
      return reached(State::limit_device_time);
    case LimitKind::concurrent_requests:
      return reached(State::limit_concurrency);
    case LimitKind::budget:
      subject.budget_was_short = true;
      return reached(State::limit_budget);
  }
}

void MeteringChecker::admit(Instant now, const metering::AdmissionWish& wish,
                            const metering::Admission& answer, const metering::Metering& state) {
  const auto found = keys_.find(wish.key);
  if (std::holds_alternative<metering::UnknownKey>(answer)) {
    STOKER_INVARIANT(found == keys_.end() || found->second.removed, "key {} is known",
                     wish.key.value);
    return;
  }
  STOKER_INVARIANT(found != keys_.end() && !found->second.removed, "C3 key {} is removed",
                   wish.key.value);
  Subject& key = found->second;
  Subject& tenant = tenants_.at(key.tenant);
  const metering::PriceList list = prices_[wish.deployment];
  const Pico cost = price_of(list.prices, wish.estimate);
  const Amounts amounts = metering::amounts_of(1, wish.estimate);
  if (const auto* hit = std::get_if<LimitHit>(&answer)) {
    return check_refused(now, wish.key, *hit, amounts, cost);
  }
  ++admitted_;
  Request& r = requests_.insert(wish.request, Request{});
  r.id = std::get<metering::ReservationId>(answer);
  r.key = wish.key;
  r.deployment = wish.deployment;
  r.list = list;
  r.granted = wish.estimate;
  for (Subject* each : {&key, &tenant}) {
    check_granted(now, *each, amounts, false);
    if (each->device_time_was_short && wish.estimate.device_ms > 0) {
      each->device_time_was_short = false;
      reached(State::day_slid_on);
    }
    if (each->budget_was_short && !is_free(list.prices)) {
      each->budget_was_short = false;
      reached(State::budget_freed);
    }
  }
  grant(now, r, amounts, cost);
  for (Subject* each : {&key, &tenant}) check_granted(now, *each, {}, !is_free(list.prices));
  STOKER_INVARIANT(state.granted(r.id) == wish.estimate, "request {}", wish.request.value);
}

/// Enters it in the windows of the key and its tenant.
void MeteringChecker::grant(Instant now, Request& r, const Amounts& amounts, Pico reserved) {
  Subject& key = key_of(r);
  Subject& tenant = tenant_of(r);
  for (std::size_t kind = 0; kind < metering::windowed_kinds; ++kind) {
    key.windows[kind].advance(now);
    tenant.windows[kind].advance(now);
    if (amounts.used[kind] == 0) continue;
    r.last_grant[kind] = {amounts.used[kind], key.windows[kind].grant(now, amounts.used[kind]),
                          tenant.windows[kind].grant(now, amounts.used[kind])};
  }
  for (Subject* each : {&key, &tenant}) {
    each->open += amounts.concurrent;
    each->reserved = each->reserved + reserved;
  }
  r.reserved = r.reserved + reserved;
}

void MeteringChecker::end(Instant now, Request& r, const Amounts& unused) {
  Subject& key = key_of(r);
  Subject& tenant = tenant_of(r);
  for (std::size_t kind = 0; kind < metering::windowed_kinds; ++kind) {
    const Grant& last = r.last_grant[kind];
    const std::int64_t back = std::min(unused.used[kind], last.amount);
    if (back <= 0) continue;
    key.windows[kind].advance(now);
    tenant.windows[kind].advance(now);
    key.windows[kind].take_back(last.of_key, back);
    tenant.windows[kind].take_back(last.of_tenant, back);
  }
  for (Subject* each : {&key, &tenant}) {
    --each->open;
    each->reserved = each->reserved - r.reserved;
  }
}

void MeteringChecker::dispatched(Instant now, RequestId id, InstanceId instance_id,
                                 const std::vector<DeviceId>& devices) {
  Request& r = request(id);
  STOKER_INVARIANT(!r.instance, "V10 request {} runs twice", id.value);
  r.instance = instance_id;
  r.device_ns = 0;
  r.device_ms = 0;
  ++r.attempts;
  Instance& instance = instances_[instance_id];
  account(now, instance);
  instance.devices = devices;
  instance.running.push_back(id);
  instance.tenants.insert(key_of(r).tenant);
  std::set<TenantId> now_running;
  for (const RequestId each : instance.running) now_running.insert(key_of(request(each)).tenant);
  if (now_running.size() > 1) reached(State::device_time_split_between_tenants);
}

/// Gives each that runs its share of the time since the last moment.
void MeteringChecker::account(Instant now, Instance& instance) {
  const std::int64_t elapsed = (now - instance.last).ns;
  instance.last = now;
  if (instance.running.empty() || elapsed == 0) return;
  instance.busy_ns += elapsed;
  ++instance.moments;
  const auto n = static_cast<std::int64_t>(instance.running.size());
  for (const RequestId each : instance.running) request(each).device_ns += elapsed / n;
}

void MeteringChecker::leave(Instant now, RequestId id, Request& r, std::int64_t billed_ms,
                            bool billed) {
  if (!r.instance) return;
  const InstanceId instance_id = r.instance;
  Instance& instance = instances_.at(instance_id);
  account(now, instance);
  if (billed) check_bill(now, r, billed_ms);
  if (!billed) instance.dropped_ns += r.device_ns;
  std::erase(instance.running, id);
  r.instance = {};
  forget_if_empty(instance_id);
}

/// V26: what an instance billed is at most what it was busy, no more than a millisecond of each
/// tenant is owed, and each bill is its request's share to within a millisecond.
void MeteringChecker::check_bill(Instant now, const Request& r, std::int64_t billed_ms) {
  Instance& instance = instances_.at(r.instance);
  const auto devices =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(instance.devices.size()));
  STOKER_INVARIANT(billed_ms % devices == 0 && billed_ms >= r.device_ms,
                   "V24 {} ms on {} devices after {}", billed_ms, devices, r.device_ms);
  const std::int64_t billed_ns = billed_ms / devices * ns_per_ms;
  if (billed_ns > r.device_ns + instance.moments) reached(State::device_time_rest_carried);
  STOKER_INVARIANT(billed_ns < r.device_ns + ns_per_ms + instance.moments &&
                       billed_ns > r.device_ns - ns_per_ms - instance.moments,
                   "V26 {} ns are billed for {}", billed_ns, r.device_ns);
  instance.billed_ns += billed_ns;
  STOKER_INVARIANT(instance.billed_ns <= instance.busy_ns, "V26 {} ns billed of {}",
                   instance.billed_ns, instance.busy_ns);
  for (const DeviceId device : instance.devices) {
    std::int64_t& on_device = billed_on_[device];
    on_device += billed_ns;
    const std::int64_t slots = slots_.at(device);
    STOKER_INVARIANT(static_cast<Int128>(on_device) <= static_cast<Int128>(now.ns) * slots,
                     "V26 device {}: {} ns billed of {} x {}", device.value, on_device, now.ns,
                     slots);
  }
}

void MeteringChecker::undelivered(Instant now, RequestId id) {
  Request& r = request(id);
  leave(now, id, r, 0, false);
  r.device_ms = 0;
}

void MeteringChecker::instance_gone(Instant, InstanceId id) {
  const auto it = instances_.find(id);
  if (it == instances_.end()) return;
  it->second.gone = true;
  forget_if_empty(id);
}

void MeteringChecker::forget_if_empty(InstanceId id) {
  const Instance& instance = instances_.at(id);
  if (!instance.running.empty()) return;
  const auto tenants = static_cast<std::int64_t>(instance.tenants.size());
  const std::int64_t kept_ns =
      instance.billed_ns + instance.dropped_ns + tenants * (ns_per_ms + instance.moments * 64);
  STOKER_INVARIANT(kept_ns >= instance.busy_ns, "V26 instance {}: {} ns of {} are billed to nobody",
                   id.value, instance.busy_ns - kept_ns, instance.busy_ns);
  if (instance.gone) instances_.erase(id);
}

void MeteringChecker::reported(Instant now, RequestId id, const metering::UsageReport& report,
                               const metering::Reported& answer, const metering::Metering& state) {
  using metering::ReportEffect;
  Request* r = requests_.find(id);
  if (r == nullptr) {
    STOKER_INVARIANT(answer.effect == ReportEffect::stale, "V24 request {} has ended", id.value);
    return reached(State::usage_reported_after_end);
  }
  const bool sound = metering::plausible(report.used) && report.attempt <= r->attempts;
  STOKER_INVARIANT((answer.effect == ReportEffect::nonsense) != sound, "W8 request {}", id.value);
  if (!sound) return reached(State::usage_report_nonsense);
  STOKER_INVARIANT(answer.effect != ReportEffect::stale, "V24 request {} is open", id.value);
  const bool newer = report.sequence > r->last_report;
  if (report.sequence < r->last_report) reached(State::usage_reported_out_of_order);
  if (report.sequence == r->last_report) reached(State::usage_reported_twice);
  r->last_report = std::max(r->last_report, report.sequence);
  const Units before = r->reported;
  r->reported.input_tokens = std::max(before.input_tokens, report.used.input_tokens);
  r->reported.output_tokens = std::max(before.output_tokens, report.used.output_tokens);
  r->reported.cached_tokens = std::max(before.cached_tokens, report.used.cached_tokens);
  if (newer && (r->reported.output_tokens > report.used.output_tokens ||
                r->reported.input_tokens > report.used.input_tokens)) {
    STOKER_INVARIANT(answer.effect == ReportEffect::less, "V24 request {}", id.value);
    reached(State::usage_reported_less);
  }
  if (id.value % replay_every == 0) r->reports.push_back(report);
  const Units used = state.used(r->id);
  STOKER_INVARIANT(used.input_tokens == r->reported.input_tokens &&
                       used.output_tokens == r->reported.output_tokens &&
                       used.cached_tokens == r->reported.cached_tokens,
                   "V24 request {} has used {} of {} output tokens", id.value, used.output_tokens,
                   r->reported.output_tokens);
  STOKER_INVARIANT(used.device_ms >= r->device_ms, "V24 device time of request {} falls", id.value);
  r->device_ms = used.device_ms;
  const Units granted = state.granted(r->id);
  const Amounts more = difference(granted, r->granted);
  const Pico reserved = price_of(r->list.prices, granted) - r->reserved;
  for (const std::int64_t each : more.used) STOKER_INVARIANT(each >= 0, "V25 request {}", id.value);
  for (const auto unit : metering::limited_units) {
    STOKER_INVARIANT(used.*unit <= granted.*unit, "V25 request {} uses {} of {}", id.value,
                     used.*unit, granted.*unit);
  }
  if (answer.grown) {
    reached(State::reservation_grown);
    for (Subject* each : {&key_of(*r), &tenant_of(*r)}) check_granted(now, *each, more, false);
  } else if (answer.exhausted) {
    const LimitHit& hit = *answer.exhausted;
    reached(hit.kind == LimitKind::budget ? State::budget_used_up_while_running
                                          : State::limit_reached_while_running);
    check_refused(now, r->key, hit, more, reserved);
  } else {
    STOKER_INVARIANT(more.used == Amounts{}.used, "V25 request {} grows in silence", id.value);
  }
  r->granted = granted;
  r->granted.cached_tokens = 0;
  grant(now, *r, more, reserved);
  if (!answer.grown) return;
  for (Subject* each : {&key_of(*r), &tenant_of(*r)}) {
    check_granted(now, *each, {}, reserved > Pico{});
  }
}

void MeteringChecker::check_record(const metering::UsageRecord& record) {
  STOKER_INVARIANT(record.sequence > last_sequence_, "V23 sequence {} after {}", record.sequence,
                   last_sequence_);
  last_sequence_ = record.sequence;
  ++records_;
  STOKER_INVARIANT(
      record.used.input_tokens >= 0 && record.used.output_tokens >= 0 && record.used.device_ms >= 0,
      "V24 request {}", record.request.value);
  const bool free = record.billing == metering::Billing::free;
  const Pico amount = free ? Pico{} : price_of(record.prices, record.used);
  STOKER_INVARIANT(record.charge.total() == amount, "M1 request {} has another price",
                   record.request.value);
  STOKER_INVARIANT(!free || record.used == Units{}, "request {} never ran", record.request.value);
}

void MeteringChecker::settled(Instant now, const metering::UsageRecord& record,
                              const metering::Metering& state) {
  Request* found = requests_.find(record.request);
  STOKER_INVARIANT(found != nullptr, "V23 request {} has a record and is not open",
                   record.request.value);
  Request& r = *found;
  check_record(record);
  STOKER_INVARIANT(
      record.key == r.key && record.tenant == key_of(r).tenant && record.deployment == r.deployment,
      "request {}", record.request.value);
  STOKER_INVARIANT(record.price_version == r.list.version && record.prices == r.list.prices,
                   "M8 request {} has prices {}, admitted under {}", record.request.value,
                   record.price_version.value, r.list.version.value);
  if (r.list.version != prices_[r.deployment].version) reached(State::price_changed_while_open);
  const bool billed = record.billing == metering::Billing::billed;
  if (billed) {
    STOKER_INVARIANT(record.used.input_tokens == r.reported.input_tokens &&
                         record.used.output_tokens == r.reported.output_tokens,
                     "V24 the record of request {} is not its last report", record.request.value);
    if (!r.reports.empty()) replay_reports(r, record.used);
  } else {
    reached(State::ended_without_running);
  }
  if (!r.instance) {
    STOKER_INVARIANT(record.used.device_ms == 0, "V26 request {} ran nowhere",
                     record.request.value);
  }
  leave(now, record.request, r, record.used.device_ms, billed);
  if (record.used.output_tokens < r.granted.output_tokens && billed) {
    reached(State::use_below_estimate);
  }
  // Device time beyond the reservation is charged at the end.
  Amounts beyond;
  beyond.used[3] = std::max<std::int64_t>(record.used.device_ms - r.granted.device_ms, 0);
  r.granted.device_ms += beyond.used[3];
  grant(now, r, beyond, price_of(r.list.prices, r.granted) - r.reserved);
  end(now, r, difference(r.granted, record.used));
  Subject& key = key_of(r);
  Subject& tenant = tenant_of(r);
  key.spent = key.spent + record.charge.total();
  tenant.spent = tenant.spent + record.charge.total();
  revenue_ = revenue_ + record.charge.total();
  STOKER_INVARIANT(
      state.balance(record.key) == key.spent && state.balance(record.tenant) == tenant.spent,
      "V25 the balance after request {} is another", record.request.value);
  requests_.erase(record.request);
}

/// V24: twice each, in any order, tells the same.
void MeteringChecker::replay_reports(Request& r, const Units& used) {
  metering::Metering again(metering::MeteringConfig{});
  again.set_tenant(TenantId{1}, {});
  again.set_key(KeyId{1}, TenantId{1}, {});
  const auto id = std::get<metering::ReservationId>(
      again.admit(Instant{}, {RequestId{1}, KeyId{1}, DeploymentId{1}, {}}));
  for (std::int32_t attempt = 1; attempt <= r.attempts; ++attempt) {
    again.dispatched(Instant{}, id, InstanceId{1});
    if (attempt < r.attempts) again.undelivered(Instant{}, id);
  }
  std::vector<metering::UsageReport> reports = r.reports;
  reports.insert(reports.end(), r.reports.begin(), r.reports.end());
  for (std::size_t left = reports.size(); left > 0; --left) {
    std::swap(reports[left - 1], reports[prng_.below(left)]);
    (void)again.report(Instant{}, id, reports[left - 1]);
  }
  const Units told = again.settle(Instant{}, id, metering::Billing::billed).used;
  STOKER_INVARIANT(told.input_tokens == used.input_tokens &&
                       told.output_tokens == used.output_tokens &&
                       told.cached_tokens == used.cached_tokens,
                   "V24 the reports of a request in another order make {} output tokens, not {}",
                   told.output_tokens, used.output_tokens);
}

void MeteringChecker::released(Instant now, RequestId id) {
  Request& r = request(id);
  STOKER_INVARIANT(r.attempts == 0, "V23 request {} ran", id.value);
  Amounts all = difference(r.granted, {});
  all.used[0] = 1;
  end(now, r, all);
  ++released_;
  requests_.erase(id);
  reached(State::reservation_released);
}

void MeteringChecker::began(const metering::MeteringConfig& config) {
  STOKER_INVARIANT(config.last_sequence >= last_sequence_, "V23 sequence {} comes again",
                   last_sequence_);
  config_ = config;
  brought_ = {};
  for (auto* subjects : {&keys_}) {
    for (auto& [id, each] : *subjects) brought_ = brought_ + each.spent;
  }
  revenue_ = {};
  credits_ = {};
  const auto forget = [&](Subject& subject) {
    for (ExactWindow& each : subject.windows) each = ExactWindow(each.length());
    subject.open = 0;
    subject.reserved = {};
  };
  for (auto& [id, each] : keys_) forget(each);
  for (auto& [id, each] : tenants_) forget(each);
  instances_.clear();
}

void MeteringChecker::lost(RequestId id) {
  STOKER_INVARIANT(requests_.erase(id), "V25 request {} is not open", id.value);
  lost_.insert(id);
  reached(State::reservation_lost_in_crash);
}

void MeteringChecker::counted_again(Instant at, KeyId key, const Units& used) {
  const Amounts amounts = metering::amounts_of(1, used);
  Subject& subject = keys_.at(key);
  for (Subject* each : {&subject, &tenants_.at(subject.tenant)}) {
    for (std::size_t kind = 0; kind < metering::windowed_kinds; ++kind) {
      each->windows[kind].advance(at);
      (void)each->windows[kind].grant(at, amounts.used[kind]);
    }
  }
}

void MeteringChecker::interrupted(const metering::UsageRecord& record) {
  check_record(record);
  STOKER_INVARIANT(lost_.erase(record.request) == 1, "V23 request {} was not lost",
                   record.request.value);
}

void MeteringChecker::check_books(const metering::Metering& state) {
  state.check_invariants();
  Pico sum;
  for (const auto& [id, each] : keys_) {
    STOKER_INVARIANT(state.balance(id) == each.spent && state.reserved(id) == each.reserved,
                     "V25 key {}", id.value);
    sum = sum + each.spent;
  }
  for (const auto& [id, each] : tenants_) {
    STOKER_INVARIANT(state.balance(id) == each.spent && state.reserved(id) == each.reserved,
                     "V25 tenant {}", id.value);
  }
  using metering::OwnAccount;
  const Pico revenue = state.balance(OwnAccount::revenue_requests) +
                       state.balance(OwnAccount::revenue_device_time) +
                       state.balance(OwnAccount::revenue_input_tokens) +
                       state.balance(OwnAccount::revenue_output_tokens);
  STOKER_INVARIANT(revenue == -revenue_ && state.balance(OwnAccount::credits) == credits_ &&
                       state.balance(OwnAccount::brought_forward) == -brought_,
                   "V25 our own accounts do not hold what was booked");
  STOKER_INVARIANT(sum + revenue + credits_ - brought_ == Pico{},
                   "V25 the postings do not sum to 0");
}

void MeteringChecker::after_event(Instant, const metering::Metering& state) {
  STOKER_INVARIANT(state.open_reservations() == requests_.size(), "V25 {} reservations of {}",
                   state.open_reservations(), requests_.size());
  if (--until_sweep_ > 0) return;
  until_sweep_ = sweep_every_;
  check_books(state);
}

void MeteringChecker::check_settled(Instant, const metering::Metering& state) {
  check_books(state);
  STOKER_INVARIANT(requests_.size() == 0 && lost_.empty(), "V25 {} reservations never end",
                   requests_.size());
  STOKER_INVARIANT(admitted_ == records_ + released_, "V23 {} admitted, {} records, {} taken back",
                   admitted_, records_, released_);
}

}  // namespace stoker::sim
