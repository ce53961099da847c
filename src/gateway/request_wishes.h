// What a client wishes of one request beyond its body, in header fields:
//   X-Stoker-Deadline: 30s    its answer is worth nothing later (also Cancel-After, as Replicate
//   has
//                             it; the earlier of both counts)
//   X-Stoker-Progress: true   events that tell what it waits for, on a stream
//   X-Stoker-Resumable: 60s   its output is kept for a client that lost its connection, of a stream
#pragma once

#include <optional>

#include "base/units.h"
#include "gateway/api_error.h"
#include "net/http.h"

namespace stoker::gateway {

struct RequestWishes {
  Instant deadline;    // of the whole answer; {0}: none
  Duration resumable;  // how long its output is kept without a reader; {0}: it is not
  bool progress = false;
};

/// `accepted_at`: when the request's first byte came, from where a deadline counts. `has_events`:
/// its answer is asked for as server-sent events; elsewhere `progress` is passed over.
/// Errors: 400 `invalid_field` with the name of the field; 504 if the deadline has passed.
[[nodiscard]] std::optional<ApiError> read_wishes(const net::HttpRequest& request,
                                                  Instant accepted_at, bool has_events,
                                                  RequestWishes& wishes);

/// The deadline of a request passed.
[[nodiscard]] ApiError deadline_error();
/// A request that is to go on as a job has one.
[[nodiscard]] ApiError deadline_of_a_job_error();

}  // namespace stoker::gateway
