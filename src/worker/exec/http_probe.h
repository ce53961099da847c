// One blocking HTTP question to a port of this machine, for threads that have nothing else to do:
// is the engine up?
#pragma once

#include <cstdint>
#include <string>

#include "base/units.h"

namespace stoker::worker {

struct ProbeResult {
  enum class Kind : std::uint8_t {
    answered,  // with `status`
    refused,   // nobody listens
    silent,    // no answer in time, or the connection was closed without one
    not_http,
  };
  Kind kind = Kind::refused;
  int status = 0;

  [[nodiscard]] bool answered() const { return kind == Kind::answered; }
  [[nodiscard]] bool is_success() const { return answered() && status >= 200 && status < 300; }
  bool operator==(const ProbeResult&) const = default;
};

/// Sends GET and reads the status line; the rest of the answer is thrown away.
/// Cost: blocks for `at_most`.
[[nodiscard]] ProbeResult probe_http(int port, const std::string& path, Duration at_most);

/// Gives: a port of 127.0.0.1 that is free now; 0 if there is none. Somebody else may take it
/// before the engine does, which then fails to start: nothing better can be had for a foreign
/// engine.
[[nodiscard]] int find_free_port();

}  // namespace stoker::worker
