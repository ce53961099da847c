// stoker replay: a trace through the scheduler in virtual time, or to a running server; or what a
// server decided, decided again.
#include "cli/replay.h"

#include <fmt/format.h>

#include <memory>

#include "cli/commands.h"
#include "sim/workload/open_trace.h"

namespace stoker::cli {

Result<NameMap> NameMap::parse(const std::vector<std::string>& pairs, const std::string& to) {
  NameMap map;
  map.to_ = to;
  for (const std::string& pair : pairs) {
    const std::size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == pair.size()) {
      return failure(ErrorCode::invalid, fmt::format("--map {} is no TRACE-NAME=NAME", pair),
                     "write for example --map chat=small-chat; --to NAME is for all of them");
    }
    map.named_[pair.substr(0, equals)] = pair.substr(equals + 1);
  }
  return map;
}

std::string NameMap::operator()(const std::string& name) const {
  if (const auto found = named_.find(name); found != named_.end()) return found->second;
  return to_.empty() ? name : to_;
}

Result<std::unique_ptr<sim::RequestSource>> open_for_replay(const std::string& path) {
  return sim::open_trace(path);
}

std::string ms_cell(Duration duration) {
  return fmt::format("{:.1f}", as_ms(duration));
}

namespace {

int replay(const Context& context, const ReplayOptions& options,
           const ServerFunction& simulated_server) {
  if (!options.events.empty()) {
    if (options.trace.empty()) return replay_events(context, options.events, options.print_steps);
    return complain(
        context,
        {ErrorCode::invalid, "--events and a trace are two different replays", "name one of them"},
        exit_usage);
  }
  if (options.trace.empty()) {
    return complain(context,
                    {ErrorCode::invalid, "nothing says what to replay",
                     "name a trace: a server records its traffic in STATE_DIR/traffic"},
                    exit_usage);
  }
  if (options.live) return replay_live(context, options);
  return replay_simulated(context, options, simulated_server);
}

}  // namespace

void add_replay(const Program& program, const ServerFunction& simulated_server) {
  CLI::App* command = program.app.add_subcommand(
      "replay", "Run recorded traffic again: in virtual time, or to a running server");
  auto options = std::make_shared<ReplayOptions>();
  command->add_option("TRACE", options->trace,
                      "A trace, or the folder STATE_DIR/traffic with all that was recorded");
  command->add_flag("--live", options->live, "Send its requests to a running server");
  command->add_option("--speed", options->speed, "Requests come so many times as fast")
      ->check(CLI::Range(1e-3, 1e6));
  command->add_option("--map", options->map, "TRACE-NAME=NAME: NAME stands for that deployment")
      ->allow_extra_args(false);  // what follows may be the trace
  command->add_option("--to", options->to, "This deployment stands for all others");
  command->add_option("--calibrate", options->calibrate,
                      "Take start, load and service times from the receipts of this earlier trace, "
                      "not from the replayed one");
  command->add_option("--url", program.context.url,
                      "With --live: where the server is, http://HOST:PORT or unix:/PATH "
                      "(STOKER_URL)");
  command->add_option("--config", program.context.config_file,
                      "The configuration to simulate; with --live: it finds address and admin key "
                      "(STOKER_CONFIG)");
  command->add_option("--events", options->events,
                      "Decide again what serve --record-events wrote, and compare");
  command->add_flag("--trace", options->print_steps,
                    "With --events: print every event and every order");
  add_json_option(*command, program.context);
  command->footer(
      "Without --live the production scheduler decides in a simulated world: devices and\n"
      "deployments from --config, else as the trace describes them; times from the receipts.\n"
      "With --live prompts are made up in the recorded lengths, and requests go at their times\n"
      "whatever becomes of the answers.\n"
      "Exit 1 if requests failed (--live), or an order differs from the recorded one (--events).\n"
      "Examples:\n"
      "  stoker replay state/traffic --config stoker.yaml\n"
      "  stoker replay --live state/traffic --speed 10 --to chat\n"
      "  stoker replay --events events.bin --trace | less");
  command->callback([program, options, simulated_server] {
    program.exit_code = replay(program.context, *options, simulated_server);
  });
}

}  // namespace stoker::cli
