// The key tables of the configuration file, one per block.
#pragma once

#include <optional>
#include <string_view>

#include "config/config.h"
#include "config/key.h"

namespace stoker::config {

[[nodiscard]] const Table<ServerConfig>& server_table();
[[nodiscard]] const Table<DeploymentConfig>& deployment_table();

/// For people and canonical text.
[[nodiscard]] std::string_view runtime_name(Runtime runtime);

}  // namespace stoker::config
