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
constexpr std::array<std::string_view, 4> start_names = {"none", "warm", "cold", "resumed"};

constexpr Duration longest_service = seconds(std::int64_t{100} * 365 * 24 * 3600);

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

std::string_view to_text(TraceStart start) {
  return start_names.at(static_cast<std::size_t>(start));
}

TraceStart start_from_text(std::string_view text) {
  const auto* const found = std::find(start_names.begin(), start_names.end(), text);
  return found == start_names.end() ? TraceStart::none
                                    : static_cast<TraceStart>(found - start_names.begin());
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
  id.clear();
  receipt.reset();
}

Duration service_time(const TraceRequest& request, const TraceDeployment& deployment) {
  if (request.service) return std::min(*request.service, longest_service);
  return modelled_time(request, deployment);
}

Duration modelled_time(const TraceRequest& request, const TraceDeployment& deployment) {
  const double in = static_cast<double>(request.input_tokens) / deployment.prefill_tokens_per_s;
  const double out = static_cast<double>(request.output_tokens) / deployment.decode_tokens_per_s;
  const double ns = static_cast<double>(deployment.request.ns) + (in + out) * 1e9;
  // Asked this way, so that a speed of zero (infinity, NaN) is the most, too.
  return ns < static_cast<double>(longest_service.ns) ? Duration{static_cast<std::int64_t>(ns)}
                                                      : longest_service;
}

}  // namespace stoker::sim
