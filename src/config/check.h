// What no single setting can know: values that follow from others, and rules between settings.
#pragma once

#include "config/config.h"
#include "config/reader.h"

namespace stoker::config {

/// Fills in what follows from other settings: max_instances from min_instances and the mode, the
/// delay of the last instance from the one of the others, start_timeout from the runtime; checksums
/// become lower case, aliases lose `:latest`.
void resolve(ServerConfig& config, const Reader& reader);
/// Needs: a resolved configuration.
void check(const ServerConfig& config, Reader& reader);
/// Warns of files that are not there, refuses folders as models. Looks at the file system, unlike
/// check().
void check_files(const ServerConfig& config, Reader& reader);

/// The path of a model on this machine; "" if the model is elsewhere.
[[nodiscard]] std::string local_path(const std::string& model);

}  // namespace stoker::config
