#include "sim/workload/trace.h"

#include <algorithm>
#include <array>

namespace stoker::sim {
namespace {

// In the order of the enums.
constexpr std::array<std::string_view, 10> route_names = {
    "chat",     "completions",  "embeddings", "rerank", "responses",
    "messages", "count_tokens", "infer",      "invoke", "other"};
constexpr std::array<std::string_view, 7> outcome_names = {
    "unknown", "completed", "failed", "cancelled", "expired", "refused", "interrupted"};

}  // namespace

std::string_view to_text(TraceRoute route) {
  return route_names.at(static_cast<std::size_t>(route));
}

std::string_view to_text(TraceOutcome outcome) {
  return outcome_names.at(static_cast<std::size_t>(outcome));
}

TraceRoute route_from_text(std::string_view text) {
  const auto* const found = std::find(route_names.begin(), route_names.end(), text);
  return found == route_names.end() ? TraceRoute::other
                                    : static_cast<TraceRoute>(found - route_names.begin());
}

TraceOutcome outcome_from_text(std::string_view text) {
  const auto* const found = std::find(outcome_names.begin(), outcome_names.end(), text);
  return found == outcome_names.end() ? TraceOutcome::unknown
                                      : static_cast<TraceOutcome>(found - outcome_names.begin());
}

void TraceRequest::clear() {
  at = {};
  deployment = 0;
  tenant = 0;
  session = 0;
  prefix.clear();
  route = TraceRoute::chat;
  stream = false;
  priority = 0;
  input_tokens = 256;
  output_tokens = 128;
  service.reset();
  deadline.reset();
  gone_after.reset();
  outcome = TraceOutcome::unknown;
}

Duration service_time(const TraceRequest& request, const TraceDeployment& deployment) {
  constexpr Duration most = seconds(std::int64_t{100} * 365 * 24 * 3600);
  if (request.service) return std::min(*request.service, most);
  const double in = static_cast<double>(request.input_tokens) / deployment.prefill_tokens_per_s;
  const double out = static_cast<double>(request.output_tokens) / deployment.decode_tokens_per_s;
  const double ns = (in + out) * 1e9;
  // Asked this way, so that a speed of zero (infinity, NaN) is the most, too.
  return ns < static_cast<double>(most.ns) ? Duration{static_cast<std::int64_t>(ns)} : most;
}

}  // namespace stoker::sim
