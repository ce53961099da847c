#include "cli/context.h"

#include <cstdio>

namespace stoker::cli {

int complain(const Error& error, int code) {
  std::fprintf(stderr, "error: %s\n", error.message.c_str());
  if (!error.hint.empty()) std::fprintf(stderr, "  fix: %s\n", error.hint.c_str());
  return code;
}

int report(const std::vector<config::Problem>& problems) {
  std::size_t errors = 0;
  for (const config::Problem& problem : problems) {
    std::fprintf(stderr, "%s\n", config::to_text(problem).c_str());
    if (problem.severity == config::Problem::Severity::error) ++errors;
  }
  if (errors == 0) return exit_ok;
  std::fprintf(stderr, "%zu problem%s; nothing was started.\n", errors, errors == 1 ? "" : "s");
  return exit_usage;
}

Result<config::Loaded> load_config(const Context& context,
                                   const std::vector<config::Override>& overrides) {
  const config::Environment environment = config::process_environment();
  const std::optional<std::string> path = config::locate(context.config_file, environment);
  if (!path) {
    return failure(ErrorCode::not_found, "no configuration: there is no ./stoker.yaml",
                   "name one with --config FILE or STOKER_CONFIG, or try `stoker demo`");
  }
  return config::load(*path, environment, overrides);
}

}  // namespace stoker::cli
