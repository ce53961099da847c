// Relative paths of a configuration file mean the file's own folder, as in other files of that
// kind, so that every command finds the same state directory and models from wherever it is run.
// What the command line sets (`--set`, `--listen`) means the working directory, as people type it.
#pragma once

#include <string>

#include "config/config.h"
#include "config/reader.h"

namespace stoker::config {

/// Makes the paths in `config` absolute: state_dir, a Unix socket, models, `readable`, options that
/// are paths, and of `command` the program if it has a slash and the arguments that name something
/// that exists. Looks at the file system.
void resolve_paths(ServerConfig& config, const std::string& file, const Reader& reader);

}  // namespace stoker::config
