#include "cli/cli.h"

#include <CLI/CLI.hpp>

#include "cli/commands.h"

namespace stoker::cli {

void add_server_options(CLI::App& command, Context& context) {
  command.add_option("--url", context.url,
                     "Where the server is, http://HOST:PORT or unix:/PATH (STOKER_URL)");
  command.add_option("--config", context.config_file,
                     "Its configuration: finds address and admin key (STOKER_CONFIG)");
}

void add_json_option(CLI::App& command, Context& context) {
  command.add_flag("--json", context.json, "Print JSON for programs");
}

int run(int argc, char** argv, const ServeFunction& serve) {
  CLI::App app("Stoker: serverless GPU inference on your own machines");
  app.name("stoker");
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  stoker serve --config stoker.yaml      start the server\n"
      "  stoker run chat \"Hello\"                ask a model, loading it if it is cold\n"
      "  stoker ps                              deployments, instances and devices\n"
      "  stoker COMMAND --help                  more about one command\n"
      "Environment:\n"
      "  STOKER_CONFIG    the configuration, where --config is not given\n"
      "  STOKER_URL       where the server is, where --url is not given\n"
      "  STOKER_API_KEY   the key to send; without it the admin key of the configuration's\n"
      "                   state_dir");
  Context context;
  int exit_code = exit_ok;
  const Program program{app, context, exit_code};
  add_serve(program, serve);
  add_demo(program, serve);
  add_check(program);
  add_doctor(program);
  add_version(program);
  add_ps(program);
  add_events(program);
  add_logs(program);
  add_run(program);
  add_requests(program);
  add_usage(program);
  add_warm(program);
  add_stop(program);
  add_sim(program);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? exit_ok : exit_usage;
  }
  return exit_code;
}

}  // namespace stoker::cli
