#include "sim/failure_checker.h"

#include <algorithm>

#include "base/invariant.h"
#include "base/overloaded.h"

namespace stoker::sim {
namespace {

// RELIABILITY.md W15: 1, 2, 4 .. 60 s, each times 0.8 to 1.2; five within a minute are a loop.
constexpr std::int64_t least_jitter_percent = 80;
constexpr Duration most_backoff = seconds(60);
constexpr std::size_t loop_failures = 5;
constexpr Duration loop_window = seconds(60);
constexpr Duration healthy_after = minutes(10);

bool is_failure(core::StopReason reason) {
  switch (reason) {
    case core::StopReason::start_timeout:
    case core::StopReason::load_stalled:
    case core::StopReason::load_failed:
    case core::StopReason::hung:
    case core::StopReason::cancel_ignored:
    case core::StopReason::start_unconfirmed:
      return true;
    default:
      return false;
  }
}

}  // namespace

FailureChecker::Instance* FailureChecker::find(InstanceId id, Generation generation) {
  const auto it = instances_.find(id);
  return it == instances_.end() || it->second.generation != generation ? nullptr : &it->second;
}

void FailureChecker::on_server_start(Instant, const core::CoreConfig&) {
  deployments_.clear();
  instances_.clear();
}

void FailureChecker::clear(Deployment& d) {
  d.failures.clear();
  d.forgotten_at.reset();
  d.loops = false;
}

void FailureChecker::forget(Instant now, Deployment& d) {
  if (d.forgotten_at && *d.forgotten_at <= now) clear(d);
}

void FailureChecker::failed(Instant now, Deployment& d) {
  forget(now, d);
  d.forgotten_at.reset();
  if (d.ready > 0) d.forgotten_at = now + healthy_after;
  d.failures.push_back(now);
  const std::size_t count = d.failures.size();
  d.loops |= count >= loop_failures && now - d.failures[count - loop_failures] <= loop_window;
}

/// Needs: it failed.
Instant FailureChecker::earliest_retry(const Deployment& d) {
  Duration backoff = seconds(1);
  for (std::size_t i = 1; i < d.failures.size() && backoff < most_backoff; ++i) backoff.ns *= 2;
  if (d.loops || backoff > most_backoff) backoff = most_backoff;
  return d.failures.back() + Duration{backoff.ns / 100 * least_jitter_percent};
}

void FailureChecker::left(Instance& instance) {
  Deployment& d = deployments_[instance.deployment];
  if (instance.stage == Stage::ready) --d.ready;
  if (instance.stage == Stage::asleep) --d.asleep;
  instance.stage = Stage::leaving;
  instance.resuming = false;
}

void FailureChecker::before_step(Instant now, const core::Event& event) {
  became_ready_ = {};
  load_refused_ = {};
  open_.reset();
  const auto load_refused = [&](const Instance& instance) {
    const bool starts = instance.stage == Stage::starting || instance.stage == Stage::up;
    if (starts && deployments_[instance.deployment].able() == 0) {
      load_refused_ = instance.deployment;
    }
  };
  std::visit(
      Overloaded{
          [&](const core::DeploymentAdded& e) { deployments_[e.deployment.id] = {}; },
          [&](const core::DeploymentChanged& e) { clear(deployments_[e.deployment.id]); },
          [&](const core::DeploymentRemoved& e) { deployments_[e.deployment].removed = true; },
          [&](const core::WarmRequested& e) { clear(deployments_[e.deployment]); },
          [&](const core::RequestArrived& e) { open_ = e.request; },
          [&](const core::InstanceUp& e) {
            Instance* instance = find(e.instance, e.generation);
            if (instance != nullptr && instance->stage == Stage::starting) {
              instance->stage = Stage::up;
            }
          },
          [&](const core::InstanceReady& e) {
            Instance* instance = find(e.instance, e.generation);
            if (instance == nullptr || instance->stage != Stage::up) return;
            instance->stage = Stage::ready;
            ++deployments_[instance->deployment].ready;
            became_ready_ = e.instance;
          },
          [&](const core::InstanceResumed& e) {
            Instance* instance = find(e.instance, e.generation);
            if (instance == nullptr || !instance->resuming) return;
            left(*instance);
            instance->stage = Stage::ready;
            instance->resuming = false;
            ++deployments_[instance->deployment].ready;
            became_ready_ = e.instance;
          },
          [&](const core::LoadFailed& e) {
            const Instance* instance = find(e.instance, e.generation);
            if (instance != nullptr && e.failure != core::LoadFailure::out_of_memory) {
              load_refused(*instance);
            }
          },
          [&](const core::InstanceExited& e) {
            Instance* instance = find(e.instance, e.generation);
            if (instance == nullptr) return;
            const bool counts =
                instance->stage != Stage::leaving && instance->stage != Stage::asleep;
            left(*instance);
            if (counts) failed(now, deployments_[instance->deployment]);
            instances_.erase(e.instance);
          },
          [&](const core::StartFailed& e) {
            Instance* instance = find(e.instance, e.generation);
            if (instance == nullptr) return;
            if (e.failure == core::StartFailure::will_stay) load_refused(*instance);
            if (instance->stage != Stage::leaving) failed(now, deployments_[instance->deployment]);
            left(*instance);
            instances_.erase(e.instance);
          },
          [](const auto&) {},
      },
      event);
}

void FailureChecker::on_action(Instant now, const core::Event&, const core::Action& action) {
  std::visit(Overloaded{
                 [&](const core::StartInstance& a) { check_start(now, a); },
                 [&](const core::StopInstance& a) { stopped(now, a); },
                 [&](const core::SuspendInstance& a) { suspended(a); },
                 [&](const core::ResumeInstance& a) {
                   Instance* instance = find(a.instance, a.generation);
                   if (instance != nullptr) instance->resuming = instance->stage == Stage::asleep;
                 },
                 [&](const core::Refuse& a) { check_refusal(now, a); },
                 [&](const core::Dispatch& a) {
                   if (open_ == a.request) open_.reset();
                 },
                 [](const auto&) {},
             },
             action);
}

void FailureChecker::check_start(Instant now, const core::StartInstance& a) {
  instances_[a.instance] = {a.deployment, a.generation, Stage::starting};
  Deployment& d = deployments_[a.deployment];
  forget(now, d);
  // What was wanted before it failed, if at the same instant, may start once there is room.
  if (d.failures.empty() || a.wanted_at <= d.failures.back()) return;
  STOKER_INVARIANT(now >= earliest_retry(d), "V22 deployment {} starts {} ns too soon after {}",
                   a.deployment.value, (earliest_retry(d) - now).ns, d.failures.size());
}

void FailureChecker::stopped(Instant now, const core::StopInstance& a) {
  Instance* instance = find(a.instance, a.generation);
  if (instance == nullptr || instance->stage == Stage::leaving) return;
  const bool slept = instance->stage == Stage::asleep;
  left(*instance);
  if (!slept && is_failure(a.reason)) failed(now, deployments_[instance->deployment]);
}

void FailureChecker::suspended(const core::SuspendInstance& a) {
  Instance* instance = find(a.instance, a.generation);
  if (instance == nullptr) return;
  left(*instance);
  instance->stage = Stage::asleep;
  ++deployments_[instance->deployment].asleep;
}

void FailureChecker::check_refusal(Instant now, const core::Refuse& a) {
  if (open_ == a.request) open_.reset();
  const bool loops = a.reason == core::RefuseReason::crash_loop;
  if (!loops && a.reason != core::RefuseReason::load_failed) return;
  Deployment& d = deployments_[a.deployment];
  forget(now, d);
  STOKER_INVARIANT(!d.failures.empty(), "V22 request {} is refused for what is forgotten",
                   a.request.value);
  STOKER_INVARIANT(d.asleep == 0, "V22 request {} is refused beside {} that are suspended",
                   a.request.value, d.asleep);
  STOKER_INVARIANT(!loops || d.loops, "V22 request {} is refused after {} failures",
                   a.request.value, d.failures.size());
  STOKER_INVARIANT(now + a.retry_after >= earliest_retry(d),
                   "V22 request {} shall come again {} ns before anything is tried",
                   a.request.value, (earliest_retry(d) - (now + a.retry_after)).ns);
}

void FailureChecker::after_step(Instant now, const core::Event& event, const core::Core& core) {
  if (became_ready_) {
    const auto it = instances_.find(became_ready_);
    if (it != instances_.end() && it->second.stage == Stage::ready) {
      Deployment& d = deployments_[it->second.deployment];
      forget(now, d);
      if (!d.failures.empty() && !d.forgotten_at) d.forgotten_at = now + healthy_after;
    }
  }
  if (load_refused_) {
    for (const core::DeploymentSummary& each : core.summary().deployments) {
      STOKER_INVARIANT(each.id != load_refused_ || each.queued == 0,
                       "V22 {} requests wait for deployment {}, which cannot be loaded",
                       each.queued, each.id.value);
    }
  }
  if (!open_) return;
  const auto& arrived = std::get<core::RequestArrived>(event);
  const auto it = deployments_.find(arrived.deployment);
  if (it == deployments_.end() || it->second.removed) return;
  Deployment& d = it->second;
  forget(now, d);
  STOKER_INVARIANT(!d.loops || d.able() > 0 || now >= earliest_retry(d),
                   "V22 request {} waits for deployment {}, which is in a crash loop",
                   arrived.request.value, arrived.deployment.value);
}

}  // namespace stoker::sim
