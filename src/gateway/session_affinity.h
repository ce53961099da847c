// Which requests belong together, as a hash: those of one session, or with one beginning of their
// prompt, so that they go where an instance has cached it. Only the number leaves this file; no
// text is kept or logged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/units.h"
#include "gateway/routes.h"

namespace simdjson::dom {
class object;
}

namespace stoker::gateway {

/// The field by which a client names its session.
inline constexpr std::string_view session_field = "x-stoker-session";
/// So much of a session's name or of a prompt's beginning counts.
inline constexpr std::size_t prefix_bytes = 4096;

/// True where requests with one beginning share what an instance keeps of it.
[[nodiscard]] bool keeps_prompts(Route route);

/// 0 for an empty one: any instance will do. Never the same for two tenants.
[[nodiscard]] std::uint64_t session_affinity(TenantId tenant, std::string_view session);

/// Gives: the hash of the first of these that is there: the body's `prompt_cache_key`, `user`,
///   `metadata.user_id`, and the beginning of its prompt: up to the end of the first user message,
///   so that later turns of a conversation have the same. 0: there is none.
/// Cost: a look-up of a few members, and a hash of at most prefix_bytes.
[[nodiscard]] std::uint64_t body_affinity(TenantId tenant, const simdjson::dom::object& body);

}  // namespace stoker::gateway
