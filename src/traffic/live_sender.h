// Sends a trace to a running server, as the clients that were recorded would: an open loop, so each
// request goes at its time whatever became of those before it. One event loop, no thread a request.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "base/percentiles.h"
#include "base/result.h"
#include "net/http_client.h"
#include "sim/workload/trace.h"

namespace stoker::traffic {

struct LiveCounts {
  std::uint64_t sent = 0;
  std::uint64_t ok = 0;
  std::uint64_t left = 0;  // hung up as the recorded client did
  std::uint64_t failed = 0;
  std::uint64_t skipped = 0;  // of a route whose body cannot be made up
  [[nodiscard]] std::uint64_t running() const { return sent - ok - left - failed; }
};

struct LiveResult {
  LiveCounts counts;
  std::map<std::string, std::uint64_t> failures;  // by kind: "queue_full", "HTTP 500", "timed_out"
  Percentiles first_byte;  // of those that were ok: request sent to head; of a stream, first event
  Percentiles whole;       // of those that were ok: request sent to the end of the answer
  Percentiles late;        // of all: how long after its time a request was sent
  Duration took;           // first request to last end
  bool stopped = false;    // by `stop`
};

struct LiveOptions {
  net::Endpoint endpoint;
  std::string key;   // empty: none is sent
  double speed = 1;  // requests come so many times as fast
  /// The deployment that is asked for one of the trace.
  std::function<std::string(const std::string&)> deployment_for;
  /// The server's code in the body of an error; empty: it has none.
  std::function<std::string(std::string_view body)> error_code;
  /// Called about once a second, with the time since the start.
  std::function<void(Duration, const LiveCounts&)> on_progress;
  /// Asked as often: true sends no more, and cuts what runs.
  std::function<bool()> stop;
  /// A request that has not ended by then fails as "timed_out".
  Duration answer_timeout = minutes(30);
};

/// Needs: `source` has not been read.
/// Errors: those of the source; no server at the endpoint when the first request is sent.
[[nodiscard]] Result<LiveResult> send_trace(sim::RequestSource& source, const LiveOptions& options);

}  // namespace stoker::traffic
