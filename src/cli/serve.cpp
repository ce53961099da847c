// stoker serve
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "cli/commands.h"

namespace stoker::cli {

void add_serve(const Program& program, const ServeFunction& serve) {
  CLI::App* command = program.app.add_subcommand("serve", "Run the server until Ctrl-C");
  struct Options {
    std::vector<std::string> settings;
    std::optional<std::string> listen;
    std::string record_events;
  };
  auto options = std::make_shared<Options>();
  command->add_option("--config", program.context.config_file, "Configuration (STOKER_CONFIG)");
  command->add_option("--listen", options->listen,
                      "HOST:PORT, :PORT or unix:/PATH, over the file's");
  command->add_option("--set", options->settings,
                      "Change one setting: --set deployments.chat.concurrency=2");
  command->add_option("--record-events", options->record_events,
                      "Write every event of the scheduler to a file, for stoker replay");
  command->footer(
      "Examples:\n"
      "  stoker serve --config stoker.yaml\n"
      "  stoker serve --config stoker.yaml --listen 127.0.0.1:9000 --set log.level=debug\n"
      "Ctrl-C finishes what runs and ends; a second one ends at once. SIGHUP, like `stoker "
      "reload`, reads the configuration anew.");
  command->callback([program, options, serve] {
    std::vector<config::Override> overrides;
    if (options->listen) overrides.push_back({"listen", *options->listen, "--listen"});
    for (const std::string& setting : options->settings) {
      const std::size_t equals = setting.find('=');
      if (equals == std::string::npos) {
        program.exit_code = complain(
            program.context,
            {ErrorCode::invalid, "--set " + setting + " has no '='", "write --set KEY=VALUE"},
            exit_usage);
        return;
      }
      overrides.push_back({setting.substr(0, equals), setting.substr(equals + 1)});
    }
    const Result<config::Loaded> loaded = load_config(program.context, overrides);
    if (!loaded) {
      program.exit_code = complain(program.context, loaded.error(), exit_usage);
      return;
    }
    if (const int code = report(loaded->problems); code != exit_ok) {
      program.exit_code = code;
      return;
    }
    const auto load_again = [context = program.context, overrides]() -> config::Loaded {
      Result<config::Loaded> again = load_config(context, overrides);
      if (again) return std::move(*again);
      config::Loaded nothing;
      nothing.problems.emplace_back().message = again.error().message;
      return nothing;
    };
    program.exit_code = serve(loaded->config, {{}, options->record_events, load_again});
  });
}

}  // namespace stoker::cli
