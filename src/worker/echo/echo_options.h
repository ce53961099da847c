// The options of the echo worker: how long it pretends to load and compute, and which faults it
// has. Plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "base/units.h"

namespace stoker::worker {

/// Where in its life a fault strikes.
enum class Moment : std::uint8_t {
  never,
  loading,
  ready,        // a moment after `ready` was sent
  first_token,  // before the first token of any request
  token,        // after so many tokens of one request
};
struct FaultPoint {
  Moment moment = Moment::never;
  std::int64_t token = 0;  // for Moment::token
  bool operator==(const FaultPoint&) const = default;
};

enum class Garbage : std::uint8_t {
  none,
  control,  // random bytes on the control channel at the first request
  ended,    // `ended` for a request that nobody cancelled, at the first request
  http,     // an answer whose head is not HTTP
  stream,   // random bytes between the events of a stream, after the first token
};

struct EchoFaults {
  std::string load_failed;            // a code of docs/worker-contract.md
  std::int64_t fail_first_loads = 0;  // so many loads fail, counted over processes in counter_file
  std::string counter_file;
  bool load_stall = false;  // load never ends nor progresses, but can be stopped
  FaultPoint crash_at;
  int exit_code = 1;
  int signal = 0;             // instead of exit_code
  FaultPoint hang_at;         // compute stops for good and lets go of nothing
  bool stop_control = false;  // the control thread goes deaf and dumb once ready
  Garbage garbage_at = Garbage::none;
  bool double_done = false;
  bool tokens_after_done = false;
  bool negative_usage = false;
  bool ignore_cancel = false;
  std::int64_t slow = 1;  // factor on all delays of requests
  bool probes = false;    // POST /probe is allowed
};

struct EchoOptions {
  Duration load_time;
  Duration warmup_time;
  Duration prefill_delay;
  Duration token_delay;
  std::optional<std::int64_t> tokens;       // per answer; absent: as many as the input has words
  std::optional<std::int64_t> reply_bytes;  // the answer's text is padded to so many bytes
  Bytes memory;                             // allocated and touched by load
  EchoFaults faults;
};

/// `json` is the deployment's `options`.   Errors: all problems in one line.
tl::expected<EchoOptions, std::string> read_echo_options(const std::string& json);

}  // namespace stoker::worker
