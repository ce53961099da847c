#include "cli/context.h"

#include <cstdio>

#include "base/json_writer.h"

namespace stoker::cli {

namespace {

const char* code_text(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid:
      return "invalid";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::no_capacity:
      return "no_capacity";
    case ErrorCode::unavailable:
      return "unavailable";
    case ErrorCode::outcome_unknown:
      return "outcome_unknown";
    case ErrorCode::corrupt:
      return "corrupt";
    case ErrorCode::in_use:
      return "in_use";
  }
  return "unknown";
}

}  // namespace

int complain(const Context& context, const Error& error, int code) {
  if (context.json) {
    JsonWriter json;
    json.object([&] {
      json.object("error", [&] {
        json.field("code", code_text(error.code));
        json.field("message", error.message);
        if (!error.hint.empty()) json.field("fix", error.hint);
      });
    });
    std::printf("%s\n", json.text().c_str());
    return code;
  }
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
                   "name one with --config FILE or STOKER_CONFIG; configs/example.yaml in the "
                   "repository shows every setting");
  }
  return config::load(*path, environment, overrides);
}

}  // namespace stoker::cli
