// One function per command: adds its subcommand to the parser. `exit_code` is what the program ends
// with if that subcommand was the one.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/cli.h"
#include "cli/context.h"

namespace stoker::cli {

struct Program {
  CLI::App& app;
  Context& context;
  int& exit_code;
};

void add_serve(const Program& program, const ServeFunction& serve);
void add_check(const Program& program);
void add_doctor(const Program& program);
void add_version(const Program& program);
void add_ps(const Program& program);
void add_events(const Program& program);
void add_decisions(const Program& program);
void add_logs(const Program& program);
void add_run(const Program& program);
void add_requests(const Program& program);
void add_usage(const Program& program);
void add_keys(const Program& program);
void add_warm(const Program& program);
void add_stop(const Program& program);
void add_reload(const Program& program);
void add_sim(const Program& program);
void add_replay(const Program& program, const ServerFunction& simulated_server);
void add_demo(const Program& program, const ServeFunction& serve);

/// "stoker 0.1.0 (worker contract 1)"
[[nodiscard]] std::string version_text();

/// Adds --url and --config to a command that talks to a server, --json to one that reads.
void add_server_options(CLI::App& command, Context& context);
void add_json_option(CLI::App& command, Context& context);

}  // namespace stoker::cli
