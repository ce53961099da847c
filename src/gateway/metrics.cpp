#include "gateway/metrics.h"

#include <algorithm>

namespace stoker::gateway {
namespace {

constexpr std::array<std::string_view, 5> status_classes = {"1xx", "2xx", "3xx", "4xx", "5xx"};
/// 50 us to 1 s, in ns.
constexpr std::array<std::int64_t, 14> round_bounds = {
    50'000,     100'000,    200'000,    500'000,     1'000'000,   2'000'000,   5'000'000,
    10'000'000, 20'000'000, 50'000'000, 100'000'000, 200'000'000, 500'000'000, 1'000'000'000};
constexpr std::array<std::string_view, 4> start_phases = {"allocate", "start", "load", "warmup"};

}  // namespace

GatewayMetrics::GatewayMetrics(obs::Registry& registry)
    : requests_(&registry.counter_family({.name = "stoker_requests_total",
                                          .help = "Requests that ended, by the status sent",
                                          .labels = {"deployment", "status"}})),
      in_flight_(&registry.gauge_family({.name = "stoker_requests_in_flight",
                                         .help = "Requests admitted and not ended, queued included",
                                         .labels = {"deployment"}})),
      queue_(&registry.histogram_family({.name = "stoker_request_queue_seconds",
                                         .help = "Wait for an instance, its start not included",
                                         .labels = {"deployment"},
                                         .unit = obs::Unit::seconds})),
      ttft_(&registry.histogram_family({.name = "stoker_request_ttft_seconds",
                                        .help = "Dispatch to the first token or byte of the answer",
                                        .labels = {"deployment"},
                                        .unit = obs::Unit::seconds})),
      duration_(
          &registry.histogram_family({.name = "stoker_request_duration_seconds",
                                      .help = "First byte of the request to the last of the answer",
                                      .labels = {"deployment"},
                                      .unit = obs::Unit::seconds})),
      cold_start_(&registry.histogram_family({.name = "stoker_cold_start_seconds",
                                              .help = "Phases of a start that a request waited for",
                                              .labels = {"deployment", "phase"},
                                              .unit = obs::Unit::seconds})),
      tokens_(&registry.counter_family({.name = "stoker_tokens_total",
                                        .help = "Tokens of ended requests",
                                        .labels = {"deployment", "kind"}})),
      bytes_(&registry.counter_family({.name = "stoker_body_bytes_total",
                                       .help = "Bytes of request and answer bodies",
                                       .labels = {"deployment", "direction"}})),
      accept_paused_(
          &registry.counter({.name = "stoker_accept_paused_total",
                             .help = "Times that no client was let in for want of descriptors"})),
      rounds_(&registry.histogram_family(
          {.name = "stoker_gateway_round_seconds",
           .help =
               "Round of an event loop: the most that a byte which was read waited to be written",
           .labels = {"loop"},
           .unit = obs::Unit::seconds},
          round_bounds)) {}

obs::Histogram& GatewayMetrics::rounds_of(std::size_t loop) {
  return rounds_->with({std::to_string(loop)});
}

DeploymentMetrics GatewayMetrics::of(std::string_view deployment) {
  DeploymentMetrics m;
  for (std::size_t i = 0; i < status_classes.size(); ++i) {
    m.ended_by_class[i] = &requests_->with({deployment, status_classes[i]});
  }
  m.cancelled = &requests_->with({deployment, "cancelled"});
  m.refused_by_limit = &requests_->with({deployment, "rate_limited"});
  m.in_flight = &in_flight_->with({deployment});
  m.queue = &queue_->with({deployment});
  m.ttft = &ttft_->with({deployment});
  m.duration = &duration_->with({deployment});
  for (std::size_t i = 0; i < start_phases.size(); ++i) {
    m.cold_start[i] = &cold_start_->with({deployment, start_phases[i]});
  }
  m.input_tokens = &tokens_->with({deployment, "input"});
  m.output_tokens = &tokens_->with({deployment, "output"});
  m.request_bytes = &bytes_->with({deployment, "request"});
  m.answer_bytes = &bytes_->with({deployment, "answer"});
  return m;
}

void DeploymentMetrics::on_ended(const ledger::Usage& usage) const {
  in_flight->sub();
  if (usage.outcome == ledger::Outcome::cancelled) {
    cancelled->add();
  } else {
    const auto status_class = static_cast<std::size_t>(std::clamp(usage.status / 100, 1, 5) - 1);
    ended_by_class[status_class]->add();
  }
  duration->observe(usage.phases.total());
  queue->observe(usage.phases.queue);
  if (usage.start == ledger::StartKind::none) return;
  ttft->observe(usage.phases.ttft);
  input_tokens->add(static_cast<std::uint64_t>(usage.input_tokens));
  output_tokens->add(static_cast<std::uint64_t>(usage.output_tokens));
  if (usage.start != ledger::StartKind::cold) return;
  cold_start[0]->observe(usage.phases.allocate);
  cold_start[1]->observe(usage.phases.start);
  cold_start[2]->observe(usage.phases.load);
  cold_start[3]->observe(usage.phases.warmup);
}

}  // namespace stoker::gateway
