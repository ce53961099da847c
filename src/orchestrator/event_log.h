// The last things that happened, as `stoker events` shows them: one line of JSON each, numbered,
// with a sentence for people. Bounded; old lines fall out. Threads: any.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "gateway/admin_api.h"

namespace stoker::orchestrator {

struct EventLine {
  std::string event;       // "instance_starting", as in docs/reference/events.md
  std::string deployment;  // may be empty
  std::string instance;    // "chat/3", may be empty
  std::string reason;      // code, may be empty
  std::string sentence;    // for people
};

class EventLog {
 public:
  void append(WallTime at, const EventLine& line);
  /// A JSON object {"events": [...]}: the newest `limit` lines after `since`.
  [[nodiscard]] std::string to_json(const gateway::EventFilter& filter) const;
  /// First what to_json would give, line by line, then each new line until the subscription ends.
  [[nodiscard]] std::unique_ptr<gateway::Subscription> follow(
      const gateway::EventFilter& filter, std::shared_ptr<gateway::LineSink> sink);

 private:
  struct Stored {
    std::uint64_t sequence = 0;
    std::string deployment;
    std::string json;
  };
  struct Follower {
    gateway::EventFilter filter;
    std::shared_ptr<gateway::LineSink> sink;
  };
  class Following;
  [[nodiscard]] std::vector<const Stored*> select(const gateway::EventFilter& filter) const;

  static constexpr std::size_t kept = 4096;
  mutable std::mutex mutex_;
  std::deque<Stored> lines_;
  std::vector<std::shared_ptr<Follower>> followers_;
  std::uint64_t next_sequence_ = 1;
};

}  // namespace stoker::orchestrator
