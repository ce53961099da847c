#include "worker/echo/probe.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <simdjson.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <vector>

#include "base/json_writer.h"
#include "base/unique_fd.h"
#include "net/http_client.h"

namespace stoker::worker {
namespace {

struct Outcome {
  bool worked = false;
  std::string detail;
};

Outcome by_errno(bool worked) {
  return {worked, worked ? "" : std::strerror(errno)};
}

Outcome connect_and_wait(int family, const sockaddr* address, socklen_t size) {
  const UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return by_errno(false);
  if (::connect(fd.get(), address, size) == 0) return by_errno(true);
  if (errno != EINPROGRESS) return by_errno(false);
  pollfd writable{fd.get(), POLLOUT, 0};
  if (::poll(&writable, 1, 1000) != 1) return {false, "timed out"};
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  errno = error;
  return by_errno(error == 0);
}

Outcome probe_connect(std::string_view target) {
  const std::string text(target.starts_with("unix:") ? std::string(target)
                                                     : "http://" + std::string(target));
  const Result<net::Endpoint> endpoint = net::parse_endpoint(text);
  if (!endpoint) return {false, endpoint.error().message};
  if (!endpoint->unix_path.empty()) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    endpoint->unix_path.copy(address.sun_path, sizeof address.sun_path - 1);
    return connect_and_wait(AF_UNIX, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(endpoint->port));
  if (::inet_pton(AF_INET, endpoint->host.c_str(), &address.sin_addr) != 1) {
    return {false, "not a numeric IPv4 address"};
  }
  return connect_and_wait(AF_INET, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

Outcome probe_open(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return by_errno(static_cast<bool>(fd));
}

/// Worked: all of them could be started.
Outcome probe_fork(std::int64_t wanted) {
  std::vector<pid_t> children;
  int error = 0;
  for (std::int64_t i = 0; i < std::min<std::int64_t>(wanted, 100'000); ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) ::pause();
    }
    if (child < 0) {
      error = errno;
      break;
    }
    children.push_back(child);
  }
  for (const pid_t child : children) ::kill(child, SIGKILL);
  for (const pid_t child : children) ::waitpid(child, nullptr, 0);
  return {error == 0, fmt::format("{} of {} started{}{}", children.size(), wanted,
                                  error == 0 ? "" : ": ", error == 0 ? "" : std::strerror(error))};
}

Outcome probe_ptrace(pid_t victim) {
  // SEIZE does not stop the victim, so that a probe that works does no harm.
  const Outcome outcome = by_errno(::ptrace(PTRACE_SEIZE, victim, nullptr, nullptr) == 0);
  if (outcome.worked) ::ptrace(PTRACE_DETACH, victim, nullptr, nullptr);
  return outcome;
}

/// Reads one byte at the start of the victim's first readable mapping.
Outcome probe_read_mem(pid_t victim) {
  std::ifstream maps(fmt::format("/proc/{}/maps", victim));
  std::string line;
  if (!std::getline(maps, line)) return {false, "its maps cannot be read"};
  char byte = 0;
  iovec here{&byte, 1};
  iovec there{reinterpret_cast<void*>(std::strtoull(line.c_str(), nullptr, 16)), 1};
  return by_errno(::process_vm_readv(victim, &here, 1, &there, 1, 0) == 1);
}

std::optional<Outcome> attempt(std::string_view probe, simdjson::dom::element argument) {
  std::string_view text;
  std::int64_t number = 0;
  if (argument.get(text) == simdjson::SUCCESS) {
    if (probe == "connect") return probe_connect(text);
    if (probe == "open") return probe_open(std::string(text));
    if (probe == "env") return Outcome{std::getenv(std::string(text).c_str()) != nullptr, ""};
  } else if (argument.get(number) == simdjson::SUCCESS) {
    if (probe == "fork") return probe_fork(number);
    if (probe == "ptrace") return probe_ptrace(static_cast<pid_t>(number));
    if (probe == "read_mem") return probe_read_mem(static_cast<pid_t>(number));
  }
  return std::nullopt;
}

}  // namespace

std::string run_probe(std::string_view order) {
  simdjson::dom::parser parser;
  simdjson::dom::object fields;
  if (parser.parse(order.data(), order.size()).get(fields) == simdjson::SUCCESS) {
    for (const auto field : fields) {
      const std::optional<Outcome> outcome = attempt(field.key, field.value);
      if (!outcome) break;
      JsonWriter json;
      json.object([&] {
        json.field("probe", field.key);
        json.field("worked", outcome->worked);
        json.field("detail", outcome->detail);
      });
      return json.take();
    }
  }
  return R"({"error":"not a probe"})";
}

}  // namespace stoker::worker
