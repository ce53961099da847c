#include "orchestrator/event_log.h"

#include <algorithm>

#include "base/json_writer.h"
#include "base/text.h"

namespace stoker::orchestrator {

class EventLog::Following final : public gateway::Subscription {
 public:
  Following(EventLog& log, std::shared_ptr<Follower> follower)
      : log_(log), follower_(std::move(follower)) {}
  ~Following() override {
    const std::lock_guard lock(log_.mutex_);
    std::erase(log_.followers_, follower_);
  }

 private:
  EventLog& log_;
  std::shared_ptr<Follower> follower_;
};

void EventLog::append(WallTime at, const EventLine& line) {
  // Sinks only post to their loop, so that calling them under the lock keeps the order for free.
  const std::lock_guard lock(mutex_);
  JsonWriter json;
  json.object([&] {
    json.field("sequence", next_sequence_);
    json.field("at", to_text(at));
    json.field("event", line.event);
    if (!line.deployment.empty()) json.field("deployment", line.deployment);
    if (!line.instance.empty()) json.field("instance", line.instance);
    if (!line.reason.empty()) json.field("reason", line.reason);
    json.field("text", line.sentence);
  });
  lines_.push_back({next_sequence_++, line.deployment, json.take()});
  if (lines_.size() > kept) lines_.pop_front();
  for (const auto& follower : followers_) {
    if (follower->filter.wants(line.deployment)) {
      follower->sink->on_line(lines_.back().json);
    }
  }
}

std::vector<const EventLog::Stored*> EventLog::select(const gateway::EventFilter& filter) const {
  std::vector<const Stored*> chosen;
  for (auto it = lines_.rbegin(); it != lines_.rend(); ++it) {
    if (static_cast<std::int64_t>(chosen.size()) >= filter.limit) break;
    if (it->sequence <= filter.since) break;
    if (filter.wants(it->deployment)) chosen.push_back(&*it);
  }
  std::reverse(chosen.begin(), chosen.end());
  return chosen;
}

std::string EventLog::to_json(const gateway::EventFilter& filter) const {
  const std::lock_guard lock(mutex_);
  JsonWriter json;
  json.object([&] {
    json.array("events", [&] {
      for (const Stored* line : select(filter)) json.raw(line->json);
    });
  });
  return json.take();
}

std::unique_ptr<gateway::Subscription> EventLog::follow(const gateway::EventFilter& filter,
                                                        std::shared_ptr<gateway::LineSink> sink) {
  const std::lock_guard lock(mutex_);
  for (const Stored* line : select(filter)) sink->on_line(line->json);
  auto follower = std::make_shared<Follower>(Follower{filter, std::move(sink)});
  followers_.push_back(follower);
  return std::make_unique<Following>(*this, std::move(follower));
}

}  // namespace stoker::orchestrator
