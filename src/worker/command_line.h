// How a worker was started: by a backend (descriptors and environment) or by hand (flags).
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "worker/runtime.h"

namespace stoker::worker {

/// Started by a backend.
struct Supervised {
  int control_fd = -1;
  int listen_fd = -1;
  std::string nonce;
};
/// Started by hand: loads at once.
struct Standalone {
  std::string listen;
  LoadOrder order;
};
struct CommandLine {
  std::optional<Supervised> supervised;  // else:
  Standalone standalone;
  bool wants_help = false;
};

/// Reads STOKER_CONTROL_FD, STOKER_LISTEN_FD and STOKER_NONCE, and without the first of them the
/// flags --listen, --model, --options, --concurrency, --no-warmup and --help.
/// Errors: one line for people.
tl::expected<CommandLine, std::string> read_command_line(int argc, const char* const* argv);
[[nodiscard]] std::string usage_text(std::string_view program);

}  // namespace stoker::worker
