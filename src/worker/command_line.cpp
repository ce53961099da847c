#include "worker/command_line.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <cstring>

namespace stoker::worker {
namespace {

std::optional<int> parse_number(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

/// Errors: the variable names no open descriptor.
tl::expected<int, std::string> inherited_fd(const char* name) {
  const std::string text = environment(name);
  const std::optional<int> fd = parse_number(text);
  if (!fd || ::fcntl(*fd, F_GETFD) < 0) {
    return tl::unexpected(fmt::format("{}={} names no open descriptor", name, text));
  }
  // Ours alone: an engine below must not hold the orchestrator's channel open.
  ::fcntl(*fd, F_SETFD, FD_CLOEXEC);
  return *fd;
}

tl::expected<CommandLine, std::string> read_supervised() {
  Supervised supervised;
  const auto control = inherited_fd("STOKER_CONTROL_FD");
  if (!control) return tl::unexpected(control.error());
  const auto listen = inherited_fd("STOKER_LISTEN_FD");
  if (!listen) return tl::unexpected(listen.error());
  supervised.control_fd = *control;
  supervised.listen_fd = *listen;
  supervised.nonce = environment("STOKER_NONCE");
  // The nonce proves identity; what runs below must not be able to.
  ::unsetenv("STOKER_NONCE");
  ::unsetenv("STOKER_CONTROL_FD");
  ::unsetenv("STOKER_LISTEN_FD");
  CommandLine line;
  line.supervised = std::move(supervised);
  return line;
}

}  // namespace

std::string usage_text(std::string_view program) {
  return fmt::format(
      "Usage: {} --listen ADDRESS [--model PATH] [--options JSON] [--concurrency N]\n"
      "          [--no-warmup]\n"
      "Serves one model over HTTP until SIGTERM. `stoker serve` starts workers itself; by hand\n"
      "is for trying one out.\n"
      "  --listen ADDRESS   127.0.0.1:8080, :8080 or unix:/path\n"
      "  --model PATH       the model's file or folder\n"
      "  --options JSON     the deployment's `options` as one JSON object\n"
      "  --concurrency N    requests in flight at most (1)\n",
      program);
}

tl::expected<CommandLine, std::string> read_command_line(int argc, const char* const* argv) {
  if (std::getenv("STOKER_CONTROL_FD") != nullptr) return read_supervised();
  CommandLine line;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--help" || flag == "-h") {
      line.wants_help = true;
      return line;
    }
    if (flag == "--no-warmup") {
      line.standalone.order.warmup = false;
      continue;
    }
    if (i + 1 == argc) return tl::unexpected(fmt::format("{}: unknown, or lacks its value", flag));
    const std::string_view value = argv[++i];
    if (flag == "--listen") {
      line.standalone.listen = value;
    } else if (flag == "--model") {
      line.standalone.order.model = value;
    } else if (flag == "--options") {
      line.standalone.order.options = value;
    } else if (flag == "--concurrency") {
      const std::optional<int> number = parse_number(value);
      if (!number || *number < 1) {
        return tl::unexpected(fmt::format("--concurrency {}: not a positive number", value));
      }
      line.standalone.order.concurrency = *number;
    } else {
      return tl::unexpected(fmt::format("{}: unknown flag", flag));
    }
  }
  if (line.standalone.listen.empty())
    return tl::unexpected(std::string("--listen ADDRESS is missing"));
  return line;
}

}  // namespace stoker::worker
