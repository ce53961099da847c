// On which TCP ports do some processes listen? For the words to a user whose engine ignores the
// port that it was given.
#pragma once

#include <sys/types.h>

#include <vector>

namespace stoker::worker {

/// Sorted, each once. Reads /proc; what it may not read is left out.
[[nodiscard]] std::vector<int> listening_ports(const std::vector<pid_t>& processes);

}  // namespace stoker::worker
