// What an engine of the user's own must see in its sandbox, found from its command: its program
// with the installation round it, and the files that the command names with their folders.
#pragma once

#include <string>
#include <vector>

namespace stoker::app {

/// `command`: as config::resolve_paths() leaves it.
/// Gives: absolute paths, sorted, each once; nothing of the system's folders, which are visible
/// anyway, and no folder that is wider than an installation: a home, /etc, /var, /tmp ...
/// Source: docs/worker-contract.md, "Foreign engines".
[[nodiscard]] std::vector<std::string> engine_paths(const std::vector<std::string>& command);

}  // namespace stoker::app
