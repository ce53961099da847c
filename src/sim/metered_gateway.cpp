#include "sim/metered_gateway.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/invariant.h"
#include "base/overloaded.h"

namespace stoker::sim {
namespace {

using metering::Billing;
using metering::Units;

constexpr std::uint64_t most_tenants = 5;  // as SeedRun draws them

}  // namespace

MeteredGateway::MeteredGateway(std::uint64_t seed, const Chances& chances, Duration between_strikes,
                               bool with_limits, std::int32_t sweep_every)
    : chances_(chances),
      between_strikes_(between_strikes),
      prng_(seed ^ 0x3e7e41ULL),
      checker_(seed ^ 0xc0117eULL, sweep_every) {
  config_.minute = seconds(draw(2, 20));
  config_.day = Duration{config_.minute.ns * draw(4, 20)};
  checker_.began(config_);
  with_limits_ = one_in(3) && with_limits;
  draw_keys();
}

void MeteredGateway::draw_keys() {
  std::uint64_t next_key = 1;
  for (std::uint64_t tenant = 1; tenant <= most_tenants; ++tenant) {
    tenants_[TenantId{tenant}] = draw_limits(true);
    const auto keys = draw<std::uint64_t>(1, 3);
    for (std::uint64_t i = 0; i < keys; ++i) {
      const KeyId key{next_key++};
      keys_[key] = {TenantId{tenant}, draw_limits(false), false};
      keys_of_[TenantId{tenant}].push_back(key);
    }
  }
}

/// Some of them, some too small for some requests; two of three worlds have none.
metering::Limits MeteredGateway::draw_limits(bool of_tenant) {
  metering::Limits limits;
  if (!with_limits_) return limits;
  const std::int64_t times = of_tenant ? 2 : 1;
  const std::uint64_t which = prng_.below(1 << 8);
  const auto is_on = [&](unsigned bit) { return (which >> bit & 1U) != 0 && (which >> 6U) != 0; };
  const auto requests = draw<std::int64_t>(2, 200);
  const auto input = draw<std::int64_t>(300, 40'000);
  const auto output = draw<std::int64_t>(100, 10'000);
  const auto device = draw<std::int64_t>(500, 60'000);
  const auto concurrent = draw<std::int64_t>(1, 30);
  const auto budget = draw<std::int64_t>(1, 400);
  if (is_on(0)) limits.requests_per_minute = requests * times;
  if (is_on(1)) limits.input_tokens_per_minute = input * times;
  if (is_on(2)) limits.output_tokens_per_minute = output * times;
  if (is_on(3)) limits.device_ms_per_day = device * times;
  if (is_on(4)) limits.concurrent_requests = concurrent * times;
  if (is_on(5)) limits.budget = Pico{Int128{budget * times} * 1'000'000'000};
  return limits;
}

Prices MeteredGateway::draw_prices() {
  if (one_in(6)) return {};
  const std::int64_t request = draw<std::int64_t>(0, 1'000'000);
  const std::int64_t second = draw<std::int64_t>(0, 1'000'000);
  const std::int64_t input = draw<std::int64_t>(0, 2'000'000);
  const std::int64_t output = draw<std::int64_t>(0, 8'000'000);
  return {{request}, {second}, {input}, {output}};
}

KeyId MeteredGateway::any_key() {
  auto it = keys_.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(prng_.below(keys_.size())));
  return it->first;
}

void MeteredGateway::tell_keys() {
  for (const auto& [id, limits] : tenants_) {
    state_->set_tenant(id, limits);
    checker_.tenant_set(id, limits);
  }
  for (const auto& [id, key] : keys_) {
    state_->set_key(id, key.tenant, key.limits);
    checker_.key_set(id, key.tenant, key.limits);
    if (!key.removed) continue;
    state_->remove_key(id);
    checker_.key_removed(id);
  }
}

void MeteredGateway::set_prices(DeploymentId deployment) {
  if (!prices_.contains(deployment)) {
    draw_for(Roll::prices, Subject{deployment.value});
    prices_[deployment] = draw_prices();
  }
  config_.last_price_version.value = std::max(
      config_.last_price_version.value, state_->set_prices(deployment, prices_[deployment]).value);
  checker_.prices_set(deployment, state_->prices_of(deployment));
}

void MeteredGateway::on_server_start(Instant now, const core::CoreConfig&) {
  state_ = std::make_unique<metering::Metering>(config_);
  checker_.began(config_);
  tell_keys();
  for (const auto& [key, balance] : balances_) state_->bring_forward(key, balance);
  std::erase_if(recorded_, [&](const Recorded& each) { return each.at < now - config_.day; });
  for (const Recorded& each : recorded_) {
    state_->count_again(each.at, each.key, each.used);
    checker_.counted_again(each.at, each.key, each.used);
  }
  for (const Open& each : lost_) {
    const metering::UsageRecord record = state_->interrupted(each.wish, each.list);
    config_.last_sequence = record.sequence;
    checker_.interrupted(record);
  }
  lost_.clear();
  if (between_strikes_.ns > 0 && chances_.any()) next_strike_ = now + between_strikes_;
}

void MeteredGateway::on_server_crash(Instant now) {
  advance(now);
  state_.reset();
  devices_of_.clear();
  on_its_way_.clear();
}

bool MeteredGateway::admit(Instant now, const Arrival& arrival) {
  advance(now);
  const std::vector<KeyId>& keys = keys_of_.at(arrival.tenant);
  draw_for(Roll::usage, Subject::request(arrival.request));
  Open open;
  open.service = arrival.service;
  open.truth.input_tokens = draw<std::int64_t>(1, one_in(8) ? 8000 : 500);
  open.truth.output_tokens = draw<std::int64_t>(0, one_in(8) ? 2000 : 200);
  open.truth.cached_tokens = one_in(2) ? open.truth.input_tokens / 2 : 0;
  open.wish.request = arrival.request;
  open.wish.key = keys[prng_.below(keys.size())];
  open.wish.deployment = arrival.deployment;
  open.wish.estimate.input_tokens = open.truth.input_tokens * draw<std::int64_t>(8, 12) / 10;
  // A client's maximum, or a guess that may be too small.
  open.wish.estimate.output_tokens = one_in(3)
                                         ? draw<std::int64_t>(0, 100)
                                         : open.truth.output_tokens + draw<std::int64_t>(0, 400);
  open.wish.estimate.device_ms = one_in(3) ? 0 : whole_ms(arrival.service);
  open.list = state_->prices_of(arrival.deployment);
  const metering::Admission answer = state_->admit(now, open.wish);
  checker_.admit(now, open.wish, answer, *state_);
  const auto* id = std::get_if<metering::ReservationId>(&answer);
  if (id == nullptr) return false;
  open.id = *id;
  open_.insert(arrival.request, open);
  return true;
}

void MeteredGateway::before_step(Instant now, const core::Event& event) {
  advance(now);
  std::visit(
      Overloaded{
          [&](const core::DeviceAdded& e) { checker_.device_added(e.device.id, e.device.slots); },
          [&](const core::DeploymentAdded& e) { set_prices(e.deployment.id); },
          [&](const core::RequestUndelivered& e) {
            Open* open = open_.find(e.request);
            if (open == nullptr || !open->runs) return;
            open->runs = false;
            state_->undelivered(now, open->id);
            checker_.undelivered(now, e.request);
          },
          [](const auto&) {},
      },
      event);
}

void MeteredGateway::on_action(Instant now, const core::Event& cause, const core::Action& action) {
  if (const auto* start = std::get_if<core::StartInstance>(&action)) {
    devices_of_[start->instance] = start->devices;
  } else if (const auto* refused = std::get_if<core::Refuse>(&action)) {
    const auto* arrived = std::get_if<core::RequestArrived>(&cause);
    if (arrived != nullptr && arrived->request == refused->request) {
      if (Open* open = open_.find(refused->request)) open->turned_away = true;
    }
  } else if (const auto* dispatch = std::get_if<core::Dispatch>(&action)) {
    Open* open = open_.find(dispatch->request);
    STOKER_INVARIANT(open != nullptr, "V23 request {} was not admitted", dispatch->request.value);
    const std::vector<DeviceId>& devices = devices_of_[dispatch->instance];
    state_->dispatched(now, open->id, dispatch->instance,
                       std::max(1, static_cast<std::int32_t>(devices.size())));
    checker_.dispatched(now, dispatch->request, dispatch->instance, devices);
    open->runs = true;
    open->dispatched_at = now;
    ++open->attempt;
    plan_reports(now, dispatch->request, *open);
  }
}

void MeteredGateway::after_step(Instant now, const core::Event&, const core::Core&) {
  checker_.after_event(now, *state_);
}

void MeteredGateway::on_ended(Instant now, RequestId request, Ending ending) {
  advance(now);
  Open* open = open_.find(request);
  STOKER_INVARIANT(open != nullptr, "V23 request {} was not admitted", request.value);
  if (ending == Ending::interrupted) {
    checker_.lost(request);
    recorded_.push_back({now, open->wish.key, {}});
    lost_.push_back(*open);
  } else if (open->turned_away) {
    state_->release(now, open->id);
    checker_.released(now, request);
  } else if (!open->runs) {
    settle(now, request, *open, Billing::free);
  } else {
    // The worker's last word comes with the end, unless it died.
    if (ending != Ending::failed) {
      const std::int64_t permille =
          ending == Ending::completed
              ? 1000
              : std::min<std::int64_t>(1000, (now - open->dispatched_at).ns * 1000 /
                                                 std::max<std::int64_t>(1, open->service.ns));
      deliver(
          now,
          {request, open->id, {open->attempt, ++open->last_report, part(open->truth, permille)}});
      open = open_.find(request);
    }
    settle(now, request, *open, Billing::billed);
  }
  open_.erase(request);
}

void MeteredGateway::settle(Instant now, RequestId, Open& open, Billing billing) {
  const metering::UsageRecord record = state_->settle(now, open.id, billing);
  checker_.settled(now, record, *state_);
  config_.last_sequence = record.sequence;
  balances_[record.key] = balances_[record.key] + record.charge.total();
  recorded_.push_back({now, record.key, record.used});
}

void MeteredGateway::on_process_gone(Instant now, InstanceId instance) {
  if (state_ == nullptr) return;
  advance(now);
  state_->instance_gone(instance);
  checker_.instance_gone(now, instance);
  devices_of_.erase(instance);
}

Units MeteredGateway::part(const Units& whole, std::int64_t permille) {
  Units units = whole;  // the input is read first
  units.output_tokens = whole.output_tokens * permille / 1000;
  return units;
}

/// What its worker will say of it while it runs.
void MeteredGateway::plan_reports(Instant now, RequestId request, Open& open) {
  const Subject who = Subject::request(request);
  const auto attempt = static_cast<std::uint32_t>(open.attempt);
  draw_for(Roll::usage, who, attempt);
  const auto count = draw<std::int64_t>(0, 3);
  for (std::int64_t i = 1; i <= count; ++i) {
    const Duration after{open.service.ns / (count + 1) * i};
    metering::UsageReport report{open.attempt, ++open.last_report,
                                 part(open.truth, 1000 * i / (count + 1))};
    const std::uint32_t time = attempt * 4 + static_cast<std::uint32_t>(i);
    if (chances_.hits(Fault::report_less, who, time)) {
      report.used.output_tokens = one_in(8) ? -1 : report.used.output_tokens / 2;
    }
    const Duration lateness = ms(draw(0, 3000));
    const Duration again = ms(draw(0, 500));
    if (chances_.hits(Fault::report_lost, who, time)) continue;
    const Duration late = chances_.hits(Fault::report_late, who, time) ? lateness : Duration{};
    if (chances_.hits(Fault::report_twice, who, time)) {
      send(now + after + again, request, open, report);
    }
    send(now + after + late, request, open, report);
  }
}

void MeteredGateway::send(Instant at, RequestId request, const Open& open,
                          const metering::UsageReport& report) {
  on_its_way_.emplace(std::pair(at, next_sent_++), Sent{request, open.id, report});
  if (on_sent_) on_sent_(at);
}

void MeteredGateway::deliver(Instant now, const Sent& sent) {
  const metering::Reported answer = state_->report(now, sent.id, sent.report);
  checker_.reported(now, sent.request, sent.report, answer, *state_);
  if (answer.exhausted && on_exhausted_) on_exhausted_(sent.request);
}

void MeteredGateway::advance(Instant now) {
  if (state_ == nullptr) return;
  for (;;) {
    const bool report_due = !on_its_way_.empty() && on_its_way_.begin()->first.first <= now;
    const bool strike_due = next_strike_ && *next_strike_ <= now;
    if (!report_due && !strike_due) return;
    if (report_due && (!strike_due || on_its_way_.begin()->first.first <= *next_strike_)) {
      const auto first = on_its_way_.extract(on_its_way_.begin());
      deliver(first.key().first, first.mapped());
    } else {
      strike(*next_strike_);
      next_strike_ = *next_strike_ + chances_.around(between_strikes_, Roll::strike_time,
                                                     Subject::strike(strikes_), 1);
    }
  }
}

void MeteredGateway::strike(Instant) {
  const Subject who = Subject::strike(++strikes_);
  if (chances_.hits(Fault::prices_change, who, 0, 8)) {
    for (auto& [id, prices] : prices_) {
      draw_for(Roll::prices, Subject{id.value}, static_cast<std::uint32_t>(strikes_));
      if (!one_in(4)) continue;
      prices = draw_prices();
      set_prices(id);
    }
  }
  if (!chances_.hits(Fault::limits_change, who, 0, 8)) return;
  draw_for(Roll::limits, who);
  change_limits();
}

/// A person changes limits, takes a key away or gives it back, books a payment.
void MeteredGateway::change_limits() {
  const KeyId id = any_key();
  Key& key = keys_.at(id);
  switch (draw(0, 3)) {
    case 0:
      key.limits = draw_limits(false);
      state_->set_key(id, key.tenant, key.limits);
      checker_.key_set(id, key.tenant, key.limits);
      key.removed = false;
      return;
    case 1:
      tenants_[key.tenant] = draw_limits(true);
      state_->set_tenant(key.tenant, tenants_[key.tenant]);
      checker_.tenant_set(key.tenant, tenants_[key.tenant]);
      return;
    case 2:
      key.removed = true;
      state_->remove_key(id);
      checker_.key_removed(id);
      return;
    default: {
      const Pico amount{Int128{draw<std::int64_t>(-400, 40)} * 1'000'000'000};
      const metering::Correction correction = state_->correct(id, amount);
      config_.last_sequence = correction.sequence;
      checker_.corrected(correction);
      balances_[id] = balances_[id] + amount;
      return;
    }
  }
}

void MeteredGateway::stop_faults(Instant now) {
  advance(now);
  chances_.stop();
  next_strike_.reset();
}

void MeteredGateway::check_settled(Instant now) {
  advance(now);
  checker_.check_settled(now, *state_);
}

}  // namespace stoker::sim
