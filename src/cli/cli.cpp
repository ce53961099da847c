#include "cli/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "cli/commands.h"

namespace stoker::cli {

void add_server_options(CLI::App& command, Context& context) {
  command.add_option("--url", context.url,
                     "Where the server is, http(s)://HOST:PORT or unix:/PATH (STOKER_URL)");
  command.add_option("--config", context.config_file,
                     "Its configuration: finds address and admin key (STOKER_CONFIG)");
}

void add_json_option(CLI::App& command, Context& context) {
  command.add_flag("--json", context.json, "Print JSON for programs");
}

namespace {

/// Options that may stand before the command too, as in `stoker --config stoker.yaml ps`.
bool takes_value(std::string_view option) {
  return option == "--config" || option == "--url";
}

/// The arguments with the command first, and what stood before it behind it.
struct Arguments {
  std::vector<std::string> all;
  std::string command;  // empty: there is none
};
Arguments with_command_first(int argc, char** argv) {
  const std::vector<std::string> given(argv + 1, argv + argc);
  std::size_t i = 0;
  while (i < given.size()) {
    const std::string name = given[i].substr(0, given[i].find('='));
    if (!takes_value(name) && name != "--json") break;
    const bool value_follows = takes_value(name) && name.size() == given[i].size();
    i += value_follows ? 2U : 1U;
  }
  if (i >= given.size() || given[i].starts_with('-')) return {given, {}};
  const auto command = given.begin() + static_cast<std::ptrdiff_t>(i);
  Arguments arguments{{*command}, *command};
  arguments.all.insert(arguments.all.end(), given.begin(), command);
  arguments.all.insert(arguments.all.end(), command + 1, given.end());
  return arguments;
}

std::vector<std::string> commands_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* each : app.get_subcommands(nullptr)) names.push_back(each->get_name());
  return names;
}

bool is_command(const CLI::App& app, const std::string& name) {
  const std::vector<std::string> names = commands_of(app);
  return std::ranges::find(names, name) != names.end();
}

int complain_of_command(const CLI::App& app, const Context& context, const std::string& name) {
  const std::vector<std::string> names = commands_of(app);
  const std::vector<std::string_view> known(names.begin(), names.end());
  const std::optional<std::string_view> near = closest(name, known);
  return complain(context,
                  {ErrorCode::invalid, "there is no command '" + name + "'",
                   near ? "did you mean `stoker " + std::string(*near) + "`?"
                        : "`stoker help` lists the commands"},
                  exit_usage);
}

/// Only so that it is listed and explained: `help X` is read as `X --help`.
void add_help(const Program& program) {
  CLI::App* command =
      program.app.add_subcommand("help", "Show the commands, or more about one of them");
  command->add_option_function<std::string>(
      "COMMAND", [](const std::string&) {}, "What to explain");
  command->footer("Example:\n  stoker help run");
}

/// Gives the arguments that `help ...` stands for.
Arguments help_as_option(const Arguments& help) {
  if (help.all.size() < 2) return {{"--help"}, {}};
  if (help.all[1].starts_with('-')) return {{"help", "--help"}, "help"};
  return {{help.all[1], "--help"}, help.all[1]};
}

}  // namespace

int run(int argc, char** argv, const Parts& parts) {
  CLI::App app("Stoker: serverless GPU inference on your own machines");
  app.name("stoker");
  app.set_version_flag("-v,--version", version_text());
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
      "                   state_dir\n"
      "With --json a failure is {\"error\": {\"code\", \"message\", \"fix\"}} on stdout.\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.");
  Context context;
  int exit_code = exit_ok;
  const Program program{app, context, exit_code};
  add_serve(program, parts.serve);
  add_demo(program, parts.serve);
  add_check(program);
  add_doctor(program);
  add_version(program);
  add_help(program);
  add_ps(program);
  add_events(program);
  add_decisions(program);
  add_logs(program);
  add_run(program);
  add_requests(program);
  add_usage(program);
  add_keys(program);
  add_warm(program);
  add_stop(program);
  add_reload(program);
  add_sim(program);
  add_replay(program, parts.simulated_server);
  Arguments arguments = with_command_first(argc, argv);
  if (arguments.command == "help") arguments = help_as_option(arguments);
  if (!arguments.command.empty() && !is_command(app, arguments.command)) {
    return complain_of_command(app, context, arguments.command);
  }
  const bool is_option = !arguments.all.empty() && arguments.all.front().starts_with('-');
  if (arguments.command.empty() && !is_option) {
    std::fprintf(stderr, "%s", app.help().c_str());
    return exit_usage;
  }
  app.require_subcommand(1);
  std::reverse(arguments.all.begin(), arguments.all.end());  // as CLI11 wants them
  try {
    app.parse(arguments.all);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? exit_ok : exit_usage;
  }
  return exit_code;
}

}  // namespace stoker::cli
