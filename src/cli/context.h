// What every command shares: where the configuration and the server are, and how to print.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "config/load.h"

namespace stoker::cli {

struct Context {
  std::optional<std::string> config_file;  // --config
  std::optional<std::string> url;          // --url
  bool json = false;                       // --json
};

inline constexpr int exit_ok = 0;
inline constexpr int exit_failed = 1;
inline constexpr int exit_usage = 2;

/// "error: ..." and, if there is one, "  fix: ..." on stderr; with --json one object
/// {"error": {"code", "message", "fix"}} on stdout, where the answer would be. Gives `code`.
int complain(const Context& context, const Error& error, int code = exit_failed);
/// Prints problems to stderr, one a line, and how many there are. Gives exit_usage if any is an
/// error, else exit_ok.
int report(const std::vector<config::Problem>& problems);

/// The configuration that --config, STOKER_CONFIG or the usual places name.
/// Errors: not_found (no file is named and none is at the usual places).
[[nodiscard]] Result<config::Loaded> load_config(
    const Context& context, const std::vector<config::Override>& overrides = {});

}  // namespace stoker::cli
