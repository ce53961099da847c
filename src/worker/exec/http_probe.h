// One blocking HTTP question to a port of this machine, for threads that have nothing else to do:
// is the engine up?
#pragma once

#include <optional>
#include <string>

#include "base/units.h"

namespace stoker::worker {

/// Sends GET and reads the status line; the rest of the answer is thrown away.
/// Gives: the status; nullopt if nobody listened or the answer did not come in time or is not HTTP.
/// Cost: blocks for `at_most`.
[[nodiscard]] std::optional<int> probe_http(int port, const std::string& path, Duration at_most);

/// Gives: a port of 127.0.0.1 that is free now; 0 if there is none. Somebody else may take it
/// before the engine does, which then fails to start: nothing better can be had for a foreign
/// engine.
[[nodiscard]] int find_free_port();

}  // namespace stoker::worker
