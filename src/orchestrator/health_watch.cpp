#include "orchestrator/health_watch.h"

namespace stoker::orchestrator {

void HealthWatch::arm(backend::InstanceKey key, Instant now) {
  watched_[key] = {now, now, 0};
}

void HealthWatch::disarm(backend::InstanceKey key) {
  watched_.erase(key);
}

void HealthWatch::heard(backend::InstanceKey key, std::int64_t active, std::int64_t steps,
                        Instant now) {
  const auto it = watched_.find(key);
  if (it == watched_.end()) return;
  Watched& watched = it->second;
  watched.heard_at = now;
  if (active == 0 || steps != watched.steps) watched.moved_at = now;
  watched.steps = steps;
}

std::vector<HealthWatch::Verdict> HealthWatch::look(Instant now) {
  const bool overslept = last_look_ != Instant{} && now - last_look_ > limits_.tick + seconds(2);
  last_look_ = now;
  std::vector<Verdict> verdicts;
  for (auto it = watched_.begin(); it != watched_.end();) {
    Watched& watched = it->second;
    if (overslept) {
      watched.heard_at = now;
      watched.moved_at = now;
    }
    const bool silent = now - watched.heard_at >= limits_.silent;
    const bool stuck = now - watched.moved_at >= limits_.no_progress;
    if (silent || stuck) {
      verdicts.push_back(
          {it->first, silent ? core::HangKind::silent : core::HangKind::no_progress});
      it = watched_.erase(it);
    } else {
      ++it;
    }
  }
  return verdicts;
}

}  // namespace stoker::orchestrator
