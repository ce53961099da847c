// The event that tells a client what its stream waits for. Pure: a state in, bytes out.
#pragma once

#include <string>
#include <string_view>

#include "gateway/dispatcher.h"

namespace stoker::gateway {

inline constexpr std::string_view progress_event_name = "stoker.progress";

/// One server-sent event with its closing empty line.
[[nodiscard]] std::string progress_event(RequestId request, const WaitState& wait);

}  // namespace stoker::gateway
