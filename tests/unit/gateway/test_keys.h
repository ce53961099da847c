// Keys for tests of the gateway: their secrets are given, as those of real ones are drawn.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "access/key_ring.h"

namespace stoker::gateway {

inline access::Key test_key(std::uint64_t id, std::string_view secret,
                            std::uint8_t scopes = access::scope::all,
                            std::string tenant = "default") {
  access::Key key;
  key.id = KeyId{id};
  key.public_id = "key-" + std::to_string(id);
  key.tenant = TenantId{tenant == "default" ? 1U : id};
  key.tenant_name = std::move(tenant);
  key.scopes = scopes;
  key.digest = access::Digest(secret);
  return key;
}

inline access::KeyRingPtr test_ring(std::vector<access::Key> keys) {
  return std::make_shared<const access::KeyRing>(std::move(keys));
}

}  // namespace stoker::gateway
