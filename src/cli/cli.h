// The command line. One file per command; this one names them all and parses. Commands that talk to
// a server use only its public API (client.h).
//
// Exit codes: 0 ok, 1 failed, 2 wrong usage or configuration.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "config/config.h"
#include "config/load.h"
#include "sim/trace_run.h"

namespace stoker::cli {

struct ServeHooks {
  std::function<void(const std::string& address)> on_listening;
  std::string record_events;  // file for the events of the decision core; empty: none
  std::function<config::Loaded()> load_again;  // the configuration, for a reload; null: it has none
};
/// Runs a server until it is told to stop; gives its exit code. Handed in, so that the command line
/// does not link the server.
using ServeFunction = std::function<int(const config::ServerConfig&, const ServeHooks&)>;

/// What the core of a server with this configuration would be told on this machine.
using ServerFunction = std::function<Result<sim::TraceServer>(const config::ServerConfig&)>;

struct Parts {
  ServeFunction serve;
  ServerFunction simulated_server;
};
int run(int argc, char** argv, const Parts& parts);

}  // namespace stoker::cli
