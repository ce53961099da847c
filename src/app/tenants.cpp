#include "app/tenants.h"

namespace stoker::app {

access::KeyAdmin::TenantLimits tenant_limits(const config::ServerConfig& config) {
  access::KeyAdmin::TenantLimits all;
  for (const config::TenantConfig& each : config.tenants) {
    const config::TenantLimitsConfig& limits = each.limits;
    all[each.name] = {.requests_per_minute = limits.requests_per_minute,
                      .input_tokens_per_minute = limits.input_tokens_per_minute,
                      .output_tokens_per_minute = limits.output_tokens_per_minute,
                      .concurrent_requests = limits.concurrent_requests,
                      .gpu_seconds_per_day = limits.gpu_seconds_per_day};
  }
  return all;
}

Result<std::map<TenantId, std::int32_t>> tenant_weights(const config::ServerConfig& config,
                                                        access::KeyAdmin& keys) {
  std::map<TenantId, std::int32_t> weights;
  for (const config::TenantConfig& each : config.tenants) {
    if (each.weight == config::TenantConfig{}.weight) continue;
    const Result<TenantId> id = keys.tenant(each.name);
    if (!id) return tl::unexpected(id.error());
    weights[*id] = each.weight;
  }
  return weights;
}

}  // namespace stoker::app
