// stoker replay TRACE: recorded traffic through the production core in virtual time.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/json_writer.h"
#include "cli/replay.h"
#include "cli/table.h"
#include "sim/trace_run.h"

namespace stoker::cli {
namespace {

double seconds_of(Duration duration) {
  return static_cast<double>(duration.ns) / 1e9;
}

void outcomes_json(JsonWriter& json, const char* name, const sim::TraceOutcomes& outcomes) {
  json.object(name, [&] {
    json.field("cold_starts", outcomes.cold_starts);
    json.field("cold_requests", outcomes.cold_requests);
    json.field("completed", outcomes.completed);
    json.field("cancelled", outcomes.cancelled);
    json.field("refused", outcomes.refused);
    json.field("failed", outcomes.failed);
    json.object("wait_ms", [&] {
      for (const int percent : {50, 95, 99}) {
        json.field(fmt::format("p{}", percent), as_ms(outcomes.wait.at(percent)));
      }
    });
  });
}

void print_json(const sim::TraceRunResult& result) {
  JsonWriter json;
  json.object([&] {
    json.field("requests", result.requests);
    json.field("seconds", seconds_of(result.length));
    json.field("device_seconds", seconds_of(result.device_time));
    json.field("busy_seconds", seconds_of(result.busy_time));
    outcomes_json(json, "simulated", result.simulated);
    if (result.receipts > 0) outcomes_json(json, "recorded", result.recorded);
  });
  std::printf("%s\n", json.text().c_str());
}

void print_text(const sim::TraceRunResult& result) {
  std::printf("%llu requests in %.1f s; %.1f device-seconds, %.1f of them with a request\n\n",
              static_cast<unsigned long long>(result.requests), seconds_of(result.length),
              seconds_of(result.device_time), seconds_of(result.busy_time));
  const bool compares = result.receipts > 0;
  Table table(compares ? "lrr" : "lr", compares
                                           ? std::vector<std::string>{"", "SIMULATED", "RECORDED"}
                                           : std::vector<std::string>{"", "SIMULATED"});
  const auto row = [&](const std::string& name, const auto& cell) {
    std::vector<std::string> cells = {name, cell(result.simulated)};
    if (compares) cells.push_back(cell(result.recorded));
    table.add(std::move(cells));
  };
  const auto count = [&](const std::string& name, std::uint64_t sim::TraceOutcomes::* member) {
    row(name, [&](const sim::TraceOutcomes& side) { return std::to_string(side.*member); });
  };
  count("cold starts", &sim::TraceOutcomes::cold_starts);
  count("requests that waited for one", &sim::TraceOutcomes::cold_requests);
  count("completed", &sim::TraceOutcomes::completed);
  count("cancelled", &sim::TraceOutcomes::cancelled);
  count("refused", &sim::TraceOutcomes::refused);
  count("failed", &sim::TraceOutcomes::failed);
  for (const int percent : {50, 95, 99}) {
    row(fmt::format("wait p{}, ms", percent),
        [&](const sim::TraceOutcomes& side) { return ms_cell(side.wait.at(percent)); });
  }
  std::printf("%s", table.text().c_str());
}

Result<sim::Calibration> calibration_of(const std::string& path) {
  const auto source = open_for_replay(path);
  if (!source) return tl::unexpected(source.error());
  return sim::calibrate(**source);
}

}  // namespace

int replay_simulated(const Context& context, const ReplayOptions& options,
                     const ServerFunction& simulated_server) {
  const Result<NameMap> names = NameMap::parse(options.map, options.to);
  if (!names) return complain(context, names.error(), exit_usage);
  const auto source = open_for_replay(options.trace);
  if (!source) return complain(context, source.error());
  // Without receipts it knows nothing, and what the trace's first line says stays.
  const bool from_itself = options.calibrate.empty();
  const Result<sim::Calibration> calibration =
      calibration_of(from_itself ? options.trace : options.calibrate);
  if (!calibration) return complain(context, calibration.error());

  Result<sim::TraceServer> server = sim::server_of((*source)->world());
  if (context.config_file || std::getenv("STOKER_CONFIG") != nullptr) {
    const Result<config::Loaded> loaded = load_config(context);
    if (!loaded) return complain(context, loaded.error(), exit_usage);
    if (const int code = report(loaded->problems); code != exit_ok) return code;
    server = simulated_server(loaded->config);
    if (!server) return complain(context, server.error(), exit_usage);
  }
  sim::TraceRunOptions run;
  run.speed = options.speed;
  run.deployment_for = *names;
  run.calibration = &*calibration;
  run.recorded_service = from_itself;
  const Result<sim::TraceRunResult> result = sim::run_trace(**source, *server, run);
  if (!result) return complain(context, result.error());
  context.json ? print_json(*result) : print_text(*result);
  return exit_ok;
}

}  // namespace stoker::cli
