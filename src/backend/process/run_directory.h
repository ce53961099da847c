// Where listening sockets lie: state_dir/run, or, as the kernel takes at most 107 bytes of a path,
// a folder of our own under /tmp when state_dir is too deep.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace stoker::backend {

/// Short text that stands for a state directory: 16 hex digits.
[[nodiscard]] std::string state_tag(const std::string& state_dir);

/// Makes the folder (0700) and removes sockets that an earlier life left in it.
/// Needs: the caller holds the lock of state_dir.
/// Errors: unavailable (cannot be made, or belongs to somebody else).
[[nodiscard]] Result<std::string> make_run_directory(const std::string& state_dir);

/// A Unix socket bound to `path` and listening; close-on-exec.
/// Needs: a path of at most 107 bytes (any below make_run_directory()).
[[nodiscard]] Result<UniqueFd> listen_at(const std::string& path);

}  // namespace stoker::backend
