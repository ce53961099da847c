// Writes down every event that the decision core hears, and what it ordered, so that a run can be
// decided again elsewhere and compared byte for byte (`stoker replay --events`). For finding bugs:
// it costs a copy per event under the core's lock, and nothing bounds the file.
//
// The file: the line "stoker-events 2", then 'C' and the core's configuration, then for each step
// 'E' and the event and for each order of it 'A' and the action, as core/event_codec writes them.
// No prompt, answer, key or address is in an event.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "base/result.h"
#include "core/core.h"

namespace stoker::orchestrator {

class EventRecorder {
 public:
  /// Replaces the file.   Errors: it cannot be written.
  [[nodiscard]] static Result<std::unique_ptr<EventRecorder>> create(const std::string& path);
  ~EventRecorder();
  EventRecorder(const EventRecorder&) = delete;
  EventRecorder& operator=(const EventRecorder&) = delete;

  void started(const core::CoreConfig& config);
  void stepped(Instant at, const core::Event& event, const core::Actions& actions);

 private:
  explicit EventRecorder(std::FILE* file) : file_(file) {}
  void flush();

  std::FILE* file_;
  std::string pending_;
};

}  // namespace stoker::orchestrator
