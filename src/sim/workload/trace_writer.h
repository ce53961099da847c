// Writes Stoker's trace format (docs/trace-format.md). What stands at its default is left out, so
// that what is written says what was known. Whatever is written reads back equal (open_trace.h),
// with one exception: tenants that made no request are in no line.
#pragma once

#include <cstdint>
#include <string>

#include "sim/workload/trace.h"

namespace stoker::sim {

/// Appends the first line.
void append_trace_head(std::string& out, const TraceWorld& world);
/// Appends one line.  Needs: the request's indices are within `world`; its time is not before that
/// of the line before.
void append_trace_request(std::string& out, const TraceWorld& world, const TraceRequest& request);

/// Writes all that is left of `source` to a file; one that is there is overwritten.
/// Gives: the number of requests.   Errors: of the file (what was written stays), and of the
/// source.
[[nodiscard]] Result<std::int64_t> write_trace(const std::string& path, RequestSource& source);

}  // namespace stoker::sim
