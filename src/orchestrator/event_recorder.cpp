#include "orchestrator/event_recorder.h"

#include "core/event_codec.h"

namespace stoker::orchestrator {
namespace {
constexpr std::size_t flush_at = 64 << 10;
}

Result<std::unique_ptr<EventRecorder>> EventRecorder::create(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "wbe");
  if (file == nullptr) {
    return tl::unexpected(errno_error("cannot write " + path, "name a file in a folder of yours"));
  }
  std::unique_ptr<EventRecorder> recorder(new EventRecorder(file));
  recorder->pending_ = "stoker-events 2\n";
  return recorder;
}

EventRecorder::~EventRecorder() {
  flush();
  std::fclose(file_);
}

void EventRecorder::started(const core::CoreConfig& config) {
  pending_ += 'C';
  core::encode(pending_, config);
}

void EventRecorder::stepped(Instant at, const core::Event& event, const core::Actions& actions) {
  pending_ += 'E';
  core::encode(pending_, at, event);
  for (const core::Action& action : actions) {
    pending_ += 'A';
    core::encode(pending_, action);
  }
  if (pending_.size() >= flush_at) flush();
}

/// A full disk ends the recording early; the replay then says that the file is cut off.
void EventRecorder::flush() {
  std::fwrite(pending_.data(), 1, pending_.size(), file_);
  pending_.clear();
}

}  // namespace stoker::orchestrator
