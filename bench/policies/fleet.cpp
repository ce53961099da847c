#include "fleet.h"

#include <algorithm>

namespace stoker::bench {
namespace {

double seconds_of(Duration d) {
  return static_cast<double>(d.ns) / 1e9;
}

}  // namespace

double ScalingBook::percentile(double share) {
  if (waits_s.empty()) return 0;
  const auto at = std::min(waits_s.size() - 1,
                           static_cast<std::size_t>(share * static_cast<double>(waits_s.size())));
  std::nth_element(waits_s.begin(), waits_s.begin() + static_cast<std::ptrdiff_t>(at),
                   waits_s.end());
  return static_cast<double>(waits_s[at]);
}

void ScalingBooks::pay(const FleetSetup& setup, Instant from, Instant to) {
  to = std::min(to, setup.end);
  if (to <= from) return;
  if (from < setup.split) before.device_s += seconds_of(std::min(to, setup.split) - from);
  if (to > setup.split) after.device_s += seconds_of(to - std::max(from, setup.split));
}

void ScalingBooks::waited(const FleetSetup& setup, Instant arrived, Duration wait) {
  (arrived < setup.split ? before : after).waits_s.push_back(static_cast<float>(seconds_of(wait)));
}

std::int32_t Fleet::live() const {
  return static_cast<std::int32_t>(std::count_if(instances_.begin(), instances_.end(),
                                                 [](const Instance& i) { return !i.draining; }));
}

std::int32_t Fleet::ready() const {
  return static_cast<std::int32_t>(
      std::count_if(instances_.begin(), instances_.end(),
                    [](const Instance& i) { return i.ready && !i.draining; }));
}

void Fleet::pass_until(Instant at) {
  request_s_ += requests() * seconds_of(at - now_);
  now_ = at;
}

void Fleet::start(std::int32_t count) {
  for (std::int32_t i = 0; i < count; ++i) {
    const std::uint64_t id = next_++;
    instances_.push_back({id, now_, 0, false, false});
    due_.push({now_ + setup_.start_time, next_++, id, true});
  }
}

void Fleet::stop(std::int32_t count) {
  const auto rank = [](const Instance& i) { return i.ready ? i.in_flight : -1; };
  for (; count > 0; --count) {
    std::optional<std::size_t> least;
    for (std::size_t i = 0; i < instances_.size(); ++i) {
      if (instances_[i].draining) continue;
      if (!least || rank(instances_[i]) <= rank(instances_[*least])) least = i;
    }
    if (!least) return;
    instances_[*least].draining = true;
    if (instances_[*least].in_flight == 0) gone(*least);
  }
}

void Fleet::gone(std::size_t index) {
  books_.pay(setup_, instances_[index].ordered_at, now_);
  instances_.erase(instances_.begin() + static_cast<std::ptrdiff_t>(index));
}

std::optional<std::size_t> Fleet::find(std::uint64_t id) const {
  const auto it = std::lower_bound(instances_.begin(), instances_.end(), id,
                                   [](const Instance& i, std::uint64_t at) { return i.id < at; });
  if (it == instances_.end() || it->id != id) return std::nullopt;
  return static_cast<std::size_t>(it - instances_.begin());
}

void Fleet::dispatch() {
  while (!queue_.empty()) {
    Instance* best = nullptr;
    for (Instance& each : instances_) {
      if (!each.ready || each.draining || each.in_flight >= setup_.concurrency) continue;
      if (best == nullptr || each.in_flight < best->in_flight) best = &each;
    }
    if (best == nullptr) return;
    const Arrival& request = *queue_.front();
    queue_.pop_front();
    ++best->in_flight;
    ++in_flight_;
    books_.waited(setup_, request.at, now_ - request.at);
    due_.push({now_ + request.service, next_++, best->id, false});
  }
}

void Fleet::happen(const Due& due) {
  const std::optional<std::size_t> index = find(due.instance);
  if (!index) return;  // it was stopped while it started
  Instance& instance = instances_[*index];
  if (due.is_ready) {
    instance.ready = true;
  } else {
    --instance.in_flight;
    --in_flight_;
    if (instance.draining && instance.in_flight == 0) gone(*index);
  }
}

void Fleet::run(std::span<const Arrival> requests) {
  auto next = requests.begin();
  for (;;) {
    const std::optional<Instant> tick = rule_.next_tick(*this);
    const bool arrives = next != requests.end() && (due_.empty() || next->at < due_.top().at) &&
                         (!tick || next->at <= *tick);
    if (arrives) {
      pass_until(next->at);
      queue_.push_back(&*next);
      ++next;
      dispatch();
      rule_.arrived(*this);
    } else if (!due_.empty() && (!tick || due_.top().at <= *tick)) {
      const Due due = due_.top();
      due_.pop();
      pass_until(due.at);
      happen(due);
      dispatch();
    } else if (tick && *tick <= setup_.end) {
      pass_until(std::max(now_, *tick));
      rule_.tick(*this);
      dispatch();
    } else if (!tick || next == requests.end()) {
      break;
    }
  }
  for (const Instance& each : instances_) books_.pay(setup_, each.ordered_at, setup_.end);
}

}  // namespace stoker::bench
