// The tenants of the configuration, for those that enforce what is written about them.
#pragma once

#include <map>

#include "access/key_admin.h"
#include "config/config.h"

namespace stoker::app {

[[nodiscard]] access::KeyAdmin::TenantLimits tenant_limits(const config::ServerConfig& config);

/// What share of the queues each one has that has not the usual one. Makes tenants that are new.
/// Errors: those of KeyAdmin::tenant.
[[nodiscard]] Result<std::map<TenantId, std::int32_t>> tenant_weights(
    const config::ServerConfig& config, access::KeyAdmin& keys);

}  // namespace stoker::app
