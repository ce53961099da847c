// Events and actions as bytes, so that what production decided can be decided again elsewhere and
// compared bit by bit. Numbers are variable-length (LEB128, signed ones zigzag), texts have their
// length before them. The format belongs to one version of Stoker: it is for replaying, not for
// keeping.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/units.h"
#include "core/actions.h"
#include "core/core.h"
#include "core/events.h"

namespace stoker::core {

void encode(std::string& out, const CoreConfig& config);
void encode(std::string& out, Instant at, const Event& event);
void encode(std::string& out, const Action& action);

struct TimedEvent {
  Instant at;
  Event event;
};
/// Take one value from the front of `bytes`. nullopt: it is cut off or not ours; `bytes` is then
/// of no use any more.
[[nodiscard]] std::optional<CoreConfig> decode_config(std::string_view& bytes);
[[nodiscard]] std::optional<TimedEvent> decode_event(std::string_view& bytes);

}  // namespace stoker::core
