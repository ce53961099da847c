#include "worker/exec/ready_probe.h"

#include <fmt/format.h>

#include <array>

namespace stoker::worker {
namespace {

constexpr Duration probe_limit = seconds(2);

constexpr std::array<std::string_view, 3> usual_paths = {"/health", "/v1/models",
                                                         "/v2/health/ready"};

}  // namespace

ReadyProbe::ReadyProbe(int port, std::string path) : port_(port), given_(std::move(path)) {}

bool ReadyProbe::ask() {
  const ProbeResult before = last_;
  const std::string path_before = path_;
  const bool ready = given_.empty() ? ask_usual_paths() : asked(given_);
  times_ = last_ == before && path_ == path_before ? times_ + 1 : 1;
  return ready;
}

bool ReadyProbe::asked(std::string_view path) {
  path_ = path;
  last_ = probe_http(port_, path_, probe_limit);
  return last_.is_success();
}

bool ReadyProbe::ask_usual_paths() {
  for (const std::string_view path : usual_paths) {
    if (asked(path)) return true;
    // Nobody there, or there but not ready yet: the other paths would say less.
    if (!last_.answered() || last_.status >= 500) return false;
  }
  (void)asked("/");  // it knows none of them: any answer must do
  return last_.answered();
}

std::string ReadyProbe::last_result() const {
  switch (last_.kind) {
    case ProbeResult::Kind::answered:
      return fmt::format("GET {} on port {} answered {}", path_, port_, last_.status);
    case ProbeResult::Kind::refused:
      return fmt::format("nothing listens on 127.0.0.1:{}", port_);
    case ProbeResult::Kind::silent:
      return fmt::format("GET {} on port {} got no answer", path_, port_);
    case ProbeResult::Kind::not_http:
      return fmt::format("GET {} on port {} got an answer that is not HTTP", path_, port_);
  }
  return {};
}

}  // namespace stoker::worker
