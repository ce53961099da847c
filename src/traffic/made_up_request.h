// Requests made up from a trace: of the recorded length, about nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sim/workload/trace.h"

namespace stoker::traffic {

struct MadeUpRequest {
  std::string_view target;  // "/v1/chat/completions"
  std::string body;         // JSON
};

/// A prompt of common short words, most of which are one token for most engines, so that its length
/// is about what was recorded; equal ids in `prefix` give equal text there, and else no two numbers
/// give the same. `max_tokens` is what was answered; where the recorded request did not complete,
/// and so would have been answered more, at least the trace format's default.
/// Gives: nullopt for a route whose body nobody can make up: tensors, and whatever `invoke` took.
[[nodiscard]] std::optional<MadeUpRequest> made_up_request(const sim::TraceRequest& request,
                                                           std::string_view deployment,
                                                           std::uint64_t number);

}  // namespace stoker::traffic
