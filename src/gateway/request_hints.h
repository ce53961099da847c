// What the scheduler is told of a request so that it goes where its prompt is cached and counts for
// what it takes: a hash of its session or of the beginning of its prompt, and tokens. Only these
// numbers leave this file; no text is kept or logged.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/units.h"
#include "gateway/routes.h"

namespace simdjson::dom {
class object;
}

namespace stoker::gateway {

struct RequestHints {
  std::uint64_t affinity = 0;  // of its tenant and session or prompt; 0: any instance will do
  std::int64_t cost = 1;       // tokens, about
};

/// The field by which a client names its session.
inline constexpr std::string_view session_field = "x-stoker-session";
/// So much of a prompt's beginning counts.
inline constexpr std::size_t prefix_bytes = 4096;

/// Tokens of which only the size of the body is known: four bytes each.
[[nodiscard]] std::int64_t cost_of_body(std::size_t body_bytes);

/// True where requests with one beginning share what an instance keeps of it.
[[nodiscard]] bool keeps_prompts(Route route);

/// Gives: affinity by the first of these that is there: `session`, the body's `prompt_cache_key`,
///   `user`, `metadata.user_id`, and the beginning of the prompt: up to the end of the first user
///   message, so that later turns of a conversation have the same. Cost: the body's and the most
///   tokens that may be written, 256 where that is not said.
/// Cost: one look at the members of `body`, and a hash of at most prefix_bytes.
[[nodiscard]] RequestHints hints_of(TenantId tenant, std::string_view session,
                                    const simdjson::dom::object& body, std::size_t body_bytes);
/// The affinity of a session whose body is not looked at; 0 for an empty one.
[[nodiscard]] std::uint64_t session_affinity(TenantId tenant, std::string_view session);

}  // namespace stoker::gateway
