// The field Prefer: how long a client would wait for an answer. Source: RFC 7240.
#pragma once

#include <optional>
#include <string_view>

#include "base/units.h"

namespace stoker::gateway {

/// `wait=N` (seconds, at most 300) or `respond-async`, which is not to wait at all; with both, the
/// wait. Gives: nullopt where neither is there, or `wait` is no number: a preference that is not
/// understood is passed over.
[[nodiscard]] std::optional<Duration> preferred_wait(std::string_view prefer);

}  // namespace stoker::gateway
