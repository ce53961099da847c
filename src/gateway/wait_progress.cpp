#include "gateway/wait_progress.h"

#include "base/json_writer.h"
#include "base/text.h"

namespace stoker::gateway {

std::string progress_event(RequestId request, const WaitState& wait) {
  JsonWriter json;
  json.object([&] {
    json.field("request", public_id(request));
    json.field("phase", to_text(wait.phase));
    if (wait.position > 0) json.field("position", wait.position);
    if (wait.expected) json.field("estimated_wait_ms", whole_ms(*wait.expected));
    if (wait.load_fraction) json.field("load_fraction", *wait.load_fraction);
  });
  std::string event = "event: ";
  event.append(progress_event_name).append("\ndata: ").append(json.text()).append("\n\n");
  return event;
}

}  // namespace stoker::gateway
